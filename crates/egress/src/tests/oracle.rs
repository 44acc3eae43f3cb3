//! An attacker by brute force. It sees what the gate publishes of one data set: the two-way
//! table, both one-way tables and the grand total, each from a run of its own. It knows which
//! rows exist, and, if it is a holder, its own patients. The test enumerates tables that fit all
//! of that, without any of the gate's reasoning, and measures what each withheld cell may be.

use std::collections::{BTreeMap, BTreeSet};

use cordon_protocol::agreement::{ResultKind, TableGate, ZeroPolicy};
use cordon_protocol::table::{Cell, RawTable};
use proptest::prelude::*;

use super::column;
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
        support: cells.values().cloned().collect(),
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

/// The keys of the rows that a run over these cells shows.
fn published(cells: &Cells) -> BTreeSet<Vec<u8>> {
    let result = match apply(&GATE, &raw(cells)) {
        Ok((result, _)) => result,
        Err(GateRefusal::SmallCells | GateRefusal::CannotProtect) => return BTreeSet::new(),
        Err(other) => panic!("{other:?}"),
    };
    let keys = cells.keys().next().map_or(0, Vec::len);
    let shown = result.rows.iter().filter(|row| row[keys] != Cell::Suppressed);
    shown
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
        .collect()
}

/// A linear fact: these withheld cells add up to what is left of a known total.
struct Sum {
    cells: Vec<usize>,
    left: i64,
}

struct Attacker {
    truth: Vec<i64>,
    least: Vec<i64>,
    sums: Vec<Sum>,
}

impl Attacker {
    /// `own`: which holder looks, if one does.
    fn of(cells: &Cells, own: Option<usize>) -> (Self, Vec<Vec<u8>>) {
        let seen = |support: &Vec<u64>| {
            let patients: u64 = support.iter().sum();
            (patients - own.map_or(0, |holder| support[holder])) as i64
        };
        let shown = published(cells);
        let unknown: Vec<Vec<u8>> = cells.keys().filter(|k| !shown.contains(*k)).cloned().collect();
        let mut sums = Vec::new();
        for kept in [vec![0], vec![1], vec![]] {
            let totals = totals(cells, &kept);
            let known = published(&totals);
            for (total, support) in totals.iter().filter(|(total, _)| known.contains(*total)) {
                let in_line =
                    |key: &[u8]| kept.iter().zip(total).all(|(k, value)| key[*k] == *value);
                let known: i64 = cells
                    .iter()
                    .filter(|(key, _)| in_line(key) && shown.contains(*key))
                    .map(|(_, support)| seen(support))
                    .sum();
                let cells = (0..unknown.len()).filter(|c| in_line(&unknown[*c])).collect();
                sums.push(Sum { cells, left: seen(support) - known });
            }
        }
        let truth = unknown.iter().map(|key| seen(&cells[key])).collect();
        // A row that exists has a patient; one that the observer does not have is another's.
        let empty_to_observer = |key| own.is_none_or(|holder| cells[key][holder] == 0);
        let least = unknown.iter().map(|key| i64::from(empty_to_observer(key))).collect();
        (Self { truth, least, sums }, unknown)
    }

    /// Whether some table that fits has this value in this cell. Other cells move by less than
    /// the minimum: a narrower search finds fewer tables, never more.
    fn may_be(&self, cell: usize, value: i64) -> bool {
        let mut table = vec![None; self.truth.len()];
        table[cell] = Some(value);
        value >= self.least[cell] && self.search(&mut table)
    }

    fn search(&self, table: &mut Vec<Option<i64>>) -> bool {
        for sum in &self.sums {
            let known: i64 = sum.cells.iter().filter_map(|c| table[*c]).sum();
            let open: Vec<usize> =
                sum.cells.iter().copied().filter(|c| table[*c].is_none()).collect();
            let least: i64 = open.iter().map(|c| self.least[*c]).sum();
            if known + least > sum.left || (open.is_empty() && known != sum.left) {
                return false;
            }
        }
        let Some(next) = table.iter().position(Option::is_none) else { return true };
        for step in 1 - MINIMUM..MINIMUM {
            let value = self.truth[next] + step;
            if value >= self.least[next] {
                table[next] = Some(value);
                if self.search(table) {
                    return true;
                }
            }
        }
        table[next] = None;
        false
    }

    fn width(&self, cell: usize) -> i64 {
        let truth = self.truth[cell];
        let reach = |way: i64| {
            (1..=MINIMUM).take_while(|step| self.may_be(cell, truth + way * step)).count() as i64
        };
        reach(1) + reach(-1)
    }

    /// Every cell that is too small for this observer may still be `MINIMUM` different things.
    fn check(&self, unknown: &[Vec<u8>]) {
        for (cell, truth) in self.truth.iter().enumerate() {
            if (1..MINIMUM).contains(truth) {
                let width = self.width(cell);
                assert!(width >= MINIMUM - 1, "{:?} is {truth} within {width}", unknown[cell]);
            }
        }
    }
}

fn observers(holders: usize) -> impl Iterator<Item = Option<usize>> {
    std::iter::once(None).chain((0..holders).filter(move |_| holders > 1).map(Some))
}

/// Nothing shown is small, to anybody.
fn check_shown(cells: &Cells) {
    for key in published(cells) {
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
        cases: 400,
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
                let (attacker, unknown) = Attacker::of(&cells, own);
                attacker.check(&unknown);
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
    };
    assert_eq!(attacker.width(0), 0);
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
    };
    assert_eq!(attacker.width(4), 0);
    assert!(attacker.width(0) > 0);
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
