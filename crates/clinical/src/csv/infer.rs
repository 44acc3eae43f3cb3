//! Guessing a schema, carefully: a type is taken only if every value has it.

use std::io::Read;

use ::csv::ByteRecord;

use super::error::CsvError;
use super::schema::{CsvColumn, CsvSchema, CsvType};
use super::{open, read_record};
use crate::temporal::Temporal;
use crate::view::{ColumnKind, is_column_name};

/// Reads at most `max_records` records and says what their columns could be. All
/// columns are nullable, and none is a key: that is for a person to say.
///
/// # Errors
/// The file is unreadable, or names in its header cannot be told apart.
pub fn infer(reader: impl Read, delimiter: u8, max_records: u64) -> Result<CsvSchema, CsvError> {
    let (mut reader, header) = open(reader, delimiter)?;
    let mut guesses = vec![Guess::default(); header.len()];
    let mut record = ByteRecord::new();
    let mut records = 0;
    while records < max_records && read_record(&mut reader, &mut record)? {
        records += 1;
        for (guess, value) in guesses.iter_mut().zip(&record) {
            match std::str::from_utf8(value) {
                Ok(value) => guess.look_at(value),
                Err(_) => guess.is_other = true,
            }
        }
    }
    let columns = header.into_iter().zip(guesses).enumerate();
    let columns = columns.map(|(index, (header, guess))| CsvColumn {
        name: column_name(&header, index),
        header,
        column_type: CsvType::Value(guess.kind()),
        nullable: true,
    });
    CsvSchema::new(columns.collect())
}

/// What the values of a column have in common.
#[derive(Debug, Clone, Default)]
struct Guess {
    booleans: u64,
    dates: u64,
    integers: u64,
    decimals: u64,
    floats: u64,
    is_other: bool,
    whole_digits: usize,
    fraction_digits: usize,
}

impl Guess {
    fn look_at(&mut self, value: &str) {
        if value.is_empty() {
            return;
        }
        let digits = value.strip_prefix('-').unwrap_or(value);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = !whole.is_empty()
            && all_digits(whole)
            && all_digits(fraction)
            && !digits.ends_with('.')
            // `007` is a code, not a number.
            && (whole == "0" || !whole.starts_with('0'));
        if is_plain {
            self.whole_digits = self.whole_digits.max(whole.len());
            self.fraction_digits = self.fraction_digits.max(fraction.len());
        }
        match value {
            _ if ["true", "false", "True", "False", "TRUE", "FALSE"].contains(&value) => {
                self.booleans += 1
            }
            _ if is_plain && fraction.is_empty() && value.parse::<i64>().is_ok() => {
                self.integers += 1
            }
            // Hundreds of digits are a number that no column holds.
            _ if is_plain && is_finite(value) => self.decimals += 1,
            _ if is_full_date(value) => self.dates += 1,
            _ if is_scientific(value) => self.floats += 1,
            _ => self.is_other = true,
        }
    }

    fn kind(&self) -> ColumnKind {
        let digits = self.whole_digits + self.fraction_digits;
        let numbers = self.integers + self.decimals + self.floats;
        match (self.is_other, self.booleans, self.dates, numbers) {
            (false, 1.., 0, 0) => ColumnKind::Boolean,
            (false, 0, 1.., 0) => ColumnKind::Date,
            (false, 0, 0, 1..) => match (self.decimals, self.floats) {
                (0, 0) => ColumnKind::Int64,
                // Room for sums, and for longer values further down.
                (_, 0) if digits <= 12 => decimal(18, self.fraction_digits),
                (_, 0) if digits <= 32 => decimal(38, self.fraction_digits),
                _ => ColumnKind::Float64,
            },
            _ => ColumnKind::Text,
        }
    }
}

fn decimal(precision: u8, scale: usize) -> ColumnKind {
    ColumnKind::Decimal { precision, scale: scale as u8 }
}

fn is_full_date(value: &str) -> bool {
    value.len() == 10 && Temporal::parse_date_time(value).is_some_and(|date| date.days().is_some())
}

/// `1.5e-7`, as programs write small floats.
fn is_scientific(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && value.contains(['e', 'E'])
        && is_finite(value)
}

fn is_finite(value: &str) -> bool {
    value.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A legal name that resembles the header.
fn column_name(header: &str, index: usize) -> String {
    let cleaned: String =
        header.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match is_column_name(&cleaned) {
        true => cleaned,
        false if cleaned.bytes().all(|byte| byte == b'_') => format!("column_{}", index + 1),
        false => format!("c_{cleaned}"),
    }
}
