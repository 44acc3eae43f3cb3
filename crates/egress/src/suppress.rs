//! Which rows are withheld: the small ones, and others so that the small ones stay hidden.
//!
//! The attacker knows everything that is published here, which rows are withheld (in a two-way
//! table), and each total that a run of the same gate over one of the two key columns, or over
//! none, would publish. A holder also knows its own rows; that is what the measures of the
//! others' patients stand for. Whoever looks, call the value in question `x`.
//!
//! **One key column.** Each measure `m` that makes a withheld row small: either the total is small
//! itself, so that nobody publishes it, or the withheld rows have at least `min_cell` together in
//! `m`. Then everything known about `x` is that it lies between 0 and that sum.
//!
//! **Two key columns.** A small cell (i, j) gets a rectangle (i, j), (i, j'), (i', j), (i', j'),
//! all withheld, in which (i, j') and (i', j) are large in `m`. Adding `t` to (i, j) and
//! (i', j') and taking it from the other two changes no line's total; for every `t` up to
//! `min_cell - 1` the result is a table that the attacker cannot tell from the true one, with at
//! least 1 in each cell that had something. So `x` may be anything from its value to `min_cell - 1`
//! more, and likewise for the other three. Where row i's own total is one that a run over the
//! first key column would withhold, the totals of row i and of another such row i' move instead
//! of the cells (i, j') and (i', j'). A sum of withheld cells that totals give away contains one of the
//! large cells: whatever can be derived is `min_cell` or more.
//!
//! The witness pairs need no search for a proof: the rectangle is one. Tests enumerate all tables
//! that fit what was published and measure the interval.
//!
//! What it assumes: totals over one key column come from a run of this gate, on the same rows,
//! in which each patient is in one cell of a line or is counted once for each; knowledge from elsewhere about
//! single cells is knowledge that no suppression takes back.

use std::collections::BTreeMap;

use cordon_protocol::table::Cell;

use crate::GateRefusal;
use crate::form::SortedTable;
use crate::measure::Measures;

/// For each row whether it is withheld.
pub(crate) fn decide(
    measures: &Measures,
    table: &SortedTable<'_>,
) -> Result<Vec<bool>, GateRefusal> {
    match *table.keys.as_slice() {
        [] | [_] => one_way(measures),
        [first, second] => TwoWay::new(measures, table, first, second)?.decide(),
        _ if (0..measures.len()).any(|row| measures.fails(row)) => Err(GateRefusal::TooManyKeys),
        _ => Ok(vec![false; measures.len()]),
    }
}

fn one_way(measures: &Measures) -> Result<Vec<bool>, GateRefusal> {
    let mut withheld: Vec<bool> = (0..measures.len()).map(|row| measures.fails(row)).collect();
    for measure in measures.all() {
        let is_small = |row: &usize| withheld[*row] && measures.row_is_small(*row, measure);
        if !(0..measures.len()).any(|row| is_small(&row))
            || measures.is_small(measure, measures.total(measure))
        {
            continue;
        }
        let hidden: u128 =
            (0..measures.len()).filter(|r| withheld[*r]).map(|r| measures.value(r, measure)).sum();
        if measures.is_large(hidden) {
            continue;
        }
        // A large total with little of it withheld: some row that is shown is large.
        let smallest = (0..measures.len())
            .filter(|row| !withheld[*row] && measures.is_large(measures.value(*row, measure)))
            .min_by_key(|row| (measures.value(*row, measure), measures.patients(*row)))
            .ok_or(GateRefusal::CannotProtect)?;
        withheld[smallest] = true;
    }
    Ok(withheld)
}

/// A table of two key columns: cells by line.
struct TwoWay<'a> {
    measures: &'a Measures,
    /// Per cell: its line in the first and in the second key column.
    line: Vec<[usize; 2]>,
    cell_at: BTreeMap<[usize; 2], usize>,
    /// Per key column and line: its cells.
    cells_of: [Vec<Vec<usize>>; 2],
    /// Per key column and line: whether a run over that key column alone withholds its total.
    total_withheld: [Vec<bool>; 2],
}

