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
    /// Per row: what each holder's patients are to it, in the order of the agreement's holders.
    pub support: Vec<Vec<Support>>,
}

/// What the patients of one holder are to a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Support {
    /// Distinct patients behind the row.
    pub patients: u64,
    /// For each column that is no key, in order: of whom its figure is made.
    pub shares: Vec<Share>,
}

/// Of whom a figure is made: how many add to it, and how much the one who adds the most.
///
/// What a patient adds to a sum or mean is the magnitude of the sum of its own values; to a
/// count of rows its rows; to a count of patients 1. All of a column is in one unit, so that rows
/// and holders can be added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Distinct patients who add something.
    pub patients: u64,
    /// What they add, together.
    pub total: u64,
    /// What the one who adds the most adds.
    pub largest: u64,
}
