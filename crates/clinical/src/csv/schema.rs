//! What the columns of a file are.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::error::{CsvError, CsvProblem};
use crate::view::{ColumnKind, MAX_COLUMNS, is_column_name};

/// The columns to read, checked: there are some, and their names are legal and
/// different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvSchema {
    columns: Vec<CsvColumn>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvColumn {
    /// Its name in the table.
    pub name: String,
    /// Its name in the file.
    pub header: String,
    /// What its values are.
    pub column_type: CsvType,
    /// Whether a value may be empty, which is then null.
    pub nullable: bool,
}

/// What the values of a column are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CsvType {
    /// Plain values; binary ones do not occur.
    Value(ColumnKind),
    /// Identifiers of resources of one type, which the key policy replaces.
    Key {
        /// The resource type, such as `Patient`.
        resource: String,
    },
}

impl CsvColumn {
    /// How its values are stored.
    pub fn kind(&self) -> ColumnKind {
        match &self.column_type {
            CsvType::Value(kind) => *kind,
            CsvType::Key { .. } => ColumnKind::Text,
        }
    }
}

impl CsvSchema {
    /// Checks columns.
    ///
    /// # Errors
    /// There are none or too many, or names are illegal or repeated.
    pub fn new(columns: Vec<CsvColumn>) -> Result<CsvSchema, CsvError> {
        if !(1..=MAX_COLUMNS).contains(&columns.len()) {
            return Err(invalid(format!("expected 1 to {MAX_COLUMNS} columns")));
        }
        for (index, column) in columns.iter().enumerate() {
            let name = &column.name;
            if !is_column_name(name) {
                return Err(invalid(format!("illegal column name `{name}`")));
            }
            if columns.iter().take(index).any(|earlier| earlier.name == *name) {
                return Err(invalid(format!("duplicate column `{name}`")));
            }
            if column.kind() == ColumnKind::Binary {
                return Err(invalid(format!("column `{name}` cannot be binary")));
            }
        }
        Ok(CsvSchema { columns })
    }

    /// Reads `{"columns": [{"name", "header"?, "type" | "key", "nullable"?}]}`, where
    /// `type` is an SQL type (`INTEGER`, `BIGINT`, `DOUBLE PRECISION`, `DECIMAL(p, s)`,
    /// `BOOLEAN`, `DATE`, `TIMESTAMP WITH TIME ZONE`, `VARCHAR`) and `key` the
    /// resource type that the column identifies.
    ///
    /// # Errors
    /// The text is not of that form.
    pub fn from_json(text: &[u8]) -> Result<CsvSchema, CsvError> {
        let document: Document =
            serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
        let column = |entry: Entry| {
            let column_type = match (entry.sql_type, entry.key) {
                (Some(sql_type), None) => match ColumnKind::from_sql(&sql_type) {
                    Some(kind) => CsvType::Value(kind),
                    None => return Err(invalid(format!("unsupported type `{sql_type}`"))),
                },
                (None, Some(resource)) => CsvType::Key { resource },
                _ => return Err(invalid("a column has one of `type` and `key`".to_owned())),
            };
            Ok(CsvColumn {
                header: entry.header.unwrap_or_else(|| entry.name.clone()),
                name: entry.name,
                column_type,
                nullable: entry.nullable,
            })
        };
        let columns = document.columns.into_iter().map(column);
        CsvSchema::new(columns.collect::<Result<_, _>>()?)
    }

    /// The inverse of [`CsvSchema::from_json`], for a person to look at and change.
    pub fn to_json(&self) -> serde_json::Value {
        let entry = |column: &CsvColumn| {
            let (sql_type, key) = match &column.column_type {
                CsvType::Value(kind) => (Some(kind.to_sql()), None),
                CsvType::Key { resource } => (None, Some(resource.clone())),
            };
            Entry {
                name: column.name.clone(),
                header: Some(column.header.clone()),
                sql_type,
                key,
                nullable: column.nullable,
            }
        };
        let columns = self.columns.iter().map(entry).collect();
        serde_json::to_value(Document { columns }).unwrap_or_default()
    }

    /// The columns in the order of the table.
    pub fn columns(&self) -> &[CsvColumn] {
        &self.columns
    }

    /// The schema of the batches.
    pub fn arrow(&self) -> SchemaRef {
        let field = |column: &CsvColumn| {
            Field::new(&column.name, column.kind().data_type(), column.nullable)
        };
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    columns: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    sql_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default)]
    nullable: bool,
}

fn invalid(why: String) -> CsvError {
    CsvProblem::Schema(why).of(0, "")
}
