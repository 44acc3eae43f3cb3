//! The system's clock, and moments as people write them.

use cordon_hub::{Clock as _, SystemClock};
use cordon_types::UnixSeconds;

/// What time it is.
pub fn now() -> UnixSeconds {
    SystemClock.now().to_seconds()
}

/// A moment as RFC 3339 in UTC: `2026-01-31T08:05:00Z`.
pub fn rfc3339(moment: UnixSeconds) -> String {
    let (day, second) = (moment.get() / DAY, moment.get() % DAY);
    let (year, month, day) = civil(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The moment that [`rfc3339`] writes so.
pub fn parse_rfc3339(text: &str) -> Result<UnixSeconds, String> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let parsed = || {
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        // The days of whole months since March of the year 0, the same count backwards.
        let (year, month) =
            if month < 3 { (year.checked_sub(1)?, month + 9) } else { (year, month - 3) };
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
        let days = days.checked_sub(DAYS_FROM_MARCH_0000 + 1)?;
        Some(UnixSeconds::new(days * DAY + hour * 3600 + minute * 60 + second))
    };
    // What is written back otherwise was no moment, or another spelling of one.
    parsed().filter(|moment| rfc3339(*moment) == text).ok_or_else(|| {
        format!("`{text}` is no moment in UTC: expected the form 2026-01-31T08:05:00Z")
    })
}

/// Year, month and day of the Gregorian calendar: 400 years have 146,097 days, and a year that
/// begins in March has its leap day at the end.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + DAYS_FROM_MARCH_0000;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

const DAY: u64 = 86_400;
const DAYS_FROM_MARCH_0000: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_the_calendar_says() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UnixSeconds::new(seconds)), text);
            assert_eq!(parse_rfc3339(text), Ok(UnixSeconds::new(seconds)));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-01-31",
            "2026-02-30T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T08:05:60Z",
            "2026-01-31 08:05:00Z",
            "2026-01-31T08:05:00+01:00",
            "2026-01-31T08:05:00z",
            "+026-01-31T08:05:00Z",
            "1969-12-31T23:59:59Z",
            "2026-13-01T00:00:00Z",
            "2026-00-10T00:00:00Z",
        ] {
            assert!(parse_rfc3339(text).is_err(), "{text}");
        }
    }
}
