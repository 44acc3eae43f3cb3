//! Starting `cordon` and what it starts.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The built `cordon`.
pub const CORDON: &str = env!("CARGO_BIN_EXE_cordon");

/// Another program of the workspace, built beside it.
pub fn beside(name: &str) -> PathBuf {
    let path = Path::new(CORDON).with_file_name(name);
    assert!(path.is_file(), "`{}` is not built: build the workspace", path.display());
    path
}

/// Runs a command that must succeed; gives its answer.
#[track_caller]
pub fn cordon(arguments: &[&str]) -> Value {
    let output = Command::new(CORDON).arg("--json").args(arguments).output().expect("it starts");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "cordon {}: {err}", arguments.join(" "));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Runs a command that must fail; gives its exit code and what it said on standard error.
#[track_caller]
pub fn fails(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(CORDON).args(arguments).output().expect("it starts");
    assert!(!output.status.success(), "cordon {} succeeds", arguments.join(" "));
    (output.status.code().expect("it was not killed"), text(&output.stderr))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A service that ends with the test.
pub struct Service {
    child: Child,
    /// The rest of its first line.
    pub first: String,
}

impl Service {
    /// Starts a service; its first line begins with `word`.
    pub fn start(arguments: &[&str], word: &str) -> Self {
        Self::run(Command::new(CORDON).args(arguments).stderr(Stdio::null()), word)
    }

    /// Likewise, of a command that starts it in some other way.
    pub fn run(command: &mut Command, word: &str) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("an output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let first = line.trim().strip_prefix(word);
        let first = first.unwrap_or_else(|| panic!("{command:?}: {line}"));
        Self { child, first: first.trim().to_owned() }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for it to end by itself; gives its exit code and its standard error, if piped.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).expect("text");
        }
        (self.child.wait().expect("it ends").code(), said)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
