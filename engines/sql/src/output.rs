use std::collections::BTreeMap;

use cordon_protocol::table::{Cell, Column, RawTable, Share, Support};
use cordon_protocol::worker::{FailureCode, JobLimits};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    Decimal128Type, Decimal256Type, Float64Type, Int64Type, UInt16Type, i256,
};

use crate::cell::{Keys, decimal, float};
use crate::failure::Failure;
use crate::shape::{CheckedQuery, Sum, SumKind, Value};
use crate::shares::{Contributions, Unit};

/// Collects the rows of groups and holders into the table that the gate judges.
pub(crate) struct Collector<'a> {
    query: &'a CheckedQuery,
    holders: usize,
    limits: &'a JobLimits,
    /// Groups by their keys; of each, what every holder adds to it.
    groups: BTreeMap<Vec<Cell>, Vec<Part>>,
}

/// What one holder adds to a group.
#[derive(Clone, Default)]
struct Part {
    rows: u64,
    patients: u64,
    /// Of the patient who has the most.
    most_rows: u64,
    sums: Vec<PartSum>,
}

/// What one holder adds to a sum.
#[derive(Clone, Copy)]
struct PartSum {
    sum: Total,
    of: Contributions,
}

#[derive(Clone, Copy)]
enum Total {
    Exact(i256),
    Float(f64),
}

impl<'a> Collector<'a> {
    pub(crate) fn new(query: &'a CheckedQuery, holders: usize, limits: &'a JobLimits) -> Self {
        let mut groups = BTreeMap::new();
        if query.keys.is_empty() {
            // A grand total is one row, of nobody if need be.
            groups.insert(Vec::new(), vec![Part::default(); holders]);
        }
        Self { query, holders, limits, groups }
    }

    /// Takes rows of [`crate::compute`].
    pub(crate) fn take(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let (keys, values) =
            batch.columns().split_at_checked(self.query.keys.len()).ok_or_else(internal)?;
        let [holder, rows, patients, most_rows, sums @ ..] = values else {
            return Err(internal());
        };
        let holder = holder.as_primitive_opt::<UInt16Type>().ok_or_else(internal)?;
        if sums.len() != self.query.sums.len() * 4 {
            return Err(internal());
        }
        let keys = Keys::new(keys)?;
        for row in 0..batch.num_rows() {
            let sums = self.query.sums.iter().zip(sums.chunks(4));
            let part = Part {
                rows: count(rows, row)?,
                patients: count(patients, row)?,
                most_rows: count(most_rows, row)?,
                sums: sums
                    .map(|(sum, arrays)| part_sum(sum, arrays, row))
                    .collect::<Result<_, _>>()?,
            };
            self.add(keys.of_row(row)?, usize::from(holder.value(row)), part)?;
        }
        Ok(())
    }

    fn add(&mut self, keys: Vec<Cell>, holder: usize, part: Part) -> Result<(), Failure> {
        let full = self.groups.len() >= usize::try_from(self.limits.max_rows).unwrap_or(usize::MAX);
        if full && !self.groups.contains_key(&keys) {
            return Err(too_large());
        }
        let parts = self.groups.entry(keys).or_insert_with(|| vec![Part::default(); self.holders]);
        let slot = parts.get_mut(holder).ok_or_else(internal)?;
        // Cells tell all keys apart, so that a group comes once for each holder.
        if slot.rows != 0 {
            return Err(internal());
        }
        *slot = part;
        Ok(())
    }

    /// The table, sorted by keys.
    pub(crate) fn finish(self) -> Result<RawTable, Failure> {
        let columns = self
            .query
            .output
            .iter()
            .map(|output| Column { name: output.name.clone(), kind: output.value.kind() });
        let mut table = RawTable {
            columns: columns.collect(),
            rows: Vec::with_capacity(self.groups.len()),
            support: Vec::with_capacity(self.groups.len()),
        };
        let units = (0..self.query.sums.len()).map(|index| self.unit(index)).collect::<Vec<_>>();
        for (keys, parts) in &self.groups {
            let cells = self.query.output.iter().map(|output| self.cell(output.value, keys, parts));
            let cells: Vec<Cell> = cells.collect::<Result<_, _>>()?;
            let support = parts.iter().map(|part| {
                let outputs = self.query.output.iter().zip(&cells);
                let shares = outputs.filter_map(|(output, cell)| {
                    part.share(output.value, *cell != Cell::Null, &units)
                });
                Support { patients: part.patients, shares: shares.collect() }
            });
            table.support.push(support.collect());
            table.rows.push(cells);
        }
        Ok(table)
    }

    /// The unit in which shares of a sum are given.
    fn unit(&self, index: usize) -> Unit {
        let parts = self.groups.values().flatten().filter_map(|part| part.sums.get(index));
        Unit::of(parts.map(|part| part.of))
    }

