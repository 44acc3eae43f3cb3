//! Byte ranges of RFC 9110 §14, one at a time.

use std::ops::Range;

/// What a `Range` header asks of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requested {
    /// All of it: no header, or one that a server must or may ignore (another unit, several
    /// ranges, malformed; §14.2).
    Whole,
    /// These bytes; never empty, never past the end.
    Part(Range<u64>),
    /// Nothing of it: 416.
    Unsatisfiable,
}

/// Reads a `Range` header for an object of `size` bytes.
pub(crate) fn parse(header: &str, size: u64) -> Requested {
    // §14.1: the unit is case-insensitive.
    let Some((unit, set)) = header.split_once('=') else { return Requested::Whole };
    if !unit.eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Requested::Whole;
    }
    let Some((first, last)) = set.trim_matches([' ', '\t']).split_once('-') else {
        return Requested::Whole;
    };
    match (position(first), position(last)) {
        // §14.1.2: `-n`, the last n bytes; all if there are fewer; `-0` asks for nothing.
        (Position::Absent, Position::At(0)) => Requested::Unsatisfiable,
        (Position::Absent, Position::At(length)) => part(size.saturating_sub(length), size),
        (Position::At(first), Position::Absent) if first < size => part(first, size),
        (Position::At(first), Position::At(last)) if first > last => Requested::Whole,
        (Position::At(first), Position::At(last)) if first < size => {
            part(first, last.saturating_add(1).min(size))
        }
        (Position::At(_), Position::Absent | Position::At(_)) => Requested::Unsatisfiable,
        (Position::Absent, Position::Absent)
        | (Position::Malformed, _)
        | (_, Position::Malformed) => Requested::Whole,
    }
}

fn part(start: u64, end: u64) -> Requested {
    if start < end { Requested::Part(start..end) } else { Requested::Unsatisfiable }
}

#[derive(Clone, Copy)]
enum Position {
    Absent,
    At(u64),
    Malformed,
}

/// `1*DIGIT`: no sign, no space. A number over 2^64 is as good as the largest one.
fn position(text: &str) -> Position {
    if text.is_empty() {
        return Position::Absent;
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Position::Malformed;
    }
    Position::At(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        use Requested::{Part, Unsatisfiable, Whole};
        for (header, size, expected) in [
            ("bytes=0-499", 10_000, Part(0..500)),
            ("bytes=500-999", 10_000, Part(500..1000)),
            ("bytes=-500", 10_000, Part(9500..10_000)),
            ("bytes=9500-", 10_000, Part(9500..10_000)),
            ("Bytes=0-0", 10_000, Part(0..1)),
            ("bytes=0-99999", 10, Part(0..10)),
            ("bytes=-99999", 10, Part(0..10)),
            ("bytes=0-18446744073709551616", 10, Part(0..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-12", 10, Unsatisfiable),
            ("bytes=18446744073709551616-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=-1", 0, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=5-4", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=1--2", 10, Whole),
            ("lines=1-2", 10, Whole),
            ("", 10, Whole),
        ] {
            assert_eq!(parse(header, size), expected, "`{header}` of {size}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_stays_inside(header in ".{0,40}", size: u64) {
            if let Requested::Part(range) = parse(&header, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }

        #[test]
        fn a_range_inside_is_given_exactly(size in 1..=u64::MAX, a: u64, b: u64) {
            let (a, b) = (a % size, b % size);
            let (first, last) = (a.min(b), a.max(b));
            prop_assert_eq!(
                parse(&format!("bytes={first}-{last}"), size),
                Requested::Part(first..last + 1)
            );
            let suffix = size - first;
            prop_assert_eq!(parse(&format!("bytes=-{suffix}"), size), Requested::Part(first..size));
            prop_assert_eq!(parse(&format!("bytes={first}-"), size), Requested::Part(first..size));
        }
    }
}
