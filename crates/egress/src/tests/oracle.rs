//! An attacker by brute force. It sees what the gate publishes of one data set: the two-way
//! table, both one-way tables and the grand total, each from a run of its own. It knows which
//! lines exist and, if it is a holder, its own patients. Of a two-way table that leaves it also
//! knows which cells exist, though the gate does not say so of all; one that is refused says
//! nothing of its cells, so each may be empty. The test enumerates tables that fit all of that,
//! without any of the gate's reasoning, and measures what each withheld number may be.

use std::collections::{BTreeMap, BTreeSet};

use cordon_protocol::agreement::{ResultKind, TableGate, ZeroPolicy};
use cordon_protocol::table::{Cell, RawTable};
use proptest::prelude::*;

use super::{alike, column};
use crate::{GateRefusal, apply};

const MINIMUM: i64 = 3;
pub(super) const GATE: TableGate =
    TableGate { min_cell: MINIMUM as u32, zeros: ZeroPolicy::Show, round_to: 1 };

/// Patients per holder, by key values.
pub(super) type Cells = BTreeMap<Vec<u8>, Vec<u64>>;

pub(super) fn two_way_cells(holders: usize) -> impl Strategy<Value = Cells> {
    // Absent, small and large cells, each often enough.
    let patients = prop_oneof![3 => Just(0u64), 3 => 1..3u64, 4 => 3..9u64];
    let support = prop::collection::vec(patients, holders);
    let cell = prop_oneof![1 => Just(None), 4 => support.prop_map(Some)];
    prop::collection::vec(cell, 9).prop_map(|cells| {
        let keyed = cells.into_iter().enumerate().filter_map(|(at, cell)| {
            let cell = cell.filter(|support| support.iter().sum::<u64>() > 0)?;
            Some((vec![(at / 3) as u8, (at % 3) as u8], cell))
        });
        keyed.collect()
    })
}

pub(super) fn raw(cells: &Cells) -> RawTable {
    let keys = cells.keys().next().map_or(0, Vec::len);
    let mut columns: Vec<_> =
        (0..keys).map(|key| column(&format!("k{key}"), ResultKind::Key)).collect();
    columns.push(column("n", ResultKind::Count));
    let row = |(keys, support): (&Vec<u8>, &Vec<u64>)| {
        let mut row: Vec<Cell> = keys.iter().map(|k| Cell::Integer(i64::from(*k))).collect();
        row.push(Cell::Integer(support.iter().sum::<u64>().try_into().unwrap()));
        row
    };
    RawTable {
        columns,
        rows: cells.iter().map(row).collect(),
        support: cells.values().map(|row| row.iter().map(|n| alike(*n, 1)).collect()).collect(),
    }
}

/// The same patients by fewer keys.
fn totals(cells: &Cells, kept: &[usize]) -> Cells {
    let mut totals = Cells::new();
    for (keys, support) in cells {
        let key: Vec<u8> = kept.iter().map(|k| keys[*k]).collect();
        let sums = totals.entry(key).or_insert_with(|| vec![0; support.len()]);
        sums.iter_mut().zip(support).for_each(|(sum, own)| *sum += own);
    }
    totals
}

/// The keys of the rows that a run over these cells shows, unless the whole table is refused.
fn published(cells: &Cells) -> Option<BTreeSet<Vec<u8>>> {
    let result = match apply(&GATE, &raw(cells)) {
        Ok((result, _)) => result,
        Err(GateRefusal::SmallCells) => return None,
        Err(other) => panic!("{other:?}"),
    };
    let keys = cells.keys().next().map_or(0, Vec::len);
    let shown = result.rows.iter().filter(|row| row[keys] != Cell::Suppressed);
    let shown = shown
        .map(|row| {
            let key = row[..keys].iter().map(|cell| match cell {
                Cell::Integer(key) => u8::try_from(*key).unwrap(),
                other => panic!("{other:?}"),
            });
            let key: Vec<u8> = key.collect();
            let patients: u64 = cells[&key].iter().sum();
            assert_eq!(row[keys], Cell::Integer(patients.try_into().unwrap()));
            key
        })
        .collect();
    Some(shown)
}

