//! Measuring: time, processor time, memory; and a report that says what came of it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

/// What a piece of work took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Time that passed.
    pub wall: Duration,
    /// Processor time, user and system, of this process and of children that ended.
    pub cpu: Duration,
}

impl Cost {
    /// Seconds that passed.
    pub fn seconds(&self) -> f64 {
        self.wall.as_secs_f64()
    }
}

/// Started before the work, read after it.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    start: Instant,
    cpu: Duration,
}

impl Watch {
    /// Starts.
    pub fn start() -> Self {
        Self { start: Instant::now(), cpu: processor_time() }
    }

    /// What was spent since the start.
    pub fn read(&self) -> Cost {
        Cost { wall: self.start.elapsed(), cpu: processor_time().saturating_sub(self.cpu) }
    }
}

/// Measures one piece of work.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let watch = Watch::start();
    let result = work();
    (result, watch.read())
}

/// Processor time of this process and of its children that ended.
pub fn processor_time() -> Duration {
    let of = |who| getrusage(who).map_or(Duration::ZERO, |usage| spent(&usage));
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}

/// Highest resident memory of a process so far, in bytes; `None` once it ended.
pub fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The middle of some figures.
pub fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure below which this part of all lies; zero of none.
pub fn quantile(figures: &[f64], part: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * part).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

fn spent(usage: &Usage) -> Duration {
    let time = |t: TimeVal| {
        Duration::new(u64::try_from(t.tv_sec()).unwrap_or(0), 0)
            + Duration::from_micros(u64::try_from(t.tv_usec()).unwrap_or(0))
    };
    time(usage.user_time()) + time(usage.system_time())
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Nothing.
    None,
    /// It should not be lower.
    AtLeast(f64),
    /// It should not be higher.
    AtMost(f64),
}

impl Target {
    fn is_met(self, figure: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtLeast(lowest) => Some(figure >= lowest),
            Self::AtMost(highest) => Some(figure <= highest),
        }
    }

    fn text(self) -> String {
        match self {
            Self::None => String::new(),
            Self::AtLeast(lowest) => format!("≥ {}", number(lowest)),
            Self::AtMost(highest) => format!("≤ {}", number(highest)),
        }
    }
}

/// One line of a report: the median of some repetitions.
#[derive(Clone, Debug)]
struct Row {
    what: String,
    unit: &'static str,
    repetitions: Vec<f64>,
    target: Target,
}

/// What a bench found.
#[derive(Clone, Debug)]
pub struct Report {
    bench: &'static str,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    /// An empty one.
    pub fn new(bench: &'static str) -> Self {
        Self { bench, rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a figure by its repetitions.
    pub fn add(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        repetitions: &[f64],
        target: Target,
    ) {
        let (what, repetitions) = (what.into(), repetitions.to_vec());
        self.rows.push(Row { what, unit, repetitions, target });
    }

    /// Adds what a reader must know to read the figures right.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// As a table, or as JSON.
    pub fn render(&self, as_json: bool) -> String {
        if as_json { format!("{:#}\n", self.to_json()) } else { self.to_table() }
    }

    fn to_json(&self) -> Value {
        let row = |row: &Row| {
            let figure = median(&row.repetitions);
            json!({
                "what": row.what,
                "unit": row.unit,
                "median": figure,
                "repetitions": row.repetitions,
                "target": row.target.text(),
                "met": row.target.is_met(figure),
            })
        };
        json!({
            "bench": self.bench,
            "profile": profile(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    fn to_table(&self) -> String {
        let mut text = format!(
            "{} (driver: {} profile)\n{:54} {:>10} {:12} {:>19} {:>10}\n",
            self.bench,
            profile(),
            "",
            "median",
            "",
            "lowest … highest",
            "target"
        );
        for row in &self.rows {
            let figure = median(&row.repetitions);
            let spread = match row.repetitions.len() {
                0 | 1 => String::new(),
                _ => {
                    let (low, high) =
                        (quantile(&row.repetitions, 0.0), quantile(&row.repetitions, 1.0));
                    format!("{} … {}", number(low), number(high))
                }
            };
            let verdict = match row.target.is_met(figure) {
                None => "",
                Some(true) => "  met",
                Some(false) => "  MISSED",
            };
            let (what, unit, target) = (&row.what, row.unit, row.target.text());
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{what:54} {:>10} {unit:12} {spread:>19} {target:>10}{verdict}",
                number(figure)
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }
}

/// How this very program was built.
fn profile() -> &'static str {
    if cfg!(debug_assertions) { "dev" } else { "release" }
}

fn number(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{figure:.2}"),
        middle if middle < 100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_last_percent_are_figures_that_were_measured() {
        let figures: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&figures, 0.0), 1.0);
        assert_eq!(quantile(&figures, 0.99), 99.0);
        assert_eq!(quantile(&figures, 1.0), 100.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_missed_target_is_shown_as_missed() {
        let mut report = Report::new("test");
        report.add("fast enough", "per s", &[10.0, 30.0, 20.0], Target::AtLeast(15.0));
        report.add("too slow", "ms", &[12.5], Target::AtMost(5.0));
        let table = report.render(false);
        assert!(table.contains("met") && table.contains("MISSED"), "{table}");
        let rows = &report.to_json()["rows"];
        assert_eq!((&rows[0]["met"], &rows[1]["met"]), (&json!(true), &json!(false)));
        assert_eq!(rows[0]["median"], json!(20.0));
    }

    #[test]
    fn work_costs_time_and_this_process_has_memory() {
        let ((), cost) = measure(|| std::hint::black_box(vec![1_u8; 1 << 24]).truncate(1));
        assert!(cost.wall > Duration::ZERO);
        assert!(peak_memory(std::process::id()).unwrap() > 1 << 20);
    }
}
