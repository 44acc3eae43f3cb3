//! How two agreements differ, for the people who approve the second one.

use std::collections::BTreeMap;
use std::fmt;

use cordon_crypto::sha256;
use cordon_protocol::Agreement;
use serde_json::Value;

/// One difference. What was absent before or is absent now is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where: `holders[hospital-a].approvals.persons`.
    pub field: String,
    /// What was there.
    pub before: Option<String>,
    /// What is there now.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{}: {before} -> {after}", self.field),
            (None, Some(after)) => write!(f, "{}: added {after}", self.field),
            (Some(before), None) => write!(f, "{}: removed {before}", self.field),
            (None, None) => write!(f, "{}", self.field),
        }
    }
}

/// Every difference, in the order of the fields' names. Empty if and only if the two are equal:
/// nothing is left out because it seems unimportant.
pub fn diff(before: &Agreement, after: &Agreement) -> Vec<Change> {
    let mut changes = Vec::new();
    // Agreements hold text, integers, lists and maps with text keys: they always serialise.
    let json = |agreement| serde_json::to_value(agreement).unwrap_or(Value::Null);
    compare(String::new(), Some(&json(before)), Some(&json(after)), &mut changes);
    changes
}

fn compare(field: String, before: Option<&Value>, after: Option<&Value>, out: &mut Vec<Change>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for name in names {
                let field = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                compare(field, before.get(name), after.get(name), out);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            compare_lists(&field, before, after, out);
        }
        (Some(Value::String(before)), Some(Value::String(after)))
            if before.contains('\n') || after.contains('\n') =>
        {
            compare_lines(&field, before, after, out);
        }
        (before, after) => {
            out.push(Change { field, before: before.map(shown), after: after.map(shown) });
        }
    }
}

/// Items that carry a name are compared by it, so that an insertion is one change.
fn compare_lists(field: &str, before: &[Value], after: &[Value], out: &mut Vec<Change>) {
    let name_all = |items: &[Value]| -> Option<BTreeMap<String, Value>> {
        let named: Option<BTreeMap<_, _>> =
            items.iter().map(|item| Some((name_of(item)?, item.clone()))).collect();
        named.filter(|named| named.len() == items.len())
    };
    if let (Some(old), Some(new)) = (name_all(before), name_all(after)) {
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let first = out.len();
        for name in names {
            compare(format!("{field}[{name}]"), old.get(name), new.get(name), out);
        }
        if out.len() == first {
            let order = |items| Some(shown(&Value::Array(items)));
            let (before, after) = (order(before.to_vec()), order(after.to_vec()));
            out.push(Change { field: format!("{field} (order)"), before, after });
        }
        return;
    }
    for index in 0..before.len().max(after.len()) {
        compare(format!("{field}[{index}]"), before.get(index), after.get(index), out);
    }
}

/// What an item of a list is called.
fn name_of(item: &Value) -> Option<String> {
    match item {
        Value::String(text) => Some(shown_text(text)),
        Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(Value::as_str);
            match (text("party"), text("person"), text("holder"), text("dataset"), text("name")) {
                (Some(party), Some(person), ..) => Some(format!("{party}/{person}")),
                (Some(party), None, ..) => Some(party.to_owned()),
                (None, None, Some(holder), Some(dataset), _) => Some(format!("{holder}/{dataset}")),
                (None, None, None, Some(dataset), _) => Some(dataset.to_owned()),
                (None, None, None, None, Some(name)) => Some(name.to_owned()),
                _ => None,
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

/// Lines that went and lines that came, between what both have at start and end.
fn compare_lines(field: &str, before: &str, after: &str, out: &mut Vec<Change>) {
    let (old, new): (Vec<_>, Vec<_>) = (before.split('\n').collect(), after.split('\n').collect());
    let same_start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - same_start;
    let ends = old.iter().rev().zip(new.iter().rev());
    let same_end = ends.take(rest).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - same_end, new.len() - same_end);
    let mut push = |line: usize, before: Option<&str>, after: Option<&str>| {
        out.push(Change {
            field: format!("{field} line {line}"),
            before: before.map(|text| format!("{text:?}")),
            after: after.map(|text| format!("{text:?}")),
        });
    };
    let (old, new) = (&old[same_start..old_end], &new[same_start..new_end]);
    for index in 0..old.len().max(new.len()) {
        push(same_start + index + 1, old.get(index).copied(), new.get(index).copied());
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", shown_text(text)),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{name}: {}", shown(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// X-Wing keys are 1.6 kB of base64: people compare their digest.
fn shown_text(text: &str) -> String {
    if text.starts_with("xwing:") {
        return format!("xwing key {}", sha256(&[text.as_bytes()]));
    }
    text.escape_debug().to_string()
}
