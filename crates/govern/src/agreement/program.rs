//! The program: its tables come from agreed datasets, and it gets the columns it touches and no
//! others.

use std::collections::{BTreeMap, BTreeSet};

use cordon_protocol::Agreement;
use cordon_protocol::agreement::{ParameterBound, Program, ResultKind, Review};
use cordon_protocol::run::ParameterValue;
use cordon_protocol::worker::MAX_QUERY_BYTES;
use cordon_types::{ColumnName, DatasetId, PartyId, TableName};

use super::text::paragraphs;
use super::{AgreementError, ascending, count, distinct};
use crate::Code;

/// Most tables that a query sees, and most tables of a dataset.
pub const MAX_TABLES: usize = 32;
/// Most columns of one table.
pub const MAX_COLUMNS: usize = 256;
/// Most parameters.
pub const MAX_PARAMETERS: usize = 32;
/// Most values of one parameter.
pub const MAX_PARAMETER_VALUES: usize = 256;
/// Most columns of the result.
pub const MAX_RESULT_COLUMNS: usize = cordon_egress::MAX_COLUMNS;

const MAX_PARAMETER_TEXT_BYTES: usize = 256;
/// Integers in documents are below this in magnitude.
const JSON_INTEGER_LIMIT: i64 = 1 << 53;

pub(super) fn check(agreement: &Agreement) -> Result<(), AgreementError> {
    let program = &agreement.program;
    paragraphs("program.query", &program.query, MAX_QUERY_BYTES)?;
    check_parameters(agreement)?;
    check_result(program)?;
    check_sources(agreement)?;
    check_columns(agreement)
}

fn check_parameters(agreement: &Agreement) -> Result<(), AgreementError> {
    let parameters = &agreement.program.parameters;
    count("program.parameters", parameters.len(), 0..=MAX_PARAMETERS)?;
    for (name, bound) in parameters {
        let field = format!("program.parameters.{name}");
        check_bound(&field, bound)?;
        // Results of different parameters can be subtracted from each other (privacy.md §7), and
        // no history is kept yet that would notice.
        if bound.one_of.len() > 1 && agreement.output.review != Review::EachHolder {
            let expected = "one value, or a review of each output by every holder";
            let found = format!("{} values and no review", bound.one_of.len());
            return Err(AgreementError::new(Code::AgreementReview, field, expected, found));
        }
    }
    Ok(())
}

fn check_bound(field: &str, bound: &ParameterBound) -> Result<(), AgreementError> {
    let values = &bound.one_of;
    count(field, values.len(), 1..=MAX_PARAMETER_VALUES)?;
    ascending(field, values)?;
    let refuse = |expected: &str, found: &str| {
        Err(AgreementError::new(Code::AgreementParameters, field, expected, found))
    };
    let kinds: BTreeSet<_> = values.iter().map(kind).collect();
    if kinds.len() > 1 {
        return refuse("values of one type", "several types");
    }
    for value in values {
        match value {
            ParameterValue::Integer(value) => {
                if value.unsigned_abs() >= JSON_INTEGER_LIMIT.unsigned_abs() {
                    return refuse("integers below 2^53", "a larger one");
                }
            }
            ParameterValue::Date(day) => {
                if !is_day(day) {
                    return refuse("days as `YYYY-MM-DD`", "another text");
                }
            }
            ParameterValue::Text(text) => {
                if text.len() > MAX_PARAMETER_TEXT_BYTES || text.chars().any(char::is_control) {
                    return refuse(
                        "at most 256 bytes of text without control characters",
                        "others",
                    );
                }
            }
            ParameterValue::Boolean(_) => {}
        }
    }
    Ok(())
}

fn check_result(program: &Program) -> Result<(), AgreementError> {
    let result = &program.result;
    count("program.result", result.len(), 1..=MAX_RESULT_COLUMNS)?;
    let names: Vec<_> = result.iter().map(|column| &column.name).collect();
    distinct("program.result", &names)?;
    if result.iter().all(|column| column.kind == ResultKind::Key) {
        let expected = "a column that is not a key";
        let (field, found) = ("program.result", "keys only");
        return Err(AgreementError::new(Code::AgreementResult, field, expected, found));
    }
    Ok(())
}

