//! The table that leaves.

use std::collections::BTreeSet;

use cordon_protocol::agreement::{ResultKind, TableGate, ZeroPolicy};
use cordon_protocol::release::GateVerdict;
use cordon_protocol::table::{Cell, Column, ResultTable};

use crate::GateRefusal;
use crate::form::{SortedRow, SortedTable};

pub(crate) fn render(
    gate: &TableGate,
    table: &SortedTable<'_>,
    withheld: &[bool],
) -> Result<(ResultTable, Vec<GateVerdict>), GateRefusal> {
    // Under `Suppress` an empty table would show that every cell is 0.
    let shown = withheld.iter().filter(|w| !**w).count();
    let nothing_to_show = table.rows.is_empty() && gate.zeros == ZeroPolicy::Show;
    if shown == 0 && !nothing_to_show {
        return Err(GateRefusal::SmallCells);
    }

    let known = KnownKeys::of(table, withheld);
    let mut rows = Vec::with_capacity(shown + 1);
    let (mut suppressed, mut without_keys) = (0, false);
    for (row, withheld) in table.rows.iter().zip(withheld) {
        let keys_are_known = known.contain(table, row);
        if !withheld && (keys_are_known || row.patients > 0) {
            rows.push(cells(table.columns, row, |cell, kind| shown_cell(gate, cell, kind)));
        } else if keys_are_known && gate.zeros == ZeroPolicy::Show {
            suppressed += 1;
            rows.push(cells(table.columns, row, |cell, kind| match kind {
                ResultKind::Key => cell.clone(),
                ResultKind::Count | ResultKind::Sum | ResultKind::Mean => Cell::Suppressed,
            }));
        } else {
            without_keys = true;
        }
    }
    if without_keys {
        suppressed += 1;
        rows.push(vec![Cell::Suppressed; table.columns.len()]);
    }

    let checked = rows.len() as u64;
    let mut verdicts = vec![GateVerdict { rule: CELL_SIZE.to_owned(), checked, suppressed }];
    if gate.round_to > 1 {
        verdicts.push(GateVerdict { rule: ROUNDING.to_owned(), checked, suppressed: 0 });
    }
    Ok((ResultTable { columns: table.columns.to_vec(), rows }, verdicts))
}

/// Key values of rows that are shown and have patients: enough patients have them.
struct KnownKeys<'a>(Vec<BTreeSet<&'a Cell>>);

impl<'a> KnownKeys<'a> {
    fn of(table: &SortedTable<'a>, withheld: &[bool]) -> Self {
        let shown = || {
            let rows = table.rows.iter().zip(withheld);
            rows.filter(|(row, withheld)| !**withheld && row.patients > 0).map(|(row, _)| row)
        };
        let values = |key: &usize| shown().filter_map(|row| row.cells.get(*key)).collect();
        Self(table.keys.iter().map(values).collect())
    }

    fn contain(&self, table: &SortedTable<'_>, row: &SortedRow<'_>) -> bool {
        let mut keys = table.keys.iter().zip(&self.0);
        keys.all(|(key, known)| row.cells.get(*key).is_some_and(|cell| known.contains(cell)))
    }
}

fn cells(
    columns: &[Column],
    row: &SortedRow<'_>,
    show: impl Fn(&Cell, ResultKind) -> Cell,
) -> Vec<Cell> {
    row.cells.iter().zip(columns).map(|(cell, column)| show(cell, column.kind)).collect()
}

fn shown_cell(gate: &TableGate, cell: &Cell, kind: ResultKind) -> Cell {
    match (kind, cell) {
        (ResultKind::Count, Cell::Integer(count)) => Cell::Integer(rounded(gate, *count)),
        (ResultKind::Key | ResultKind::Count | ResultKind::Sum | ResultKind::Mean, _) => {
            cell.clone()
        }
    }
}

/// The nearest multiple, halves up, but none below the minimum: a shown count is not small, and
/// must not look so, let alone like 0.
fn rounded(gate: &TableGate, count: i64) -> i64 {
    let (base, minimum) = (i64::from(gate.round_to), i64::from(gate.min_cell));
    if count == 0 || base <= 1 {
        return count;
    }
    let multiple = |count: i64| count / base * base;
    multiple(count.saturating_add(base / 2)).max(multiple(minimum + base - 1))
}

/// Cell size with complementary suppression: one rule, since two would tell them apart.
const CELL_SIZE: &str = "cell_size";
const ROUNDING: &str = "rounding";
