//! The result table: what the worker hands to the gate, and what the gate lets out.

use cordon_types::OutputColumn;
use serde::{Deserialize, Serialize};

use crate::agreement::ResultKind;

/// A cell of a result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Cell {
    /// No value.
    Null,
    /// true or false.
    Boolean(bool),
    /// An integer below 2^53 in magnitude.
    Integer(i64),
    /// A number as text: shortest form that reads back to the same f64, or an exact decimal.
    Number(String),
    /// Text.
    Text(String),
    /// Withheld by the gate. Never made by a worker.
    Suppressed,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: OutputColumn,
    /// What it is to the gate.
    pub kind: ResultKind,
}

/// A table that has passed a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultTable {
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// A table as the worker made it, with the support that the gate judges. It never leaves the
/// guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTable {
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
    /// Per row: distinct patients of each holder behind it, in the order of the agreement's
    /// holders.
    pub support: Vec<Vec<u64>>,
}