fn check_sources(agreement: &Agreement) -> Result<(), AgreementError> {
    let program = &agreement.program;
    count("program.tables", program.tables.len(), 1..=MAX_TABLES)?;
    let mut named = BTreeSet::new();
    for (table, sources) in &program.tables {
        let field = format!("program.tables.{table}");
        count(&field, sources.len(), 1..=agreement.holders.len())?;
        ascending(&field, sources)?;
        // One sealed table per holder: rows are told apart by holder, and support is counted so.
        let holders: Vec<_> = sources.iter().map(|source| &source.holder).collect();
        distinct(&field, &holders)?;
        for source in sources {
            let terms = agreement
                .holder(&source.holder)
                .and_then(|holder| holder.datasets.iter().find(|d| d.dataset == source.dataset));
            if !terms.is_some_and(|terms| terms.columns.contains_key(&source.table)) {
                return Err(AgreementError::new(
                    Code::AgreementSources,
                    field,
                    "tables of the agreed datasets",
                    format!("`{}` of `{}` of `{}`", source.table, source.dataset, source.holder),
                ));
            }
            // Under two names the engine would take its rows for those of two tables.
            if !named.insert(source) {
                return Err(AgreementError::new(
                    Code::AgreementSources,
                    field,
                    "each sealed table under one name",
                    format!("`{}` of `{}` again", source.table, source.holder),
                ));
            }
        }
    }
    Ok(())
}

/// Data minimisation: the columns whose keys are released are those that the program touches,
/// neither fewer, which could not run, nor more, which nobody needs.
fn check_columns(agreement: &Agreement) -> Result<(), AgreementError> {
    let program = &agreement.program;
    if !program.touched.keys().eq(program.tables.keys()) {
        return Err(AgreementError::new(
            Code::AgreementColumns,
            "program.touched",
            "one entry for each table of the program",
            "others",
        ));
    }
    type Place<'a> = (&'a PartyId, &'a DatasetId, &'a TableName);
    let mut touched: BTreeMap<Place<'_>, BTreeSet<&ColumnName>> = BTreeMap::new();
    for (table, columns) in &program.touched {
        let field = format!("program.touched.{table}");
        count(&field, columns.len(), 1..=MAX_COLUMNS)?;
        ascending(&field, columns)?;
        for source in program.tables.get(table).into_iter().flatten() {
            let place = (&source.holder, &source.dataset, &source.table);
            touched.entry(place).or_default().extend(columns);
        }
    }
    for holder in &agreement.holders {
        for terms in &holder.datasets {
            let field = format!("holders[{}].datasets[{}].columns", holder.party, terms.dataset);
            count(&field, terms.columns.len(), 1..=MAX_TABLES)?;
            for (table, agreed) in &terms.columns {
                let field = format!("{field}.{table}");
                count(&field, agreed.len(), 1..=MAX_COLUMNS)?;
                ascending(&field, agreed)?;
                let needed =
                    touched.remove(&(&holder.party, &terms.dataset, table)).unwrap_or_default();
                let agreed: BTreeSet<_> = agreed.iter().collect();
                check_table(field, &needed, &agreed)?;
            }
        }
    }
    Ok(())
}

fn check_table(
    field: String,
    needed: &BTreeSet<&ColumnName>,
    agreed: &BTreeSet<&ColumnName>,
) -> Result<(), AgreementError> {
    let (found, column) = match (needed.difference(agreed).next(), agreed.difference(needed).next())
    {
        (Some(missing), _) => ("touched and not agreed", missing),
        (None, Some(spare)) => ("agreed and not touched", spare),
        (None, None) => return Ok(()),
    };
    let expected = "exactly the columns that the program touches";
    let found = format!("`{column}`, {found}");
    Err(AgreementError::new(Code::AgreementColumns, field, expected, found))
}

const fn kind(value: &ParameterValue) -> u8 {
    match value {
        ParameterValue::Integer(_) => 0,
        ParameterValue::Text(_) => 1,
        ParameterValue::Date(_) => 2,
        ParameterValue::Boolean(_) => 3,
    }
}

/// A day of the Gregorian calendar, `YYYY-MM-DD`.
fn is_day(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u32>().ok())
    };
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    text.len() == 10
        && text.get(4..5) == Some("-")
        && text.get(7..8) == Some("-")
        && (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::is_day;

    #[test]
    fn days_are_those_of_the_calendar() {
        for good in ["2024-02-29", "2000-02-29", "1999-12-31", "0001-01-01"] {
            assert!(is_day(good), "{good}");
        }
        for bad in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-04-31",
            "2024-01-00",
            "2024-1-01",
            "2024/01/01",
            "2024-01-01T",
            "20240101",
            "",
            "+024-01-01",
            "２024-01-01",
        ] {
            assert!(!is_day(bad), "{bad}");
        }
    }
}
