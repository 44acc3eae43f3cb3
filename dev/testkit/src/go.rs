//! A second opinion on logs: Go's `golang.org/x/mod/sumdb`, which is not our code.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The built program of `dev/testkit/go/verify.go`.
#[derive(Debug)]
pub struct LogVerifier {
    program: PathBuf,
}

/// What the program found in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLog {
    /// The log's name.
    pub origin: String,
    /// Entries, each of which was proven to be included.
    pub size: u64,
    /// Older checkpoints that were shown to be beginnings of this log.
    pub consistent: u64,
}

impl LogVerifier {
    /// Builds the program into `folder`, where its build cache stays too.
    ///
    /// # Errors
    /// If Go or its module is not installed, or the program does not build.
    pub fn build(folder: &Path) -> Result<Self> {
        // Tests run at once, each in its own process: nobody may run what another still writes.
        let program = folder.join(format!("verify-{}", std::process::id()));
        let source = program.with_extension("go");
        std::fs::write(&source, include_str!("../go/verify.go")).context("the source")?;
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([&program, &source])
            .env("GO111MODULE", "off")
            .env("GOPATH", DEBIAN_GOPATH)
            .env("GOCACHE", folder.join("go-cache"))
            .env("GOFLAGS", "")
            .output()
            .context("Go is not installed: `cargo xtask test` installs it (Debian golang-go)")?;
        if !built.status.success() {
            bail!(
                "verify.go does not build; `cargo xtask test` installs the Debian package \
                 golang-golang-x-mod-dev: {}",
                String::from_utf8_lossy(&built.stderr).trim()
            );
        }
        Ok(Self { program })
    }

    /// Verifies the log in `folder` by the vkey of its key, and that it has grown from each of
    /// the `older` checkpoints.
    ///
    /// # Errors
    /// What Go finds wrong.
    pub fn verify(&self, folder: &Path, vkey: &str, older: &[PathBuf]) -> Result<VerifiedLog> {
        let output = Command::new(&self.program)
            .arg(folder)
            .arg(vkey)
            .args(older)
            .output()
            .context("cannot start the built verifier")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let report: Value = serde_json::from_slice(&output.stdout).context("no report")?;
        let number = |name: &str| report[name].as_u64().context("a number is missing");
        let size = number("size")?;
        if number("entries")? != size {
            bail!("not every entry was checked");
        }
        let origin = report["origin"].as_str().context("the origin is missing")?.to_owned();
        Ok(VerifiedLog { origin, size, consistent: number("consistent")? })
    }
}

impl Drop for LogVerifier {
    fn drop(&mut self) {
        // A file that stays in a build folder harms nobody.
        let _removed = std::fs::remove_file(&self.program);
    }
}

/// Where Debian's `golang-*-dev` packages put their sources.
const DEBIAN_GOPATH: &str = "/usr/share/gocode";
