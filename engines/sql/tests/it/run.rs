//! Answers of runs, beside what a plain computation over the same rows gives.

use std::collections::BTreeSet;

use cordon_dataset::Layout;
use cordon_egress::GateRefusal;
use cordon_protocol::agreement::{TableGate, ZeroPolicy};
use cordon_protocol::run::ParameterValue;
use cordon_protocol::table::{Cell, Share};
use cordon_protocol::worker::FromWorker;

use crate::guard::{Call, text};
use crate::tables::{Sealed, Visit, hospitals, visit, visit_rows, visit_schema};

/// Query over the three hospitals, and the rows: cells, then patients of north, south and west.
const ANSWERS: &[(&str, &[&str])] = &[
    // Counts: a pseudonym that two holders share is two patients.
    ("SELECT COUNT(*) AS n FROM visit", &["9 | 3 2 2"]),
    ("SELECT COUNT(DISTINCT patient) AS p, COUNT(patient) AS n FROM visit", &["7 9 | 3 2 2"]),
    ("SELECT sex, COUNT(*) AS n FROM visit GROUP BY sex", &["f 7 | 2 1 2", "m 2 | 1 1 0"]),
    (
        "SELECT holder, COUNT(*) AS n FROM visit GROUP BY holder",
        &["north 4 | 3 0 0", "south 2 | 0 2 0", "west 3 | 0 0 2"],
    ),
    ("SELECT COUNT(*) AS n FROM visit WHERE holder <> 'west'", &["6 | 3 2 0"]),
    // No rows: a grand total is one row, a grouping none.
    ("SELECT COUNT(*) AS n, SUM(days) AS d FROM visit WHERE days > 99", &["0 - | 0 0 0"]),
    ("SELECT sex, COUNT(*) AS n FROM visit WHERE days > 99 GROUP BY sex", &[]),
    // Missing values: of a key they are a group, of a filter not true, of an aggregate refused.
    (
        "SELECT age IS NULL AS missing, COUNT(*) AS n FROM visit GROUP BY 1",
        &["false 8 | 2 2 2", "true 1 | 1 0 0"],
    ),
    (
        "SELECT code, COUNT(*) AS n FROM lab GROUP BY code",
        &["- 1 | 1 0 0", "crp 2 | 0 1 1", "hb 3 | 2 1 0"],
    ),
    ("SELECT COUNT(*) AS n FROM visit WHERE age < 99", &["8 | 2 2 2"]),
    ("SELECT COUNT(*) AS n FROM visit WHERE NOT (age < 99)", &["0 | 0 0 0"]),
    ("SELECT COUNT(age) AS n FROM visit WHERE age IS NOT NULL", &["8 | 2 2 2"]),
    // Sums and means.
    (
        "SELECT sex, SUM(days) AS d, AVG(days) AS m, SUM(age) AS a FROM visit WHERE age IS NOT NULL GROUP BY sex",
        &["f 181 30.166666666666668 181 | 1 1 2", "m 100 50.0 100 | 1 1 0"],
    ),
    ("SELECT SUM(cost) AS c, AVG(cost) AS m FROM visit", &["11.1105 1.2345 | 3 2 2"]),
    ("SELECT SUM(weight) AS w, AVG(weight) AS m FROM visit", &["478.1 53.12222222222223 | 3 2 2"]),
    // Keys of other types.
    ("SELECT seen, COUNT(*) AS n FROM visit GROUP BY seen", &["false 1 | 1 0 0", "true 8 | 2 2 2"]),
    (
        "SELECT day, at, COUNT(*) AS n FROM visit GROUP BY day, at",
        &["2024-02-29 1970-01-01T00:00:00Z 9 | 3 2 2"],
    ),
    ("SELECT cost, COUNT(*) AS n FROM visit GROUP BY cost", &["1.2345 9 | 3 2 2"]),
    ("SELECT EXTRACT(MONTH FROM day) AS m, COUNT(*) AS n FROM visit GROUP BY 1", &["2 9 | 3 2 2"]),
    (
        "SELECT CASE WHEN age < 30 THEN 'young' WHEN age < 60 THEN 'middle' ELSE 'old' END AS band, COUNT(*) AS n FROM visit WHERE age IS NOT NULL GROUP BY 1",
        &["middle 4 | 1 2 0", "old 1 | 1 0 0", "young 3 | 0 0 2"],
    ),
    (
        "SELECT upper(sex) AS s, COUNT(*) AS n FROM visit GROUP BY upper(sex)",
        &["F 7 | 2 1 2", "M 2 | 1 1 0"],
    ),
    // Joins by patient, within a holder.
    (
        "SELECT code, COUNT(*) AS n, SUM(value) AS v FROM visit JOIN lab ON visit.patient = lab.patient GROUP BY code",
        &["- 1 9 | 1 0 0", "crp 2 14 | 0 0 1", "hb 4 51 | 2 1 0"],
    ),
    ("SELECT COUNT(*) AS n FROM visit JOIN lab USING (patient) WHERE days > 50", &["3 | 1 1 0"]),
    (
        "SELECT COUNT(*) AS n FROM visit v JOIN lab l ON v.patient = l.patient AND v.days > l.value",
        &["7 | 2 1 1"],
    ),
    (
        "SELECT COUNT(DISTINCT b.patient) AS n FROM visit a JOIN visit b ON a.patient = b.patient",
        &["7 | 3 2 2"],
    ),
    (
        "SELECT COUNT(*) AS n FROM visit a JOIN visit b ON b.patient = a.patient JOIN lab c ON b.patient = c.patient",
        &["11 | 2 1 1"],
    ),
    // Unions and sub-queries.
    (
        "SELECT kind, COUNT(*) AS n FROM (SELECT 'v' AS kind FROM visit UNION ALL SELECT 'l' AS kind FROM lab) x GROUP BY kind",
        &["l 6 | 2 2 1", "v 9 | 3 2 2"],
    ),
    (
        "SELECT SUM(x) AS s, COUNT(DISTINCT p) AS n FROM (SELECT age AS x, patient AS p FROM visit WHERE age IS NOT NULL UNION ALL SELECT value AS x, patient AS p FROM lab) u",
        &["338 7 | 2 3 2"],
    ),
    (
        "WITH old AS (SELECT patient AS who, days AS d FROM visit WHERE age > 29) SELECT COUNT(*) AS n, SUM(d) AS d FROM old JOIN lab ON who = patient",
        &["5 236 | 2 1 0"],
    ),
    // Conditions of all kinds that are on.
    (
        "SELECT COUNT(*) AS n FROM visit WHERE days BETWEEN 20 AND 31 AND sex IN ('f', 'x')",
        &["5 | 1 0 2"],
    ),
    ("SELECT COUNT(*) AS n FROM visit WHERE sex LIKE 'm%' OR days * 2 + 1 > 100", &["3 | 1 2 0"]),
    (
        "SELECT COUNT(*) AS n FROM visit WHERE day >= DATE '2024-02-29' AND cost > 1.2",
        &["9 | 3 2 2"],
    ),
    (
        "SELECT COUNT(*) AS n FROM visit WHERE floor(weight) = 55 AND coalesce(age, 0) > 0",
        &["1 | 0 1 0"],
    ),
    ("SELECT COUNT(*) AS n FROM visit WHERE at < TIMESTAMP '2000-01-01T00:00:00Z'", &["9 | 3 2 2"]),
    (
        "SELECT COUNT(*) AS n FROM visit WHERE at BETWEEN DATE '1970-01-01' AND TIMESTAMP '1970-01-02'",
        &["9 | 3 2 2"],
    ),
    ("SELECT COUNT(*) AS n FROM visit WHERE at > DATE '1970-01-01'", &["0 | 0 0 0"]),
];

