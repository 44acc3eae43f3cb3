//! Where vectors lie, and the Python peer.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cordon_types::hex;
use serde_json::Value;

/// The interpreter that has the peers installed.
fn python() -> PathBuf {
    let set = std::env::var_os("CORDON_PEERS_PYTHON");
    set.expect("CORDON_PEERS_PYTHON is not set: run `cargo xtask test`, which installs the peers")
        .into()
}

/// A file of the PyPI package `cryptography-vectors`.
pub fn vectors(name: &str) -> String {
    let code = "import cryptography_vectors as v; print(v.__path__[0], end='')";
    let output = Command::new(python()).args(["-c", code]).output().expect("Python starts");
    assert!(
        output.status.success(),
        "cryptography-vectors is not installed: run `cargo xtask test`"
    );
    let folder = String::from_utf8(output.stdout).expect("a path");
    let path = PathBuf::from(folder).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A file of a crate that the workspace locks, from cargo's own copy of the crate.
pub fn crate_file(package: &str, name: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked"])
        .output()
        .expect("cargo starts");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|found| found["name"] == package).expect("a locked crate");
    let manifest = PathBuf::from(found["manifest_path"].as_str().expect("a path"));
    std::fs::read_to_string(manifest.with_file_name(name)).expect("a file of the crate")
}

/// Asks the peer (`peer.py`) one question; `None` if it refuses.
pub fn ask(question: &Value) -> Option<Vec<u8>> {
    let mut peer = Command::new(python())
        .args(["-c", include_str!("peer.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut input = peer.stdin.take().expect("a pipe");
    input.write_all(question.to_string().as_bytes()).expect("the peer reads");
    drop(input);
    let output = peer.wait_with_output().expect("the peer ends");
    assert!(output.status.success(), "the peer failed; see its message above");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    answer.as_str().map(bytes)
}

/// Reads the hex of a vector.
pub fn bytes(text: &str) -> Vec<u8> {
    hex::decode(&text.to_ascii_lowercase()).expect("hex")
}

/// Reads the hex of a member of a JSON vector.
pub fn member(vector: &Value, name: &str) -> Vec<u8> {
    bytes(vector[name].as_str().expect("a hex member"))
}
