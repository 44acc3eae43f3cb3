//! Where genuine evidence lies: in the packages of others, read when a test runs, never copied.
#![expect(clippy::disallowed_methods, reason = "tests read vectors")]

use std::path::PathBuf;
use std::process::Command;

/// A file of a published crate. Cargo fetches the crate where it is not at hand, checks it against
/// the registry's digest, and unpacks it; nothing of it is compiled.
///
/// # Panics
/// If there is no such crate or file.
pub fn crate_file(package: &str, version: &str, name: &str) -> Vec<u8> {
    let path = unpacked(package, version).unwrap_or_else(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["info", "--quiet", &format!("{package}@{version}")])
            // Outside of the workspace: its lock is not asked.
            .current_dir(std::env::temp_dir())
            .output()
            .expect("cargo starts");
        let why = String::from_utf8_lossy(&output.stderr);
        unpacked(package, version).unwrap_or_else(|| panic!("no crate {package} {version}: {why}"))
    });
    let file = path.join(name);
    std::fs::read(&file).unwrap_or_else(|error| panic!("{package} {version}, {name}: {error}"))
}

/// The crate in cargo's own store.
fn unpacked(package: &str, version: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
    let folders = registries.flatten().map(|entry| entry.path());
    let mut folders = folders.map(|folder| folder.join(format!("{package}-{version}")));
    // Cargo writes this file last.
    folders.find(|folder| folder.join(".cargo-ok").is_file())
}

/// The blocks of a PEM file with this label, decoded, in their order.
///
/// # Panics
/// If a block is not base64.
pub fn pem(text: &[u8], label: &str) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let text = String::from_utf8_lossy(text);
    let start = format!("-----BEGIN {label}-----");
    let blocks = text.split(start.as_str()).skip(1).map(|block| {
        let body = block.split("-----END").next().expect("an end");
        let body: String = body.split_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(body).expect("base64")
    });
    blocks.collect()
}
