//! What the demo found: `report.json` for machines, `report.html` for a security officer.

use std::path::Path;

use anyhow::Result;
use askama::Template;
use cordon_protocol::table::{Cell, ResultTable};
use serde::Serialize;

use crate::files;

/// One thing that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was done, or attempted.
    pub step: String,
    /// What had to come of it.
    pub expected: String,
    /// What came of it, in the words of the broker, guard or verifier that said so.
    pub observed: String,
    /// Whether that is as expected.
    pub ok: bool,
}

/// The main job, then the attacks.
#[derive(Default)]
pub struct Report {
    /// Steps of the main job.
    pub work: Vec<Step>,
    /// Attacks.
    pub attacks: Vec<Step>,
}

/// What the report says about the study.
pub struct Story {
    /// The question.
    pub title: String,
    /// The statement that ran.
    pub query: String,
    /// The holders.
    pub holders: Vec<String>,
    /// The cleared result.
    pub table: ResultTable,
    /// Digest of the agreement.
    pub agreement: String,
    /// Fewest patients behind a cell.
    pub min_cell: u32,
    /// When, RFC 3339.
    pub when: String,
}

impl Report {
    /// Whether all is as expected.
    pub fn is_good(&self) -> bool {
        !self.work.is_empty() && self.work.iter().chain(&self.attacks).all(|step| step.ok)
    }

    /// Writes both files into `folder`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(&self, folder: &Path, story: &Story) -> Result<()> {
        write_json(self, folder)?;
        let page = Page {
            story,
            report: self,
            header: story.table.columns.iter().map(|c| c.name.to_string()).collect(),
            rows: story.table.rows.iter().map(|r| r.iter().map(shown).collect()).collect(),
            bars: bars(&story.table),
            good: self.is_good(),
            refused: self.attacks.iter().filter(|a| a.ok).count(),
        };
        files::write(&folder.join("report.html"), page.render()?.as_bytes())
    }
}

/// Writes `report.json`, which is all there is to say if the main job failed.
///
/// # Errors
/// If the folder cannot be written.
pub fn write_json(report: &Report, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let steps: Vec<&Step> = report.work.iter().chain(&report.attacks).collect();
    files::write_json(&folder.join("report.json"), &serde_json::json!({ "steps": steps }))
}

/// A cell for people.
pub fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => "–".to_owned(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Number(text) | Cell::Text(text) => text.clone(),
        Cell::Suppressed => "withheld".to_owned(),
    }
}

/// A bar of the chart: label, value, and its width in per cent of the longest.
struct Bar {
    label: String,
    value: String,
    percent: f64,
}

/// The first count column as bars; withheld cells have none.
fn bars(table: &ResultTable) -> Vec<Bar> {
    use cordon_protocol::agreement::ResultKind;
    let Some(count) = table.columns.iter().position(|c| c.kind == ResultKind::Count) else {
        return Vec::new();
    };
    let value = |row: &Vec<Cell>| match row.get(count) {
        Some(Cell::Integer(value)) => Some(*value),
        _ => None,
    };
    let longest = table.rows.iter().filter_map(value).max().unwrap_or(1).max(1);
    let keys = |row: &Vec<Cell>| {
        let keys = table.columns.iter().zip(row).filter(|(c, _)| c.kind == ResultKind::Key);
        keys.map(|(_, cell)| shown(cell)).collect::<Vec<_>>().join(" · ")
    };
    table
        .rows
        .iter()
        .map(|row| Bar {
            label: keys(row),
            value: row.get(count).map(shown).unwrap_or_default(),
            percent: value(row).map_or(0.0, |v| 100.0 * v as f64 / longest as f64),
        })
        .collect()
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    story: &'a Story,
    report: &'a Report,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    bars: Vec<Bar>,
    good: bool,
    refused: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_protocol::agreement::ResultKind;
    use cordon_protocol::table::Column;

    fn story() -> Story {
        let column = |name: &str, kind| Column { name: name.parse().unwrap(), kind };
        Story {
            title: "a <question>".into(),
            query: "SELECT 1".into(),
            holders: vec!["hospital-a".into()],
            table: ResultTable {
                columns: vec![column("sex", ResultKind::Key), column("n", ResultKind::Count)],
                rows: vec![
                    vec![Cell::Text("female".into()), Cell::Integer(20)],
                    vec![Cell::Text("male".into()), Cell::Suppressed],
                ],
            },
            agreement: "sha256:00".into(),
            min_cell: 11,
            when: "2026-01-01T00:00:00Z".into(),
        }
    }

    fn step(ok: bool) -> Step {
        let (step, expected, observed) = ("s".into(), "e".into(), "o".into());
        Step { step, expected, observed, ok }
    }

    #[test]
    fn one_unexpected_step_makes_the_report_bad_and_none_at_all_too() {
        let mut report = Report::default();
        assert!(!report.is_good());
        report.work.push(step(true));
        assert!(report.is_good());
        report.attacks.push(step(false));
        assert!(!report.is_good());
    }

    #[test]
    fn the_page_escapes_what_it_shows_and_needs_nothing_from_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let report = Report { work: vec![step(true)], attacks: vec![] };
        report.write(folder.path(), &story()).unwrap();
        let page =
            String::from_utf8(files::read(&folder.path().join("report.html")).unwrap()).unwrap();
        assert!(page.contains("a &#60;question&#62;"), "{page}");
        assert!(page.contains("withheld"));
        for outside in ["http://", "https://", "<script", "src="] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
