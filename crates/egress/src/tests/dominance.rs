//! Sums of which one patient makes up most, and an attacker who wants to know that patient's
//! value. It sees what the gate publishes of one data set in runs over both keys, over each of
//! them and over none, and finds by maximum flow, without any of the gate's reasoning, how large
//! each withheld sum could be.

use std::collections::{BTreeMap, BTreeSet};

use cordon_protocol::agreement::{ResultKind, TableGate, ZeroPolicy};
use cordon_protocol::table::{Cell, RawTable, Share, Support};
use proptest::prelude::*;

use super::{column, shown};
use crate::{GateRefusal, MAX_SHARE_PERCENT, apply};

const GATE: TableGate = TableGate { min_cell: 3, zeros: ZeroPolicy::Show, round_to: 1 };

/// What each patient of each holder adds, by key values.
type Cells = BTreeMap<Vec<u8>, Vec<Vec<u64>>>;

/// A table of counts and sums.
fn raw(cells: &Cells) -> RawTable {
    let keys = cells.keys().next().map_or(0, Vec::len);
    let mut columns: Vec<_> =
        (0..keys).map(|key| column(&format!("k{key}"), ResultKind::Key)).collect();
    columns.extend([column("n", ResultKind::Count), column("sum", ResultKind::Sum)]);
    let row = |(keys, holders): (&Vec<u8>, &Vec<Vec<u64>>)| {
        let mut row: Vec<Cell> = keys.iter().map(|key| Cell::Integer(i64::from(*key))).collect();
        let values = || holders.iter().flatten();
        row.push(Cell::Integer(values().count().try_into().unwrap()));
        let sum = Cell::Integer(values().sum::<u64>().try_into().unwrap());
        row.push(if values().count() == 0 { Cell::Null } else { sum });
        row
    };
    let support = |holders: &Vec<Vec<u64>>| holders.iter().map(|values| support(values)).collect();
    RawTable {
        columns,
        rows: cells.iter().map(row).collect(),
        support: cells.values().map(support).collect(),
    }
}

fn support(values: &[u64]) -> Support {
    let patients = values.len() as u64;
    let rows = Share { patients, total: patients, largest: patients.min(1) };
    let sum = Share {
        patients: values.iter().filter(|value| **value > 0).count() as u64,
        total: values.iter().sum(),
        largest: values.iter().max().copied().unwrap_or(0),
    };
    Support { patients, shares: vec![rows, sum] }
}

fn judge(rows: &[(u8, &[&[u64]])]) -> Result<Vec<String>, GateRefusal> {
    let cells = rows
        .iter()
        .map(|(key, holders)| (vec![*key], holders.iter().map(|values| values.to_vec()).collect()));
    apply(&GATE, &raw(&cells.collect())).map(|(result, _)| shown(&result))
}

const ALIKE: &[u64] = &[10; 10];

#[test]
fn a_sum_that_only_few_add_to_is_withheld() {
    // `WHERE id = 'X' OR cost = 0`: all of it is the cost of one patient.
    let one_of_many: &[u64] = &[700, 0, 0, 0, 0, 0, 0, 0];
    let grand_total = Cells::from([(vec![], vec![one_of_many.to_vec()])]);
    assert_eq!(apply(&GATE, &raw(&grand_total)).unwrap_err(), GateRefusal::SmallCells);
    // Of zeros and ones a sum is a count: of two.
    let rows = [(0, [[1, 1, 0, 0, 0, 0].as_slice()]), (1, [ALIKE]), (2, [ALIKE])];
    let rows = rows.each_ref().map(|(key, holders)| (*key, holders.as_slice()));
    assert_eq!(judge(&rows).unwrap(), ["2 10", "* *"]);
    // Of nobody it is zero, which the row says anyway.
    let nobody: &[u64] = &[0; 6];
    assert_eq!(judge(&[(0, &[nobody]), (1, &[ALIKE])]).unwrap(), ["0 6", "1 10"]);
}

#[test]
fn a_patient_who_makes_up_most_of_a_sum_withholds_it() {
    // 40 of 100 is allowed, 41 of 101 is not.
    let at_most: &[u64] = &[40, 20, 20, 20];
    let more: &[u64] = &[41, 20, 20, 20];
    assert_eq!(judge(&[(0, &[at_most]), (1, &[ALIKE])]).unwrap(), ["0 4", "1 10"]);
    assert_eq!(judge(&[(0, &[more]), (1, &[ALIKE]), (2, &[ALIKE])]).unwrap(), ["2 10", "* *"]);
    // The other row must be so large that both are not dominated together.
    let much_more: &[u64] = &[90, 20, 20, 20];
    let rows: [(u8, &[&[u64]]); 4] =
        [(0, &[much_more]), (1, &[&[1; 5]]), (2, &[ALIKE]), (3, &[ALIKE])];
    assert_eq!(judge(&rows).unwrap(), ["1 5", "3 10", "* *"]);
}

