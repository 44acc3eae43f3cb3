//! Which rows are withheld: the small ones, and others so that the small ones stay hidden.
//!
//! The attacker knows everything that is published here, which rows are withheld (in a two-way
//! table), and each total that a run of the same gate over one of the two key columns, or over
//! none, would publish. A holder also knows its own rows; that is what the measures of the
//! others' patients stand for. Whoever looks, call the value in question `x`.
//!
//! **One key column.** Each measure `m` that makes a withheld row small: either the total is small
//! itself, so that nobody publishes it, or the withheld rows are together not small in `m`. Then
//! everything known about `x` is that it lies between 0 and that sum, which could be published.
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
//! If `m` is a weight, and `x` dominated by a patient who adds `a` of it, "large" means that the
//! neighbours have so much that `t` can make `x` one of which `a` is no more than the allowed
//! share: the attacker cannot tell the cell from one that may be shown. That what each neighbour
//! has is not dominated itself makes the same true of their sums with `x`.
//!
//! The witness pairs need no search for a proof: the rectangle is one. `TwoWay::audit` checks
//! each of them against the choice as a whole, and no table leaves that fails it. Tests enumerate
//! all tables that fit what was published and measure the interval.
//!
//! **A table that is refused** publishes nothing, not even which of its cells exist. The totals
//! that other runs publish are then all there is: of a row and a column that are both shown, or
//! hidden behind `min_cell`, a cell between them may hold anything from 0 to the smallest of what
//! these lines, and the lines beside them, have.
//!
//! What it assumes: totals over one key column come from a run of this gate, on the same rows,
//! in which each patient is in one cell of a line or is counted once for each; values of both
//! signs tell the attacker less than magnitudes would; knowledge from elsewhere about single
//! cells, such as which cells of a refused table are not empty, is knowledge that no suppression
//! takes back.

use std::collections::{BTreeMap, BTreeSet};

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
        let hidden = || (0..measures.len()).filter(|row| withheld[*row]);
        if !hidden().any(|row| measures.is_small(row, measure)) || measures.all_are_small(measure) {
            continue;
        }
        let mut lacking = measures.cover_needed(measure)
            - hidden().map(|row| measures.cover(row, measure)).sum::<i128>();
        // A large total with little of it withheld: some row that is shown is large.
        while lacking > 0 {
            let next = cheapest_cover(measures, measure, &withheld, lacking);
            let next = next.ok_or(GateRefusal::SmallCells)?;
            withheld[next] = true;
            lacking -= measures.cover(next, measure);
        }
    }
    Ok(withheld)
}

