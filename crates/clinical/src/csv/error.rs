//! Why a file, a record or a schema is refused.

use super::MAX_CSV_RECORD_BYTES;

/// Why a file of comma separated values was refused; never its content.
#[derive(Debug, thiserror::Error)]
#[error("{}{problem}", place(*line, column))]
pub struct CsvError {
    /// The line that the record begins on, from 1; 0 where a schema is to blame.
    pub line: u64,
    /// The header of the column, if one is to blame.
    pub column: Option<String>,
    /// What is wrong.
    pub problem: CsvProblem,
}

impl CsvError {
    /// The stable code of this refusal.
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsvProblem {
    /// The file is empty.
    #[error("expected a header")]
    NoHeader,
    /// Two columns have one header.
    #[error("duplicate header")]
    DuplicateHeader,
    /// A column of the schema is not in the file.
    #[error("missing column")]
    MissingColumn,
    /// The file ends within quotes: it was cut, or a quote is missing.
    #[error("quote is never closed")]
    OpenQuote,
    /// A record has more or fewer values than the header.
    #[error("expected as many values as the header has")]
    UnequalLengths,
    /// A record is longer than [`MAX_CSV_RECORD_BYTES`].
    #[error("record is longer than {MAX_CSV_RECORD_BYTES} bytes")]
    RecordTooLong,
    /// A value is not UTF-8.
    #[error("value is not utf-8")]
    NotUtf8,
    /// A value is empty in a column that must have one.
    #[error("empty value in a column that is not nullable")]
    Empty,
    /// A value is not of the column's type.
    #[error("value is not of the column's type")]
    WrongType,
    /// A number is outside the range of its column.
    #[error("number out of range")]
    OutOfRange,
    /// An identifier has characters that no key is made of.
    #[error("value cannot be an identifier")]
    NotAKey,
    /// The file cannot be read.
    #[error("file cannot be read")]
    Io(#[source] std::io::Error),
    /// A schema is not JSON of the right form.
    #[error("schema is not valid: {0}")]
    Schema(String),
}

impl CsvProblem {
    /// The stable code of this refusal.
    pub fn code(&self) -> &'static str {
        match self {
            CsvProblem::NoHeader => "no_header",
            CsvProblem::DuplicateHeader => "duplicate_header",
            CsvProblem::MissingColumn => "missing_column",
            CsvProblem::OpenQuote => "open_quote",
            CsvProblem::UnequalLengths => "unequal_lengths",
            CsvProblem::RecordTooLong => "record_too_long",
            CsvProblem::NotUtf8 => "not_utf8",
            CsvProblem::Empty => "empty_value",
            CsvProblem::WrongType => "type_mismatch",
            CsvProblem::OutOfRange => "out_of_range",
            CsvProblem::NotAKey => "not_a_key",
            CsvProblem::Io(_) => "unreadable",
            CsvProblem::Schema(_) => "schema_invalid",
        }
    }

    /// Whether only one record is affected and the next one can be read.
    pub(super) fn is_of_record(&self) -> bool {
        matches!(self, CsvProblem::UnequalLengths)
    }

    pub(super) fn of(self, line: u64, column: &str) -> CsvError {
        CsvError {
            line,
            column: Some(column.to_owned()).filter(|column| !column.is_empty()),
            problem: self,
        }
    }
}

fn place(line: u64, column: &Option<String>) -> String {
    match (line, column) {
        (0, _) => String::new(),
        (line, Some(column)) => format!("line {line}, column `{column}`: "),
        (line, None) => format!("line {line}: "),
    }
}