    fn cell(&self, value: Value, keys: &[Cell], parts: &[Part]) -> Result<Cell, Failure> {
        let count = |of: fn(&Part) -> u64| parts.iter().map(of).try_fold(0, u64::checked_add);
        let rows = count(|part| part.rows).ok_or_else(too_large)?;
        match value {
            Value::Key(index) => keys.get(index).cloned().ok_or_else(internal),
            Value::Rows => count_cell(rows),
            Value::Patients => count_cell(count(|part| part.patients).ok_or_else(too_large)?),
            Value::Sum(_) | Value::Mean(_) if rows == 0 => Ok(Cell::Null),
            Value::Sum(index) => {
                let kind = self.query.sums.get(index).ok_or_else(internal)?.kind;
                match add_up(parts, index)? {
                    // Like a sum of floats that is none: whether it fits says something of values.
                    Total::Exact(sum) => Ok(decimal(sum, scale(kind)).unwrap_or(Cell::Null)),
                    Total::Float(sum) => Ok(float(sum)),
                }
            }
            Value::Mean(index) => {
                let kind = self.query.sums.get(index).ok_or_else(internal)?.kind;
                let sum = match add_up(parts, index)? {
                    Total::Exact(sum) => to_f64(sum) / 10_f64.powi(i32::from(scale(kind))),
                    Total::Float(sum) => sum,
                };
                Ok(float(sum / rows as f64))
            }
        }
    }
}

impl Part {
    /// Of whom a figure is made; nothing for a key. What a row says of a sum that is no number
    /// would say something of values, so that nobody may see it.
    fn share(&self, value: Value, is_number: bool, units: &[Unit]) -> Option<Share> {
        let patients = self.patients;
        match value {
            Value::Key(_) => None,
            Value::Rows => Some(Share { patients, total: self.rows, largest: self.most_rows }),
            Value::Patients => Some(Share { patients, total: patients, largest: patients.min(1) }),
            Value::Sum(index) | Value::Mean(index) => {
                match (self.sums.get(index), units.get(index)) {
                    (Some(part), Some(unit)) if is_number => Some(unit.share(&part.of)),
                    (Some(_), _) => Some(Unit::share_of_one(patients)),
                    (None, _) => Some(Share::default()),
                }
            }
        }
    }
}

/// A count of the plan.
fn count(array: &ArrayRef, row: usize) -> Result<u64, Failure> {
    let array = array.as_primitive_opt::<Int64Type>().ok_or_else(internal)?;
    u64::try_from(array.value(row)).map_err(|_| internal())
}

/// A sum of the plan with the columns that say of whom it is made.
fn part_sum(sum: &Sum, arrays: &[ArrayRef], row: usize) -> Result<PartSum, Failure> {
    let [own, patients, together, largest] = arrays else { return Err(internal()) };
    let magnitude = |array| {
        Ok(match total(sum, array, row)? {
            Total::Exact(magnitude) => to_f64(magnitude),
            Total::Float(magnitude) => magnitude,
        })
    };
    let of = Contributions {
        patients: count(patients, row)?,
        together: magnitude(together)?,
        largest: magnitude(largest)?,
    };
    Ok(PartSum { sum: total(sum, own, row)?, of })
}

fn total(sum: &Sum, array: &ArrayRef, row: usize) -> Result<Total, Failure> {
    // A group has rows, and in each of them the column has a value.
    if array.is_null(row) {
        return Err(internal());
    }
    Ok(match sum.kind {
        SumKind::Integer => {
            let array = array.as_primitive_opt::<Decimal128Type>().ok_or_else(internal)?;
            Total::Exact(i256::from_i128(array.value(row)))
        }
        SumKind::Decimal(_) => {
            let array = array.as_primitive_opt::<Decimal256Type>().ok_or_else(internal)?;
            Total::Exact(array.value(row))
        }
        SumKind::Float => {
            let array = array.as_primitive_opt::<Float64Type>().ok_or_else(internal)?;
            Total::Float(array.value(row))
        }
    })
}

/// Adds up in the order of the holders, which for floats is part of the result.
fn add_up(parts: &[Part], index: usize) -> Result<Total, Failure> {
    let mut totals = parts.iter().filter_map(|part| part.sums.get(index).map(|part| part.sum));
    let first = totals.next().ok_or_else(internal)?;
    totals.try_fold(first, |sum, next| match (sum, next) {
        (Total::Exact(a), Total::Exact(b)) => {
            a.checked_add(b).map(Total::Exact).ok_or_else(too_large)
        }
        (Total::Float(a), Total::Float(b)) => Ok(Total::Float(a + b)),
        (Total::Exact(_), Total::Float(_)) | (Total::Float(_), Total::Exact(_)) => Err(internal()),
    })
}

fn scale(kind: SumKind) -> i8 {
    match kind {
        SumKind::Decimal(scale) => scale,
        SumKind::Integer | SumKind::Float => 0,
    }
}

/// The nearest float.
fn to_f64(sum: i256) -> f64 {
    // The way through text rounds once; through halves it would round twice.
    sum.to_string().parse().unwrap_or(f64::NAN)
}

fn count_cell(count: u64) -> Result<Cell, Failure> {
    let count = i64::try_from(count).ok().filter(|count| *count < MAX_INTEGER);
    count.map(Cell::Integer).ok_or_else(too_large)
}

fn internal() -> Failure {
    Failure::bare(FailureCode::Internal)
}

fn too_large() -> Failure {
    Failure::bare(FailureCode::OutputTooLarge)
}

const MAX_INTEGER: i64 = 1 << 53;
