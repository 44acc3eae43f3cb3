//! The gate's rules one by one; `oracle` enumerates what an attacker may still believe.

use cordon_protocol::agreement::{ResultKind, TableGate, ZeroPolicy};
use cordon_protocol::table::{Cell, Column, RawTable, ResultTable, Share, Support};
use proptest::prelude::*;

use crate::{GateRefusal, MAX_ROWS, apply};

mod dominance;
mod oracle;

const GATE: TableGate = TableGate { min_cell: 11, zeros: ZeroPolicy::Show, round_to: 1 };

fn column(name: &str, kind: ResultKind) -> Column {
    Column { name: name.parse().unwrap(), kind }
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

/// Patients of a holder who all add the same to each of these figures.
fn alike(patients: u64, figures: usize) -> Support {
    let share = Share { patients, total: patients, largest: patients.min(1) };
    Support { patients, shares: vec![share; figures] }
}

/// A table of `keys.len()` key columns, a count that equals the support, and a mean.
fn table(rows: &[(&[&str], &[u64])]) -> RawTable {
    let keys = rows.first().map_or(1, |(keys, _)| keys.len());
    let mut columns: Vec<Column> =
        (0..keys).map(|k| column(&format!("k{k}"), ResultKind::Key)).collect();
    columns.push(column("n", ResultKind::Count));
    columns.push(column("mean", ResultKind::Mean));
    let cells = |keys: &[&str], support: &[u64]| {
        let patients: u64 = support.iter().sum();
        let mut cells: Vec<Cell> = keys.iter().map(|key| text(key)).collect();
        cells.push(Cell::Integer(patients.try_into().unwrap()));
        cells.push(if patients == 0 { Cell::Null } else { Cell::Number("1.5".into()) });
        cells
    };
    RawTable {
        columns,
        rows: rows.iter().map(|(keys, support)| cells(keys, support)).collect(),
        support: rows
            .iter()
            .map(|(_, support)| support.iter().map(|patients| alike(*patients, 2)).collect())
            .collect(),
    }
}

/// Each row as `keys… count`, `*` for suppressed.
fn shown(result: &ResultTable) -> Vec<String> {
    let word = |cell: &Cell| match cell {
        Cell::Text(text) => text.clone(),
        Cell::Integer(n) => n.to_string(),
        Cell::Suppressed => "*".into(),
        other => format!("{other:?}"),
    };
    let row =
        |cells: &Vec<Cell>| cells[..cells.len() - 1].iter().map(word).collect::<Vec<_>>().join(" ");
    result.rows.iter().map(row).collect()
}

fn judge(gate: &TableGate, rows: &[(&[&str], &[u64])]) -> Result<Vec<String>, GateRefusal> {
    apply(gate, &table(rows)).map(|(result, _)| shown(&result))
}

#[test]
fn a_table_of_large_rows_leaves_sorted_by_key() {
    let result = judge(&GATE, &[(&["b"], &[11]), (&["a"], &[300])]);
    assert_eq!(result.unwrap(), ["a 300", "b 11"]);
}

#[test]
fn a_row_of_ten_patients_is_withheld_and_takes_the_smallest_other_row_along() {
    let result =
        judge(&GATE, &[(&["a"], &[10]), (&["b"], &[40]), (&["c"], &[30]), (&["d"], &[50])]);
    assert_eq!(result.unwrap(), ["b 40", "d 50", "* *"]);
}

#[test]
fn two_withheld_rows_suffice_if_they_are_large_together() {
    let result = judge(&GATE, &[(&["a"], &[5]), (&["b"], &[6]), (&["c"], &[30])]);
    assert_eq!(result.unwrap(), ["c 30", "* *"]);
    let result = judge(&GATE, &[(&["a"], &[5]), (&["b"], &[5]), (&["c"], &[30]), (&["d"], &[31])]);
    assert_eq!(result.unwrap(), ["d 31", "* *"]);
}

#[test]
fn a_holder_that_subtracts_its_own_patients_finds_nobody_or_enough() {
    // 40 in all, but hospital 1 knows 35 of them.
    let others = (["b"].as_slice(), [50, 50].as_slice());
    let result = judge(&GATE, &[(&["a"], &[35, 5]), others, (&["c"], &[60, 60])]);
    assert_eq!(result.unwrap(), ["c 120", "* *"]);
    // Hospital 1 has all of them: nobody else is concerned.
    let result = judge(&GATE, &[(&["a"], &[35, 0]), others]);
    assert_eq!(result.unwrap(), ["a 35", "b 100"]);
    let result = judge(&GATE, &[(&["a"], &[35, 11]), others]);
    assert_eq!(result.unwrap(), ["a 46", "b 100"]);
}

#[test]
fn a_complement_must_be_large_for_the_holder_that_looks() {
    // To hospital 1, `b` is all its own: withholding `b` would leave 5 = 55 - 50 in sight.
    let rows: [(&[&str], &[u64]); 4] =
        [(&["a"], &[35, 5]), (&["b"], &[20, 0]), (&["c"], &[40, 40]), (&["d"], &[50, 50])];
    assert_eq!(judge(&GATE, &rows).unwrap(), ["b 20", "d 100", "* *"]);
}

#[test]
fn a_small_count_of_a_large_row_is_withheld() {
    let mut raw = table(&[(&["a"], &[50]), (&["b"], &[60]), (&["c"], &[70])]);
    raw.rows[0][1] = Cell::Integer(2);
    let (result, _) = apply(&GATE, &raw).unwrap();
    assert_eq!(shown(&result), ["c 70", "* *"]);
}

#[test]
fn zeros_are_shown_or_suppressed_as_the_agreement_says() {
    let rows: [(&[&str], &[u64]); 1] = [(&[], &[0])];
    assert_eq!(judge(&GATE, &rows).unwrap(), ["0"]);
    let strict = TableGate { zeros: ZeroPolicy::Suppress, ..GATE };
    assert_eq!(judge(&strict, &rows), Err(GateRefusal::SmallCells));

    let empty = table(&[]);
    assert_eq!(apply(&GATE, &empty).unwrap().0.rows.len(), 0);
    assert_eq!(apply(&strict, &empty).unwrap_err(), GateRefusal::SmallCells);

    let mut count_of_none = table(&[(&["a"], &[50]), (&["b"], &[60]), (&["c"], &[70])]);
    count_of_none.rows[0][1] = Cell::Integer(0);
    assert_eq!(shown(&apply(&GATE, &count_of_none).unwrap().0), ["a 0", "b 60", "c 70"]);
    assert_eq!(shown(&apply(&strict, &count_of_none).unwrap().0), ["c 70", "* *"]);
}

#[test]
fn the_key_of_an_empty_row_does_not_leave() {
    let result = judge(&GATE, &[(&["secret"], &[0]), (&["b"], &[60])]);
    assert_eq!(result.unwrap(), ["b 60", "* *"]);
}

#[test]
fn nothing_large_means_nothing_leaves() {
    assert_eq!(judge(&GATE, &[(&[], &[3])]), Err(GateRefusal::SmallCells));
    assert_eq!(judge(&GATE, &[(&["a"], &[3]), (&["b"], &[4])]), Err(GateRefusal::SmallCells));
    // The only large row would have to hide the small one.
    assert_eq!(judge(&GATE, &[(&["a"], &[3]), (&["b"], &[400])]), Err(GateRefusal::SmallCells));
}

#[test]
fn a_small_cell_of_a_two_way_table_is_hidden_in_a_rectangle_and_keeps_known_keys() {
    let rows: [(&[&str], &[u64]); 6] = [
        (&["f", "old"], &[3]),
        (&["f", "mid"], &[40]),
        (&["f", "young"], &[50]),
        (&["m", "old"], &[60]),
        (&["m", "mid"], &[70]),
        (&["m", "young"], &[80]),
    ];
    // `old` stands in no row that is shown, so its rows lose their keys.
    assert_eq!(
        judge(&GATE, &rows).unwrap(),
        ["f mid 40", "f young 50", "m mid 70", "m young 80"]
            .map(String::from)
            .into_iter()
            .filter(|row| !row.contains("mid"))
            .chain(["* * *".to_owned()])
            .collect::<Vec<_>>()
    );

    let mut wide = rows.to_vec();
    wide.extend([(["x", "old"].as_slice(), [90].as_slice()), (&["x", "mid"], &[91])]);
    wide.push((&["x", "young"], &[92]));
    assert_eq!(
        judge(&GATE, &wide).unwrap(),
        [
            "f mid *",
            "f old *",
            "f young 50",
            "m mid *",
            "m old *",
            "m young 80",
            "x mid 91",
            "x old 90",
            "x young 92"
        ]
    );
    let strict = TableGate { zeros: ZeroPolicy::Suppress, ..GATE };
    let keyless = judge(&strict, &wide).unwrap();
    assert_eq!(keyless.len(), 6, "{keyless:?}");
    assert_eq!(keyless.last().unwrap(), "* * *");
}

#[test]
fn a_rare_line_of_a_two_way_table_hides_behind_a_line_whose_total_is_withheld_too() {
    let rows: [(&[&str], &[u64]); 5] = [
        (&["common", "f"], &[200]),
        (&["common", "m"], &[210]),
        (&["less", "f"], &[100]),
        (&["less", "m"], &[110]),
        (&["rare", "f"], &[3]),
    ];
    assert_eq!(
        judge(&GATE, &rows).unwrap(),
        ["common f 200", "common m 210", "less f *", "less m 110", "* * *"]
    );
}

#[test]
fn a_small_cell_without_a_rectangle_keeps_the_table_in() {
    let rows: [(&[&str], &[u64]); 3] =
        [(&["a", "x"], &[3]), (&["a", "y"], &[50]), (&["b", "x"], &[60])];
    assert_eq!(judge(&GATE, &rows), Err(GateRefusal::SmallCells));
}

#[test]
fn three_key_columns_leave_only_whole() {
    let large: [(&[&str], &[u64]); 2] = [(&["a", "b", "c"], &[11]), (&["a", "b", "d"], &[12])];
    assert_eq!(judge(&GATE, &large).unwrap(), ["a b c 11", "a b d 12"]);
    let small: [(&[&str], &[u64]); 2] = [(&["a", "b", "c"], &[11]), (&["a", "b", "d"], &[10])];
    assert_eq!(judge(&GATE, &small), Err(GateRefusal::TooManyKeys));
}

#[test]
fn counts_are_rounded_to_the_nearest_multiple_but_not_below_the_minimum() {
    let gate = TableGate { round_to: 5, ..GATE };
    let rows: [(&[&str], &[u64]); 5] =
        [(&["a"], &[11]), (&["b"], &[17]), (&["c"], &[18]), (&["d"], &[100]), (&["e"], &[102])];
    assert_eq!(judge(&gate, &rows).unwrap(), ["a 15", "b 15", "c 20", "d 100", "e 100"]);
    let coarse = TableGate { round_to: 100, ..GATE };
    assert_eq!(judge(&coarse, &rows[..1]).unwrap(), ["a 100"]);
    assert_eq!(judge(&gate, &[(&[], &[0])]).unwrap(), ["0"]);
}

#[test]
fn verdicts_count_what_leaves_and_nothing_else() {
    let few = table(&[(&["a"], &[5]), (&["b"], &[6]), (&["c"], &[30])]);
    let many = table(&[(&["a"], &[5]), (&["b"], &[6]), (&["d"], &[1]), (&["c"], &[30])]);
    let gate = TableGate { round_to: 5, ..GATE };
    let verdicts = apply(&gate, &few).unwrap().1;
    assert_eq!(verdicts, apply(&gate, &many).unwrap().1);
    let told: Vec<_> =
        verdicts.iter().map(|v| (v.rule.as_str(), v.checked, v.suppressed)).collect();
    assert_eq!(told, [("cell_size", 2, 1), ("rounding", 2, 0)]);
}

#[test]
fn a_hostile_worker_is_refused() {
    const HUGE: Share = Share { patients: 30, total: u64::MAX, largest: u64::MAX };
    let valid = || table(&[(&["a"], &[30, 30]), (&["b"], &[40, 40])]);
    assert!(apply(&GATE, &valid()).is_ok());
    let changes: [(&str, fn(&mut RawTable)); 22] = [
        ("a suppressed cell", |t| t.rows[0][2] = Cell::Suppressed),
        ("a suppressed key", |t| t.rows[0][0] = Cell::Suppressed),
        ("a short row", |t| drop(t.rows[0].pop())),
        ("a long row", |t| t.rows[0].push(Cell::Null)),
        ("a row without support", |t| drop(t.support.pop())),
        ("support of fewer holders", |t| t.support[1].truncate(1)),
        ("support of no holders", |t| t.support.iter_mut().for_each(Vec::clear)),
        ("support beyond counting", |t| t.support[0] = vec![alike(1 << 52, 2), alike(1 << 52, 2)]),
        ("a figure without shares", |t| t.support[1][1].shares.truncate(1)),
        ("a share of no figure", |t| t.support[1][1].shares.push(Share::default())),
        ("a share of more patients than there are", |t| t.support[0][0].shares[1].patients = 31),
        ("a share of which one patient has more than all", |t| {
            t.support[0][0].shares[1].largest = 31
        }),
        ("a share of more than the greatest allows", |t| t.support[0][0].shares[1].total = 31),
        ("a share of nobody", |t| t.support[0][0].shares[1].patients = 0),
        ("a share beyond counting", |t| t.support[0][0].shares[1] = HUGE),
        ("text as a mean", |t| t.rows[0][2] = text("Jane")),
        ("text in a number", |t| t.rows[0][2] = Cell::Number("Jane".into())),
        ("a fraction as a count", |t| t.rows[0][1] = Cell::Number("30.5".into())),
        ("a negative count", |t| t.rows[0][1] = Cell::Integer(-30)),
        ("no count", |t| t.rows[0][1] = Cell::Null),
        ("one key twice", |t| t.rows[1][0] = text("a")),
        ("one column twice", |t| t.columns[1].name = t.columns[0].name.clone()),
    ];
    for (what, change) in changes {
        let mut changed = valid();
        change(&mut changed);
        let refusal = apply(&GATE, &changed).unwrap_err();
        assert_eq!(refusal.code(), "gate_malformed_table", "{what}");
    }
    let figures_of_nobody = {
        let mut table = valid();
        table.support[0] = vec![alike(0, 2), alike(0, 2)];
        table
    };
    assert_eq!(apply(&GATE, &figures_of_nobody).unwrap_err().code(), "gate_malformed_table");
}

#[test]
fn a_row_whose_key_is_a_note_is_withheld_and_its_key_does_not_leave() {
    let note = "x".repeat(257);
    let rows: [(&[&str], &[u64]); 3] = [(&["a"], &[50]), (&[&note], &[60]), (&["c"], &[70])];
    assert_eq!(judge(&GATE, &rows).unwrap(), ["a 50", "c 70", "* *"]);
    let category = "x".repeat(256);
    let rows: [(&[&str], &[u64]); 1] = [(&[&category], &[50])];
    assert_eq!(judge(&GATE, &rows).unwrap(), [format!("{category} 50")]);
}

#[test]
fn limits_are_kept() {
    let too_large = |table: RawTable, what| match apply(&GATE, &table) {
        Err(GateRefusal::TooLarge { what: found, .. }) => assert_eq!(found, what),
        other => panic!("{other:?}"),
    };
    let mut rows = table(&[(&["a"], &[30])]);
    rows.rows = (0..=MAX_ROWS).map(|_| rows.rows[0].clone()).collect();
    too_large(rows, "rows");
    let mut columns = table(&[(&["a"], &[30])]);
    columns.columns = (0..65).map(|c| column(&format!("c{c}"), ResultKind::Count)).collect();
    too_large(columns, "columns");
    too_large(table(&[(&["a"], &[30; 17])]), "holders");
    for gate in [TableGate { min_cell: 0, ..GATE }, TableGate { round_to: 0, ..GATE }] {
        let refusal = apply(&gate, &table(&[(&["a"], &[30])])).unwrap_err();
        assert_eq!(refusal, GateRefusal::Misconfigured);
    }
}

#[test]
fn a_large_two_way_table_is_judged_in_time() {
    let names: Vec<String> = (0..100).map(|n| format!("v{n:03}")).collect();
    let mut rows = Vec::new();
    for (i, a) in names.iter().enumerate() {
        for (j, b) in names.iter().enumerate() {
            rows.push(([a.as_str(), b.as_str()], [((i * 7 + j * 13) % 40 + 1) as u64; 4]));
        }
    }
    let rows: Vec<(&[&str], &[u64])> =
        rows.iter().map(|(keys, support)| (keys.as_slice(), support.as_slice())).collect();
    let result = judge(&GATE, &rows).unwrap();
    assert!(result.iter().any(|row| row.ends_with('*')));
}

fn any_cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        Just(Cell::Null),
        any::<bool>().prop_map(Cell::Boolean),
        any::<i64>().prop_map(Cell::Integer),
        (0i64..40).prop_map(Cell::Integer),
        "[0-9.e-]{0,6}".prop_map(Cell::Number),
        "[a-c]".prop_map(Cell::Text),
        Just(Cell::Suppressed),
    ]
}