#[test]
fn a_holder_that_subtracts_its_own_finds_no_sum_of_one_patient() {
    // All together nobody has much of it; without the first hospital, one patient has.
    let rows: [(u8, &[&[u64]]); 3] =
        [(0, &[&[50; 9], &[40, 5, 5]]), (1, &[ALIKE, ALIKE]), (2, &[ALIKE, ALIKE])];
    assert_eq!(judge(&rows).unwrap(), ["2 20", "* *"]);
}

#[test]
fn a_patient_of_most_rows_withholds_their_count() {
    let mut table = raw(&Cells::from([(vec![], vec![ALIKE.to_vec()])]));
    table.rows[0][0] = Cell::Integer(18);
    table.support[0][0].shares[0] = Share { patients: 10, total: 18, largest: 9 };
    assert_eq!(apply(&GATE, &table).unwrap_err(), GateRefusal::SmallCells);
    table.support[0][0].shares[0].largest = 7;
    assert!(apply(&GATE, &table).is_ok());
}

/// Keys and sums that are shown, unless the table is refused.
fn published(cells: &Cells) -> Option<BTreeSet<Vec<u8>>> {
    let (table, _) = apply(&GATE, &raw(cells)).ok()?;
    let keys = cells.keys().next().map_or(0, Vec::len);
    let shown = table.rows.iter().filter(|row| row[keys] != Cell::Suppressed);
    let key = |cell: &Cell| match cell {
        Cell::Integer(key) => u8::try_from(*key).unwrap(),
        other => panic!("{other:?}"),
    };
    Some(shown.map(|row| row[..keys].iter().map(key).collect()).collect())
}

fn totals(cells: &Cells, kept: &[usize]) -> Cells {
    let mut totals = Cells::new();
    for (keys, holders) in cells {
        let key: Vec<u8> = kept.iter().map(|k| keys[*k]).collect();
        let line = totals.entry(key).or_insert_with(|| vec![Vec::new(); holders.len()]);
        line.iter_mut().zip(holders).for_each(|(line, own)| line.extend(own));
    }
    totals
}

/// A network over lines. What flows from a row to a column makes their cell larger, and back
/// makes it smaller; through [`ROWS`] and [`COLUMNS`] flow totals that nobody publishes.
#[derive(Clone, Default)]
struct Network(BTreeMap<(u8, u8), u64>);

const ROWS: u8 = 100;
const COLUMNS: u8 = 101;
const FREE: u64 = 1 << 40;

const fn row(index: u8) -> u8 {
    index
}

const fn column_node(index: u8) -> u8 {
    50 + index
}

impl Network {
    fn add(&mut self, from: u8, to: u8, capacity: u64) {
        *self.0.entry((from, to)).or_default() += capacity;
    }

    fn free(&mut self, one: u8, other: u8) {
        self.add(one, other, FREE);
        self.add(other, one, FREE);
    }

    /// The most that can flow, path by path.
    fn most(mut self, source: u8, sink: u8) -> u64 {
        let mut flow = 0;
        while flow < FREE {
            let mut came_from = BTreeMap::new();
            let mut open = vec![source];
            while let Some(node) = open.pop() {
                for ((from, to), capacity) in self.0.range((node, 0)..=(node, u8::MAX)) {
                    if *capacity > 0 && *to != source && !came_from.contains_key(to) {
                        came_from.insert(*to, *from);
                        open.push(*to);
                    }
                }
            }
            if !came_from.contains_key(&sink) {
                break;
            }
            let mut path = vec![sink];
            while let Some(before) = came_from.get(path.last().unwrap()) {
                path.push(*before);
            }
            let steps = || path.windows(2).map(|pair| (pair[1], pair[0]));
            let most = steps().map(|step| self.0[&step]).min().unwrap();
            for (from, to) in steps().collect::<Vec<_>>() {
                *self.0.get_mut(&(from, to)).unwrap() -= most;
                self.add(to, from, most);
            }
            flow += most;
        }
        flow
    }
}

/// What an observer knows of a data set; `own` is the holder, if one looks.
struct Attacker<'a> {
    cells: &'a Cells,
    own: Option<usize>,
    network: Network,
    /// Lines by key column whose total is published.
    known: [BTreeSet<Vec<u8>>; 2],
    shown: BTreeSet<Vec<u8>>,
}

impl<'a> Attacker<'a> {
    fn of(cells: &'a Cells, own: Option<usize>) -> Self {
        let table = published(cells);
        let known = [0, 1].map(|key| published(&totals(cells, &[key])).unwrap_or_default());
        let mut attacker = Self {
            cells,
            own,
            network: Network::default(),
            known,
            shown: table.clone().unwrap_or_default(),
        };
        for first in totals(cells, &[0]).into_keys() {
            for second in totals(cells, &[1]).into_keys() {
                let key = [first.as_slice(), second.as_slice()].concat();
                // That a cell is empty is known of a table that leaves.
                let exists = cells.contains_key(&key) || table.is_none();
                if exists && !attacker.shown.contains(&key) {
                    let value = attacker.values(cells.get(&key)).iter().sum();
                    attacker.network.add(row(key[0]), column_node(key[1]), FREE);
                    attacker.network.add(column_node(key[1]), row(key[0]), value);
                }
            }
        }
        for (axis, (hub, node)) in
            [(ROWS, row as fn(u8) -> u8), (COLUMNS, column_node)].into_iter().enumerate()
        {
            for line in totals(cells, &[axis]).into_keys() {
                if !attacker.known[axis].contains(&line) {
                    attacker.network.free(node(line[0]), hub);
                }
            }
        }
        if published(&totals(cells, &[])).is_none() {
            attacker.network.free(ROWS, COLUMNS);
        }
        attacker
    }

