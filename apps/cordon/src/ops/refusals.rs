//! Which records were not sealed, and when that is too many.
//!
//! A table that silently lacks a tenth of its records gives wrong numbers to everybody who trusts
//! it, so what is refused is told with file and line, and beyond a limit nothing is sealed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use cordon_types::TableName;
use serde::Serialize;

/// How many refused records are named per table.
const NAMED: usize = 10;

/// How much may be refused.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Stop at the first record that is refused.
    pub strict: bool,
    /// Percent of a table's records that may be refused.
    pub max_rejected: u8,
    /// Whether a table may have no rows.
    pub allow_empty: bool,
}

/// Where a record stands.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line that it begins on, from 1.
    pub line: u64,
}

/// What was made of a table's records, for the holder's eyes: never content.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// The table.
    pub table: TableName,
    /// Rows that were sealed.
    pub rows: u64,
    /// Records that were read: of the view's type, or of the CSV file.
    pub records: u64,
    /// Records, and rows without a subject, that were refused, by code.
    pub rejected: BTreeMap<&'static str, u64>,
    /// The first of them.
    pub first_rejected: Vec<Rejected>,
    /// Columns whose names are not those in the file.
    pub renamed: Vec<Renamed>,
}

/// The first refused records of one file, as its reader names them.
pub(super) fn first_rejected(file: &Path, lines: &[(u64, &'static str)]) -> Vec<Rejected> {
    let at = |line| Place { file: file.to_owned(), line };
    lines.iter().take(NAMED).map(|&(line, code)| Rejected { place: at(line), code }).collect()
}

/// One refused record.
#[derive(Clone, Debug, Serialize)]
pub struct Rejected {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// Why.
    pub code: &'static str,
}

/// A column that could not keep its name.
#[derive(Clone, Debug, Serialize)]
pub struct Renamed {
    /// In the file.
    pub header: String,
    /// In the table.
    pub column: String,
}

/// Why nothing is sealed.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The first refused record, where none may be.
    #[error("`{}` line {}: {}", .0.place.file.display(), .0.place.line, .0.code)]
    Record(Rejected),
    /// The file was cut.
    #[error(
        "`{}` ends within a record, on line {}: it was cut, so fetch it again", .0.file.display(), .0.line
    )]
    Cut(Place),
    /// Nothing would be in the table.
    #[error("no rows: allow that with `--allow-empty`, if it is right\n{0}")]
    Empty(TableReport),
    /// Too much would be missing.
    #[error(
        "over {max} % of the records are refused: mend them, or set `--max-rejected`\n{report}"
    )]
    TooManyRejected {
        /// The limit.
        max: u8,
        /// What there is.
        report: TableReport,
    },
}

impl TableReport {
    pub(super) fn new(table: &TableName) -> Self {
        let table = table.clone();
        Self {
            table,
            rows: 0,
            records: 0,
            rejected: BTreeMap::new(),
            first_rejected: Vec::new(),
            renamed: Vec::new(),
        }
    }

    /// Takes note of a refused record.
    pub(super) fn reject(&mut self, file: &Path, line: u64, code: &'static str) {
        *self.rejected.entry(code).or_default() += 1;
        if self.first_rejected.len() < NAMED {
            let place = Place { file: file.to_owned(), line };
            self.first_rejected.push(Rejected { place, code });
        }
    }

    /// How many were refused.
    pub fn all_rejected(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Decides about the whole table.
    pub(super) fn judge(self, tolerance: Tolerance) -> Result<Self, Unusable> {
        let max = tolerance.max_rejected;
        let rejected = u128::from(self.all_rejected());
        match self.first_rejected.first() {
            Some(first) if tolerance.strict => Err(Unusable::Record(first.clone())),
            _ if rejected * 100 > u128::from(self.records) * u128::from(max) => {
                Err(Unusable::TooManyRejected { max, report: self })
            }
            _ if self.rows == 0 && !tolerance.allow_empty => Err(Unusable::Empty(self)),
            _ => Ok(self),
        }
    }

    /// Whether there is something that the holder should know.
    pub fn is_notable(&self) -> bool {
        !self.rejected.is_empty() || !self.renamed.is_empty()
    }
}

impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected = self.all_rejected();
        write!(f, "table `{}`: {rejected} refused of {} records", self.table, self.records)?;
        for (code, count) in &self.rejected {
            write!(f, "\n  {count} × {code}")?;
        }
        for Rejected { place: Place { file, line }, code } in &self.first_rejected {
            write!(f, "\n  `{}` line {line}: {code}", file.display())?;
        }
        if rejected > self.first_rejected.len() as u64 {
            write!(f, "\n  …")?;
        }
        for Renamed { header, column } in &self.renamed {
            write!(f, "\n  column `{header}` is called `{column}` in the table")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENIENT: Tolerance = Tolerance { strict: false, max_rejected: 1, allow_empty: false };

    fn report(rows: u64, records: u64, rejected: u64) -> TableReport {
        let mut report = TableReport::new(&"t".parse().unwrap());
        (report.rows, report.records) = (rows, records);
        (0..rejected).for_each(|line| report.reject(Path::new("f"), line + 1, "not_json"));
        report
    }

    #[test]
    fn one_in_a_hundred_passes_and_two_do_not() {
        assert!(report(99, 100, 1).judge(LENIENT).is_ok());
        let error = report(98, 100, 2).judge(LENIENT).unwrap_err();
        assert!(matches!(error, Unusable::TooManyRejected { max: 1, .. }));
        assert!(error.to_string().contains("`f` line 2: not_json"), "{error}");
        let half = Tolerance { max_rejected: 50, ..LENIENT };
        assert!(report(50, 100, 50).judge(half).is_ok());
        assert!(report(49, 100, 51).judge(half).is_err());
    }

    #[test]
    fn an_empty_table_is_for_those_who_want_one() {
        assert!(matches!(report(0, 0, 0).judge(LENIENT), Err(Unusable::Empty(_))));
        let allowed = Tolerance { allow_empty: true, ..LENIENT };
        assert!(report(0, 0, 0).judge(allowed).is_ok());
        // Empty since all of it was refused is another thing.
        assert!(report(0, 5, 5).judge(allowed).is_err());
    }

    #[test]
    fn the_strict_bear_none_and_few_are_named() {
        let strict = Tolerance { strict: true, max_rejected: 100, allow_empty: true };
        assert!(matches!(report(99, 100, 1).judge(strict), Err(Unusable::Record(_))));
        let many = report(1, 5000, 4000);
        assert_eq!((many.first_rejected.len(), many.all_rejected()), (NAMED, 4000));
        assert!(many.to_string().ends_with('…'), "{many}");
    }
}
