//! What commands print: the answer on standard output, everything else on standard error.

use std::io::{self, Write as _};

use anyhow::Context as _;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// How a command answers: for people, or for machines.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// In JSON if `json` says so.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the answer is for machines.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints the answer, as one line of JSON or as `people` say it.
    pub fn show<T: Serialize>(self, answer: &T, people: impl FnOnce() -> String) -> Outcome {
        let text = if self.json { serde_json::to_string(answer)? } else { people() };
        let mut out = io::stdout().lock();
        let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
        match written {
            // Whoever reads has read enough, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written.context("cannot write the answer")?),
        }
    }

    /// Tells people something that is not the answer.
    pub fn note(self, text: &str) {
        // There is nowhere to say that standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says why a command failed.
    pub fn fail(self, failure: &Failure) {
        if self.json {
            let (code, reasons) = (failure.kind(), failure.reasons());
            let message = failure.to_string();
            let error = serde_json::json!({ "code": code, "message": message, "reasons": reasons });
            self.note(&serde_json::json!({ "error": error }).to_string());
        } else {
            self.note(&format!("error: {failure}"));
        }
    }

    /// A bar over so many bytes: on standard error, and only if that is a terminal.
    pub fn bytes_bar(self, bytes: u64) -> ProgressBar {
        bar(bytes, "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}")
    }

    /// A bar over so many things.
    pub fn count_bar(self, things: u64) -> ProgressBar {
        bar(things, "{bar:30} {pos}/{len} {msg}")
    }

    /// A line that changes while something is waited for.
    pub fn status(self) -> ProgressBar {
        bar(0, "{elapsed} {msg}")
    }
}

/// A table for people, without lines and colours.
pub fn table<'h>(header: impl IntoIterator<Item = &'h str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    // The templates are fixed: a test parses them.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_for_terminals_only() {
        let output = Output::new(false);
        for bar in [output.bytes_bar(1), output.count_bar(1), output.status()] {
            // Tests run without a terminal.
            assert!(bar.is_hidden());
        }
        for template in ["{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}", "{elapsed} {msg}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