    /// What the patients of all others add.
    fn values(&self, cell: Option<&Vec<Vec<u64>>>) -> Vec<u64> {
        let holders = cell.into_iter().flatten().enumerate();
        holders.filter(|(h, _)| Some(*h) != self.own).flat_map(|(_, v)| v.clone()).collect()
    }

    /// Each sum that one patient dominates could be so large that the patient does not.
    fn check(&self) {
        for (key, cell) in self.cells {
            if !self.shown.contains(key) {
                let mut others = self.network.clone();
                others.0.remove(&(row(key[0]), column_node(key[1])));
                let more = others.most(column_node(key[1]), row(key[0]));
                assert_hidden(&self.values(Some(cell)), more, key);
            } else {
                assert_hidden(&self.values(Some(cell)), 0, key);
            }
        }
        for (axis, (hub, node)) in
            [(ROWS, row as fn(u8) -> u8), (COLUMNS, column_node)].into_iter().enumerate()
        {
            for (line, cell) in totals(self.cells, &[axis]) {
                let mut others = self.network.clone();
                let (node, free) = (node(line[0]), !self.known[axis].contains(&line));
                for pair in [(node, hub), (hub, node)] {
                    others.0.remove(&pair);
                }
                let more = match (free, axis) {
                    (false, _) => 0,
                    // A row grows by what leaves it for columns, a column by what comes.
                    (true, 0) => others.most(node, hub),
                    (true, _) => others.most(hub, node),
                };
                assert_hidden(&self.values(Some(&cell)), more, &line);
            }
        }
    }
}

fn assert_hidden(values: &[u64], more: u64, key: &[u8]) {
    let (sum, largest) = (values.iter().sum::<u64>(), values.iter().max().copied().unwrap_or(0));
    let could_be = sum + more;
    assert!(
        largest * 100 <= could_be * u64::from(MAX_SHARE_PERCENT),
        "{key:?}: {largest} of {sum}, that could be {could_be} at most"
    );
}

fn two_way_cells(holders: usize) -> impl Strategy<Value = Cells> {
    let value = prop_oneof![2 => Just(0u64), 24 => 8..13u64, 1 => 20..90u64];
    let patients = prop_oneof![1 => 0..3usize, 12 => 4..9usize];
    let values = patients.prop_flat_map(move |n| prop::collection::vec(value.clone(), n));
    let cell = prop::collection::vec(values, holders);
    prop::collection::vec(cell, 9).prop_map(|cells| {
        let keyed = cells.into_iter().enumerate().filter_map(|(at, cell)| {
            let cell = Some(cell).filter(|cell| cell.iter().any(|values| !values.is_empty()))?;
            Some((vec![(at / 3) as u8, (at % 3) as u8], cell))
        });
        keyed.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(400),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nobodys_value_can_be_told_from_sums_that_are_published(
        one in two_way_cells(1),
        two in two_way_cells(2),
    ) {
        for (cells, observers) in [(one, vec![None]), (two, vec![None, Some(0), Some(1)])] {
            for own in observers {
                Attacker::of(&cells, own).check();
            }
        }
    }
}

#[test]
fn the_attacker_finds_a_value_where_it_can_be_told() {
    let cell = |values: &[u64]| vec![values.to_vec()];
    let cells = Cells::from([
        (vec![0, 0], cell(&[90, 10, 10])),
        (vec![0, 1], cell(ALIKE)),
        (vec![1, 0], cell(ALIKE)),
        (vec![1, 1], cell(ALIKE)),
    ]);
    let mut attacker = Attacker::of(&cells, None);
    attacker.check();
    // A neighbour that is shown, while the totals of its lines are, gives the cell away.
    attacker.known = [0, 1].map(|_| BTreeSet::from([vec![0], vec![1]]));
    attacker.network = Network::default();
    attacker.network.add(row(0), column_node(0), FREE);
    attacker.network.add(column_node(0), row(0), 110);
    assert!(std::panic::catch_unwind(|| attacker.check()).is_err());
}

#[test]
fn the_generator_reaches_what_it_should() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let (mut dominated, mut refused) = (0, 0);
    for _ in 0..300 {
        let cells = two_way_cells(2).new_tree(&mut runner).unwrap().current();
        let large = |cell: &Vec<Vec<u64>>| cell.iter().flatten().count() >= 8;
        match published(&cells) {
            Some(shown) => {
                let withheld = cells.iter().filter(|(key, _)| !shown.contains(*key));
                dominated += usize::from(withheld.clone().any(|(_, cell)| large(cell)));
            }
            None => refused += 1,
        }
    }
    assert!(dominated > 30 && refused > 10, "{dominated} dominated, {refused} refused");
}
