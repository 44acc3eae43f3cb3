//! Whether the worker's table holds together. The worker is not trusted: nothing is repaired.

use std::collections::BTreeSet;

use cordon_protocol::agreement::{ResultKind, TableGate};
use cordon_protocol::table::{Cell, Column, RawTable, Share, Support};

use crate::GateRefusal;

/// Most rows of a table: far more than people read, and the audit stays below a second.
pub const MAX_ROWS: usize = 10_000;
/// Most columns of a table.
pub const MAX_COLUMNS: usize = 64;
/// Most holders of an agreement.
pub const MAX_HOLDERS: usize = 16;
/// Longest text of a key that is shown: a category, not a note.
pub const MAX_TEXT_BYTES: usize = 256;
/// Longest number as text: 38 digits, sign, point and exponent fit.
pub const MAX_NUMBER_BYTES: usize = 48;

/// Largest count that JSON carries exactly; sums of [`MAX_ROWS`] of them fit 128 bits.
const MAX_COUNT: u64 = (1 << 53) - 1;

/// A table that holds together, its rows sorted by key: what follows does not depend on the
/// order that the worker chose.
pub(crate) struct SortedTable<'a> {
    pub columns: &'a [Column],
    /// Indices of the key columns.
    pub keys: Vec<usize>,
    /// Indices of the count columns.
    pub counts: Vec<usize>,
    /// How many columns are no keys.
    pub figures: usize,
    pub rows: Vec<SortedRow<'a>>,
}

pub(crate) struct SortedRow<'a> {
    pub cells: &'a [Cell],
    /// Per holder.
    pub support: &'a [Support],
    /// Distinct patients of all holders.
    pub patients: u64,
    /// Whether a key is no category but a note.
    pub unfit: bool,
}

impl SortedRow<'_> {
    /// The value of a count column.
    pub fn count(&self, column: usize) -> u64 {
        match self.cells.get(column) {
            Some(Cell::Integer(count)) => u64::try_from(*count).unwrap_or(0),
            _ => 0, // not reached: `check` has seen this cell
        }
    }
}

pub(crate) fn check<'a>(
    gate: &TableGate,
    table: &'a RawTable,
) -> Result<SortedTable<'a>, GateRefusal> {
    if gate.min_cell == 0 || gate.round_to == 0 {
        return Err(GateRefusal::Misconfigured);
    }
    let columns = table.columns.as_slice();
    at_most(columns.len(), MAX_COLUMNS, "columns")?;
    at_most(table.rows.len(), MAX_ROWS, "rows")?;
    let names: BTreeSet<_> = columns.iter().map(|c| &c.name).collect();
    if columns.is_empty() || names.len() != columns.len() {
        return malformed("one or more columns of different names");
    }
    if table.support.len() != table.rows.len() {
        return malformed("one support for each row");
    }
    let holders = table.support.first().map_or(1, Vec::len);
    at_most(holders, MAX_HOLDERS, "holders")?;

    let of_kind = |kind| (0..columns.len()).filter(|c| columns[*c].kind == kind).collect();
    let (keys, counts): (Vec<usize>, Vec<usize>) =
        (of_kind(ResultKind::Key), of_kind(ResultKind::Count));
    let figures = columns.len() - keys.len();
    let mut rows = Vec::with_capacity(table.rows.len());
    for (cells, support) in table.rows.iter().zip(&table.support) {
        if cells.len() != columns.len() {
            return malformed("one cell for each column");
        }
        if support.is_empty() || support.len() != holders {
            return malformed("the support of the same one or more holders for each row");
        }
        for (cell, column) in cells.iter().zip(columns) {
            check_cell(cell, column.kind)?;
        }
        for part in support {
            check_support(part, figures)?;
        }
        let patients = support
            .iter()
            .try_fold(0u64, |sum, part| sum.checked_add(part.patients))
            .filter(|sum| *sum <= MAX_COUNT)
            .ok_or(GateRefusal::Malformed { expected: "a support below 2^53" })?;
        if patients == 0 && !is_empty_row(cells, columns) {
            return malformed("no figures in a row of no patients");
        }
        let is_note = |cell: &Cell| matches!(cell, Cell::Text(text) if text.len() > MAX_TEXT_BYTES);
        rows.push(SortedRow { cells, support, patients, unfit: cells.iter().any(is_note) });
    }

    let key_of = |row: &SortedRow<'a>| -> Vec<&'a Cell> {
        keys.iter().filter_map(|k| row.cells.get(*k)).collect()
    };
    rows.sort_by_cached_key(key_of);
    if rows.windows(2).any(|pair| matches!(pair, [a, b] if key_of(a) == key_of(b))) {
        return malformed("one row for each combination of keys");
    }
    Ok(SortedTable { columns, keys, counts, figures, rows })
}

