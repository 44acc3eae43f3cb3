//! A JSON reader for records: one flat list of nodes that point into the text.
//!
//! A view touches a few members of each record, so nothing is copied: strings
//! and numbers stay spans of the line until somebody asks for them, and the
//! list of nodes is reused from line to line. Numbers keep their lexeme,
//! because `1.0` and `1.00` are different FHIR decimals.
//!
//! The reader accepts exactly the JSON of RFC 8259 that is also I-JSON in the
//! ways that matter here: UTF-8, no duplicate member names, no lone surrogates.
//!
//! ```
//! use cordon_clinical::json::{Arena, Name};
//!
//! let mut arena = Arena::new();
//! let document = arena.parse(br#"{"value": 1.50}"#)?;
//! let value = document.member(document.root(), &Name::new("value")).unwrap();
//! assert_eq!(document.lexeme(value), "1.50");
//! # Ok::<(), cordon_clinical::json::JsonError>(())
//! ```

use std::borrow::Cow;

mod parse;
mod string;

pub(crate) use string::{hash_key, write_escaped};

/// The largest record, in bytes: the default limit of bulk FHIR servers is far below.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// The deepest nesting; FHIR itself stays below 30.
pub const MAX_DEPTH: usize = 128;

/// The most nodes (values and member names) of one record: 32 MiB of memory.
pub const MAX_NODES: usize = 2 * 1024 * 1024;

/// Why a text is not a record. Holds positions, never content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is longer than [`MAX_RECORD_BYTES`].
    #[error("record is longer than {MAX_RECORD_BYTES} bytes")]
    TooLong,
    /// The text is not UTF-8.
    #[error("byte {offset} is not utf-8")]
    NotUtf8 {
        /// Bytes before the first bad one.
        offset: usize,
    },
    /// The text breaks the grammar of JSON.
    #[error("expected {expected} at byte {offset}")]
    Syntax {
        /// Bytes before the place.
        offset: usize,
        /// What the grammar allows there.
        expected: &'static str,
    },
    /// Arrays and objects are nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} at byte {offset}")]
    TooDeep {
        /// Bytes before the bracket that is one too many.
        offset: usize,
    },
    /// There are more than [`MAX_NODES`] nodes.
    #[error("more than {MAX_NODES} values and member names at byte {offset}")]
    TooManyNodes {
        /// Bytes before the node that is one too many.
        offset: usize,
    },
    /// An object has two members of one name.
    #[error("duplicate member name at byte {offset}")]
    DuplicateKey {
        /// Bytes before one of the two names.
        offset: usize,
    },
}

impl JsonError {
    /// The stable code of this refusal.
    pub fn code(&self) -> &'static str {
        match self {
            JsonError::TooLong => "record_too_long",
            JsonError::NotUtf8 { .. } => "not_utf8",
            JsonError::Syntax { .. } => "not_json",
            JsonError::TooDeep { .. } => "nested_too_deep",
            JsonError::TooManyNodes { .. } => "too_many_values",
            JsonError::DuplicateKey { .. } => "duplicate_member",
        }
    }
}

/// Memory that one record after another is read into.
#[derive(Default)]
pub struct Arena {
    nodes: Vec<Node>,
    keys: Vec<KeyMark>,
}

impl Arena {
    /// Makes an empty arena.
    pub fn new() -> Arena {
        Arena::default()
    }

    /// Reads one JSON text.
    ///
    /// # Errors
    /// Anything that is not JSON, is ambiguous, or is over a limit of this module.
    pub fn parse<'a>(&'a mut self, text: &'a [u8]) -> Result<Document<'a>, JsonError> {
        if text.len() > MAX_RECORD_BYTES {
            return Err(JsonError::TooLong);
        }
        let text = std::str::from_utf8(text)
            .map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
        self.nodes.clear();
        self.keys.clear();
        parse::parse(text, &mut self.nodes, &mut self.keys)?;
        Ok(Document { text, nodes: &self.nodes })
    }
}

/// A record that was read; its nodes borrow the text.
#[derive(Clone, Copy)]
pub struct Document<'a> {
    text: &'a str,
    nodes: &'a [Node],
}

impl<'a> Document<'a> {
    /// The outermost value.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// What kind of value a node is.
    pub fn kind(&self, id: NodeId) -> Kind {
        self.node(id).kind
    }

    /// The value of one member of an object.
    pub fn member(&self, id: NodeId, name: &Name) -> Option<NodeId> {
        let mut members = self.members(id);
        while let Some(key) = members.next_key() {
            if self.key_is(key, name) {
                return Some(members.value());
            }
        }
        None
    }