impl<'a> TwoWay<'a> {
    fn new(
        measures: &'a Measures,
        table: &SortedTable<'_>,
        first: usize,
        second: usize,
    ) -> Result<Self, GateRefusal> {
        let [a, b] = [first, second].map(|column| lines(table, column));
        let line: Vec<[usize; 2]> = a.iter().zip(&b).map(|(a, b)| [*a, *b]).collect();
        let cell_at = line.iter().enumerate().map(|(cell, at)| (*at, cell)).collect();
        let by_line = |line_of: &[usize]| {
            let mut cells_of = vec![Vec::new(); line_count(line_of)];
            line_of.iter().enumerate().for_each(|(cell, line)| cells_of[*line].push(cell));
            cells_of
        };
        let totals = |line_of: &[usize]| one_way(&measures.grouped(line_of, line_count(line_of)));
        Ok(Self {
            measures,
            cell_at,
            cells_of: [by_line(&a), by_line(&b)],
            total_withheld: [totals(&a)?, totals(&b)?],
            line,
        })
    }

    fn decide(&self) -> Result<Vec<bool>, GateRefusal> {
        let measures = self.measures;
        let small: Vec<usize> = (0..measures.len()).filter(|row| measures.fails(*row)).collect();
        let mut withheld = vec![false; measures.len()];
        small.iter().for_each(|cell| withheld[*cell] = true);
        for cell in small {
            for measure in measures.all() {
                let nobody_knows_totals = measures.is_small(measure, measures.total(measure));
                if measures.row_is_small(cell, measure) && !nobody_knows_totals {
                    let rectangle = self
                        .cheapest_rectangle(cell, measure, &withheld)
                        .ok_or(GateRefusal::CannotProtect)?;
                    rectangle.into_iter().flatten().for_each(|corner| withheld[corner] = true);
                }
            }
        }
        Ok(withheld)
    }

    /// The other corners of the rectangle that costs the fewest patients, ties by key order.
    fn cheapest_rectangle(
        &self,
        cell: usize,
        measure: usize,
        withheld: &[bool],
    ) -> Option<[Option<usize>; 3]> {
        let cost = |c: usize| if withheld[c] { 0 } else { self.measures.patients(c) };
        let [row, column] = self.line[cell];
        let large = |cells: &[usize]| {
            let is_large = |c: &usize| self.measures.is_large(self.measures.value(*c, measure));
            let mut cells: Vec<usize> =
                cells.iter().copied().filter(|c| *c != cell && is_large(c)).collect();
            cells.sort_by_key(|c| cost(*c));
            cells
        };
        let in_row = large(&self.cells_of[0][row]);
        let in_column = large(&self.cells_of[1][column]);
        let mut best: Option<(u128, [Option<usize>; 3])> = None;
        let mut offer = |price, corners| {
            if best.is_none_or(|(cheapest, _)| price < cheapest) {
                best = Some((price, corners));
            }
        };

        // Through totals that nobody publishes: i and i' are both such rows, or j and j' columns.
        let [row_total_withheld, column_total_withheld] = &self.total_withheld;
        if row_total_withheld[row] {
            let mut free = in_column.iter().filter(|c| row_total_withheld[self.line[**c][0]]);
            if let Some(other) = free.next() {
                offer(cost(*other), [Some(*other), None, None]);
            }
        }
        if column_total_withheld[column] {
            let mut free = in_row.iter().filter(|c| column_total_withheld[self.line[**c][1]]);
            if let Some(other) = free.next() {
                offer(cost(*other), [Some(*other), None, None]);
            }
        }
        // Of four cells. The opposite corner only grows, but it must not be known to be empty.
        let cheapest_in_column = in_column.first().map_or(0, |c| cost(*c));
        for across in &in_row {
            if best.is_some_and(|(cheapest, _)| cost(*across) + cheapest_in_column >= cheapest) {
                break;
            }
            for down in &in_column {
                let opposite = [self.line[*down][0], self.line[*across][1]];
                let Some(opposite) = self.cell_at.get(&opposite) else { continue };
                if self.measures.patients(*opposite) > 0 {
                    let price = cost(*across) + cost(*down) + cost(*opposite);
                    if best.is_none_or(|(cheapest, _)| price < cheapest) {
                        best = Some((price, [Some(*across), Some(*down), Some(*opposite)]));
                    }
                }
            }
        }
        best.map(|(_, corners)| corners)
    }
}

/// Numbers the values of a key column in their order; per row, its number.
fn lines(table: &SortedTable<'_>, column: usize) -> Vec<usize> {
    let values = || table.rows.iter().map(|row| row.cells.get(column));
    let mut numbers: BTreeMap<Option<&Cell>, usize> = values().map(|value| (value, 0)).collect();
    numbers.values_mut().enumerate().for_each(|(number, slot)| *slot = number);
    values().map(|value| numbers[&value]).collect()
}

fn line_count(line_of: &[usize]) -> usize {
    line_of.iter().max().map_or(0, |last| last + 1)
}
