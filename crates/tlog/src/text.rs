//! The two number-like pieces that all C2SP text formats share.

use crate::hash::TreeHash;

/// An ASCII decimal without sign, spaces or leading zeros.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let digits = text.as_bytes();
    let canonical =
        digits.iter().all(u8::is_ascii_digit) && (digits == b"0" || digits.first() != Some(&b'0'));
    if canonical { text.parse().ok() } else { None }
}

/// Reads hash lines up to the first blank line; gives the hashes and the text after that line.
///
/// At most `limit` hashes are read: no proof for a tree that is supported needs more than 63.
pub(crate) fn split_hash_lines(
    mut text: &str,
    limit: usize,
) -> Result<(Vec<TreeHash>, &str), HashLinesError> {
    let mut hashes = Vec::new();
    loop {
        let (line, rest) = text.split_once('\n').ok_or(HashLinesError::NoBlankLine)?;
        text = rest;
        if line.is_empty() {
            return Ok((hashes, text));
        }
        if hashes.len() == limit {
            return Err(HashLinesError::TooMany { limit });
        }
        let hash = line.parse().map_err(|_| HashLinesError::NotAHash { position: hashes.len() })?;
        hashes.push(hash);
    }
}

/// Why the hash lines of a proof are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashLinesError {
    /// The text ended before the blank line that separates the hashes from the checkpoint.
    #[error("expected a blank line after the proof hashes")]
    NoBlankLine,
    /// A line does not hold a hash.
    #[error("proof hash {position}: expected padded base64 of 32 bytes")]
    NotAHash {
        /// Which hash, counted from 0.
        position: usize,
    },
    /// No tree needs as many hashes.
    #[error("expected at most {limit} proof hashes")]
    TooMany {
        /// How many are allowed.
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(parse_decimal("0"), Some(0));
        assert_eq!(parse_decimal("18446744073709551615"), Some(u64::MAX));
        for text in
            ["", "00", "01", "+1", "-1", " 1", "1 ", "1_0", "0x1", "18446744073709551616", "٣"]
        {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn hash_lines_end_at_the_first_blank_line() {
        let hash = TreeHash::of_entry(b"x");
        let text = format!("{hash}\n{hash}\n\nrest\n\nmore");
        assert_eq!(split_hash_lines(&text, 2), Ok((vec![hash, hash], "rest\n\nmore")));
        assert_eq!(split_hash_lines(&text, 1), Err(HashLinesError::TooMany { limit: 1 }));
        assert_eq!(split_hash_lines(&format!("{hash}\n"), 2), Err(HashLinesError::NoBlankLine));
        assert_eq!(
            split_hash_lines(&format!("{hash}\nx\n\n"), 2),
            Err(HashLinesError::NotAHash { position: 1 })
        );
    }
}
