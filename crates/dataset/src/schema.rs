use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use cordon_protocol::dataset::{ColumnSchema, ColumnType, TableSchema};
use cordon_types::{ColumnName, TableName};

/// Most columns of a table. Parquet encryption numbers columns with 15 bits; a table of more than
/// this is not tabular data.
pub const MAX_COLUMNS: usize = 2_000;

/// A schema that cannot be sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// None, or too many.
    #[error("table `{table}` has {found} columns, expected 1 to {MAX_COLUMNS}")]
    ColumnCount {
        /// The table.
        table: TableName,
        /// Columns found.
        found: usize,
    },
    /// Two columns of one name.
    #[error("table `{table}` has two columns `{column}` (upper and lower case count as the same)")]
    DuplicateColumn {
        /// The table.
        table: TableName,
        /// The second of them.
        column: ColumnName,
    },
    /// The subject column is not among the columns.
    #[error("table `{table}` has no column `{subject}`, which is to name the patient")]
    NoSubject {
        /// The table.
        table: TableName,
        /// The column that is missing.
        subject: ColumnName,
    },
    /// A row without a subject would be counted in a sum but not as a patient.
    #[error("column `{subject}` of table `{table}` names the patient, so it must not be nullable")]
    NullableSubject {
        /// The table.
        table: TableName,
        /// The column.
        subject: ColumnName,
    },
    /// A patient is named by text or an integer.
    #[error(
        "column `{subject}` of table `{table}` names the patient, so it must be text or an integer"
    )]
    SubjectType {
        /// The table.
        table: TableName,
        /// The column.
        subject: ColumnName,
    },
}

/// The Arrow type of a sealed column; the one place where the two meet.
pub fn arrow_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Int32 => DataType::Int32,
        ColumnType::Int64 => DataType::Int64,
        ColumnType::Float64 => DataType::Float64,
        ColumnType::Decimal => DataType::Decimal128(DECIMAL_PRECISION, DECIMAL_SCALE),
        ColumnType::Date => DataType::Date32,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        ColumnType::Text => DataType::Utf8,
    }
}

/// The type of a sealed column that has this Arrow type, if there is one.
pub fn column_type(arrow: &DataType) -> Option<ColumnType> {
    ALL_TYPES.into_iter().find(|kind| arrow_type(*kind) == *arrow)
}

/// The Arrow schema of a sealed table: its columns in order.
pub fn arrow_schema(columns: &[ColumnSchema]) -> SchemaRef {
    let field = |c: &ColumnSchema| Field::new(c.name.as_str(), arrow_type(c.kind), c.nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Checks what every sealed table must be.
///
/// # Errors
/// [`SchemaError`] names the column.
pub fn check_schema(schema: &TableSchema) -> Result<(), SchemaError> {
    let table = || schema.name.clone();
    let found = schema.columns.len();
    if found == 0 || found > MAX_COLUMNS {
        return Err(SchemaError::ColumnCount { table: table(), found });
    }
    let mut names = BTreeSet::new();
    for column in &schema.columns {
        // SQL dialects fold case: two columns that differ by it only would be one to them.
        if !names.insert(column.name.as_str().to_ascii_lowercase()) {
            let column = column.name.clone();
            return Err(SchemaError::DuplicateColumn { table: table(), column });
        }
    }
    let subject = schema.subject.clone();
    let Some(column) = schema.columns.iter().find(|c| c.name == subject) else {
        return Err(SchemaError::NoSubject { table: table(), subject });
    };
    if column.nullable {
        return Err(SchemaError::NullableSubject { table: table(), subject });
    }
    match column.kind {
        ColumnType::Text | ColumnType::Int32 | ColumnType::Int64 => Ok(()),
        ColumnType::Boolean
        | ColumnType::Float64
        | ColumnType::Decimal
        | ColumnType::Date
        | ColumnType::Timestamp => Err(SchemaError::SubjectType { table: table(), subject }),
    }
}

const DECIMAL_PRECISION: u8 = 38;
const DECIMAL_SCALE: i8 = 4;
// An offset, not a zone name: names need a time zone database to compute with.
const UTC: &str = "+00:00";

const ALL_TYPES: [ColumnType; 8] = [
    ColumnType::Boolean,
    ColumnType::Int32,
    ColumnType::Int64,
    ColumnType::Float64,
    ColumnType::Decimal,
    ColumnType::Date,
    ColumnType::Timestamp,
    ColumnType::Text,
];

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_types::Sha256Digest;

    fn table() -> TableSchema {
        let column = |name: &str, kind, nullable| ColumnSchema {
            name: name.parse().unwrap(),
            kind,
            nullable,
        };
        TableSchema {
            name: "visit".parse().unwrap(),
            source: Sha256Digest::from_bytes([0; 32]),
            subject: "patient".parse().unwrap(),
            columns: vec![
                column("patient", ColumnType::Text, false),
                column("days", ColumnType::Int32, true),
            ],
        }
    }

    #[test]
    fn every_type_maps_to_arrow_and_back() {
        for kind in ALL_TYPES {
            assert_eq!(column_type(&arrow_type(kind)), Some(kind));
        }
        assert_eq!(column_type(&DataType::Utf8View), None);
        assert_eq!(column_type(&DataType::Timestamp(TimeUnit::Microsecond, None)), None);
    }

    #[test]
    fn a_schema_is_refused_for_one_reason_each() {
        assert_eq!(check_schema(&table()), Ok(()));
        let refused = |change: fn(&mut TableSchema)| {
            let mut schema = table();
            change(&mut schema);
            check_schema(&schema).unwrap_err()
        };
        assert!(matches!(
            refused(|s| s.columns.clear()),
            SchemaError::ColumnCount { found: 0, .. }
        ));
        assert!(matches!(
            refused(|s| s.columns[1].name = "Patient".parse().unwrap()),
            SchemaError::DuplicateColumn { .. }
        ));
        assert!(matches!(
            refused(|s| s.subject = "person".parse().unwrap()),
            SchemaError::NoSubject { .. }
        ));
        assert!(matches!(
            refused(|s| s.columns[0].nullable = true),
            SchemaError::NullableSubject { .. }
        ));
        assert!(matches!(
            refused(|s| s.columns[0].kind = ColumnType::Float64),
            SchemaError::SubjectType { .. }
        ));
    }
}
