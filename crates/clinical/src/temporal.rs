//! Dates and times of FHIR: parsed, compared, but never completed or rounded.
//!
//! A FHIR date may stop at the year or the month. Such a value is a period, so
//! comparing it with a longer one can be undecidable; then there is no answer
//! rather than a wrong one.

use std::cmp::Ordering;

/// A date, a date with a time, or a time of day, as far as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Temporal {
    /// Year, month, day, hour, minute, and nanoseconds within the minute; only
    /// those from `first` to before `last` were given.
    parts: [i64; 6],
    first: u8,
    last: u8,
    /// Minutes east of UTC.
    offset_minutes: Option<i16>,
}

const DAY_END: u8 = 3;
const SECOND_END: u8 = 6;
const HOUR: u8 = 3;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
const MINUTES_PER_DAY: i64 = 24 * 60;

impl Temporal {
    /// Reads a FHIR `date`, `dateTime` or `instant`: `2014`, `2014-01-25`,
    /// `2014-01-25T14:30:00.5+01:00`. FHIRPath literals may also stop at `T`, the
    /// hour or the minute.
    pub fn parse_date_time(text: &str) -> Option<Temporal> {
        let (date, time) = match text.split_once('T') {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let mut temporal = parse_date(date)?;
        let Some(time) = time else {
            return Some(temporal);
        };
        if temporal.last != DAY_END {
            return None;
        }
        let zone = time.find(['Z', '+', '-']).unwrap_or(time.len());
        let (clock, zone) = time.split_at(zone);
        if clock.is_empty() {
            // `2014-01-25T` is a DateTime that stops at the day.
            return zone.is_empty().then_some(temporal);
        }
        temporal.last = parse_clock(clock, &mut temporal.parts)?;
        temporal.offset_minutes = parse_offset(zone)?;
        Some(temporal)
    }

    /// Reads a FHIR `time`: `14:30:00.5`; FHIRPath literals may stop earlier.
    pub fn parse_time(text: &str) -> Option<Temporal> {
        let mut parts = [0; 6];
        let last = parse_clock(text, &mut parts)?;
        Some(Temporal { parts, first: HOUR, last, offset_minutes: None })
    }

    /// Whether this is a date without any time of day.
    pub fn is_date(&self) -> bool {
        self.first == 0 && self.last <= DAY_END
    }

    /// Whether this is a time of day without any date.
    pub fn is_time(&self) -> bool {
        self.first == HOUR
    }

    /// How two values stand to each other; `None` where the given precision does
    /// not decide it (FHIRPath N1 §6.2).
    pub fn compare(&self, other: &Temporal) -> Option<Ordering> {
        if self.first != other.first {
            return None;
        }
        let both_have_clock = self.first == 0 && self.last > DAY_END && other.last > DAY_END;
        let (left, right) = match (both_have_clock, self.offset_minutes, other.offset_minutes) {
            (true, Some(left), Some(right)) => (self.shifted(left), other.shifted(right)),
            (true, Some(_), None) | (true, None, Some(_)) => return None,
            _ => (self.parts, other.parts),
        };
        let shared = self.last.min(other.last);
        for index in self.first..shared {
            let index = usize::from(index);
            match left.get(index)?.cmp(right.get(index)?) {
                Ordering::Equal => {}
                decided => return Some(decided),
            }
        }
        (self.last == other.last).then_some(Ordering::Equal)
    }

    /// Days since 1970-01-01 of the date as written, if it reaches the day.
    pub fn days(&self) -> Option<i32> {
        if self.first != 0 || self.last < DAY_END {
            return None;
        }
        let [year, month, day, ..] = self.parts;
        i32::try_from(days_from_civil(year, month, day)).ok()
    }

    /// Microseconds since 1970-01-01T00:00Z, if it reaches the second and has an
    /// offset; digits beyond the microsecond are cut.
    pub fn micros(&self) -> Option<i64> {
        let offset = i64::from(self.offset_minutes?);
        if self.last != SECOND_END {
            return None;
        }
        let [.., hour, minute, nanos] = self.parts;
        let minutes = i64::from(self.days()?) * MINUTES_PER_DAY + hour * 60 + minute - offset;
        Some(minutes * 60_000_000 + nanos / 1_000)
    }

    /// The parts in UTC.
    fn shifted(&self, offset_minutes: i16) -> [i64; 6] {
        let [year, month, day, hour, minute, nanos] = self.parts;
        let minutes = hour * 60 + minute - i64::from(offset_minutes);
        let days = days_from_civil(year, month, day) + minutes.div_euclid(MINUTES_PER_DAY);
        let minutes = minutes.rem_euclid(MINUTES_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        [year, month, day, minutes / 60, minutes % 60, nanos]
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last of a year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn parse_date(text: &str) -> Option<Temporal> {
    let mut parts = [0, 1, 1, 0, 0, 0];
    let mut pieces = text.splitn(3, '-');
    parts[0] = number(pieces.next()?, 4, 1, 9999)?;
    let mut last = 1;
    if let Some(month) = pieces.next() {
        parts[1] = number(month, 2, 1, 12)?;
        last = 2;
    }
    if let Some(day) = pieces.next() {
        parts[2] = number(day, 2, 1, days_in_month(parts[0], parts[1]))?;
        last = DAY_END;
    }
    Some(Temporal { parts, first: 0, last, offset_minutes: None })
}

/// Reads `hh[:mm[:ss[.f…]]]` and says where the given parts end.
fn parse_clock(text: &str, parts: &mut [i64; 6]) -> Option<u8> {
    let mut pieces = text.splitn(3, ':');
    parts[3] = number(pieces.next()?, 2, 0, 23)?;
    let Some(minute) = pieces.next() else {
        return Some(4);
    };
    parts[4] = number(minute, 2, 0, 59)?;
    let Some(seconds) = pieces.next() else {
        return Some(5);
    };
    let (whole, fraction) = match seconds.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (seconds, ""),
    };
    // FHIR allows a leap second.
    parts[5] = number(whole, 2, 0, 60)? * NANOS_PER_SECOND;
    let mut unit = NANOS_PER_SECOND;
    for digit in fraction.bytes() {
        unit /= 10;
        parts[5] += i64::from(char::from(digit).to_digit(10)?) * unit;
    }
    Some(SECOND_END)
}

/// Reads `Z`, `+hh:mm`, `-hh:mm` or nothing.
fn parse_offset(text: &str) -> Option<Option<i16>> {
    let (sign, clock) = match text.split_at_checked(1) {
        None => return Some(None),
        Some(("Z", "")) => return Some(Some(0)),
        Some(("+", clock)) => (1, clock),
        Some(("-", clock)) => (-1, clock),
        Some(_) => return None,
    };
    let (hours, minutes) = clock.split_once(':')?;
    let minutes = number(hours, 2, 0, 14)? * 60 + number(minutes, 2, 0, 59)?;
    Some(Some(sign * i16::try_from(minutes).ok()?))
}

fn number(text: &str, digits: usize, least: i64, most: i64) -> Option<i64> {
    let all_digits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok().filter(|_| all_digits)?;
    (least..=most).contains(&value).then_some(value)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Temporal {
        let parsed = match text.strip_prefix('T') {
            Some(time) => Temporal::parse_time(time),
            None => Temporal::parse_date_time(text),
        };
        parsed.expect(text)
    }

    #[test]
    fn comparison_decides_only_what_the_precision_allows() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, expected) in [
            ("2014-01-25", "2014-01-25", Some(Equal)),
            ("2014", "2015-03", Some(Less)),
            ("2014-01", "2014-01-25", None),
            ("2014-01-25", "2014-01-25T10:00:00Z", None),
            ("2014-01-26", "2014-01-25T10:00:00Z", Some(Greater)),
            ("2014-01-25T10:00:00Z", "2014-01-25T12:00:00+02:00", Some(Equal)),
            ("2014-01-01T00:30:00+01:00", "2013-12-31T23:30:00Z", Some(Equal)),
            ("2014-01-25T10:00:00Z", "2014-01-25T10:00:00", None),
            ("2014-01-25T10:00:00.5Z", "2014-01-25T10:00:00.50Z", Some(Equal)),
            ("2014-01-25T10:00", "2014-01-25T10:00:30", None),
            ("2014-01-25T10:00", "2014-01-25T10:01:30", Some(Less)),
            ("T10:00:00", "T09:59:59.9", Some(Greater)),
            ("T10:00", "2014", None),
        ] {
            assert_eq!(parse(left).compare(&parse(right)), expected, "{left} {right}");
        }
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in [
            "",
            "14",
            "2014-13",
            "2014-00-01",
            "2014-02-29",
            "1900-02-29",
            "2014-1-1",
            "2014-01-25 10:00",
            "2014-01T10:00",
            "2014-01-25T24:00:00Z",
            "2014-01-25T10:60:00Z",
            "2014-01-25T10:00:61Z",
            "2014-01-25T10:00:00.Z",
            "2014-01-25T10:00:00+1:00",
            "2014-01-25T10:00:00+15:00",
            "2014-01-25TZ",
            "2014-01-25T10:00:00Zx",
            "+014-01-25",
            "2014-01-25T1é:00",
            "0000",
        ] {
            assert_eq!(Temporal::parse_date_time(text), None, "{text}");
        }
        assert!(Temporal::parse_date_time("2000-02-29").is_some());
    }

    #[test]
    fn days_and_micros_need_their_precision() {
        assert_eq!(parse("1970-01-02").days(), Some(1));
        assert_eq!(parse("1969-12-31").days(), Some(-1));
        assert_eq!(parse("2000-03-01").days(), Some(11_017));
        assert_eq!(parse("2000-03").days(), None);
        assert_eq!(parse("T10:00:00").days(), None);
        assert_eq!(parse("1970-01-01T01:00:00.000001+01:00").micros(), Some(1));
        assert_eq!(parse("1970-01-01T01:00:00").micros(), None);
        assert_eq!(parse("1970-01-01T01:00Z").micros(), None);
    }

    proptest! {
        #[test]
        fn calendar_functions_are_inverse(days in -700_000..3_000_000_i64) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
            prop_assert!((1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[-0-9:.TZ+é]{0,40}") {
            let _ = Temporal::parse_date_time(&text);
            let _ = Temporal::parse_time(&text);
        }
    }
}