#[test]
fn queries_give_what_the_rows_say() {
    let hospitals = hospitals();
    let mut wrong = Vec::new();
    for (query, rows) in ANSWERS {
        let answer = match Call::run(&hospitals, query).answer() {
            FromWorker::Output(table) => text(&table),
            other => vec![format!("{other:?} {:?}", Call::plan(&hospitals, query).answer())],
        };
        if answer != *rows {
            wrong.push((query, answer));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_plan_of_the_same_job_has_the_columns_of_the_run() {
    let hospitals = hospitals();
    for (query, _) in ANSWERS {
        let report = Call::plan(&hospitals, query).report();
        let table = Call::run(&hospitals, query).table();
        let columns = table.columns.iter().map(|c| (&c.name, c.kind));
        assert!(report.result.iter().map(|c| (&c.name, c.kind)).eq(columns), "{query}");
    }
}

#[test]
fn parameters_of_each_type_are_bound() {
    let count = |condition: &str, value| {
        let query = format!("SELECT COUNT(*) AS n FROM visit WHERE {condition}");
        let table = Call::run(&hospitals(), &query).with("p", value).table();
        table.rows[0][0].clone()
    };
    assert_eq!(count("age > $p", ParameterValue::Integer(30)), Cell::Integer(4));
    assert_eq!(count("weight > $p", ParameterValue::Integer(54)), Cell::Integer(2));
    assert_eq!(count("cost > $p", ParameterValue::Integer(1)), Cell::Integer(9));
    assert_eq!(count("sex = $p", ParameterValue::Text("m".into())), Cell::Integer(2));
    assert_eq!(count("seen = $p", ParameterValue::Boolean(false)), Cell::Integer(1));
    assert_eq!(count("day > $p", ParameterValue::Date("2024-02-28".into())), Cell::Integer(9));
    assert_eq!(count("at > $p", ParameterValue::Date("2024-02-28".into())), Cell::Integer(0));
    // Whatever a value says, it stays a value.
    let hostile = "x' OR 'a' = 'a";
    assert_eq!(count("sex = $p", ParameterValue::Text(hostile.into())), Cell::Integer(0));
    assert_eq!(count("sex IN ($p, 'm')", ParameterValue::Text("f".into())), Cell::Integer(9));
}

/// Many visits, without a generator of random numbers.
fn many(seed: u64, patients: u64, count: u64) -> Vec<Visit> {
    let mut state = seed;
    let mut next = move |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let visits = (0..count).map(|_| {
        let patient = format!("pseudonym-of-patient-{:08}", next(patients));
        let age = i32::try_from(next(100)).unwrap();
        let sex = ["f", "m", "x"][usize::try_from(next(3)).unwrap()];
        let mut visit = visit(&patient, sex, if age == 7 { None } else { Some(age) });
        visit.days = i64::try_from(next(1 << 31)).unwrap() << 31;
        visit.cost = i128::from(next(1 << 31)) << 60;
        visit.weight = next(1 << 31) as f64 / 1e7;
        visit
    });
    visits.collect()
}

#[test]
fn a_large_table_of_many_row_groups_and_files_is_summed_exactly() {
    let layout = Layout { row_group_rows: 700, file_bytes: 150_000, ..Layout::default() };
    let data = [("north", many(1, 900, 20_000)), ("south", many(2, 1_100, 9_000))];
    let mut sealed = Sealed::default();
    for (holder, visits) in &data {
        sealed = sealed.with("visit", holder, visit_schema("visit"), visit_rows(visits), layout);
    }
    let query = "SELECT sex, COUNT(*) AS n, SUM(days) AS d, SUM(cost) AS c, AVG(weight) AS w, SUM(weight) AS x, COUNT(DISTINCT patient) AS p FROM visit WHERE age IS NOT NULL GROUP BY sex";
    let call = Call::run(&sealed, query);
    assert!(call.objects.len() > 4, "several files: {}", call.objects.len());
    let found = text(&call.table());

    let mut expected = Vec::new();
    for sex in ["f", "m", "x"] {
        let (mut rows, mut days, mut cost, mut patients) = (0_u32, 0_i128, 0_i128, Vec::new());
        let mut weight = 0.0;
        for (_, visits) in &data {
            let visits = visits.iter().filter(|visit| visit.sex == sex && visit.age.is_some());
            let visits: Vec<&Visit> = visits.collect();
            rows += u32::try_from(visits.len()).unwrap();
            days += visits.iter().map(|visit| i128::from(visit.days)).sum::<i128>();
            cost += visits.iter().map(|visit| visit.cost).sum::<i128>();
            // In sealed order at each holder, patient by patient, then over the holders.
            let mut of_patients: Vec<(&str, f64)> = Vec::new();
            for visit in &visits {
                match of_patients.iter_mut().find(|(patient, _)| *patient == visit.patient) {
                    Some((_, own)) => *own += visit.weight,
                    None => of_patients.push((&visit.patient, visit.weight)),
                }
            }
            weight += of_patients.iter().fold(0.0, |sum, (_, own)| sum + own);
            let distinct: BTreeSet<&str> = visits.iter().map(|v| v.patient.as_str()).collect();
            patients.push(distinct.len());
        }
        let mean = weight / f64::from(rows);
        let all: usize = patients.iter().sum();
        let cost = format!("{}.{:04}", cost / 10_000, cost % 10_000);
        assert!(days > i128::from(i64::MAX), "an exact sum must not fit 64 bits: {days}");
        expected.push(format!(
            "{sex} {rows} {days} {cost} {mean:?} {weight:?} {all} | {} {}",
            patients[0], patients[1]
        ));
    }
    assert_eq!(found, expected);
}

#[test]
fn the_same_question_has_the_same_answer() {
    let layout = Layout { row_group_rows: 300, ..Layout::default() };
    let rows = visit_rows(&many(3, 50, 5_000));
    let sealed = Sealed::default().with("visit", "north", visit_schema("visit"), rows, layout);
    let query = "SELECT a.sex, SUM(a.weight) AS w, COUNT(*) AS n FROM visit a JOIN visit b ON a.patient = b.patient GROUP BY a.sex";
    let first = Call::run(&sealed, query).table();
    for _ in 0..3 {
        assert_eq!(Call::run(&sealed, query).table(), first);
    }
}

#[test]
fn extreme_values_make_no_expression_fail() {
    let mut visits =
        vec![visit("p1", "f", i32::MAX), visit("p2", "", i32::MIN), visit("p3", "x", 0)];
    for (visit, extreme) in visits.iter_mut().zip([i64::MAX, i64::MIN, 0]) {
        visit.days = extreme;
        visit.at = extreme;
        visit.cost = i128::from(extreme.signum()) * (10_i128.pow(38) - 1);
        visit.day = i32::try_from(extreme >> 32).unwrap();
        visit.weight = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][usize::from(extreme != 0)];
    }
    let sealed = Sealed::default().with_visits("north", &visits);
    for query in [
        "SELECT EXTRACT(YEAR FROM day) AS y, EXTRACT(DAY FROM at) AS d, COUNT(*) AS n FROM visit GROUP BY 1, 2",
        "SELECT day, at, days, age, cost, COUNT(*) AS n FROM visit GROUP BY 1, 2, 3, 4, 5",
        "SELECT days + 1 AS a, days - 1 AS b, age * 2 AS c, -days AS d, COUNT(*) AS n FROM visit GROUP BY 1, 2, 3, 4",
        "SELECT COUNT(*) AS n FROM visit WHERE floor(weight) > 1 OR round(weight, 3) > 2 OR ceil(weight * 1e20) > 3 OR cost > days OR cost > 1.5 OR days > 1.5 OR days > age",
        "SELECT COUNT(*) AS n FROM visit WHERE upper(sex) = 'F' OR btrim(sex) = '' OR starts_with(sex, 'x') OR character_length(sex) > 4",
        "SELECT COUNT(*) AS n FROM visit WHERE sex LIKE '%' OR sex NOT LIKE '_' OR sex ILIKE 'F\\%' OR sex || 'x' LIKE '\\'",
        "SELECT COUNT(*) AS n FROM visit WHERE day > DATE '2024-01-01' OR at > TIMESTAMP '2024-01-01T00:00:00Z'",
    ] {
        Call::run(&sealed, query).table();
    }
    let sums =
        "SELECT SUM(days) AS d, SUM(cost) AS c, SUM(weight) AS w, AVG(weight) AS m FROM visit";
    assert_eq!(text(&Call::run(&sealed, sums).table()), ["-1 0.0000 - - | 3"]);
}

#[test]
fn a_holder_without_rows_counts_as_nobody() {
    let sealed =
        Sealed::default().with_visits("north", &[]).with_visits("south", &[visit("p", "f", 1)]);
    let table = Call::run(&sealed, "SELECT COUNT(*) AS n FROM visit").table();
    assert_eq!(text(&table), ["1 | 0 1"]);
}

#[test]
fn the_gate_takes_what_the_engine_makes() {
    let gate = TableGate { min_cell: 1, zeros: ZeroPolicy::Show, round_to: 1 };
    let hospitals = hospitals();
    let (mut shown, mut withheld) = (0, 0);
    for (query, _) in ANSWERS {
        match cordon_egress::apply(&gate, &Call::run(&hospitals, query).table()) {
            Ok(_) => shown += 1,
            // Of so few patients, one often makes up most.
            Err(GateRefusal::SmallCells | GateRefusal::TooManyKeys) => withheld += 1,
            Err(malformed) => panic!("{query}: {malformed}"),
        }
    }
    assert!(shown > 12 && withheld > 12, "{shown} shown, {withheld} withheld");
}

/// Query over the three hospitals; per figure and holder: patients who add to it, and the share
/// of the greatest in what they add, in percent.
const SHARES: &[(&str, &[&str])] = &[
    // North has p1 with two visits, p2 and p3 with one.
    ("SELECT COUNT(*) AS n FROM visit", &["3/50 2/50 2/66"]),
    ("SELECT COUNT(DISTINCT patient) AS n FROM visit", &["3/33 2/50 2/50"]),
    // A join gives a patient the weight of the rows that it makes.
    (
        "SELECT COUNT(*) AS n FROM visit a JOIN visit b ON a.patient = b.patient",
        &["3/66 2/50 2/80"],
    ),
];

#[test]
fn shares_say_of_whom_a_figure_is_made() {
    let hospitals = hospitals();
    let percent = |share: &Share| share.largest * 100 / share.total.max(1);
    let shares = |query: &str| match Call::run(&hospitals, query).answer() {
        FromWorker::Output(table) => {
            let figures = 0..table.support[0][0].shares.len();
            let of_figure = |figure: usize| {
                let shares = table.support[0].iter().map(|part| &part.shares[figure]);
                let shares = shares.map(|share| format!("{}/{}", share.patients, percent(share)));
                shares.collect::<Vec<_>>().join(" ")
            };
            figures.map(of_figure).collect::<Vec<_>>()
        }
        _ => Vec::new(),
    };
    for (query, expected) in SHARES {
        assert_eq!(shares(query), *expected, "{query}");
    }
    let own = |patient: &str, days: &[i64], weight: f64| {
        let visits = days.iter().map(|days| {
            let mut visit = visit(patient, "f", 30);
            (visit.days, visit.cost, visit.weight) = (*days, i128::from(*days) * 10_000, weight);
            visit
        });
        visits.collect::<Vec<_>>()
    };
    // p1 takes back what it has; p2 has nothing; p3 and p4 have magnitudes of 30 and 10.
    let visits = [
        own("p1", &[500, -500], 0.0),
        own("p2", &[0], 0.0),
        own("p3", &[-10, -20], -1.5),
        own("p4", &[10], 1.0),
    ];
    let sealed = Sealed::default().with_visits("north", &visits.concat());
    let query = "SELECT SUM(days) AS d, AVG(cost) AS c, SUM(weight) AS w, COUNT(*) AS n FROM visit";
    let table = Call::run(&sealed, query).table();
    let shares = table.support[0][0].shares.iter();
    let shares: Vec<_> = shares.map(|share| (share.patients, percent(share))).collect();
    assert_eq!(shares, [(2, 75), (2, 75), (2, 75), (4, 33)]);
    assert_eq!(text(&table), ["-20 -3.3333333333333335 -2.0 6 | 4"]);
}

/// Thousands are behind the figure, and all of it is what one of them cost.
#[test]
fn a_filter_cannot_leave_one_patients_value_in_a_sum() {
    let mut visits: Vec<Visit> = (0..3_000).map(|n| visit(&format!("p{n}"), "f", 30)).collect();
    for (visit, days) in visits.iter_mut().zip(0..) {
        visit.days = if days % 3 == 0 { 0 } else { days };
        visit.at = days;
    }
    let sealed = Sealed::default().with_visits("north", &visits);
    let gate = TableGate { min_cell: 11, zeros: ZeroPolicy::Show, round_to: 1 };
    let judge = |filter: &str| {
        let query =
            format!("SELECT SUM(days) AS d, COUNT(DISTINCT patient) AS n FROM visit {filter}");
        cordon_egress::apply(&gate, &Call::run(&sealed, &query).table())
    };
    assert!(judge("").is_ok());
    let one = "WHERE at = TIMESTAMP '1970-01-01T00:00:00.000700Z' OR days = 0";
    assert_eq!(judge(one).unwrap_err(), GateRefusal::SmallCells);
    // Others who add next to nothing do not help.
    let with_others = "WHERE at = TIMESTAMP '1970-01-01T00:00:00.002999Z' OR days < 30";
    assert_eq!(judge(with_others).unwrap_err(), GateRefusal::SmallCells);
}

/// Whether a sum is a number depends on values: such a row is as if it were all of one patient's.
#[test]
fn a_sum_that_is_no_number_is_withheld() {
    let mut visits: Vec<Visit> = (0..40).map(|n| visit(&format!("p{n}"), "f", 30)).collect();
    let query = "SELECT SUM(weight) AS w FROM visit";
    let gate = TableGate { min_cell: 5, zeros: ZeroPolicy::Show, round_to: 1 };
    let judge = |visits: &[Visit]| {
        let sealed = Sealed::default().with_visits("north", visits);
        cordon_egress::apply(&gate, &Call::run(&sealed, query).table()).map(|_| ())
    };
    assert_eq!(judge(&visits), Ok(()));
    visits[7].weight = f64::NAN;
    assert_eq!(judge(&visits), Err(GateRefusal::SmallCells));
}

#[test]
fn a_run_reads_the_columns_that_it_touches_and_whole_ranges() {
    let visits = many(4, 500, 30_000);
    let sealed = Sealed::default().with_visits("north", &visits);
    let bytes = |query: &str| {
        let mut call = Call::run(&sealed, query);
        call.answer();
        (call.reads.iter().map(|(_, _, length)| u64::from(*length)).sum::<u64>(), call.reads)
    };
    let (few, _) = bytes("SELECT COUNT(*) AS n FROM visit WHERE sex = 'f'");
    let (all, _) = bytes(
        "SELECT sex, SUM(days) AS d, SUM(cost) AS c, SUM(weight) AS w FROM visit GROUP BY sex",
    );
    assert!(few * 2 < all, "{few} {all}");
    // What a filter looks for does not decide what is read.
    let (_, some) = bytes("SELECT COUNT(*) AS n FROM visit WHERE days > 0");
    let (_, none) = bytes("SELECT COUNT(*) AS n FROM visit WHERE days > 9223372036854775806");
    assert_eq!(some, none);
}
