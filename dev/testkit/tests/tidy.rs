//! Rules of the repository that no compiler keeps: which crate may depend on which, what the
//! guard links, how long a file may grow, what must never be committed.
#![expect(clippy::disallowed_methods, reason = "it reads the repository")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Who may depend on whom (ARCHITECTURE.md, "Layers"): each crate with all that it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("cordon-types", &[]),
    ("cordon-crypto", &["types"]),
    ("cordon-tlog", &["types", "crypto"]),
    ("cordon-protocol", &["types", "crypto", "tlog"]),
    ("cordon-attester", &["types", "crypto", "protocol"]),
    ("cordon-sandbox", &["types"]),
    ("cordon-egress", &["types", "protocol"]),
    ("cordon-dataset", &["types", "crypto", "protocol"]),
    ("cordon-clinical", &["types"]),
    ("cordon-verifier", &["types", "crypto", "protocol"]),
    ("cordon-softtee", &["types", "crypto", "protocol"]),
    ("cordon-govern", &["types", "crypto", "tlog", "protocol", "verifier", "egress"]),
    ("cordon-keystore", &["types", "crypto", "tlog", "protocol"]),
    ("cordon-hub", &["types", "crypto", "protocol", "softtee"]),
    (
        "cordon-broker",
        &["types", "crypto", "tlog", "protocol", "verifier", "govern", "keystore", "hub"],
    ),
    ("cordon-engine-sql", &["types", "crypto", "protocol", "dataset", "sandbox"]),
    ("cordon-enclave", &["types", "crypto", "tlog", "protocol", "attester", "sandbox", "egress"]),
];

/// Crates that must not see clocks, randomness, files, network or environment.
const PURE: &[&str] =
    &["types", "crypto", "tlog", "protocol", "egress", "verifier", "govern", "clinical"];

/// `unsafe` stands here only.
const UNSAFE: &[&str] = &["attester", "sandbox", "softtee"];

/// Longest source file in lines.
const MAX_LINES: usize = 1_000;
/// Largest file in bytes.
const MAX_BYTES: u64 = 1_000_000;

fn root() -> PathBuf {
    // At run time: what was compiled in may be another checkout with the same target directory.
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    manifest.join("../..").canonicalize().unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    serde_json::from_str(&run(&cargo, &["metadata", "--format-version=1", "--locked"])).unwrap()
}

/// Normal dependencies of each workspace crate, by name.
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .filter(|p| members.contains(p["id"].as_str().unwrap()))
        .map(|p| {
            let normal = p["dependencies"].as_array().unwrap().iter();
            let normal = normal.filter(|d| d["kind"].is_null());
            let names = normal.filter_map(|d| d["name"].as_str()).map(str::to_owned);
            (p["name"].as_str().unwrap().to_owned(), names.collect())
        })
        .collect()
}

fn tracked_files() -> Vec<PathBuf> {
    let root = root();
    run("git", &["ls-files", "-z"])
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| root.join(name))
        .filter(|path| path.is_file())
        .collect()
}

/// All tracked files by their names from the root, with `/`.
fn tracked_names() -> BTreeMap<String, PathBuf> {
    let name = |file: &PathBuf| file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    tracked_files().into_iter().map(|file| (name(&file), file)).collect()
}

/// What a file does when it runs: without comments, and without the tests at its end, which are
/// programs of their own.
fn code_of(file: &PathBuf) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.fold(String::new(), |code, line| code + line + "\n")
}

#[test]
fn crates_depend_only_in_the_direction_of_the_layers() {
    let dependencies = dependencies(&metadata());
    for (name, allowed) in ARROWS {
        let found = &dependencies[*name];
        for dependency in found.iter().filter_map(|d| d.strip_prefix("cordon-")) {
            assert!(allowed.contains(&dependency), "{name} must not depend on cordon-{dependency}");
        }
    }
    for (name, found) in &dependencies {
        for heavy in ["cordon-engine-sql", "cordon", "cordon-enclave"] {
            assert!(!found.contains(heavy), "{name} must not depend on the program {heavy}");
        }
        let known = ARROWS.iter().any(|(n, _)| n == name)
            || ["cordon", "cordon-testkit", "cordon-vendors", "xtask"].contains(&name.as_str());
        assert!(known, "{name} is not in the list of layers: add it to ARROWS");
    }
}

