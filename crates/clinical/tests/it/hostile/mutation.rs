//! Random changes to texts and to JSON.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::CANARY;

/// One to three random changes to bytes.
#[derive(Clone, Debug)]
pub struct Mutations(Vec<Mutation>);

#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Delete(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    Node(Index, Value),
    Move(Index, Index),
    Remove(Index),
}

impl Mutations {
    /// Any; `words` are inserted among others.
    pub fn any(words: Vec<String>) -> impl Strategy<Value = Self> {
        let word = select(words).prop_map(String::into_bytes);
        let bytes = prop_oneof![proptest::collection::vec(any::<u8>(), 1..6), word];
        let mutation = prop_oneof![
            (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
            (any::<Index>(), 1..12_usize).prop_map(|(at, count)| Mutation::Delete(at, count)),
            (any::<Index>(), bytes).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
            (any::<Index>(), 1..200_usize).prop_map(|(at, count)| Mutation::Repeat(at, count)),
            (any::<Index>(), value()).prop_map(|(at, value)| Mutation::Node(at, value)),
            (any::<Index>(), any::<Index>()).prop_map(|(to, from)| Mutation::Move(to, from)),
            any::<Index>().prop_map(Mutation::Remove),
        ];
        proptest::collection::vec(mutation, 1..4).prop_map(Self)
    }

    /// The changed bytes.
    pub fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.iter().fold(bytes.to_vec(), |bytes, mutation| mutation.apply(bytes))
    }
}

impl Mutation {
    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() {
            return bytes;
        }
        let range = |at: &Index, count: usize| {
            let start = at.index(bytes.len());
            start..bytes.len().min(start + count)
        };
        match self {
            Self::Flip(at, bits) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Self::Delete(at, count) => drop(bytes.drain(range(at, *count))),
            Self::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Repeat(at, count) => {
                let range = range(at, *count);
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, copy);
            }
            Self::Node(at, value) => return tree(bytes, at, |node, _| *node = value.clone()),
            Self::Move(to, from) => {
                return tree(bytes, to, |node, all| {
                    *node = all.pointer(&pointer(all, from)).cloned().unwrap_or_default();
                });
            }
            Self::Remove(at) => {
                return tree(bytes, at, |node, _| match node {
                    Value::Object(members) => {
                        let name = members.keys().nth(members.len() / 2).cloned();
                        name.and_then(|name| members.remove(&name));
                    }
                    Value::Array(items) => drop(items.pop()),
                    scalar => *scalar = Value::Null,
                });
            }
        }
        bytes
    }
}

/// Values that are seldom where they are put.
fn value() -> impl Strategy<Value = Value> {
    let number = any::<f64>().prop_map(|number| json!(number));
    let text = any::<String>().prop_map(Value::from);
    select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1e308),
        json!(5e-324),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!(CANARY),
        json!([CANARY, CANARY]),
        json!({ "reference": CANARY }),
        json!("Patient/"),
        json!("9999-12-31T23:59:60+14:00"),
        json!("0000-00-00"),
        json!("-1"),
        json!("2024-02-30"),
        json!([]),
        json!({}),
        json!([[[[[[[[[[]]]]]]]]]]),
        json!({ "extension": [{ "url": CANARY }] }),
    ])
    .boxed()
    .prop_union(number.boxed())
    .or(text.boxed())
}

/// Changes one node of a JSON text; another text stays.
fn tree(bytes: Vec<u8>, at: &Index, change: impl FnOnce(&mut Value, &Value)) -> Vec<u8> {
    let Ok(all) = serde_json::from_slice::<Value>(&bytes) else { return bytes };
    let mut changed = all.clone();
    if let Some(node) = changed.pointer_mut(&pointer(&all, at)) {
        change(node, &all);
    }
    changed.to_string().into_bytes()
}

fn pointer(all: &Value, at: &Index) -> String {
    let mut pointers = Vec::new();
    walk(all, String::new(), &mut pointers);
    pointers.swap_remove(at.index(pointers.len()))
}

fn walk(value: &Value, here: String, pointers: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, format!("{here}/{index}"), pointers);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                walk(member, format!("{here}/{name}"), pointers);
            }
        }
        _ => {}
    }
    pointers.push(here);
}
