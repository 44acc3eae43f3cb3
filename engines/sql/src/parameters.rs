use std::collections::{BTreeMap, BTreeSet};

use cordon_protocol::run::ParameterValue;
use cordon_protocol::worker::FailureCode;
use cordon_types::ParameterName;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Placeholder;

use crate::failure::Failure;

/// The values of a run's parameters, typed, and which of them the query has asked for.
pub(crate) struct Parameters {
    values: BTreeMap<ParameterName, ScalarValue>,
    used: BTreeSet<ParameterName>,
}

impl Parameters {
    /// Types the values.
    pub(crate) fn new(values: &BTreeMap<ParameterName, ParameterValue>) -> Result<Self, Failure> {
        let typed = values.iter().map(|(name, value)| Ok((name.clone(), typed(name, value)?)));
        Ok(Self { values: typed.collect::<Result<_, Failure>>()?, used: BTreeSet::new() })
    }

    /// The value that a placeholder of the query stands for. It becomes a literal of its type,
    /// never a piece of text in a statement.
    pub(crate) fn bind(&mut self, placeholder: &Placeholder) -> Result<ScalarValue, Failure> {
        let name: Option<ParameterName> =
            placeholder.id.strip_prefix('$').and_then(|name| name.parse().ok());
        let Some(name) = name else {
            return Err(refuse("parameters are written as `$name`".to_owned()));
        };
        let Some(value) = self.values.get(&name) else {
            return Err(refuse(format!("parameter `{name}` has no value")));
        };
        if let Some(field) = &placeholder.field
            && !fits(&value.data_type(), field.data_type())
        {
            return Err(refuse(format!(
                "parameter `{name}` is compared with {}, but its value is {}",
                kind(field.data_type()),
                kind(&value.data_type())
            )));
        }
        self.used.insert(name);
        Ok(value.clone())
    }

    /// Refuses values that the query does not ask for.
    pub(crate) fn check_all_used(&self) -> Result<(), Failure> {
        match self.values.keys().find(|name| !self.used.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(refuse(format!("the query has no parameter `{name}`"))),
        }
    }
}

fn refuse(detail: String) -> Failure {
    Failure::new(FailureCode::ParameterInvalid, detail)
}

fn typed(name: &ParameterName, value: &ParameterValue) -> Result<ScalarValue, Failure> {
    let wrong = |why: &str| refuse(format!("parameter `{name}`: {why}"));
    match value {
        ParameterValue::Integer(number) if number.unsigned_abs() < MAX_INTEGER => {
            Ok(ScalarValue::Int64(Some(*number)))
        }
        ParameterValue::Integer(_) => Err(wrong("not an integer below 2^53")),
        ParameterValue::Text(text) if text.is_empty() => Err(wrong("empty")),
        ParameterValue::Text(text) => Ok(ScalarValue::Utf8View(Some(text.clone()))),
        ParameterValue::Date(text) => {
            let day = days_since_epoch(text).ok_or_else(|| wrong("not a day as `2024-02-29`"))?;
            Ok(ScalarValue::Date32(Some(day)))
        }
        ParameterValue::Boolean(value) => Ok(ScalarValue::Boolean(Some(*value))),
    }
}

/// The days of `YYYY-MM-DD`, in exactly this form, since 1970-01-01.
fn days_since_epoch(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i32>().ok())?
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if year == 0 || day == 0 || day > length {
        return None;
    }
    // Count from March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = 365 * year + year / 4 - year / 100 + year / 400;
    Some(before_year + (153 * month + 2) / 5 + day - 1 - DAYS_TO_1970_FROM_MARCH_0)
}

/// Whether a value may be compared with what the planner found beside it.
fn fits(value: &DataType, beside: &DataType) -> bool {
    match value {
        DataType::Int64 => beside.is_numeric(),
        DataType::Utf8View => beside.is_string(),
        DataType::Date32 => matches!(beside, DataType::Date32 | DataType::Timestamp(_, _)),
        DataType::Boolean => *beside == DataType::Boolean,
        _ => false,
    }
}

fn kind(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "a boolean",
        DataType::Date32 | DataType::Timestamp(_, _) => "a date",
        text if text.is_string() => "text",
        number if number.is_numeric() => "a number",
        _ => "something else",
    }
}

const MAX_INTEGER: u64 = 1 << 53;
const DAYS_TO_1970_FROM_MARCH_0: i32 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::Field;
    use std::sync::Arc;

    fn parameters(value: ParameterValue) -> Result<Parameters, Failure> {
        Parameters::new(&BTreeMap::from([("p".parse().unwrap(), value)]))
    }

    #[test]
    fn days_are_counted_and_only_one_spelling_is_taken() {
        for (text, day) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2024-12-31", 20_088),
            ("0001-01-01", -719_162),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(days_since_epoch(text), Some(day), "{text}");
        }
        for text in [
            "",
            "2024-2-29",
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "2024-04-31",
            "0000-01-01",
            "2024-01-01 ",
            "+024-01-01",
            "2024/01/01",
            "２0-01-01",
        ] {
            assert_eq!(days_since_epoch(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_is_bound_by_name_and_type() {
        let mut bound = parameters(ParameterValue::Integer(5)).unwrap();
        assert!(bound.check_all_used().is_err());
        let beside = |data_type| {
            let field = Some(Arc::new(Field::new("x", data_type, true)));
            Placeholder { id: "$p".into(), field }
        };
        assert!(bound.bind(&beside(DataType::Float64)).is_ok());
        assert!(bound.bind(&beside(DataType::Utf8View)).is_err());
        assert!(bound.bind(&Placeholder { id: "$q".into(), field: None }).is_err());
        assert!(bound.bind(&Placeholder { id: "$1".into(), field: None }).is_err());
        assert!(bound.bind(&Placeholder { id: "?".into(), field: None }).is_err());
        bound.check_all_used().unwrap();
    }

    #[test]
    fn a_value_out_of_its_form_is_refused() {
        assert!(parameters(ParameterValue::Integer(1 << 53)).is_err());
        assert!(parameters(ParameterValue::Integer(i64::MIN)).is_err());
        assert!(parameters(ParameterValue::Text(String::new())).is_err());
        assert!(parameters(ParameterValue::Date("yesterday".into())).is_err());
    }
}
