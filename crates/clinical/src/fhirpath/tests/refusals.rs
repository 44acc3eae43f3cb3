//! Paths that no view may have, each refused with code, place and reason.

use super::*;
use crate::view::CompiledView;

/// Paths that no view may have: each with the byte that is to blame and the reason.
#[track_caller]
fn check_refused(code: &str, cases: &[(&str, usize, &str)]) {
    for (path, at, reason) in cases {
        let message = format!("{reason} (byte {at} of the path)");
        assert_eq!(refusal(path), (code.to_owned(), message), "{path}");
    }
}

/// The code and message of a refused path in the second column of a view.
#[track_caller]
fn refusal(path: &str) -> (String, String) {
    let view = serde_json::json!({"resource": "Patient", "select": [{"column": [
        {"name": "sex", "path": "gender"},
        {"name": "value", "path": path},
    ]}]});
    let refused = CompiledView::parse(view.to_string().as_bytes()).expect_err(path);
    assert_eq!(refused.pointer, "/select/0/column/1/path", "{path}");
    let message = refused.problem.to_string();
    (refused.code().to_owned(), message)
}

#[test]
fn an_unknown_function_is_refused() {
    check_refused(
        "unknown_function",
        &[("name.vibe()", 5, "unknown function `vibe`"), ("Vibe(1)", 0, "unknown function `Vibe`")],
    );
}

#[test]
fn a_wrong_number_of_arguments_is_refused() {
    check_refused(
        "wrong_arity",
        &[
            ("name.where()", 5, "`where` takes 1 arguments, not 0"),
            ("name.first(1)", 5, "`first` takes 0 arguments, not 1"),
            ("name.exists(true, true)", 5, "`exists` takes 0 or 1 arguments, not 2"),
            ("gender.substring()", 7, "`substring` takes 1 or 2 arguments, not 0"),
            ("iif(true)", 0, "`iif` takes 2 or 3 arguments, not 1"),
            ("iif(true, 1, 2, 3)", 0, "`iif` takes 2 or 3 arguments, not 4"),
        ],
    );
}

#[test]
fn nesting_and_length_are_bounded() {
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(evaluate(&nested(MAX_PATH_DEPTH), PATIENT).as_deref(), Ok("1"));
    let too_deep = [
        nested(MAX_PATH_DEPTH + 1),
        format!("{}1", "-".repeat(MAX_PATH_DEPTH + 2)),
        format!("1{}", " + 1".repeat(MAX_PATH_DEPTH + 1)),
        format!("{}true{}", "name.where(".repeat(MAX_PATH_DEPTH + 1), ")".repeat(65)),
        "(".repeat(MAX_PATH_BYTES),
    ];
    for path in too_deep {
        let (code, message) = refusal(&path);
        assert_eq!(code, "path_too_deep", "{path}");
        assert!(message.starts_with("path is nested deeper than 64 (byte "), "{message}");
    }
    // A long list of alternatives is wide, not deep.
    let wide = vec!["gender = 'x'"; 500].join(" or ");
    assert_eq!(evaluate(&wide, PATIENT).as_deref(), Ok("false"));

    let long = format!("'{}'", "x".repeat(MAX_PATH_BYTES));
    check_refused("path_too_long", &[(&long, 0, "path is longer than 8192 bytes")]);
}

#[test]
fn an_unknown_constant_or_type_is_refused() {
    check_refused(
        "unknown_constant",
        &[
            ("1 + %missing", 4, "unknown constant `%missing`"),
            ("%ucum", 0, "unknown constant `%ucum`"),
        ],
    );
    check_refused(
        "unknown_type",
        &[
            ("value.ofType(Thing)", 13, "unknown type `Thing`"),
            ("name is Thing", 5, "unknown type `Thing`"),
            ("managingOrganization.getReferenceKey(Nobody)", 37, "unknown type `Nobody`"),
        ],
    );
    check_refused(
        "path_syntax",
        &[("value.ofType('Quantity')", 13, "expected the name of a type")],
    );
}

#[test]
fn what_can_never_be_of_the_right_type_is_refused() {
    check_refused(
        "not_boolean",
        &[
            ("name.where(family)", 11, "expected a boolean, found string"),
            ("gender.not()", 7, "expected a boolean, found code"),
            ("active and gender", 11, "expected a boolean, found code"),
            ("iif(gender, 1, 2)", 4, "expected a boolean, found code"),
        ],
    );
    check_refused(
        "wrong_type",
        &[
            ("active xor 1", 11, "expected a boolean, found integer"),
            ("gender - 1", 0, "expected a number, found code"),
            ("-gender", 1, "expected a number, found code"),
            ("1 & 'x'", 0, "expected text, found integer"),
            ("name.join()", 5, "expected text, found HumanName"),
            ("gender.substring('x')", 17, "expected an integer, found string"),
            ("name.toString()", 5, "expected a primitive value, found HumanName"),
            ("name['x']", 5, "expected an integer, found string"),
            ("name > 1", 0, "expected a number, text or date, found HumanName"),
        ],
    );
}

#[test]
fn broken_grammar_is_refused_where_it_breaks() {
    check_refused(
        "path_syntax",
        &[
            ("", 0, "expected an expression"),
            ("name..given", 5, "expected the name of an element or function"),
            ("name given", 5, "expected an operator or the end of the path"),
            ("name.where(true", 15, "expected `,` or `)`"),
            ("name[0", 6, "expected `]`"),
            ("(1", 2, "expected `)`"),
            ("{1}", 1, "expected `}`"),
            ("'open", 0, "expected the closing quote"),
            (r"'\x'", 0, "expected a valid escape"),
            (r"'\u12'", 0, "expected four hexadecimal digits after `\\u`"),
            (r"'\ud800'", 0, "expected paired surrogates"),
            ("1 /* open", 2, "expected the end of the comment"),
            ("#1", 0, "expected a token of fhirpath"),
            ("$that", 0, "expected `$this` or `$index`"),
            ("99999999999999999999", 0, "expected an integer below 2^63"),
            ("@2014-13", 0, "expected a valid date or time after `@`"),
            ("@T25", 0, "expected a valid date or time after `@`"),
            ("name.and", 5, "expected the name of an element or function"),
        ],
    );
}

#[test]
fn what_is_left_for_later_is_refused_by_name() {
    check_refused(
        "not_yet_supported",
        &[
            ("name.given.distinct()", 11, "function `distinct` is not yet supported"),
            ("birthDate.lowBoundary()", 10, "function `lowBoundary` is not yet supported"),
            ("name | contact", 5, "operator `|` is not yet supported"),
            ("gender ~ 'x'", 7, "operator `~` is not yet supported"),
            ("gender !~ 'x'", 7, "operator `!~` is not yet supported"),
            ("4 days", 2, "a quantity is not yet supported"),
            ("5 'mg'", 2, "a quantity is not yet supported"),
            ("$total", 0, "`$total` is not yet supported"),
            ("name.iif(true, 1)", 5, "`iif` on anything but the focus is not yet supported"),
        ],
    );
}
