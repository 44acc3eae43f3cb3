//! Whether a quote is open: the parser takes a file that ends within one as whole.

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Where in a value the bytes so far end, by the rules of the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first byte of a value: only here does a quote open one.
    Start,
    Bare,
    Quoted,
    /// Behind a quote within quotes: the end of the value, or half of an escaped quote.
    Quote,
}

/// Follows the bytes of a file.
#[derive(Debug)]
pub(super) struct Quotes {
    delimiter: u8,
    at: At,
    /// How much of a byte order mark was seen, while nothing else was.
    mark: usize,
}

impl Quotes {
    pub fn new(delimiter: u8) -> Quotes {
        Quotes { delimiter, at: At::Start, mark: 0 }
    }

    /// Whether the file would end within quotes here.
    pub fn is_open(&self) -> bool {
        self.at == At::Quoted
    }

    pub fn follow(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.mark < BYTE_ORDER_MARK.len() {
                if *byte == BYTE_ORDER_MARK[self.mark] {
                    self.mark += 1;
                    continue;
                }
                self.at = if self.mark > 0 { At::Bare } else { At::Start };
                self.mark = BYTE_ORDER_MARK.len();
            }
            self.at = self.behind(*byte);
        }
    }

    fn behind(&self, byte: u8) -> At {
        let ends_value = byte == self.delimiter || byte == b'\n' || byte == b'\r';
        match (self.at, byte) {
            (At::Quoted, b'"') => At::Quote,
            (At::Quoted, _) | (At::Quote | At::Start, b'"') => At::Quoted,
            _ if ends_value => At::Start,
            _ => At::Bare,
        }
    }
}

#[cfg(test)]
mod tests {
    use ::csv::ReaderBuilder;
    use proptest::prelude::*;

    use super::*;

    fn is_open(text: &[u8]) -> bool {
        let mut quotes = Quotes::new(b',');
        quotes.follow(text);
        quotes.is_open()
    }

    /// What comes behind an open quote is part of its value; behind a closed one it is a record.
    fn parser_is_within_quotes(text: &[u8]) -> bool {
        let whole = [text, b"\nend\n"].concat();
        let mut reader =
            ReaderBuilder::new().has_headers(false).flexible(true).from_reader(whole.as_slice());
        let last = reader.byte_records().last().unwrap().unwrap();
        last != vec!["end"]
    }

    #[test]
    fn quotes_count_where_a_value_begins() {
        for (text, open) in [
            (&b"a,\"b"[..], true),
            (b"a,\"b\"\"", true),
            (b"a,\"b\"", false),
            (b"5\" pipe,b", false),
            (b"\xEF\xBB\xBF\"a", true),
            (b"\xEF\xBB\"a", false),
        ] {
            assert_eq!(is_open(text), open, "{}", text.escape_ascii());
            assert_eq!(parser_is_within_quotes(text), open, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn the_parser_sees_the_same(text in "[a\",\r\n]{0,20}", mark in any::<bool>(), cut in 0_usize..20) {
            let text = [if mark { BYTE_ORDER_MARK } else { b"" }, text.as_bytes()].concat();
            prop_assert_eq!(is_open(&text), parser_is_within_quotes(&text));
            let mut parts = Quotes::new(b',');
            let (one, two) = text.split_at(cut.min(text.len()));
            parts.follow(one);
            parts.follow(two);
            prop_assert_eq!(parts.is_open(), is_open(&text));
        }
    }
}
