//! Telling what happens, and keeping it for the report.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::report::{Report, Step};
use crate::output::Output;

/// What an attack came to.
pub struct Seen {
    /// Whether it was stopped as it should be.
    pub ok: bool,
    /// In the words of whoever stopped it.
    pub observed: String,
}

impl Seen {
    /// Stopped with the code that it should be stopped with, or not.
    pub fn code(expected: &str, found: &str, words: impl Into<String>) -> Self {
        Self { ok: found == expected, observed: words.into() }
    }
}

/// What a step is.
#[derive(Clone, Copy)]
enum Kind {
    Work,
    Attack,
}

/// Shows steps as they happen and collects them.
pub struct Stage {
    output: Output,
    report: Report,
}

impl Stage {
    /// An empty stage.
    pub fn new(output: Output) -> Self {
        Self { output, report: Report::default() }
    }

    /// A step of the main job: `proves` is one line of what it shows. If it fails, the job ends.
    ///
    /// # Errors
    /// What the step failed with.
    pub async fn work<T>(
        &mut self,
        name: &str,
        proves: &str,
        doing: impl Future<Output = Result<(T, String)>>,
    ) -> Result<T> {
        let (result, took) = self.wait(name, doing).await;
        let (value, observed) = match result {
            Ok((value, observed)) => (Ok(value), observed),
            Err(error) => {
                let observed = format!("{error:#}");
                (Err(error), observed)
            }
        };
        let step = Step {
            step: name.to_owned(),
            expected: proves.to_owned(),
            observed,
            ok: value.is_ok(),
        };
        self.tell(Kind::Work, &step, took);
        self.report.work.push(step);
        value
    }

    /// An attack. What goes wrong with it is a finding of the report, and the next one follows.
    pub async fn attack(
        &mut self,
        name: &str,
        expected: &str,
        doing: impl Future<Output = Result<Seen>>,
    ) {
        let (result, took) = self.wait(name, doing).await;
        let seen = result.unwrap_or_else(|error| {
            let observed = format!("the attack could not be carried out: {error:#}");
            Seen { ok: false, observed }
        });
        let step = Step {
            step: name.to_owned(),
            expected: expected.to_owned(),
            observed: seen.observed,
            ok: seen.ok,
        };
        self.tell(Kind::Attack, &step, took);
        self.report.attacks.push(step);
    }

    /// A line between steps.
    pub fn say(&self, text: &str) {
        if !self.output.is_json() {
            println!("{text}");
        }
    }

    /// What happened.
    pub fn into_report(self) -> Report {
        self.report
    }

    async fn wait<T>(&self, name: &str, doing: impl Future<Output = T>) -> (T, Duration) {
        let line = self.output.status();
        line.set_message(name.to_owned());
        line.enable_steady_tick(Duration::from_millis(100));
        let begun = Instant::now();
        let result = doing.await;
        line.finish_and_clear();
        (result, begun.elapsed())
    }

    fn tell(&self, kind: Kind, step: &Step, took: Duration) {
        let mark = if step.ok { "ok " } else { "NOT" };
        let seconds = took.as_secs_f64();
        self.say(&format!("{mark} {:<58} {seconds:5.1} s", step.step));
        match (kind, step.ok) {
            (Kind::Work, _) => self.say(&format!("    {}", step.expected)),
            (Kind::Attack, true) => {}
            (Kind::Attack, false) => self.say(&format!("    expected: {}", step.expected)),
        }
        self.say(&format!("      {}", with_short_digests(&step.observed)));
    }
}

/// The text with digests cut to what people compare; the report has them whole.
fn with_short_digests(text: &str) -> String {
    const DIGEST_CHARS: usize = 64;
    const SHOWN_CHARS: usize = 12;
    let mut short = String::with_capacity(text.len());
    let mut digits = String::new();
    // A last character that is no digit ends the last run of digits.
    for c in text.chars().chain([' ']) {
        if c.is_ascii_hexdigit() {
            digits.push(c);
            continue;
        }
        match digits.get(..SHOWN_CHARS) {
            Some(shown) if digits.len() >= DIGEST_CHARS => {
                short.push_str(shown);
                short.push('…');
            }
            _ => short.push_str(&digits),
        }
        digits.clear();
        short.push(c);
    }
    short.pop();
    short
}

#[cfg(test)]
mod tests {
    use super::with_short_digests;

    #[test]
    fn digests_are_short_on_the_screen_and_nothing_else_is() {
        let digest = "0123456789abcdef".repeat(4);
        let text = format!("found sha256:{digest}, wanted {digest}");
        assert_eq!(with_short_digests(&text), "found sha256:0123456789ab…, wanted 0123456789ab…");
        for text in ["", "guard: stopped, 1.0 s", "a deadbeef", "`state` of é"] {
            assert_eq!(with_short_digests(text), text);
        }
    }
}
