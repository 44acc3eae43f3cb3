//! What this crate knows of FHIR's types: a small static table.
//!
//! The table exists so that choice elements resolve, date strings compare as
//! dates and nonsense in a view is refused before it runs. It does not validate
//! resources: an element that it does not know is read all the same, since
//! versions and profiles differ.

use std::collections::HashMap;
use std::sync::OnceLock;

/// A type of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeId(u16);

/// How the value of a primitive type is written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Primitive {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A number that may have a fraction.
    Decimal,
    /// Text of any kind: string, code, uri and their like.
    Text,
    /// Bytes as base64 text.
    Binary,
    /// A date, dateTime or instant.
    DateTime,
    /// A time of day.
    Time,
}

/// An element of a type.
#[derive(Debug)]
pub struct Element {
    /// Its possible types; several only for a choice.
    pub types: Types,
    /// Whether JSON appends the type to the name (`value[x]`).
    pub is_choice: bool,
}

/// A set of possible types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Types {
    /// Nothing is known.
    Any,
    /// One of these.
    Of(Vec<TypeId>),
}

impl Types {
    /// Exactly one type.
    pub fn one(id: TypeId) -> Types {
        Types::Of(vec![id])
    }

    /// Adds the members of another set.
    pub fn join(self, other: Types) -> Types {
        match (self, other) {
            (Types::Of(mut types), Types::Of(others)) => {
                types.extend(others);
                types.sort();
                types.dedup();
                Types::Of(types)
            }
            _ => Types::Any,
        }
    }
}

/// The table of types.
pub struct Schema {
    types: Vec<Info>,
    by_name: HashMap<&'static str, TypeId>,
    /// Data types by the suffix that a choice element carries: `DateTime`.
    by_suffix: HashMap<String, TypeId>,
}

struct Info {
    name: &'static str,
    parent: Option<TypeId>,
    kind: InfoKind,
    elements: HashMap<&'static str, Element>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InfoKind {
    Abstract,
    Primitive,
    Complex,
    /// A described resource.
    Resource,
    /// A resource of which only the name is known.
    Named,
    /// A data type of which only the name is known.
    Opaque,
}

/// Gives the table.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::parse(include_str!("r4.txt")))
}

impl Schema {
    /// Finds a type by its name; `FHIR.` and `System.` prefixes and a capital
    /// first letter of a primitive are accepted.
    pub fn find(&self, name: &str) -> Option<TypeId> {
        let name = name.strip_prefix("FHIR.").or(name.strip_prefix("System.")).unwrap_or(name);
        self.by_name.get(name).copied().or_else(|| {
            let primitive = lower_first(name);
            let id = self.by_name.get(primitive.as_str())?;
            (self.info(*id).kind == InfoKind::Primitive).then_some(*id)
        })
    }

    /// Finds a resource type by its exact name.
    pub fn resource(&self, name: &str) -> Option<TypeId> {
        let id = self.by_name.get(name).copied()?;
        self.is_resource(id).then_some(id)
    }

    /// The data type that a choice element names by `suffix`, such as `DateTime`.
    pub fn by_suffix(&self, suffix: &str) -> Option<TypeId> {
        self.by_suffix.get(suffix).copied()
    }

