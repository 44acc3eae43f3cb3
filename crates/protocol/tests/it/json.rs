//! JSON as a tree that can be spelled wrongly: what the mutations of `hostile` work on.

use serde_json::Value;

/// A value that is written as it stands, valid or not.
#[derive(Clone, Debug)]
pub enum Json {
    /// A scalar, spelled out.
    Raw(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: any order, and any name twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads canonical JSON; the members keep their order, which is by name.
    pub fn parse(bytes: &[u8]) -> Self {
        fn from(value: Value) -> Json {
            match value {
                Value::Array(items) => Json::Array(items.into_iter().map(from).collect()),
                Value::Object(members) => {
                    Json::Object(members.into_iter().map(|(k, v)| (k, from(v))).collect())
                }
                scalar => Json::Raw(scalar.to_string()),
            }
        }
        from(serde_json::from_slice(bytes).expect("a golden file is JSON"))
    }

    /// Writes it, with no white space.
    pub fn text(&self) -> String {
        match self {
            Self::Raw(text) => text.clone(),
            Self::Array(items) => {
                format!("[{}]", items.iter().map(Self::text).collect::<Vec<_>>().join(","))
            }
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| {
                    format!("{}:{}", Value::from(name.as_str()), value.text())
                };
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
        }
    }

    /// Every node, parents first.
    pub fn nodes(&self) -> Vec<&Self> {
        let mut nodes = vec![self];
        match self {
            Self::Raw(_) => {}
            Self::Array(items) => nodes.extend(items.iter().flat_map(Self::nodes)),
            Self::Object(members) => nodes.extend(members.iter().flat_map(|(_, v)| v.nodes())),
        }
        nodes
    }

    /// The same tree with node number `index` changed.
    pub fn with(&self, index: usize, change: impl Fn(&mut Self)) -> Self {
        fn visit(node: &mut Json, left: &mut usize, change: &dyn Fn(&mut Json)) {
            if *left == 0 {
                *left = usize::MAX;
                return change(node);
            }
            *left -= 1;
            match node {
                Json::Raw(_) => {}
                Json::Array(items) => items.iter_mut().for_each(|item| visit(item, left, change)),
                Json::Object(members) => {
                    members.iter_mut().for_each(|(_, value)| visit(value, left, change));
                }
            }
        }
        let mut changed = self.clone();
        let mut left = index;
        visit(&mut changed, &mut left, &change);
        changed
    }

    /// Whether this is a number.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Raw(text) if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
    }

    /// Whether this is a string.
    pub fn is_string(&self) -> bool {
        matches!(self, Self::Raw(text) if text.starts_with('"'))
    }
}