fn any_support() -> impl Strategy<Value = Support> {
    let number = || prop_oneof![0u64..30, any::<u64>()];
    let share = (number(), number(), number());
    let share = share.prop_map(|(patients, total, largest)| Share { patients, total, largest });
    let shares = prop::collection::vec(
        prop_oneof![share, (0u64..30).prop_map(|n| alike(n, 1).shares[0])],
        0..4,
    );
    (number(), shares).prop_map(|(patients, shares)| Support { patients, shares })
}

fn any_kind() -> impl Strategy<Value = ResultKind> {
    prop_oneof![
        Just(ResultKind::Key),
        Just(ResultKind::Count),
        Just(ResultKind::Sum),
        Just(ResultKind::Mean)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_worker_says_the_gate_does_not_panic(
        kinds in prop::collection::vec(any_kind(), 0..5),
        rows in prop::collection::vec(prop::collection::vec(any_cell(), 0..5), 0..6),
        support in prop::collection::vec(prop::collection::vec(any_support(), 0..4), 0..6),
        min_cell in any::<u32>(),
        round_to in any::<u32>(),
    ) {
        let columns = kinds.iter().enumerate().map(|(i, k)| column(&format!("c{i}"), *k)).collect();
        let gate = TableGate { min_cell, round_to, zeros: ZeroPolicy::Suppress };
        let _ = apply(&gate, &RawTable { columns, rows, support });
    }

    #[test]
    fn the_order_of_the_workers_rows_changes_nothing(
        cells in oracle::two_way_cells(3),
        rotation in 0usize..9,
    ) {
        let raw = oracle::raw(&cells);
        let mut turned = raw.clone();
        let by = rotation % raw.rows.len().max(1);
        turned.rows.rotate_left(by);
        turned.support.rotate_left(by);
        prop_assert_eq!(apply(&oracle::GATE, &raw), apply(&oracle::GATE, &turned));
    }
}
