//! CBOR, written by hand, so that a test can write it wrongly as well (RFC 8949).

/// Major type and argument in the shortest form.
pub fn head(major: u8, argument: u64) -> Vec<u8> {
    let big = argument.to_be_bytes();
    let (info, rest) = match argument {
        0..24 => return vec![major << 5 | big[7]],
        24..0x100 => (24, &big[7..]),
        0x100..0x1_0000 => (25, &big[6..]),
        0x1_0000..0x1_0000_0000 => (26, &big[4..]),
        _ => (27, &big[..]),
    };
    [&[major << 5 | info], rest].concat()
}

/// Major type and argument in eight bytes: valid, but the shortest form of few.
pub fn wide_head(major: u8, argument: u64) -> Vec<u8> {
    [&[major << 5 | 27], &argument.to_be_bytes()[..]].concat()
}

/// An unsigned integer.
pub fn unsigned(value: u64) -> Vec<u8> {
    head(0, value)
}

/// A byte string.
pub fn bytes(contents: &[u8]) -> Vec<u8> {
    [&head(2, contents.len() as u64), contents].concat()
}

/// A text string.
pub fn text(contents: &str) -> Vec<u8> {
    [&head(3, contents.len() as u64), contents.as_bytes()].concat()
}

/// An array of encoded values.
pub fn array(values: &[Vec<u8>]) -> Vec<u8> {
    [head(4, values.len() as u64), values.concat()].concat()
}

/// A map of encoded names and values, in their order.
pub fn map(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = head(5, entries.len() as u64);
    for (name, value) in entries {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    out
}

/// A value under a tag.
pub fn tag(number: u64, value: &[u8]) -> Vec<u8> {
    [&head(6, number), value].concat()
}

/// Null.
pub fn null() -> Vec<u8> {
    vec![0xf6]
}

/// The same string, array or map without its length: as many items as come before a break. A string
/// is one chunk. Its length must be below 24.
pub fn endless(value: &[u8]) -> Vec<u8> {
    let (first, rest) = value.split_first().expect("a value");
    let chunk = if first >> 5 <= 3 { value } else { rest };
    [&[first & 0xe0 | 31], chunk, &[0xff]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8949 appendix A.
    #[test]
    fn known_encodings() {
        assert_eq!(unsigned(23), [0x17]);
        assert_eq!(unsigned(24), [0x18, 0x18]);
        assert_eq!(unsigned(1_000_000), [0x1a, 0, 0x0f, 0x42, 0x40]);
        assert_eq!(text("IETF"), b"\x64IETF");
        assert_eq!(bytes(&[0; 256])[..3], [0x59, 1, 0]);
        assert_eq!(map(&[(unsigned(1), unsigned(2))]), [0xa1, 1, 2]);
        assert_eq!(endless(&array(&[unsigned(1)])), [0x9f, 1, 0xff]);
        assert_eq!(endless(&bytes(&[1])), [0x5f, 0x41, 1, 0xff]);
        assert_eq!(wide_head(0, 1), [0x1b, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
