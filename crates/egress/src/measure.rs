//! The numbers that cell size is judged by: for each row, several.

use cordon_protocol::agreement::{TableGate, ZeroPolicy};

use crate::form::SortedTable;

/// Rows by measures. The first measure is the row's patients; then, where there are several
/// holders, the patients that each of them cannot subtract; then each count.
pub(crate) struct Measures {
    minimum: u128,
    zero_is_small: Vec<bool>,
    rows: Vec<Vec<u128>>,
}

impl Measures {
    pub fn of(gate: &TableGate, table: &SortedTable<'_>) -> Self {
        let holders = table.rows.first().map_or(1, |row| row.support.len());
        // A single holder has nobody's patients but its own to learn about.
        let observers = if holders > 1 { holders } else { 0 };
        let suppress_zeros = gate.zeros == ZeroPolicy::Suppress;
        let mut zero_is_small = vec![suppress_zeros];
        zero_is_small.extend(std::iter::repeat_n(false, observers));
        zero_is_small.extend(std::iter::repeat_n(suppress_zeros, table.counts.len()));
        let rows = table
            .rows
            .iter()
            .map(|row| {
                let others = row.support.iter().take(observers).map(|own| row.patients - own);
                let counts = table.counts.iter().map(|column| row.count(*column));
                let all = std::iter::once(row.patients).chain(others).chain(counts);
                all.map(u128::from).collect()
            })
            .collect();
        Self { minimum: u128::from(gate.min_cell), zero_is_small, rows }
    }

    /// The measures of lines: rows of one group become one row.
    pub fn grouped(&self, group_of: &[usize], groups: usize) -> Self {
        let mut rows = vec![vec![0; self.zero_is_small.len()]; groups];
        for (row, group) in self.rows.iter().zip(group_of) {
            for (sum, value) in rows[*group].iter_mut().zip(row) {
                *sum += value;
            }
        }
        Self { minimum: self.minimum, zero_is_small: self.zero_is_small.clone(), rows }
    }

    /// Indices of the measures.
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.zero_is_small.len()
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// A measure of a row.
    pub fn value(&self, row: usize, measure: usize) -> u128 {
        self.rows[row][measure]
    }

    /// Patients of a row.
    pub fn patients(&self, row: usize) -> u128 {
        self.value(row, 0)
    }

    /// The measure of all rows together.
    pub fn total(&self, measure: usize) -> u128 {
        self.rows.iter().map(|row| row[measure]).sum()
    }

    /// Whether a value must not be shown.
    pub fn is_small(&self, measure: usize, value: u128) -> bool {
        if value == 0 { self.zero_is_small[measure] } else { value < self.minimum }
    }

    /// Whether a row is small in a measure.
    pub fn row_is_small(&self, row: usize, measure: usize) -> bool {
        self.is_small(measure, self.value(row, measure))
    }

    /// Whether a row is small in any measure.
    pub fn fails(&self, row: usize) -> bool {
        self.all().any(|measure| self.row_is_small(row, measure))
    }

    /// Whether a value is large enough for a small one to hide behind.
    pub fn is_large(&self, value: u128) -> bool {
        value >= self.minimum
    }
}
