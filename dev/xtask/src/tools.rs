//! Running other programs, and where things are.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The repository's root. Cargo tells it to what it runs; what was compiled in may be another
/// checkout that shares the target directory.
pub fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let manifest = manifest.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.ancestors().nth(2).unwrap_or(&manifest).to_path_buf()
}

/// `cargo` in the repository's root.
pub fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    // What `cargo run` tells this program about itself is nothing for the cargo that it starts:
    // the build script of `ring` runs again when one of these changes, and DataFusion after it.
    for (name, _) in std::env::vars_os() {
        let told = |prefix: &str| name.to_string_lossy().starts_with(prefix);
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].into_iter().any(told) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a step, says what it is, and fails with its name.
pub fn step(title: &str, command: &mut Command) -> Result<()> {
    eprintln!("\n== {title}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{title}: {status}");
    }
    Ok(())
}

/// Runs a program to its end, and ends with what it says.
pub fn hand_over_to(command: &mut Command) -> Result<()> {
    let status = command
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    std::process::exit(status.code().unwrap_or(1));
}

/// Whether a program answers at all.
pub fn is_there(program: &str, probe: &str) -> bool {
    Command::new(program)
        .arg(probe)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The guard's crates with their versions, sorted: what stands between a key and the world.
pub fn guard_dependencies() -> Result<String> {
    let output = cargo(&[
        "tree",
        "--package",
        "cordon-enclave",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--locked",
    ])
    .output()
    .context("cannot run cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout).context("cargo tree printed no UTF-8")?;
    let mut crates: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(format!("{} {}", words.next()?, words.next()?))
        })
        .collect();
    crates.sort();
    crates.dedup();
    Ok(crates.join("\n") + "\n")
}

/// Where cargo puts binaries of the development profile.
pub fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
