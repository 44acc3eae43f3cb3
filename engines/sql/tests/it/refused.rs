//! Queries that are refused, each for one reason, with the reason.

use cordon_protocol::run::ParameterValue;
use cordon_protocol::worker::FailureCode;

use crate::guard::Call;
use crate::tables::hospitals;

/// Query, and a part of what its author is told.
const SHAPES: &[(&str, &str)] = &[
    // Values that are no aggregate of a column.
    ("SELECT 100 AS n FROM visit", "must have COUNT"),
    ("SELECT 100 AS n, COUNT(*) AS m FROM visit", "must be a group key or one COUNT"),
    ("SELECT SUM(1) AS n FROM visit", "must be of a column"),
    ("SELECT SUM(days + 1) AS n FROM visit", "must be of a column"),
    ("SELECT COUNT(NULL) AS n FROM visit", "must be of a column"),
    ("SELECT COUNT(*) + 1 AS n FROM visit", "must be a group key or one COUNT"),
    ("SELECT SUM(days) / COUNT(*) AS n FROM visit", "must be a group key or one COUNT"),
    ("SELECT CAST(COUNT(*) AS TEXT) AS n FROM visit", "must be a group key or one COUNT"),
    ("SELECT sex || 'x' AS s, COUNT(*) AS n FROM visit GROUP BY sex", "must be a group key"),
    ("SELECT SUM(x) AS n FROM (SELECT 7 AS x FROM visit) v", "must be of a column"),
    ("SELECT SUM(x) AS n FROM (SELECT days * 7 AS x FROM visit) v", "must be of a column"),
    (
        "SELECT SUM(x) AS n FROM (SELECT days AS x FROM visit UNION ALL SELECT value * 2 AS x FROM lab) v",
        "must be of a column",
    ),
    ("SELECT SUM(CASE WHEN patient = 'p1' THEN days END) AS n FROM visit", "must be of a column"),
    // Patients picked out.
    ("SELECT COUNT(*) AS n FROM visit WHERE patient = 'p1'", "names the patient"),
    ("SELECT COUNT(*) AS n FROM visit WHERE patient IN ('p1', 'p2')", "names the patient"),
    ("SELECT COUNT(*) AS n FROM visit WHERE patient LIKE 'p%'", "names the patient"),
    ("SELECT COUNT(*) AS n FROM visit WHERE character_length(patient) = 2", "names the patient"),
    ("SELECT COUNT(*) AS n FROM visit WHERE patient = sex", "names the patient"),
    (
        "SELECT COUNT(*) AS n FROM (SELECT patient AS x FROM visit) v WHERE x = 'p1'",
        "names the patient",
    ),
    ("SELECT COUNT(*) AS n FROM (SELECT upper(patient) AS x FROM visit) v", "names the patient"),
    ("SELECT patient, COUNT(*) AS n FROM visit GROUP BY patient", "names the patient"),
    (
        "SELECT lower(patient) AS p, COUNT(*) AS n FROM visit GROUP BY lower(patient)",
        "names the patient",
    ),
    (
        "SELECT CASE WHEN patient = 'p1' THEN 1 ELSE 2 END AS p, COUNT(*) AS n FROM visit GROUP BY 1",
        "names the patient",
    ),
    (
        "SELECT COUNT(*) AS n FROM (SELECT patient AS x FROM visit UNION ALL SELECT code AS x FROM lab) v WHERE x = 'p1'",
        "names the patient",
    ),
    (
        "SELECT COUNT(*) AS n FROM (SELECT patient AS x FROM visit UNION ALL SELECT patient AS x FROM lab) v WHERE x = 'p1'",
        "names the patient",
    ),
    // Group keys.
    ("SELECT COUNT(*) AS n FROM visit GROUP BY sex", "must be selected"),
    ("SELECT sex FROM visit GROUP BY sex", "must have COUNT"),
    ("SELECT weight, COUNT(*) AS n FROM visit GROUP BY weight", "float"),
    ("SELECT round(weight) AS w, COUNT(*) AS n FROM visit GROUP BY 1", "float"),
    ("SELECT sex, COUNT(*) AS n FROM visit GROUP BY ROLLUP (sex)", "ROLLUP"),
    ("SELECT $p AS k, COUNT(*) AS n FROM visit GROUP BY $p", "depend on a column"),
    // Clauses.
    ("SELECT sex, COUNT(*) AS n FROM visit GROUP BY sex HAVING COUNT(*) > 1", "HAVING"),
    ("SELECT sex, COUNT(*) AS n FROM visit GROUP BY sex ORDER BY n", "ORDER BY"),
    ("SELECT DISTINCT COUNT(*) AS n FROM visit", "one aggregate"),
    ("SELECT COUNT(*) AS n FROM (SELECT DISTINCT sex FROM visit) v", "DISTINCT"),
    (
        "SELECT COUNT(*) AS n FROM (SELECT sex FROM visit UNION SELECT sex FROM visit) v",
        "UNION ALL",
    ),
    ("SELECT COUNT(*) AS n FROM visit UNION ALL SELECT COUNT(*) AS n FROM visit", "one aggregate"),
    ("SELECT COUNT(*) FILTER (WHERE days > 5) AS n FROM visit", "FILTER"),
    ("SELECT COUNT(DISTINCT sex) AS n FROM visit", "subject column"),
    ("SELECT SUM(DISTINCT days) AS n FROM visit", "DISTINCT"),
    ("SELECT SUM(n) AS m FROM (SELECT sex, COUNT(*) AS n FROM visit GROUP BY sex) v", "outermost"),
    // Values that may be missing.
    ("SELECT AVG(age) AS a FROM visit", "add `WHERE visit.age IS NOT NULL`"),
    ("SELECT COUNT(age) AS a FROM visit", "IS NOT NULL"),
    ("SELECT COUNT(age) AS a FROM visit WHERE age IS NOT NULL OR seen", "IS NOT NULL"),
    (
        "SELECT COUNT(x) AS n FROM (SELECT value AS x FROM lab UNION ALL SELECT age AS x FROM visit) v",
        "IS NOT NULL",
    ),
    // Groups that differ in one patient.
    (
        "SELECT k, SUM(x) AS s, COUNT(DISTINCT p) AS n FROM (SELECT 'a' AS k, days AS x, patient AS p FROM visit UNION ALL SELECT 'b' AS k, days AS x, patient AS p FROM visit WHERE NOT (age = 29)) u GROUP BY k",
        "`visit` is in more than one part",
    ),
    (
        "SELECT k, COUNT(*) AS n FROM (SELECT 'a' AS k FROM lab UNION ALL SELECT 'b' AS k FROM visit v JOIN lab l ON v.patient = l.patient) u GROUP BY k",
        "`lab` is in more than one part",
    ),
    // Joins.
    ("SELECT COUNT(*) AS n FROM visit v JOIN lab l ON v.sex = l.code", "by patient"),
    ("SELECT COUNT(*) AS n FROM visit v JOIN lab l ON v.patient = l.code", "by patient"),
    ("SELECT COUNT(*) AS n FROM visit v JOIN lab l ON v.holder = l.holder", "by patient"),
    ("SELECT COUNT(*) AS n FROM visit v JOIN lab l ON v.patient <> l.patient", "by patient"),
    ("SELECT COUNT(*) AS n FROM visit v JOIN lab l ON v.patient = v.patient", "by patient"),
    ("SELECT COUNT(*) AS n FROM visit v CROSS JOIN lab l", "by patient"),
    ("SELECT COUNT(*) AS n FROM visit v, lab l WHERE v.patient = l.patient", "by patient"),
    ("SELECT COUNT(*) AS n FROM visit v LEFT JOIN lab l ON v.patient = l.patient", "inner joins"),
    ("SELECT COUNT(*) AS n FROM visit v FULL JOIN lab l ON v.patient = l.patient", "inner joins"),
    (
        "SELECT COUNT(*) AS n FROM visit v LEFT SEMI JOIN lab l ON v.patient = l.patient",
        "inner joins",
    ),
    (
        "SELECT COUNT(*) AS n FROM visit v LEFT ANTI JOIN lab l ON v.patient = l.patient",
        "inner joins",
    ),
    (
        "SELECT COUNT(*) AS n FROM visit v JOIN lab l ON v.patient = l.patient AND v.patient = l.code",
        "names the patient",
    ),
    ("SELECT COUNT(*) AS n FROM visit WHERE patient IN (SELECT patient FROM lab)", "sub-queries"),
    ("SELECT COUNT(*) AS n FROM visit WHERE EXISTS (SELECT 1 FROM lab)", "sub-queries"),
    ("SELECT COUNT(*) AS n FROM visit WHERE days > (SELECT SUM(value) FROM lab)", "sub-queries"),
    // What a value could make fail.
    ("SELECT COUNT(*) AS n FROM visit WHERE 10 / days > 1", "division"),
    ("SELECT COUNT(*) AS n FROM visit WHERE days % 2 = 1", "division"),
    ("SELECT COUNT(*) AS n FROM visit WHERE CAST(sex AS INT) = 1", "cast"),
    ("SELECT COUNT(*) AS n FROM visit WHERE CAST(days AS INT) = 1", "cast"),
    ("SELECT COUNT(*) AS n FROM visit WHERE TRY_CAST(sex AS INT) = 1", "TRY_CAST"),
    ("SELECT COUNT(*) AS n FROM visit WHERE cost + cost > 1", "integers and floats"),
    ("SELECT COUNT(*) AS n FROM visit WHERE day + INTERVAL '1 day' > day", "integers and floats"),
    ("SELECT COUNT(*) AS n FROM visit WHERE round(cost) > 1", "for floats"),
    ("SELECT COUNT(*) AS n FROM visit WHERE sex ~ 'f+'", "operator"),
    ("SELECT COUNT(*) AS n FROM visit WHERE sex LIKE sex || '%'", "written out"),
    (
        "SELECT COUNT(*) AS n FROM visit v JOIN lab l USING (patient) WHERE sex NOT ILIKE code",
        "written out",
    ),
    ("SELECT COUNT(*) AS n FROM visit WHERE sex SIMILAR TO 'f+'", "SIMILAR TO"),
];

