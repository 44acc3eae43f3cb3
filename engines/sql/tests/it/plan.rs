//! What planning reports, without a key or a file.

use cordon_protocol::run::ParameterValue;
use cordon_protocol::worker::{FailureCode, FromWorker};

use crate::guard::{Call, kinds};
use crate::tables::hospitals;

/// Query, columns of the result, touched columns.
const PLANS: &[(&str, &str, &str)] = &[
    ("SELECT COUNT(*) AS n FROM visit", "n:Count", "visit: patient"),
    (
        "SELECT sex, COUNT(*) AS n, SUM(days) AS d, AVG(cost) AS c FROM visit GROUP BY sex",
        "sex:Key n:Count d:Sum c:Mean",
        "visit: cost days patient sex",
    ),
    (
        "SELECT holder, COUNT(DISTINCT patient) AS patients FROM visit GROUP BY holder",
        "holder:Key patients:Count",
        "visit: patient",
    ),
    // What a sub-query selects and nobody uses is not touched.
    (
        "WITH v AS (SELECT * FROM visit) SELECT COUNT(*) AS n FROM v WHERE age > 50",
        "n:Count",
        "visit: age patient",
    ),
    (
        "SELECT COUNT(*) AS n FROM (SELECT age, seen FROM visit UNION ALL SELECT value, TRUE FROM lab) v WHERE seen",
        "n:Count",
        "lab: patient; visit: patient seen",
    ),
    (
        "SELECT code, COUNT(*) AS n FROM visit v JOIN lab l ON v.patient = l.patient GROUP BY code",
        "code:Key n:Count",
        "lab: code patient; visit: patient",
    ),
    // A filter that the optimizer would drop is touched all the same.
    (
        "SELECT COUNT(*) AS n FROM visit WHERE sex IS NOT NULL OR TRUE",
        "n:Count",
        "visit: patient sex",
    ),
    (
        "SELECT EXTRACT(YEAR FROM day) AS year, upper(sex) AS s, COUNT(*) AS n FROM visit GROUP BY 1, 2",
        "year:Key s:Key n:Count",
        "visit: day patient sex",
    ),
];

#[test]
fn a_plan_names_columns_and_kinds() {
    for (query, result, touched) in PLANS {
        let report = Call::plan(&hospitals(), query).report();
        let tables = report.touched.iter().map(|(table, columns)| {
            let columns: Vec<_> = columns.iter().map(|column| column.as_str()).collect();
            format!("{table}: {}", columns.join(" "))
        });
        assert_eq!(kinds(&report), *result, "{query}");
        assert_eq!(tables.collect::<Vec<_>>().join("; "), *touched, "{query}");
    }
}

#[test]
fn a_plan_does_not_depend_on_the_values_of_parameters() {
    let query = "SELECT COUNT(*) AS n FROM visit WHERE age > 5 AND (seen OR $all)";
    let [first, second] = [true, false].map(|all| {
        Call::plan(&hospitals(), query).with("all", ParameterValue::Boolean(all)).report()
    });
    assert_eq!(first, second);
    assert_eq!(first.touched.values().next().unwrap().len(), 3);
}

#[test]
fn a_column_that_one_source_does_not_release_is_refused_by_name() {
    let query = "SELECT COUNT(*) AS n FROM visit WHERE age > 50";
    let mut call = Call::plan(&hospitals(), query);
    let sources = call.job.tables.values_mut().next().unwrap();
    sources[1].columns.retain(|column| column.as_str() != "age");
    let failure = call.failure();
    assert_eq!(failure.code, FailureCode::ColumnNotAgreed);
    assert_eq!(failure.detail.unwrap(), "column `age` of table `visit` is not agreed with `south`");
}

#[test]
fn a_run_refuses_what_planning_refuses_and_reads_nothing() {
    let mut call = Call::run(&hospitals(), "SELECT COUNT(*) AS n FROM visit WHERE age > 50");
    for source in call.job.tables.values_mut().flatten() {
        source.columns.retain(|column| column.as_str() != "age");
    }
    let FromWorker::Failed(failure) = call.answer() else { panic!("expected a failure") };
    assert_eq!((failure.code, failure.detail), (FailureCode::ColumnNotAgreed, None));
    assert!(call.reads.is_empty());
}

#[test]
fn a_table_that_the_query_does_not_use_is_to_be_left_out() {
    let mut call = Call::plan(&hospitals(), "SELECT COUNT(*) AS n FROM visit");
    let visit = call.job.tables.values().next().unwrap().clone();
    call.job.tables.insert("spare".parse().unwrap(), visit);
    let failure = call.failure();
    assert_eq!(failure.code, FailureCode::QueryInvalid);
    assert!(failure.detail.unwrap().contains("`spare`"));
}