#[test]
fn heavy_dependencies_stay_behind_engines() {
    let dependencies = dependencies(&metadata());
    for (name, found) in &dependencies {
        if name.starts_with("cordon-engine-") {
            continue;
        }
        for heavy in ["datafusion", "wasmtime", "candle-core", "tract-onnx", "fhe"] {
            assert!(!found.contains(heavy), "{name} must not depend on {heavy}");
        }
    }
}

#[test]
fn the_guard_links_what_tcb_lock_says() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let tree = run(
        &cargo,
        &[
            "tree",
            "--package=cordon-enclave",
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
            "--locked",
        ],
    );
    let found: BTreeSet<String> = tree
        .lines()
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let lock = std::fs::read_to_string(root().join("apps/enclave/TCB.lock")).unwrap();
    let written: BTreeSet<String> = lock.lines().map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&written).collect();
    let gone: Vec<_> = written.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "the guard's dependencies changed: new {new:?}, gone {gone:?}; if that is meant, \
         run `cargo xtask tcb` and say why in the commit"
    );
}

#[test]
fn pure_crates_forbid_unsafe_code_and_nobody_else_has_it() {
    for name in PURE {
        let lib = root().join(format!("crates/{name}/src/lib.rs"));
        let lib = std::fs::read_to_string(lib).unwrap();
        assert!(lib.contains("#![forbid(unsafe_code)]"), "crates/{name} must forbid unsafe code");
    }
    for (name, file) in tracked_names() {
        let excused = UNSAFE.iter().any(|n| name.starts_with(&format!("crates/{n}/")));
        if !name.ends_with(".rs") || excused {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let keyword = ["unsafe", " {"].concat();
        assert!(!text.contains(&keyword), "{name}: unsafe code belongs in {UNSAFE:?}");
    }
}

/// Each file of the pure crates, but tests and what tests share.
fn pure_code() -> impl Iterator<Item = (&'static str, String, String)> {
    let files = tracked_names();
    PURE.iter().flat_map(move |name| {
        let folder = format!("crates/{name}/src/");
        let of_tests = |file: &str| file.contains("/testing") || file.contains("tests");
        let code = files.iter().filter(|(file, _)| {
            file.starts_with(&folder) && file.ends_with(".rs") && !of_tests(file)
        });
        code.map(|(file, path)| (*name, file.clone(), code_of(path))).collect::<Vec<_>>()
    })
}

#[test]
fn pure_crates_name_no_clock_file_network_thread_or_setting() {
    // Modules and types of the standard library by which one gets at these. clippy.toml has the
    // usual functions as well, and says so while one writes.
    const FORBIDDEN: &[&str] = &[
        "std::fs",
        "std::net",
        "std::env",
        "std::os",
        "std::path",
        "std::thread",
        "std::{",
        "process::Command",
        "SystemTime",
        "Instant::",
        "time::Instant",
        "stdin(",
        "stdout(",
        "stderr(",
        "println!",
        "clippy::disallowed_methods",
    ];
    let mut files = 0;
    for (name, file, code) in pure_code() {
        for word in FORBIDDEN {
            assert!(!code.contains(word), "{file} has `{word}`: crates/{name} is pure");
        }
        files += 1;
    }
    assert!(files > 50, "{files} files of pure crates were found");
}

#[test]
fn pure_crates_are_given_their_randomness() {
    for (name, file, code) in pure_code().filter(|(name, ..)| *name != "crypto") {
        for word in ["SystemRandom", "getrandom", "OsRng", "thread_rng", "rand::rng"] {
            assert!(!code.contains(word), "{file} has `{word}`: crates/{name} is pure");
        }
    }
}

/// Everything but fixed words that an event of a service may hold: identifiers, codes, counts,
/// kinds of errors of the system, and errors of ours, which hold the same. Whoever adds to the list
/// says by it that no record, name or free text can stand there (ARCHITECTURE.md, invariant 10).
const LOGGED: &[&str] = &[
    "%error",
    "%fatal",
    "%name",
    "%origin",
    "%party",
    "%peer.party",
    "%run",
    "%self.run",
    "%to",
    "%want.object",
    "?error.kind()",
    "?stage",
    "bytes_read",
    "code",
    "crate::why(&error)",
    "crate::why(error)",
    "delivery.cursor",
    "denial.code().as_str()",
    "doing",
    "error.code()",
    "finish.code",
    "format!(\"{error:#}\")",
    "refused.code()",
    "why",
];

/// The arguments of each event that `code` logs.
fn logged(code: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    for level in ["trace", "debug", "info", "warn", "error"] {
        for call in code.split(&format!("tracing::{level}!(")).skip(1) {
            let (mut depth, mut in_text, mut argument) = (0, false, String::new());
            for character in call.chars() {
                in_text ^= character == '"';
                match character {
                    '(' if !in_text => depth += 1,
                    ')' if !in_text && depth == 0 => break,
                    ')' if !in_text => depth -= 1,
                    ',' if !in_text && depth == 0 => {
                        arguments.push(std::mem::take(&mut argument));
                        continue;
                    }
                    _ => {}
                }
                argument.push(character);
            }
            arguments.push(argument);
        }
    }
    let trimmed = arguments.into_iter().map(|argument| argument.trim().to_owned());
    trimmed.filter(|argument| !argument.is_empty()).collect()
}

#[test]
fn events_hold_fixed_words_and_what_is_listed() {
    let mut events = 0;
    let shipped = |name: &str| {
        let source = name.starts_with("crates/") || name.starts_with("apps/");
        source && name.contains("/src/") && name.ends_with(".rs")
    };
    for (name, file) in tracked_names().iter().filter(|(name, _)| shipped(name)) {
        let code = code_of(file);
        assert!(!code.contains("use tracing::"), "{name}: name events in full, tracing::info!");
        for argument in logged(&code) {
            let value = argument.split_once(" = ").map_or(argument.as_str(), |(_, value)| value);
            let fixed = value.starts_with('"') && !value.contains('{');
            assert!(fixed || LOGGED.contains(&value), "{name} logs `{argument}`");
            events += 1;
        }
        let prints = name.starts_with("crates/") && !name.contains("/bin/");
        assert!(!prints || !code.contains("println!("), "{name} prints: that is for programs");
    }
    assert!(events > 100, "{events} arguments of events were found");
}

/// A document that names a test or a file must not outlive it.
#[test]
fn tests_and_files_that_documents_name_exist() {
    let files = tracked_names();
    let sources: String = files
        .iter()
        .filter(|(name, _)| name.ends_with(".rs"))
        .map(|(_, file)| std::fs::read_to_string(file).unwrap())
        .collect();
    let crates: BTreeSet<String> = dependencies(&metadata())
        .into_keys()
        .map(|name| name.strip_prefix("cordon-").unwrap_or(&name).to_owned())
        .collect();
    let mut tests = 0;
    for (document, file) in files.iter().filter(|(name, _)| name.ends_with(".md")) {
        let text = std::fs::read_to_string(file).unwrap();
        // What stands between two backticks on one line.
        let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        for word in quoted {
            let is_name = |text: &str| {
                text.contains('_') && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            };
            if let Some((of, test)) = word.split_once("::")
                && crates.contains(of)
                && is_name(test)
            {
                // Tests of programs that need a main thread of their own are names in a list.
                let exists = [format!("fn {test}("), format!("\"{test}\"")];
                assert!(exists.iter().any(|e| sources.contains(e)), "{document}: no test {word}");
                tests += 1;
            }
            if word.ends_with(".rs") && word.contains('/') && !word.contains(['*', '{', ' ']) {
                let exists = files.keys().any(|n| n == word || n.ends_with(&format!("/{word}")));
                assert!(exists, "{document}: no file {word}");
            }
        }
    }
    assert!(tests > 100, "{tests} tests are named");
}

#[test]
fn files_stay_short_and_small() {
    for file in tracked_files() {
        let size = std::fs::metadata(&file).unwrap().len();
        assert!(size <= MAX_BYTES, "{} has {size} bytes", file.display());
        if file.extension().is_some_and(|e| e == "rs") {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            assert!(lines <= MAX_LINES, "{} has {lines} lines: split it", file.display());
        }
    }
}

#[test]
fn features_do_not_change_behaviour() {
    // STYLE: back-ends are values. A feature needs a record, and then stands here.
    for package in metadata()["packages"].as_array().unwrap() {
        if package["source"].is_null() {
            let features = package["features"].as_object().unwrap();
            assert!(features.is_empty(), "{} has features {features:?}", package["name"]);
        }
    }
}
