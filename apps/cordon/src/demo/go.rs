//! A second opinion on the logs by Go's `golang.org/x/mod/sumdb`, where Debian's packages
//! `golang-go` and `golang-golang-x-mod-dev` are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The program, which only calls Go's code.
const SOURCE: &str = include_str!("../../../../dev/testkit/go/verify.go");
/// Where Debian puts the sources of Go packages.
const GOPATH: &str = "/usr/share/gocode";

/// Go, and where to build.
pub struct Go {
    folder: PathBuf,
}

/// The built verifier.
pub struct Verifier {
    program: PathBuf,
}

/// Go with the package that is needed, if it is there.
pub fn find(folder: &Path) -> Option<Go> {
    let package = Path::new(GOPATH).join("src/golang.org/x/mod/sumdb/tlog");
    let go = Command::new("go").arg("version").output();
    let is_there = package.is_dir() && go.is_ok_and(|output| output.status.success());
    is_there.then(|| Go { folder: folder.to_owned() })
}

impl Go {
    /// Builds the verifier.
    ///
    /// # Errors
    /// If it does not build.
    pub fn build(&self) -> Result<Verifier> {
        std::fs::create_dir_all(&self.folder)?;
        let (source, program) = (self.folder.join("verify.go"), self.folder.join("verify"));
        std::fs::write(&source, SOURCE)?;
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([&program, &source])
            .env("GO111MODULE", "off")
            .env("GOPATH", GOPATH)
            .env("GOCACHE", self.folder.join("cache"))
            .env("GOFLAGS", "")
            .output()
            .context("cannot start Go")?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "the verifier does not build: {}", said.trim());
        Ok(Verifier { program })
    }
}

impl Verifier {
    /// Verifies the log in `folder` by its key.
    ///
    /// # Errors
    /// What Go finds wrong.
    pub fn verify(&self, folder: &Path, key: &str) -> Result<()> {
        let output = Command::new(&self.program).arg(folder).arg(key).output();
        let output = output.context("cannot start the verifier")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}
