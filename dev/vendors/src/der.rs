//! DER, written by hand, so that a test can write it wrongly as well (X.690).

/// One value: tag, length, contents.
pub fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(contents.len()) {
        Ok(short @ 0..0x80) => out.push(short),
        _ => {
            let length = contents.len().to_be_bytes();
            let length: Vec<_> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(length.len()).expect("few bytes"));
            out.extend(length);
        }
    }
    out.extend(contents);
    out
}

/// SEQUENCE.
pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// SET.
pub fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &parts.concat())
}

/// INTEGER, from a number.
pub fn number(value: u64) -> Vec<u8> {
    integer(&value.to_be_bytes())
}

/// INTEGER, from unsigned big-endian bytes.
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<_> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        bytes.insert(0, 0);
    }
    tlv(0x02, &bytes)
}

/// OBJECT IDENTIFIER, from its dotted form.
pub fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().expect("an arc")).collect();
    let mut out = base128(arcs[0] * 40 + arcs[1]);
    out.extend(arcs[2..].iter().flat_map(|arc| base128(*arc)));
    tlv(0x06, &out)
}

fn base128(mut value: u64) -> Vec<u8> {
    let mut out = vec![(value & 0x7f) as u8];
    while value >= 0x80 {
        value >>= 7;
        out.insert(0, 0x80 | (value & 0x7f) as u8);
    }
    out
}

/// OCTET STRING.
pub fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(0x04, bytes)
}

/// BIT STRING of whole bytes.
pub fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], bytes].concat())
}

/// BOOLEAN.
pub fn boolean(value: bool) -> Vec<u8> {
    tlv(0x01, &[if value { 0xff } else { 0 }])
}

/// NULL.
pub fn null() -> Vec<u8> {
    tlv(0x05, &[])
}

/// ENUMERATED.
pub fn enumerated(value: u8) -> Vec<u8> {
    tlv(0x0a, &[value])
}

/// UTF8String.
pub fn utf8(text: &str) -> Vec<u8> {
    tlv(0x0c, text.as_bytes())
}

/// IA5String.
pub fn ia5(text: &str) -> Vec<u8> {
    tlv(0x16, text.as_bytes())
}

/// `[tag] EXPLICIT`.
pub fn explicit(tag: u8, contents: &[u8]) -> Vec<u8> {
    tlv(0xa0 | tag, contents)
}

/// UTCTime to 2049, then GeneralizedTime (RFC 5280 §4.1.2.5), from Unix seconds.
pub fn time(seconds: u64) -> Vec<u8> {
    let (year, rest) = date(seconds);
    if year < 2050 {
        tlv(0x17, format!("{:02}{rest}Z", year % 100).as_bytes())
    } else {
        tlv(0x18, format!("{year}{rest}Z").as_bytes())
    }
}

/// RFC 3339, as Intel's collateral has it.
pub fn rfc3339(seconds: u64) -> String {
    let (year, rest) = date(seconds);
    let part = |at: usize| &rest[at..at + 2];
    format!("{year}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8))
}

/// Year, then `MMDDhhmmss`.
fn date(seconds: u64) -> (u64, String) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hours, minutes) = (time / 3_600, time / 60 % 60);
    (year, format!("{month:02}{:02}{hours:02}{minutes:02}{:02}", days + 1, time % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_encodings() {
        assert_eq!(number(0), [2, 1, 0]);
        assert_eq!(number(128), [2, 2, 0, 128]);
        assert_eq!(oid("1.2.840.113549.1.1.10"), b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a");
        assert_eq!(tlv(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(time(1_709_210_096), b"\x17\x0d240229123456Z");
        assert_eq!(time(2_524_608_000), b"\x18\x0f20500101000000Z");
        assert_eq!(rfc3339(1_709_210_096), "2024-02-29T12:34:56Z");
    }
}
