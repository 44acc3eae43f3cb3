//! The recursive reader behind [`super::Arena`].

use std::borrow::Cow;

use super::string::{escape_length, hash_key, plain_end, unescape};
use super::{ESCAPED, FRACTION, JsonError, KeyMark, Kind, MAX_DEPTH, MAX_NODES, Node, UNDERSCORE};

/// Reads one text into `nodes`; `keys` is scratch memory.
pub(super) fn parse(
    text: &str,
    nodes: &mut Vec<Node>,
    keys: &mut Vec<KeyMark>,
) -> Result<(), JsonError> {
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, nodes, keys };
    parser.value(0)?;
    parser.skip_whitespace();
    match parser.peek() {
        None => Ok(()),
        Some(_) => Err(parser.expected("the end of the text")),
    }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: &'a mut Vec<Node>,
    /// The keys of the objects being read, outermost first.
    keys: &'a mut Vec<KeyMark>,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        self.skip_whitespace();
        match self.peek() {
            Some(b'"') => self.string(Kind::String).map(|_| ()),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", Kind::True),
            Some(b'f') => self.word(b"false", Kind::False),
            Some(b'n') => self.word(b"null", Kind::Null),
            _ => Err(self.expected("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), JsonError> {
        let object = self.open(Kind::Object, depth)?;
        let first_key = self.keys.len();
        // One bit per hash: as long as no bit is met twice, no name can be.
        let (mut seen, mut suspicious) = (0_u64, false);
        let mut flags = 0;
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.close(object, flags);
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("a member name"));
            }
            let node = self.string(Kind::Key)?;
            let hash = self.mark_key(node, &mut flags);
            let bit = 1 << (hash & 63);
            suspicious |= seen & bit != 0;
            seen |= bit;
            self.skip_whitespace();
            if self.peek() != Some(b':') {
                return Err(self.expected("`:`"));
            }
            self.at += 1;
            self.value(depth + 1)?;
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.expected("`,` or `}`")),
            }
            self.skip_whitespace();
        }
        self.at += 1;
        if suspicious {
            self.refuse_duplicates(first_key)?;
        }
        self.keys.truncate(first_key);
        self.close(object, flags);
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonError> {
        let array = self.open(Kind::Array, depth)?;
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.close(array, 0);
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.expected("`,` or `]`")),
            }
        }
        self.at += 1;
        self.close(array, 0);
        Ok(())
    }

    fn open(&mut self, kind: Kind, depth: usize) -> Result<usize, JsonError> {
        if depth >= MAX_DEPTH {
            return Err(JsonError::TooDeep { offset: self.at });
        }
        let index = self.push(kind, 0, self.at, 0)?;
        self.at += 1;
        Ok(index)
    }

    fn close(&mut self, index: usize, flags: u8) {
        let link = self.nodes.len() as u32;
        let end = self.at as u32;
        if let Some(node) = self.nodes.get_mut(index) {
            node.link = link;
            node.end = end;
            node.flags = flags;
        }
    }

    /// Reads a string or member name and gives the index of its node.
    fn string(&mut self, kind: Kind) -> Result<usize, JsonError> {
        let start = self.at + 1;
        let mut at = start;
        let mut flags = 0;
        loop {
            at = plain_end(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    flags = ESCAPED;
                    let escape = self.bytes.get(at..).and_then(escape_length);
                    at += escape
                        .ok_or(JsonError::Syntax { offset: at, expected: "a valid escape" })?;
                }
                Some(_) => {
                    return Err(JsonError::Syntax {
                        offset: at,
                        expected: "no control character in a string",
                    });
                }
                None => {
                    return Err(JsonError::Syntax { offset: at, expected: "the end of a string" });
                }
            }
        }
        let index = self.push(kind, flags, start, at)?;
        self.at = at + 1;
        Ok(index)
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let mut flags = 0;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            flags = FRACTION;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            flags = FRACTION;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.push(Kind::Number, flags, start, self.at).map(|_| ())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        match self.at == start {
            true => Err(self.expected("a digit")),
            false => Ok(()),
        }
    }

    fn word(&mut self, word: &'static [u8], kind: Kind) -> Result<(), JsonError> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word) {
            return Err(self.expected("a value"));
        }
        self.push(kind, 0, self.at, end)?;
        self.at = end;
        Ok(())
    }

    fn push(
        &mut self,
        kind: Kind,
        flags: u8,
        start: usize,
        end: usize,
    ) -> Result<usize, JsonError> {
        let index = self.nodes.len();
        if index >= MAX_NODES {
            return Err(JsonError::TooManyNodes { offset: start });
        }
        self.nodes.push(Node {
            kind,
            flags,
            start: start as u32,
            end: end as u32,
            link: index as u32 + 1,
        });
        Ok(index)
    }

    /// Hashes the key at `index` and remembers it for the search for duplicates.
    fn mark_key(&mut self, index: usize, object_flags: &mut u8) -> u32 {
        let name = key_text(self.text, self.nodes, index as u32);
        let hash = hash_key(name.as_bytes());
        if name.starts_with('_') {
            *object_flags |= UNDERSCORE;
        }
        if let Some(node) = self.nodes.get_mut(index) {
            node.link = hash;
        }
        self.keys.push(KeyMark { hash, node: index as u32 });
        hash
    }

    /// Looks for two equal names among the keys from `first` on. Sorting keeps an
    /// object of a million members, or of a million colliding ones, affordable.
    fn refuse_duplicates(&mut self, first: usize) -> Result<(), JsonError> {
        let (text, nodes) = (self.text, &*self.nodes);
        let name = |mark: &KeyMark| key_text(text, nodes, mark.node);
        let marks = self.keys.get_mut(first..).unwrap_or(&mut []);
        marks.sort_unstable_by(|a, b| {
            let by_hash = a.hash.cmp(&b.hash);
            by_hash.then_with(|| name(a).cmp(&name(b)))
        });
        let twins = marks.windows(2).find(|pair| match pair {
            [a, b] => a.hash == b.hash && name(a) == name(b),
            _ => false,
        });
        match twins.and_then(|pair| pair.last()) {
            None => Ok(()),
            Some(mark) => Err(JsonError::DuplicateKey {
                offset: nodes.get(mark.node as usize).map_or(0, |n| n.start as usize),
            }),
        }
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax { offset: self.at, expected }
    }
}

fn key_text<'a>(text: &'a str, nodes: &[Node], index: u32) -> Cow<'a, str> {
    let Some(node) = nodes.get(index as usize) else {
        return Cow::Borrowed("");
    };
    let raw = text.get(node.start as usize..node.end as usize).unwrap_or("");
    match node.flags & ESCAPED {
        0 => Cow::Borrowed(raw),
        _ => Cow::Owned(unescape(raw)),
    }
}