    /// The name of a type.
    pub fn name(&self, id: TypeId) -> &'static str {
        self.info(id).name
    }

    /// Whether the type is a resource that can stand alone.
    pub fn is_resource(&self, id: TypeId) -> bool {
        matches!(self.info(id).kind, InfoKind::Resource | InfoKind::Named)
    }

    /// Whether `id` is `ancestor` or derived from it.
    pub fn is_a(&self, id: TypeId, ancestor: TypeId) -> bool {
        let ancestor = self.info(ancestor);
        self.lineage(id).any(|info| std::ptr::eq(info, ancestor))
    }

    /// How a primitive type is written; `None` for all other types.
    pub fn primitive(&self, id: TypeId) -> Option<Primitive> {
        let info = self.info(id);
        if info.kind != InfoKind::Primitive {
            return None;
        }
        Some(match info.name {
            "boolean" => Primitive::Boolean,
            "integer" | "positiveInt" | "unsignedInt" | "integer64" => Primitive::Integer,
            "decimal" => Primitive::Decimal,
            "base64Binary" => Primitive::Binary,
            "date" | "dateTime" | "instant" => Primitive::DateTime,
            "time" => Primitive::Time,
            _ => Primitive::Text,
        })
    }

    /// What is known of the element `name` of a type.
    pub fn element(&self, id: TypeId, name: &str) -> Lookup<'_> {
        if let Some(element) = self.lineage(id).find_map(|info| info.elements.get(name)) {
            return Lookup::Found(element);
        }
        match self.info(id).kind {
            InfoKind::Abstract | InfoKind::Named | InfoKind::Opaque => Lookup::NotDescribed,
            InfoKind::Primitive | InfoKind::Complex | InfoKind::Resource => {
                match self.is_choice_key(id, name) {
                    true => Lookup::ChoiceKey,
                    false => Lookup::Unknown,
                }
            }
        }
    }

    /// Whether `name` is the JSON key of a choice (`valueQuantity`), which is not
    /// the name of an element.
    fn is_choice_key(&self, id: TypeId, name: &str) -> bool {
        let mut elements = self.lineage(id).flat_map(|info| &info.elements);
        elements.any(|(base, element)| {
            let suffix = name.strip_prefix(base).filter(|_| element.is_choice);
            suffix.is_some_and(|suffix| self.by_suffix.contains_key(suffix))
        })
    }

    /// A type and all that it derives from.
    fn lineage(&self, id: TypeId) -> impl Iterator<Item = &Info> {
        let first = Some(self.info(id));
        std::iter::successors(first, |info| Some(self.info(info.parent?)))
    }

    fn info(&self, id: TypeId) -> &Info {
        // INVARIANT: a `TypeId` is only made by `Schema::parse`, of which there is one result.
        &self.types[usize::from(id.0)]
    }

    fn parse(text: &'static str) -> Schema {
        let mut schema =
            Schema { types: Vec::new(), by_name: HashMap::new(), by_suffix: HashMap::new() };
        let lines = || text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines().filter(|line| !line.starts_with(' ')) {
            let mut words = line.split_whitespace();
            let kind = words.next().unwrap_or_default();
            match kind {
                "named" => {
                    words.for_each(|name| schema.add(name, InfoKind::Named, Some("DomainResource")))
                }
                _ => {
                    let name = words.next().unwrap_or_default();
                    schema.add(name, info_kind(kind), words.nth(1));
                }
            }
        }
        schema.add_suffixes();
        let mut current = None;
        for line in lines() {
            match line.strip_prefix("  ") {
                None => current = line.split_whitespace().nth(1),
                Some(element) => schema.add_element(current.unwrap_or_default(), element),
            }
        }
        schema
    }

    fn add(&mut self, name: &'static str, kind: InfoKind, parent: Option<&str>) {
        if self.by_name.contains_key(name) {
            return;
        }
        let parent = parent.and_then(|parent| self.by_name.get(parent)).copied();
        self.by_name.insert(name, TypeId(self.types.len() as u16));
        self.types.push(Info { name, parent, kind, elements: HashMap::new() });
    }

    fn add_suffixes(&mut self) {
        for info in &self.types {
            let is_data_type =
                matches!(info.kind, InfoKind::Primitive | InfoKind::Complex | InfoKind::Opaque);
            let is_choice_type = is_data_type
                && !info.name.contains('.')
                && !matches!(info.name, "Element" | "BackboneElement" | "Narrative" | "xhtml");
            if is_choice_type {
                self.by_suffix.insert(upper_first(info.name), self.by_name[info.name]);
            }
        }
    }

    fn add_element(&mut self, owner: &str, line: &'static str) {
        let (name, types) = line.split_once(' ').unwrap_or((line, ""));
        let types = match types {
            "any" => Types::Any,
            _ => Types::Of(types.split('|').map(|name| self.by_name[name]).collect()),
        };
        let is_choice = name.ends_with("[x]");
        let name = name.strip_suffix("[x]").unwrap_or(name);
        let owner = self.by_name[owner];
        let element = Element { types, is_choice };
        self.types[usize::from(owner.0)].elements.insert(name, element);
    }
}

/// What the table says of an element.
pub enum Lookup<'a> {
    /// It is this element.
    Found(&'a Element),
    /// The type is described and has no such element.
    Unknown,
    /// The type is described, and this is the JSON key of one of its choices.
    ChoiceKey,
    /// The type is not described.
    NotDescribed,
}