fn check_cell(cell: &Cell, kind: ResultKind) -> Result<(), GateRefusal> {
    let fits = match (kind, cell) {
        (_, Cell::Suppressed) => return malformed("no suppressed cells: only the gate makes them"),
        // How long a text is depends on a record: one that is too long withholds its row.
        (ResultKind::Key, Cell::Null | Cell::Boolean(_) | Cell::Integer(_) | Cell::Text(_)) => true,
        (ResultKind::Count, Cell::Integer(count)) => {
            u64::try_from(*count).is_ok_and(|count| count <= MAX_COUNT)
        }
        (ResultKind::Sum | ResultKind::Mean, Cell::Null | Cell::Integer(_)) => true,
        (ResultKind::Key | ResultKind::Sum | ResultKind::Mean, Cell::Number(text)) => {
            is_number(text)
        }
        (ResultKind::Count, Cell::Null | Cell::Boolean(_) | Cell::Number(_) | Cell::Text(_)) => {
            false
        }
        (ResultKind::Sum | ResultKind::Mean, Cell::Boolean(_) | Cell::Text(_)) => false,
    };
    if fits { Ok(()) } else { malformed("a cell of its column's kind and size") }
}

/// The figures of a holder are of its patients, and no patient adds more than all do.
fn check_support(part: &Support, figures: usize) -> Result<(), GateRefusal> {
    let holds = |share: &Share| {
        share.patients <= part.patients
            && share.largest <= share.total
            && share.total <= MAX_COUNT
            && (share.patients == 0) == (share.largest == 0)
            && share.largest.saturating_mul(share.patients) >= share.total
    };
    if part.shares.len() == figures && part.shares.iter().all(holds) {
        Ok(())
    } else {
        malformed("for each figure a share of the row's patients")
    }
}

/// A row of no patients has nothing to say: counts of 0, no sums, no means.
fn is_empty_row(cells: &[Cell], columns: &[Column]) -> bool {
    cells.iter().zip(columns).all(|(cell, column)| match column.kind {
        ResultKind::Key => true,
        ResultKind::Count => *cell == Cell::Integer(0),
        ResultKind::Sum | ResultKind::Mean => matches!(cell, Cell::Null | Cell::Integer(0)),
    })
}

/// `-?digits(.digits)?(e[+-]?digits)?`: no NaN, no infinity, no text in disguise.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    text.len() <= MAX_NUMBER_BYTES && digits(whole) && digits(fraction) && digits(exponent)
}

fn at_most(found: usize, limit: usize, what: &'static str) -> Result<(), GateRefusal> {
    if found > limit { Err(GateRefusal::TooLarge { what, limit }) } else { Ok(()) }
}

fn malformed<T>(expected: &'static str) -> Result<T, GateRefusal> {
    Err(GateRefusal::Malformed { expected })
}

#[cfg(test)]
mod tests {
    use super::is_number;

    #[test]
    fn numbers_are_decimal_and_nothing_else() {
        for good in ["0", "-1.5", "12.0000", "1e21", "1.5e-7", "1e+3"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", "-", "NaN", "inf", ".5", "5.", "1e", "0x1", "1 ", "1,5", "1e2e3", "--1"] {
            assert!(!is_number(bad), "{bad}");
        }
        assert!(!is_number(&"1".repeat(49)));
    }
}
