//! Result tables as people read them.

use cordon_protocol::release::{Assurance, ResultDocument};
use cordon_protocol::table::Cell;
use serde_json::Value;

use crate::output::table;

/// A result for a terminal, with what it is worth.
pub fn text(document: &ResultDocument) -> String {
    let header = document.table.columns.iter().map(|column| column.name.as_str());
    let mut rows = table(header);
    for row in &document.table.rows {
        rows.add_row(row.iter().map(shown));
    }
    match document.assurance {
        Assurance::None => format!("{rows}\n{NOT_CONFIDENTIAL}"),
        Assurance::MeasuredBoot => format!("{rows}\n{MEASURED_ONLY}"),
        Assurance::Hardware => rows.to_string(),
    }
}

/// A result for machines. The padding only hides how long it is while it is sealed.
pub fn json(document: &ResultDocument) -> anyhow::Result<Value> {
    let mut json = serde_json::to_value(document)?;
    if let Value::Object(members) = &mut json {
        members.remove("padding");
    }
    Ok(json)
}

/// A result as CSV: cells that were withheld are empty.
pub fn csv(document: &ResultDocument) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(document.table.columns.iter().map(|column| column.name.as_str()))?;
    for row in &document.table.rows {
        let cells = row.iter().map(|cell| match cell {
            Cell::Suppressed | Cell::Null => String::new(),
            other => shown(other),
        });
        writer.write_record(cells)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// A cell for people.
pub fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => "–".to_owned(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Number(text) | Cell::Text(text) => text.clone(),
        Cell::Suppressed => "withheld".to_owned(),
    }
}

const MEASURED_ONLY: &str = "A TPM measured what ran; the machine's operator could read memory.";

const NOT_CONFIDENTIAL: &str =
    "computed in the software TEE: the operator of that machine could read everything";