/// The shown row of the fewest patients that covers what lacks, or else the one that covers most.
fn cheapest_cover(
    measures: &Measures,
    measure: usize,
    withheld: &[bool],
    lacking: i128,
) -> Option<usize> {
    let cover = |row: &usize| measures.cover(*row, measure);
    let useful = || (0..measures.len()).filter(|row| !withheld[*row] && cover(row) > 0);
    let enough = useful().filter(|row| cover(row) >= lacking);
    enough.min_by_key(|row| measures.patients(*row)).or_else(|| useful().max_by_key(cover))
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
        let mut withheld: Vec<bool> = (0..measures.len()).map(|row| measures.fails(row)).collect();
        let mut witnesses = Vec::new();
        for small in self.to_hide() {
            let [cell, measure] = small;
            let rectangle =
                self.cheapest_rectangle(cell, measure, &withheld).ok_or(GateRefusal::SmallCells)?;
            rectangle.changes().for_each(|(corner, _)| withheld[corner] = true);
            witnesses.push((small, rectangle));
        }
        if self.audit(&witnesses, &withheld) { Ok(withheld) } else { Err(GateRefusal::SmallCells) }
    }

    /// What needs a witness: a cell, and a measure that it is small in. A measure that is small
    /// in the whole table appears in no published total.
    fn to_hide(&self) -> impl Iterator<Item = [usize; 2]> {
        let measures = self.measures;
        let published: Vec<_> = measures.all().filter(|m| !measures.all_are_small(*m)).collect();
        (0..measures.len()).flat_map(move |cell| {
            let small: Vec<_> =
                published.iter().filter(|m| measures.is_small(cell, **m)).copied().collect();
            small.into_iter().map(move |measure| [cell, measure])
        })
    }

    /// Whether each small cell has a witness: a second table that fits all that is published
    /// and has up to `min_cell - 1` more in this cell. It relies on nothing that chose them.
    fn audit(&self, witnesses: &[([usize; 2], Rectangle)], withheld: &[bool]) -> bool {
        let witness_of: BTreeMap<[usize; 2], &Rectangle> =
            witnesses.iter().map(|(small, rectangle)| (*small, rectangle)).collect();
        self.to_hide().all(|small| {
            let [cell, measure] = small;
            witness_of.get(&small).is_some_and(|rectangle| {
                rectangle.cell == cell && self.stays_hidden(rectangle, measure, withheld)
            })
        })
    }

    fn stays_hidden(&self, rectangle: &Rectangle, measure: usize, withheld: &[bool]) -> bool {
        let measures = self.measures;
        let mut change_of_line: BTreeMap<[usize; 2], i32> = BTreeMap::new();
        let mut change_of_all = 0;
        for (corner, change) in rectangle.changes() {
            change_of_all += change;
            for (axis, line) in self.line[corner].into_iter().enumerate() {
                *change_of_line.entry([axis, line]).or_default() += change;
            }
        }
        let totals_fit = change_of_all == 0
            && change_of_line
                .into_iter()
                .all(|([axis, line], change)| change == 0 || self.total_withheld[axis][line]);
        let corners: BTreeSet<usize> = rectangle.changes().map(|(corner, _)| corner).collect();
        let distinct = corners.len() == rectangle.changes().count();
        totals_fit
            && distinct
            && rectangle.changes().all(|(corner, change)| {
                // One that gives must have enough; one that takes must not be known to be empty.
                let able = if change < 0 {
                    measures.hides(corner, rectangle.cell, measure)
                } else {
                    corner == rectangle.cell || measures.patients(corner) > 0
                };
                withheld[corner] && able
            })
    }

    /// The other corners of the rectangle that costs the fewest patients, ties by key order.
    fn cheapest_rectangle(
        &self,
        cell: usize,
        measure: usize,
        withheld: &[bool],
    ) -> Option<Rectangle> {
        let cost = |c: usize| if withheld[c] { 0 } else { self.measures.patients(c) };
        let [row, column] = self.line[cell];
        let large = |cells: &[usize]| {
            let hides = |c: &usize| *c != cell && self.measures.hides(*c, cell, measure);
            let mut cells: Vec<usize> = cells.iter().copied().filter(hides).collect();
            cells.sort_by_key(|c| cost(*c));
            cells
        };
        let in_row = large(&self.cells_of[0][row]);
        let in_column = large(&self.cells_of[1][column]);
        let mut best: Option<(u128, Rectangle)> = None;
        let mut offer = |price, give, opposite| {
            if best.is_none_or(|(cheapest, _)| price < cheapest) {
                best = Some((price, Rectangle { cell, give, opposite }));
            }
        };

        // Through totals that nobody publishes: i and i' are both such rows, or j and j' columns.
        let [row_total_withheld, column_total_withheld] = &self.total_withheld;
        if row_total_withheld[row] {
            let mut free = in_column.iter().filter(|c| row_total_withheld[self.line[**c][0]]);
            if let Some(other) = free.next() {
                offer(cost(*other), [Some(*other), None], None);
            }
        }
        if column_total_withheld[column] {
            let mut free = in_row.iter().filter(|c| column_total_withheld[self.line[**c][1]]);
            if let Some(other) = free.next() {
                offer(cost(*other), [Some(*other), None], None);
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
                        let give = [Some(*across), Some(*down)];
                        best = Some((price, Rectangle { cell, give, opposite: Some(*opposite) }));
                    }
                }
            }
        }
        best.map(|(_, rectangle)| rectangle)
    }
}