/// A linear fact: these withheld cells add up to what is left of a known total.
#[derive(Clone)]
struct Sum {
    cells: Vec<usize>,
    left: i64,
}

struct Attacker {
    /// What is withheld, cell by cell.
    truth: Vec<i64>,
    /// The least that each of these may be.
    least: Vec<i64>,
    sums: Vec<Sum>,
    /// Numbers that are no business of the observer: cells, and the totals of lines.
    targets: Vec<Vec<usize>>,
}

impl Attacker {
    /// `own`: which holder looks, if one does.
    fn of(cells: &Cells, own: Option<usize>) -> Self {
        let seen = |support: &Vec<u64>| {
            let patients: u64 = support.iter().sum();
            (patients - own.map_or(0, |holder| support[holder])) as i64
        };
        let (shown, cells_are_known) = match published(cells) {
            Some(shown) => (shown, true),
            None => (BTreeSet::new(), false),
        };
        // A cell that exists has a patient; one that the observer does not have is another's.
        let is_anothers = |cell: &Vec<u64>| own.is_none_or(|holder| cell[holder] == 0);
        let mut unknown = Vec::new();
        let (mut truth, mut least) = (Vec::new(), Vec::new());
        for row in totals(cells, &[0]).into_keys() {
            for column in totals(cells, &[1]).into_keys() {
                let key = [row.as_slice(), column.as_slice()].concat();
                let cell = cells.get(&key);
                if !shown.contains(&key) && (cell.is_some() || !cells_are_known) {
                    truth.push(cell.map_or(0, &seen));
                    least.push(i64::from(cells_are_known && cell.is_some_and(is_anothers)));
                    unknown.push(key);
                }
            }
        }

        let mut sums = Vec::new();
        let mut targets: Vec<Vec<usize>> = (0..unknown.len()).map(|cell| vec![cell]).collect();
        for kept in [vec![0], vec![1], vec![]] {
            let totals = totals(cells, &kept);
            let known_totals = published(&totals).unwrap_or_default();
            for (total, support) in &totals {
                let in_line =
                    |key: &[u8]| kept.iter().zip(total).all(|(k, value)| key[*k] == *value);
                let known: i64 = cells
                    .iter()
                    .filter(|(key, _)| in_line(key) && shown.contains(*key))
                    .map(|(_, support)| seen(support))
                    .sum();
                let cells: Vec<usize> =
                    (0..unknown.len()).filter(|c| in_line(&unknown[*c])).collect();
                if known_totals.contains(total) {
                    sums.push(Sum { cells, left: seen(support) - known });
                } else if known == 0 {
                    targets.push(cells);
                }
            }
        }
        Self { truth, least, sums, targets }
    }

    /// Whether some table that fits has this value in these cells. Each cell moves by less than
    /// the minimum: a narrower search finds fewer tables, never more.
    fn may_be(&self, target: &[usize], value: i64) -> bool {
        let mut sums = self.sums.clone();
        sums.push(Sum { cells: target.to_vec(), left: value });
        self.search(&sums, &mut vec![None; self.truth.len()])
    }

    fn search(&self, sums: &[Sum], table: &mut Vec<Option<i64>>) -> bool {
        for sum in sums {
            let bounds = |c: &usize| match table[*c] {
                Some(value) => (value, value),
                None => {
                    let truth = self.truth[*c];
                    (self.least[*c].max(truth + 1 - MINIMUM), truth + MINIMUM - 1)
                }
            };
            let low: i64 = sum.cells.iter().map(|c| bounds(c).0).sum();
            let high: i64 = sum.cells.iter().map(|c| bounds(c).1).sum();
            if !(low..=high).contains(&sum.left) {
                return false;
            }
        }
        let Some(next) = table.iter().position(Option::is_none) else { return true };
        for step in [0, 1, -1, 2, -2].into_iter().filter(|step: &i64| step.abs() < MINIMUM) {
            let value = self.truth[next] + step;
            if value >= self.least[next] {
                table[next] = Some(value);
                if self.search(sums, table) {
                    return true;
                }
            }
        }
        table[next] = None;
        false
    }