    /// All members of an object, in the order of the text; none for other values.
    pub fn members(&self, id: NodeId) -> Members<'a> {
        let node = self.node(id);
        let is_object = node.kind == Kind::Object;
        Members {
            document: *self,
            next: id.0 + 1,
            end: if is_object { node.link } else { 0 },
            value: id,
        }
    }

    /// The elements of an array; none for other values.
    pub fn elements(&self, id: NodeId) -> Elements<'a> {
        let node = self.node(id);
        let is_array = node.kind == Kind::Array;
        Elements { document: *self, next: id.0 + 1, end: if is_array { node.link } else { 0 } }
    }

    /// The text of a string or member name, with escapes undone.
    pub fn string(&self, id: NodeId) -> Option<Cow<'a, str>> {
        let node = self.node(id);
        match node.kind {
            Kind::String | Kind::Key => Some(self.decoded(node)),
            _ => None,
        }
    }

    /// The bytes of a node as they stand in the text: a number's lexeme, a
    /// string between its quotes.
    pub fn lexeme(&self, id: NodeId) -> &'a str {
        self.raw(self.node(id))
    }

    /// Whether a number has a fraction or an exponent.
    pub fn has_fraction(&self, id: NodeId) -> bool {
        self.node(id).flags & FRACTION != 0
    }

    /// Whether an object has a member whose name begins with `_`, where FHIR
    /// keeps the extensions of primitive elements.
    pub(crate) fn has_underscore(&self, id: NodeId) -> bool {
        self.node(id).flags & UNDERSCORE != 0
    }

    /// Whether a key is this name.
    pub(crate) fn key_is(&self, key: NodeId, name: &Name) -> bool {
        let node = self.node(key);
        node.link == name.hash
            && match node.flags & ESCAPED {
                0 => self.raw(node) == &*name.text,
                _ => self.decoded(node) == *name.text,
            }
    }

    fn node(&self, id: NodeId) -> Node {
        // A node of another document finds a null here instead of a panic.
        self.nodes.get(id.0 as usize).copied().unwrap_or(Node::NULL)
    }

    fn raw(&self, node: Node) -> &'a str {
        self.text.get(node.start as usize..node.end as usize).unwrap_or("")
    }

    fn decoded(&self, node: Node) -> Cow<'a, str> {
        match node.flags & ESCAPED {
            0 => Cow::Borrowed(self.raw(node)),
            _ => Cow::Owned(string::unescape(self.raw(node))),
        }
    }
}

/// One node of a [`Document`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(u32);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `false`
    False,
    /// `true`
    True,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
    /// The name of a member.
    Key,
}

/// A member name to look for, hashed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    text: Box<str>,
    hash: u32,
}

impl Name {
    /// Prepares a name.
    pub fn new(text: &str) -> Name {
        Name { hash: hash_key(text.as_bytes()), text: text.into() }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The members of an object.
pub struct Members<'a> {
    document: Document<'a>,
    next: u32,
    end: u32,
    value: NodeId,
}

impl Members<'_> {
    /// Steps to the next member and gives its key.
    pub(crate) fn next_key(&mut self) -> Option<NodeId> {
        if self.next >= self.end {
            return None;
        }
        let key = NodeId(self.next);
        self.value = NodeId(self.next + 1);
        self.next = self.document.node(self.value).link;
        Some(key)
    }

    /// The value of the member that [`Members::next_key`] stepped to.
    pub(crate) fn value(&self) -> NodeId {
        self.value
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, NodeId);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.next_key()?;
        let name = self.document.decoded(self.document.node(key));
        Some((name, self.value))
    }
}

/// The elements of an array.
pub struct Elements<'a> {
    document: Document<'a>,
    next: u32,
    end: u32,
}

impl Iterator for Elements<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        if self.next >= self.end {
            return None;
        }
        let element = NodeId(self.next);
        self.next = self.document.node(element).link;
        Some(element)
    }
}

/// Nodes stand in the order of the text: an array is followed by its elements,
/// an object by key, value, key, value.
#[derive(Clone, Copy)]
struct Node {
    kind: Kind,
    flags: u8,
    start: u32,
    end: u32,
    /// Of a value: the index after everything inside it, always greater than its
    /// own. Of a key: the hash of its name.
    link: u32,
}

impl Node {
    const NULL: Node = Node { kind: Kind::Null, flags: 0, start: 0, end: 0, link: u32::MAX };
}

/// A member name met in the object being read.
struct KeyMark {
    hash: u32,
    node: u32,
}

const ESCAPED: u8 = 1;
const UNDERSCORE: u8 = 2;
const FRACTION: u8 = 4;

#[cfg(test)]
mod tests;
