//! A ViewDefinition as JSON, where every value knows its pointer.

use std::borrow::Cow;

use super::error::{ViewError, ViewProblem};
use crate::json::{Document, Kind, NodeId};

/// A value of the view and where it stands.
#[derive(Clone)]
pub(super) struct Source<'a> {
    document: Document<'a>,
    id: NodeId,
    pub pointer: String,
}

impl<'a> Source<'a> {
    pub fn root(document: Document<'a>) -> Source<'a> {
        Source { document, id: document.root(), pointer: String::new() }
    }

    /// The members of an object, each of which must be in `known`.
    pub fn object(&self, known: &[&str]) -> Result<Object<'a>, ViewError> {
        let object = self.any_object()?;
        let unknown = object.members.iter().find(|(name, _)| !known.contains(&name.as_str()));
        match unknown {
            Some((name, value)) => {
                let name = name.clone();
                Err(ViewProblem::UnknownMember { name }.at(&value.pointer))
            }
            None => Ok(object),
        }
    }

    /// The members of an object, whatever they are called.
    pub fn any_object(&self) -> Result<Object<'a>, ViewError> {
        if self.document.kind(self.id) != Kind::Object {
            return Err(self.expected("an object"));
        }
        let member = |(name, id): (Cow<'a, str>, NodeId)| {
            let pointer = self.below(&escape_name(&name));
            let document = self.document;
            (name.into_owned(), Source { document, id, pointer })
        };
        Ok(Object {
            members: self.document.members(self.id).map(member).collect(),
            pointer: self.pointer.clone(),
        })
    }

    /// The elements of an array that has some.
    pub fn array(&self) -> Result<Vec<Source<'a>>, ViewError> {
        let document = self.document;
        let elements = document.elements(self.id).enumerate();
        let elements: Vec<Source<'a>> = elements
            .map(|(index, id)| Source { document, id, pointer: self.below(&index.to_string()) })
            .collect();
        match elements.is_empty() {
            // FHIR has no empty arrays.
            true => Err(self.expected("an array with at least one element")),
            false => Ok(elements),
        }
    }

    pub fn text(&self) -> Result<String, ViewError> {
        match self.document.kind(self.id) {
            Kind::String => Ok(self.document.string(self.id).unwrap_or_default().into_owned()),
            _ => Err(self.expected("a string")),
        }
    }

    pub fn boolean(&self) -> Result<bool, ViewError> {
        match self.document.kind(self.id) {
            Kind::True => Ok(true),
            Kind::False => Ok(false),
            _ => Err(self.expected("a boolean")),
        }
    }

    pub fn kind(&self) -> Kind {
        self.document.kind(self.id)
    }

    /// A number as it is written.
    pub fn lexeme(&self) -> &'a str {
        self.document.lexeme(self.id)
    }

    fn expected(&self, expected: &'static str) -> ViewError {
        ViewProblem::WrongJsonType { expected }.at(&self.pointer)
    }

    fn below(&self, token: &str) -> String {
        format!("{}/{token}", self.pointer)
    }
}

/// The members of one object of the view.
pub(super) struct Object<'a> {
    pub members: Vec<(String, Source<'a>)>,
    pub pointer: String,
}

impl<'a> Object<'a> {
    pub fn optional(&self, name: &str) -> Option<&Source<'a>> {
        let mut members = self.members.iter();
        members.find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub fn required(&self, name: &'static str) -> Result<&Source<'a>, ViewError> {
        let missing = || ViewProblem::Missing { name }.at(&self.pointer);
        self.optional(name).ok_or_else(missing)
    }

    /// The elements of an array member; none if it is absent.
    pub fn array(&self, name: &str) -> Result<Vec<Source<'a>>, ViewError> {
        self.optional(name).map_or(Ok(Vec::new()), Source::array)
    }
}

/// RFC 6901 §3
fn escape_name(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