/// Names of choice elements in resources that the table does not describe.
pub fn may_be_choice(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "abatement",
        "additive",
        "age",
        "allowed",
        "amount",
        "asNeeded",
        "author",
        "authority",
        "born",
        "bounds",
        "characteristic",
        "chargeItem",
        "collected",
        "content",
        "created",
        "date",
        "deceased",
        "defaultValue",
        "definition",
        "detail",
        "diagnosis",
        "dose",
        "doseNumber",
        "due",
        "effective",
        "entity",
        "event",
        "example",
        "fastingStatus",
        "fixed",
        "identified",
        "indicator",
        "instantiates",
        "item",
        "legallyBinding",
        "location",
        "maxValue",
        "measure",
        "medication",
        "minValue",
        "minimumVolume",
        "module",
        "multipleBirth",
        "numberOfSubunits",
        "occurred",
        "occurrence",
        "offset",
        "onset",
        "participantEffective",
        "pattern",
        "performed",
        "presence",
        "probability",
        "procedure",
        "product",
        "protocolApplied",
        "quantity",
        "rate",
        "reported",
        "scheduled",
        "seriesDoses",
        "serviced",
        "source",
        "start",
        "strength",
        "studyEffective",
        "subject",
        "substance",
        "substitute",
        "target",
        "time",
        "timing",
        "topic",
        "used",
        "value",
        "valueSet",
        "version",
        "when",
    ];
    NAMES.contains(&name)
}

fn info_kind(word: &str) -> InfoKind {
    match word {
        "primitive" => InfoKind::Primitive,
        "type" => InfoKind::Complex,
        "resource" => InfoKind::Resource,
        "opaque" => InfoKind::Opaque,
        _ => InfoKind::Abstract,
    }
}

fn upper_first(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_of_a_known_form() {
        for line in include_str!("r4.txt").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let known = match words.as_slice() {
                [] | ["#", ..] | ["named", _, ..] => true,
                // An element may be called `type`: only the indentation tells.
                [_, _] if line.starts_with("  ") => true,
                ["abstract" | "primitive" | "type" | "resource", _]
                | ["abstract" | "primitive" | "type" | "resource" | "opaque", _, ":", _] => {
                    !line.starts_with(' ')
                }
                _ => false,
            };
            assert!(known, "{line}");
        }
        assert!(schema().types.len() > 200);
    }

    #[test]
    fn every_parent_is_declared_before_its_children() {
        for line in include_str!("r4.txt").lines() {
            if let Some((child, parent)) = line.split_once(" : ") {
                let child = child.split_whitespace().nth(1).expect("a name");
                let info = schema().info(schema().by_name[child]);
                assert_eq!(info.parent.map(|id| schema().name(id)), Some(parent), "{line}");
            }
        }
    }

    #[test]
    fn names_are_found_with_prefix_and_capital() {
        let name = |text: &str| schema().find(text).map(|id| schema().name(id));
        assert_eq!(name("Quantity"), Some("Quantity"));
        assert_eq!(name("FHIR.dateTime"), Some("dateTime"));
        assert_eq!(name("System.Time"), Some("time"));
        assert_eq!(name("Instant"), Some("instant"));
        assert_eq!(name("quantity"), None);
        assert_eq!(name("Invalid"), None);
        assert!(schema().resource("Quantity").is_none());
        assert!(schema().resource("ImagingStudy").is_some());
    }

    #[test]
    fn elements_are_inherited_and_choices_known() {
        let find =
            |owner: &str, name: &str| schema().element(schema().find(owner).expect(owner), name);
        assert!(matches!(find("Patient", "birthDate"), Lookup::Found(e) if !e.is_choice));
        assert!(matches!(find("Patient", "extension"), Lookup::Found(_)));
        assert!(matches!(find("Age", "value"), Lookup::Found(_)));
        assert!(matches!(find("Observation", "value"), Lookup::Found(e) if e.is_choice));
        assert!(matches!(find("Observation", "valueQuantity"), Lookup::ChoiceKey));
        assert!(matches!(find("Patient", "birthDat"), Lookup::Unknown));
        assert!(matches!(find("Device", "udiCarrier"), Lookup::NotDescribed));
        assert!(matches!(find("Device", "id"), Lookup::Found(_)));
        assert!(matches!(find("Resource", "name"), Lookup::NotDescribed));
    }

    #[test]
    fn a_code_is_a_string_and_an_age_a_quantity() {
        let is_a = |a: &str, b: &str| {
            schema().is_a(schema().find(a).expect(a), schema().find(b).expect(b))
        };
        assert!(is_a("code", "string") && is_a("Age", "Quantity") && is_a("Patient", "Resource"));
        assert!(!is_a("string", "code") && !is_a("Patient", "Element"));
    }
}
