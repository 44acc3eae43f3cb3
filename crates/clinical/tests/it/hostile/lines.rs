//! Records, as lines of NDJSON.

use std::io::{BufReader, Read, repeat};
use std::sync::LazyLock;

use cordon_clinical::json::MAX_RECORD_BYTES;
use cordon_clinical::keys::KeyPolicy;
use cordon_clinical::synth::Generator;
use cordon_clinical::table::{Lines, MAX_NAMED_REJECTS, ViewRunner};
use cordon_clinical::view::CompiledView;
use cordon_clinical::views::pack;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::mutation::Mutations;
use super::{CANARY, leaks, seeded};

static VIEWS: LazyLock<Vec<(&str, CompiledView)>> = LazyLock::new(|| {
    let compile = |json: &str| CompiledView::parse(json.as_bytes()).expect("a packed view");
    pack().iter().map(|packed| (packed.json, compile(packed.json))).collect()
});

/// One line in seven of a few synthetic patients.
static LINES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut lines = Vec::new();
    let mut count = 0_u32;
    let generator = Generator::new(3, 12, &["northside"]).expect("a generator");
    let written = generator.write(|_, _, line| {
        count += 1;
        if count.is_multiple_of(7) {
            lines.push(line.to_vec());
        }
        Ok(())
    });
    written.expect("writing to memory");
    lines
});

/// Runs every view over `lines`, and checks what every outcome promises.
fn check(lines: &[&[u8]]) {
    for (json, view) in VIEWS.iter() {
        let json: Value = serde_json::from_str(json).expect("JSON");
        let mut runner = ViewRunner::new(view, KeyPolicy::Plain);
        let mut refused = 0;
        for (index, line) in lines.iter().enumerate() {
            let before = (runner.report().rows, runner.buffered_bytes());
            let Err(error) = runner.push_line(line) else { continue };
            refused += 1;
            assert_eq!(error.line, index as u64 + 1);
            assert_eq!((runner.report().rows, runner.buffered_bytes()), before, "{error}");
            assert!(!leaks(&error), "{error:?}");
            for pointer in format!("{error}").split('`').filter(|part| part.starts_with('/')) {
                assert!(json.pointer(pointer).is_some(), "{error}");
            }
        }
        let report = runner.report().clone();
        assert_eq!(report.lines, lines.len() as u64);
        assert_eq!(report.rejected_lines(), refused);
        assert_eq!(report.first_rejected.len() as u64, refused.min(MAX_NAMED_REJECTS as u64));
        let rows = runner.finish_batch().map_or(0, |batch| batch.num_rows());
        assert_eq!(rows as u64, report.rows);
    }
}

fn words() -> Vec<String> {
    [
        "\"id\":1,",
        "\"resourceType\":\"Patient\",",
        "\\ud800",
        "\\u0000",
        "1e999",
        "-0.00",
        "12345678901234567890123456789012345678901234567890",
        "\u{feff}",
        CANARY,
    ]
    .map(str::to_owned)
    .to_vec()
}

proptest! {
    #![proptest_config(seeded(3_000))]

    #[test]
    fn a_mutated_record_gives_rows_or_is_refused_at_its_line(
        line: Index,
        mutations in Mutations::any(words()),
    ) {
        let line = line.get(&LINES);
        let mutated = mutations.apply(line);
        check(&[line, &mutated, line]);
    }

    #[test]
    fn random_bytes_are_refused_or_blank(bytes: Vec<u8>) {
        check(&[&bytes, &bytes]);
    }
}

#[test]
fn a_line_that_never_ends_does_not_fill_the_memory() {
    let input = repeat(b'{').take(3 * MAX_RECORD_BYTES as u64);
    let mut lines = Lines::new(BufReader::new(input.chain(b"\n{}\n".as_slice())));
    let first = lines.next_line().expect("memory").expect("a line").to_vec();
    assert_eq!(first.len(), MAX_RECORD_BYTES + 2);
    assert_eq!(lines.next_line().expect("memory"), Some(b"{}\n".as_slice()));
    assert_eq!(lines.next_line().expect("memory"), None);
    check(&[&first]);
}

#[test]
fn nesting_and_numbers_of_members_are_bounded() {
    let deep = |open: &str, times: usize| {
        format!("{{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":{}", open.repeat(times))
    };
    for open in ["[", "{\"name\":", "[{\"given\":"] {
        for times in [10, 127, 128, 129, 100_000] {
            check(&[deep(open, times).as_bytes()]);
        }
    }
    let wide = format!(
        "{{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":[{}{{}}]}}",
        "{},".repeat(2_500_000)
    );
    check(&[wide.as_bytes()]);
}