#[test]
fn a_shape_that_is_off_is_refused_with_advice() {
    let mut wrong = Vec::new();
    for (query, part) in SHAPES {
        let call = Call::plan(&hospitals(), query);
        let call = match query.contains("$p") {
            true => call.with("p", ParameterValue::Integer(1)),
            false => call,
        };
        let failure = call.failure();
        let detail = failure.detail.unwrap_or_default();
        if failure.code != FailureCode::ShapeRefused || !detail.contains(part) {
            wrong.push(format!("{query}: {:?}: {detail}", failure.code));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A name may stand for an expression with two names in it, which stand for two each.
#[test]
fn short_queries_that_are_long_when_written_out_are_refused_at_once() {
    let levels = |level: &dyn Fn(usize) -> String, last: &str| {
        let levels: Vec<String> = (1..30).map(|n| format!("v{n} AS ({})", level(n - 1))).collect();
        let first = "v0 AS (SELECT patient AS p, days AS d FROM visit)";
        format!("WITH {first}, {} {last}", levels.join(", "))
    };
    let sums = |n| format!("SELECT p, d + d AS d FROM v{n}");
    let joins = |n| format!("SELECT a.p, b.d FROM v{n} a JOIN v{n} b ON a.p = b.p");
    let quoted =
        |n| format!("SELECT a.p, b.d FROM \"v{n}\" a JOIN (SELECT * FROM \"v{n}\") b ON a.p = b.p");
    let filters = |n| format!("SELECT p, CASE WHEN d > {n} THEN d ELSE d + {n} END AS d FROM v{n}");
    let deep = |n| format!("SELECT p, d{} AS d FROM v{n}", " + 1".repeat(20));
    for (query, part) in [
        (levels(&sums, "SELECT COUNT(*) AS n FROM v29 WHERE d > 1"), "written out"),
        (levels(&sums, "SELECT d, COUNT(*) AS n FROM v29 GROUP BY d"), "written out"),
        (levels(&filters, "SELECT COUNT(*) AS n FROM v29 WHERE d > 1"), "written out"),
        (levels(&deep, "SELECT COUNT(*) AS n FROM v29 WHERE d > 1"), "written out"),
        (levels(&joins, "SELECT COUNT(*) AS n FROM v29"), "more than 64 times"),
        (levels(&quoted, "SELECT COUNT(*) AS n FROM v29"), "more than 64 times"),
    ] {
        let start = std::time::Instant::now();
        let failure = Call::plan(&hospitals(), &query).failure();
        assert_eq!(failure.code, FailureCode::QueryInvalid, "{query}");
        let detail = failure.detail.unwrap();
        assert!(detail.contains(part), "{query}: {detail}");
        assert!(start.elapsed().as_secs() < 5, "{query}: {:?}", start.elapsed());
    }
}

#[test]
fn what_does_not_exist_is_invalid() {
    for query in [
        "SELECT COUNT(*) AS n FROM visits",
        "SELECT COUNT(*) AS n FROM visit WHERE weigth > 5",
        "SELECT COUNT(*) AS n FROM visit WHERE \"#person\" > 5",
        "SELECT COUNT(*) AS n FROM Visit -- not visit",
        "SELECT COUNT(*) AS n FROM information_schema.tables -- not visit",
        "SELECT COUNT(*) FROM visit",
        "SELECT SUM(sex) AS n FROM visit",
        "SELECT AVG(patient) AS n FROM visit",
        "SELECT sex AS n, COUNT(*) AS n FROM visit GROUP BY sex",
        "SELECT COUNT(*) AS n FROM visit WHERE day > DATE 'someday'",
        "SELECT COUNT(*) AS n FROM visit WHERE day > 'someday'",
    ] {
        assert_eq!(
            Call::plan(&hospitals(), query).failure().code,
            FailureCode::QueryInvalid,
            "{query}"
        );
    }
}

#[test]
fn parameters_must_be_the_querys_own_and_of_its_types() {
    let query = "SELECT COUNT(*) AS n FROM visit WHERE age > $p";
    let call = || Call::plan(&hospitals(), query);
    assert_eq!(call().failure().code, FailureCode::ParameterInvalid);
    let text = ParameterValue::Text("50".to_owned());
    assert_eq!(call().with("p", text).failure().code, FailureCode::ParameterInvalid);
    let both = call().with("p", ParameterValue::Integer(1)).with("q", ParameterValue::Integer(1));
    let failure = both.failure();
    assert_eq!(failure.code, FailureCode::ParameterInvalid);
    assert_eq!(failure.detail.unwrap(), "the query has no parameter `q`");
}
