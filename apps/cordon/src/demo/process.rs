//! Programs of the demo that run on their own: this program again, as hub and as brokers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::files;

/// A service starts within a second or so; a debug build on a busy machine takes longer.
const START: Duration = Duration::from_secs(60);

/// A running service. It is killed when this is dropped: what it has said is on its disk.
pub struct Service {
    child: Child,
    /// Where it listens.
    pub url: String,
    log: PathBuf,
}

impl Service {
    /// Starts this program with `arguments` and waits until it says where it listens. What it
    /// logs goes to the file `log`.
    ///
    /// # Errors
    /// If it ends before; the error is its own.
    pub async fn start(arguments: &[&str], log: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let stderr =
            File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env("CORDON_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a service")?;
        let stdout = child.stdout.take().context("a service without an output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = tokio::time::timeout(START, lines.next_line()).await;
        let first = first.context("a service does not start")??;
        let Some(url) = first.as_deref().and_then(|line| line.strip_prefix("listening ")) else {
            child.wait().await?;
            bail!("{}", last_error(log));
        };
        Ok(Self { url: url.to_owned(), child, log: log.to_owned() })
    }

    /// Kills it, as a power cut would.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("cannot end a service")
    }

    /// Waits until it ends by itself: its exit code and what it said.
    ///
    /// # Errors
    /// If it goes on.
    pub async fn ends(mut self, within: Duration) -> Result<(Option<i32>, String)> {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        let status = ended.context("the service goes on")??;
        Ok((status.code(), last_error(&self.log)))
    }
}

/// The error that a program of ours ended with.
fn last_error(log: &Path) -> String {
    let text = files::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let error = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
    error.unwrap_or("the service ended without a word").to_owned()
}
