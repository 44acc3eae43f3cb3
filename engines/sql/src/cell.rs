use cordon_protocol::table::Cell;
use cordon_protocol::worker::FailureCode;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Int64Type, i256};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::failure::Failure;

/// Group keys, to be read row by row.
pub(crate) struct Keys(Vec<ArrayRef>);

impl Keys {
    /// Takes the key columns of a batch.
    pub(crate) fn new(columns: &[ArrayRef]) -> Result<Self, Failure> {
        let plain = columns.iter().map(|column| match column.data_type() {
            DataType::Int32 => cast(column, &DataType::Int64),
            DataType::Utf8 => cast(column, &DataType::Utf8View),
            _ => Ok(ArrayRef::clone(column)),
        });
        plain.collect::<Result<_, _>>().map(Self).map_err(|_| internal())
    }

    /// The keys of a row. Different keys have different cells.
    pub(crate) fn of_row(&self, row: usize) -> Result<Vec<Cell>, Failure> {
        self.0.iter().map(|column| key(column, row)).collect()
    }
}

fn key(column: &ArrayRef, row: usize) -> Result<Cell, Failure> {
    if column.is_null(row) {
        return Ok(Cell::Null);
    }
    match column.data_type() {
        DataType::Boolean => Ok(Cell::Boolean(column.as_boolean().value(row))),
        DataType::Int64 => Ok(integer(column.as_primitive::<Int64Type>().value(row))),
        DataType::Decimal128(_, scale) => {
            let value = i256::from_i128(column.as_primitive::<Decimal128Type>().value(row));
            decimal(value, *scale).ok_or_else(internal)
        }
        DataType::Utf8View => Ok(Cell::Text(column.as_string_view().value(row).to_owned())),
        DataType::Date32 | DataType::Timestamp(..) => instant(column, row),
        _ => Err(internal()),
    }
}

/// ISO 8601, or the plain number where the calendar ends: no value makes a query fail.
fn instant(column: &ArrayRef, row: usize) -> Result<Cell, Failure> {
    let formatter =
        ArrayFormatter::try_new(column, &FormatOptions::new().with_display_error(false));
    let text = formatter.map_err(|_| internal())?.value(row).try_to_string();
    match text {
        Ok(text) => Ok(Cell::Text(text)),
        Err(_) => {
            let wide = cast(&column.slice(row, 1), &DataType::Int64).map_err(|_| internal())?;
            Ok(integer(wide.as_primitive::<Int64Type>().value(0)))
        }
    }
}

fn integer(value: i64) -> Cell {
    if value.unsigned_abs() < MAX_INTEGER {
        Cell::Integer(value)
    } else {
        Cell::Number(value.to_string())
    }
}

/// An exact number with `scale` digits after the point; `None` if it has more than 38 digits.
pub(crate) fn decimal(value: i256, scale: i8) -> Option<Cell> {
    let text = value.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    if digits.len() > MAX_DIGITS {
        return None;
    }
    let Some(places) = usize::try_from(scale).ok().filter(|places| *places > 0) else {
        return Some(
            value
                .to_i128()
                .and_then(|value| i64::try_from(value).ok())
                .map_or_else(|| Cell::Number(text.clone()), integer),
        );
    };
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    Some(Cell::Number(format!("{sign}{whole}.{fraction}")))
}

/// The shortest text that reads back to the same float. What is no number is no value: a record
/// can hold it, and must not make a run fail.
pub(crate) fn float(value: f64) -> Cell {
    if value.is_finite() { Cell::Number(format!("{value:?}")) } else { Cell::Null }
}

fn internal() -> Failure {
    Failure::bare(FailureCode::Internal)
}

const MAX_INTEGER: u64 = 1 << 53;
const MAX_DIGITS: usize = 38;

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };
    use std::sync::Arc;

    fn cells(column: impl Array + 'static) -> Vec<Cell> {
        let keys = Keys::new(&[Arc::new(column)]).unwrap();
        let cells = |row| keys.of_row(row).unwrap().remove(0);
        (0..keys.0[0].len()).map(cells).collect()
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn number(text: &str) -> Cell {
        Cell::Number(text.to_owned())
    }

    #[test]
    fn keys_of_all_types_are_told_apart() {
        assert_eq!(
            cells(BooleanArray::from(vec![None, Some(true)])),
            [Cell::Null, Cell::Boolean(true)]
        );
        assert_eq!(cells(Int32Array::from(vec![-5])), [Cell::Integer(-5)]);
        assert_eq!(
            cells(Int64Array::from(vec![MAX_INTEGER as i64 - 1, MAX_INTEGER as i64, i64::MIN])),
            [
                Cell::Integer(9_007_199_254_740_991),
                number("9007199254740992"),
                number("-9223372036854775808")
            ]
        );
        assert_eq!(cells(StringArray::from(vec!["", "é"])), [text(""), text("é")]);
        let decimals = Decimal128Array::from(vec![1, -12_345]).with_precision_and_scale(38, 4);
        assert_eq!(cells(decimals.unwrap()), [number("0.0001"), number("-1.2345")]);
    }

    #[test]
    fn instants_are_written_as_iso_8601_as_far_as_the_calendar_goes() {
        assert_eq!(
            cells(Date32Array::from(vec![19_782, -1, i32::MAX])),
            [text("2024-02-29"), text("1969-12-31"), Cell::Integer(i64::from(i32::MAX))]
        );
        let instants =
            TimestampMicrosecondArray::from(vec![0, 1, i64::MAX]).with_timezone("+00:00");
        assert_eq!(
            cells(instants),
            [
                text("1970-01-01T00:00:00Z"),
                text("1970-01-01T00:00:00.000001Z"),
                number("9223372036854775807")
            ]
        );
    }

    #[test]
    fn decimals_are_exact_and_bounded() {
        let of = |value: i128, scale| decimal(i256::from_i128(value), scale);
        assert_eq!(of(0, 4), Some(number("0.0000")));
        assert_eq!(of(-5, 1), Some(number("-0.5")));
        assert_eq!(of(7, 0), Some(Cell::Integer(7)));
        assert_eq!(of(10_i128.pow(38) - 1, 4), Some(number(&format!("{}.9999", "9".repeat(34)))));
        assert_eq!(of(10_i128.pow(38), 4), None);
    }

    #[test]
    fn floats_are_short_and_finite() {
        for (value, cell) in [
            (0.1 + 0.2, number("0.30000000000000004")),
            (-1.0, number("-1.0")),
            (1e300, number("1e300")),
            (f64::NAN, Cell::Null),
            (f64::INFINITY, Cell::Null),
        ] {
            assert_eq!(float(value), cell);
        }
    }
}