    fn value(&self, target: &[usize]) -> i64 {
        target.iter().map(|cell| self.truth[*cell]).sum()
    }

    fn width(&self, target: &[usize]) -> i64 {
        let truth = self.value(target);
        let reach = |way: i64| {
            (1..MINIMUM).take_while(|step| self.may_be(target, truth + way * step)).count() as i64
        };
        reach(1) + reach(-1)
    }

    /// Each number that is too small for this observer may still be `MINIMUM` different things.
    fn check(&self) {
        for target in &self.targets {
            let truth = self.value(target);
            if (1..MINIMUM).contains(&truth) {
                let width = self.width(target);
                assert!(width >= MINIMUM - 1, "{target:?} is {truth} within {width}");
            }
        }
    }
}

fn observers(holders: usize) -> impl Iterator<Item = Option<usize>> {
    std::iter::once(None).chain((0..holders).filter(move |_| holders > 1).map(Some))
}

/// Nothing shown is small, to anybody.
fn check_shown(cells: &Cells) {
    for key in published(cells).unwrap_or_default() {
        let support = &cells[&key];
        let patients: u64 = support.iter().sum();
        assert!(patients >= MINIMUM as u64);
        for own in support.iter().filter(|_| support.len() > 1) {
            assert!(patients == *own || patients - own >= MINIMUM as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(400),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_small_cell_can_be_told_from_everything_that_is_published(
        one in two_way_cells(1),
        three in two_way_cells(3),
    ) {
        for (cells, holders) in [(one, 1), (three, 3)] {
            check_shown(&cells);
            for kept in [vec![0], vec![1]] {
                check_shown(&totals(&cells, &kept));
            }
            for own in observers(holders) {
                Attacker::of(&cells, own).check();
            }
        }
    }
}

#[test]
fn the_oracle_finds_a_leak_where_there_is_one() {
    // Two rows of one patient each under a known total of 2: both are exactly 1.
    let attacker = Attacker {
        truth: vec![1, 1],
        least: vec![1, 1],
        sums: vec![Sum { cells: vec![0, 1], left: 2 }],
        targets: vec![],
    };
    assert_eq!(attacker.width(&[0]), 0);
    // A bridge between two rectangles is told by the rest, though no line has a single gap.
    let line = |cells: &[usize], left| Sum { cells: cells.to_vec(), left };
    let attacker = Attacker {
        // (0,0) (0,1) (1,0) (1,1) | bridge (1,2) | (2,2) (2,3) (3,2) (3,3)
        truth: vec![5, 5, 5, 5, 1, 5, 5, 5, 5],
        least: vec![0; 9],
        sums: vec![
            line(&[0, 1], 10),
            line(&[2, 3, 4], 11),
            line(&[5, 6], 10),
            line(&[7, 8], 10),
            line(&[0, 2], 10),
            line(&[1, 3], 10),
            line(&[4, 5, 7], 11),
            line(&[6, 8], 10),
        ],
        targets: vec![],
    };
    assert_eq!(attacker.width(&[4]), 0);
    assert!(attacker.width(&[0]) > 0);
}

#[test]
fn the_generator_reaches_what_it_should() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let (mut with_gaps, mut refused) = (0, 0);
    for _ in 0..300 {
        let cells = two_way_cells(3).new_tree(&mut runner).unwrap().current();
        match apply(&GATE, &raw(&cells)) {
            Ok((table, _)) => {
                let gap = |row: &Vec<Cell>| row.contains(&Cell::Suppressed);
                with_gaps += usize::from(table.rows.iter().any(gap));
            }
            Err(_) => refused += 1,
        }
    }
    assert!(with_gaps > 30 && refused > 30, "{with_gaps} with gaps, {refused} refused");
}