/// What a small cell hides in: `give` may lose what `cell` and `opposite` gain. Where a line's
/// total is not published, that side of the rectangle is missing.
#[derive(Clone, Copy)]
struct Rectangle {
    cell: usize,
    give: [Option<usize>; 2],
    opposite: Option<usize>,
}

impl Rectangle {
    /// Its corners, and the sign of what each gains.
    fn changes(&self) -> impl Iterator<Item = (usize, i32)> {
        let taking = std::iter::once(self.cell).chain(self.opposite).map(|corner| (corner, 1));
        taking.chain(self.give.into_iter().flatten().map(|corner| (corner, -1)))
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

#[cfg(test)]
mod tests {
    use cordon_protocol::agreement::{ResultKind, TableGate, ZeroPolicy};
    use cordon_protocol::table::{Column, RawTable, Support};

    use super::*;
    use crate::form;

    const GATE: TableGate = TableGate { min_cell: 11, zeros: ZeroPolicy::Show, round_to: 1 };

    /// Three by three, row by row; cell 0 is the small one.
    fn judge<T>(cells: [u64; 9], judge: impl FnOnce(&TwoWay<'_>) -> T) -> T {
        let column = |name: &str, kind| Column { name: name.parse().expect("a name"), kind };
        let row = |at: usize| vec![Cell::Integer(at as i64 / 3), Cell::Integer(at as i64 % 3)];
        let table = RawTable {
            columns: vec![column("a", ResultKind::Key), column("b", ResultKind::Key)],
            rows: (0..9).map(row).collect(),
            support: cells.iter().map(|n| vec![Support { patients: *n, shares: vec![] }]).collect(),
        };
        let sorted = form::check(&GATE, &table).expect("a table");
        let measures = Measures::of(&GATE, &sorted).expect("few measures");
        judge(&TwoWay::new(&measures, &sorted, 0, 1).expect("lines"))
    }

    const CELLS: [u64; 9] = [3, 40, 50, 60, 70, 80, 90, 91, 92];
    const GOOD: Rectangle = Rectangle { cell: 0, give: [Some(1), Some(3)], opposite: Some(4) };

    #[test]
    fn the_audit_accepts_a_rectangle_and_nothing_less() {
        let withheld =
            |corners: &[usize]| -> Vec<bool> { (0..9).map(|c| corners.contains(&c)).collect() };
        let all = withheld(&[0, 1, 3, 4]);
        let audit = |cells, rectangle, withheld: &[bool]| {
            judge(cells, |two_way| two_way.audit(&[([0, 0], rectangle)], withheld))
        };
        assert!(audit(CELLS, GOOD, &all));
        for shown in [1, 3, 4] {
            let rest: Vec<usize> = [0, 1, 3, 4].into_iter().filter(|c| *c != shown).collect();
            assert!(!audit(CELLS, GOOD, &withheld(&rest)), "{shown} is shown");
        }
        assert!(!audit(CELLS, Rectangle { cell: 8, ..GOOD }, &all), "another cell's");
        let line = Rectangle { give: [Some(1), None], opposite: None, ..GOOD };
        assert!(!audit(CELLS, line, &all), "the totals of two columns would change");
        let askew = Rectangle { opposite: Some(8), ..GOOD };
        assert!(!audit(CELLS, askew, &withheld(&[0, 1, 3, 8])), "no rectangle");
        let twice = Rectangle { give: [Some(1), Some(1)], ..GOOD };
        assert!(!audit(CELLS, twice, &all), "one cell gives twice");
        assert!(!judge(CELLS, |two_way| two_way.audit(&[], &all)), "no witness");
        let poor = [3, 10, 50, 60, 70, 80, 90, 91, 92];
        let hidden = judge(poor, |two_way| two_way.stays_hidden(&GOOD, 0, &all));
        assert!(!hidden, "one that gives is small itself");
        let empty = [3, 40, 50, 60, 0, 80, 90, 91, 92];
        assert!(!audit(empty, GOOD, &all), "one that takes is known to be empty");
    }
}
