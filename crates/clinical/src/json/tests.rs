use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let mut arena = Arena::new();
    let document = arena.parse(text)?;
    Ok(rebuild(document, document.root()))
}

/// The same value as serde_json would have made.
fn rebuild(document: Document<'_>, id: NodeId) -> Value {
    match document.kind(id) {
        Kind::Null => Value::Null,
        Kind::False => Value::Bool(false),
        Kind::True => Value::Bool(true),
        Kind::Number => match serde_json::from_str(document.lexeme(id)) {
            Ok(number) => number,
            // We keep what was written; serde_json has no value for what no f64 holds.
            Err(error) if is_out_of_range(&error) => document.lexeme(id).into(),
            Err(error) => panic!("a lexeme is a number: {error}"),
        },
        Kind::String => Value::String(document.string(id).expect("string").into_owned()),
        Kind::Array => document.elements(id).map(|e| rebuild(document, e)).collect(),
        Kind::Object => {
            let members = document.members(id);
            members.map(|(k, v)| (k.into_owned(), rebuild(document, v))).collect()
        }
        Kind::Key => panic!("a key is no value"),
    }
}

#[track_caller]
fn refused(text: &str, code: &str) {
    assert_eq!(parse(text.as_bytes()).unwrap_err().code(), code, "{text}");
}

#[test]
fn values_are_those_of_serde_json() {
    for text in [
        "null",
        " [ ] ",
        "{}",
        "\t{\"a\" : [1, -0, 0.50, 1e2, -1.5E-3, 9007199254740993]}\r\n",
        r#"{"":"","a\u0062":"\ud83d\ude00\"\\\/\b\f\n\r\t","é":"ü\u00fc"}"#,
        r#"[[[[true,false,null]]],"a string that is longer than eight bytes"]"#,
    ] {
        let expected: Value = serde_json::from_str(text).expect("valid");
        assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
    }
}

#[test]
fn broken_grammar_is_not_json() {
    for text in [
        "",
        " ",
        "nul",
        "tru ",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "[1,]",
        "[1 2]",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{a:1}"#,
        "[",
        "{",
        "\"",
        "\"\\x\"",
        r#""\u12g4""#,
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        r#""\udc00""#,
        "\"\t\"",
        "1 2",
        "[]]",
        "\u{feff}1",
    ] {
        refused(text, "not_json");
    }
}

#[test]
fn a_repeated_member_name_is_refused_however_it_is_spelled() {
    refused(r#"{"a":1,"b":2,"a":3}"#, "duplicate_member");
    refused(r#"{"ab":1,"a\u0062":2}"#, "duplicate_member");
    refused(r#"[{"x":{"y":1,"y":1}}]"#, "duplicate_member");
    let names: Vec<String> = (0..500).map(|i| format!("\"n{i}\":0")).collect();
    parse(format!("{{{}}}", names.join(",")).as_bytes()).expect("500 different names");
    refused(&format!("{{{},\"n250\":0}}", names.join(",")), "duplicate_member");
}

#[test]
fn names_of_sibling_objects_do_not_clash() {
    let text = br#"{"a":{"a":1,"b":2},"b":{"a":1,"b":2},"c":[{"a":1},{"a":1}]}"#;
    assert!(parse(text).is_ok());
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    refused(&nested(MAX_DEPTH + 1), "nested_too_deep");
    refused(&"{\"a\":".repeat(MAX_DEPTH + 1), "nested_too_deep");
}

#[test]
fn length_and_number_of_values_are_bounded() {
    let long = vec![b' '; MAX_RECORD_BYTES + 1];
    assert_eq!(parse(&long).unwrap_err().code(), "record_too_long");
    let many = format!("[{}0]", "0,".repeat(MAX_NODES));
    refused(&many, "too_many_values");
}

#[test]
fn bad_utf8_is_named_by_its_place() {
    assert_eq!(parse(b"\"ab\xff\""), Err(JsonError::NotUtf8 { offset: 3 }));
}

#[test]
fn an_arena_forgets_the_record_before() {
    let mut arena = Arena::new();
    let long = arena.parse(br#"{"a":[1,2,3,4],"b":{"c":1}}"#).expect("valid");
    assert!(long.member(long.root(), &Name::new("b")).is_some());
    let short = arena.parse(b"{}").expect("valid");
    assert!(short.member(short.root(), &Name::new("b")).is_none());
    assert_eq!(short.members(short.root()).count(), 0);
}

#[test]
fn a_name_is_found_whatever_its_length_or_escapes() {
    let names = ["a", "birth", "resource", "resourceType", "é", "with\"quote"];
    let members: Vec<String> =
        names.iter().map(|name| format!("{}:\"{}\"", Value::from(*name), name.len())).collect();
    let text = format!("{{{}}}", members.join(","));
    let mut arena = Arena::new();
    let document = arena.parse(text.as_bytes()).expect("valid");
    for name in names {
        let value = document.member(document.root(), &Name::new(name)).expect(name);
        assert_eq!(document.lexeme(value), name.len().to_string());
    }
    assert!(document.member(document.root(), &Name::new("resourceTyp")).is_none());
}

#[test]
fn escaping_is_undone_by_reading() {
    let text = "a\"b\\c\n\r\t\u{0}\u{1f}\u{7f}é\u{1F600}/";
    let mut out = vec![b'"'];
    write_escaped(&mut out, text);
    out.push(b'"');
    assert_eq!(parse(&out), Ok(Value::from(text)));
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(".{0,12}", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// serde_json keeps the last of two equal names, which we refuse, and refuses numbers beyond f64,
/// which we keep as they are written. In all else the two agree.
fn judged_alike(text: &[u8]) -> Result<(), TestCaseError> {
    match (parse(text), serde_json::from_slice::<Value>(text)) {
        (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
        (Err(_), Err(_)) | (Err(JsonError::DuplicateKey { .. }), Ok(_)) => {}
        (Ok(_), Err(theirs)) if is_out_of_range(&theirs) => {}
        (ours, theirs) => prop_assert!(false, "{:?} {:?}", ours, theirs),
    }
    Ok(())
}

fn is_out_of_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_read_back(value in json(), pretty in any::<bool>()) {
        let text = match pretty {
            true => serde_json::to_string_pretty(&value),
            false => serde_json::to_string(&value),
        }.expect("serialises");
        // Floats may differ in the last digit between writing and reading; compare with serde_json's own reading.
        let expected: Value = serde_json::from_str(&text).expect("valid");
        prop_assert_eq!(parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn damaged_text_is_judged_as_serde_json_judges_it(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&value).expect("serialises");
        let at = at.index(text.len());
        text[at] = byte;
        judged_alike(&text)?;
    }

    #[test]
    fn no_bytes_make_the_reader_panic(text in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(&text);
    }

    #[test]
    fn punctuation_soup_is_judged_as_serde_json_judges_it(text in r#"[\[\]{}",:0-9eE.\\u +tfn-]{0,24}"#) {
        judged_alike(text.as_bytes())?;
    }
}
