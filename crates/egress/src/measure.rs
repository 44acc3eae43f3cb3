//! What cell size and dominance are judged by: for each row, several measures.

use cordon_protocol::agreement::{TableGate, ZeroPolicy};
use cordon_protocol::table::{Share, Support};

use crate::form::{SortedRow, SortedTable};
use crate::{GateRefusal, MAX_SHARE_PERCENT};

/// Rows by measures. The first measure counts the row's patients; then, where there are several
/// holders, the patients whom each of them cannot subtract; then each count; then, for each
/// figure and observer, those who add to it, and how much of it the greatest of them adds.
pub(crate) struct Measures {
    minimum: u64,
    kinds: Vec<Kind>,
    /// Per measure, and in it per row.
    values: Vec<Vec<Value>>,
    /// Rows that must not be shown whatever they measure.
    unfit: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// How many there are.
    Size { zero_is_small: bool },
    /// How much of it is one patient's.
    Weight,
}

/// A measure of a row, or of rows together.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Value {
    total: u128,
    /// Of a weight: the part of the patient who adds the most.
    largest: u128,
}

impl Value {
    const fn size(total: u64) -> Self {
        Self { total: total as u128, largest: 0 }
    }

    /// Of rows none of whose patients is in two of them.
    fn and(self, other: Self) -> Self {
        Self { total: self.total + other.total, largest: self.largest.max(other.largest) }
    }
}

impl Measures {
    pub fn of(gate: &TableGate, table: &SortedTable<'_>) -> Result<Self, GateRefusal> {
        let holders = table.rows.first().map_or(1, |row| row.support.len());
        // A single holder has nobody's patients but its own to learn about.
        let holders = 0..if holders > 1 { holders } else { 0 };
        let observers: Vec<Option<usize>> =
            std::iter::once(None).chain(holders.map(Some)).collect();
        let zeros_are_small = gate.zeros == ZeroPolicy::Suppress;
        let size = |public: bool| Kind::Size { zero_is_small: public && zeros_are_small };

        let mut measures = Self {
            minimum: u64::from(gate.min_cell),
            kinds: Vec::new(),
            values: Vec::new(),
            unfit: table.rows.iter().map(|row| row.unfit).collect(),
        };
        for observer in &observers {
            let patients =
                |row: &SortedRow<'_>| Value::size(others(row, *observer).map(|s| s.patients).sum());
            measures.add(size(observer.is_none()), table, patients)?;
        }
        for column in &table.counts {
            measures.add(size(true), table, |row| Value::size(row.count(*column)))?;
        }
        for figure in 0..table.figures {
            for observer in &observers {
                let givers = |row: &SortedRow<'_>| {
                    Value::size(shares(row, *observer, figure).map(|share| share.patients).sum())
                };
                measures.add(size(observer.is_none()), table, givers)?;
                let weight = |row: &SortedRow<'_>| {
                    let weights = shares(row, *observer, figure).map(|share| Value {
                        total: share.total.into(),
                        largest: share.largest.into(),
                    });
                    weights.fold(Value::default(), Value::and)
                };
                measures.add(Kind::Weight, table, weight)?;
            }
        }
        Ok(measures)
    }

    /// Figures are often made of the same patients: what is known already is left out.
    fn add(
        &mut self,
        kind: Kind,
        table: &SortedTable<'_>,
        of: impl Fn(&SortedRow<'_>) -> Value,
    ) -> Result<(), GateRefusal> {
        let values: Vec<Value> = table.rows.iter().map(of).collect();
        if self.kinds.iter().zip(&self.values).any(|known| known == (&kind, &values)) {
            return Ok(());
        }
        if (self.values.len() + 1) * values.len() > MAX_VALUES {
            return Err(GateRefusal::TooLarge { what: "figures of rows", limit: MAX_VALUES });
        }
        self.kinds.push(kind);
        self.values.push(values);
        Ok(())
    }

    /// The measures of lines: rows of one group become one row.
    pub fn grouped(&self, group_of: &[usize], groups: usize) -> Self {
        let grouped = |values: &Vec<Value>| {
            let mut lines = vec![Value::default(); groups];
            for (value, group) in values.iter().zip(group_of) {
                lines[*group] = lines[*group].and(*value);
            }
            lines
        };
        Self {
            minimum: self.minimum,
            kinds: self.kinds.clone(),
            values: self.values.iter().map(grouped).collect(),
            unfit: vec![false; groups],
        }
    }

    /// Indices of the measures.
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.kinds.len()
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.unfit.len()
    }

    /// Patients of a row.
    pub fn patients(&self, row: usize) -> u128 {
        self.values[0][row].total
    }

    /// Whether a row must not be shown.
    pub fn fails(&self, row: usize) -> bool {
        self.unfit[row] || self.all().any(|measure| self.is_small(row, measure))
    }

    /// Whether a measure of a row must not be shown: too few, or too much of one patient.
    pub fn is_small(&self, row: usize, measure: usize) -> bool {
        self.small(measure, self.values[measure][row])
    }

    /// The same of all rows together: then nobody publishes their total.
    pub fn all_are_small(&self, measure: usize) -> bool {
        let all = self.values[measure].iter().copied();
        self.small(measure, all.fold(Value::default(), Value::and))
    }

    fn small(&self, measure: usize, value: Value) -> bool {
        match self.kinds[measure] {
            Kind::Size { zero_is_small } if value.total == 0 => zero_is_small,
            Kind::Size { .. } => value.total < u128::from(self.minimum),
            Kind::Weight => value.largest * 100 > value.total * MAX_SHARE,
        }
    }

    /// What a row adds to the cover of the rows that are withheld with it. Somebody finds their
    /// sum who subtracts all others from a total; one patient may be the greatest in all of them.
    pub fn cover(&self, row: usize, measure: usize) -> i128 {
        let Value { total, largest } = self.values[measure][row];
        match self.kinds[measure] {
            Kind::Size { .. } => signed(total),
            Kind::Weight => signed(total * MAX_SHARE) - signed(largest * 100),
        }
    }

    /// The cover with which rows are not small together.
    pub fn cover_needed(&self, measure: usize) -> i128 {
        match self.kinds[measure] {
            Kind::Size { .. } => self.minimum.into(),
            Kind::Weight => 0,
        }
    }

    /// Whether a small row can hide behind another, that may lose what the small one seems to
    /// gain: as many as make it no longer small.
    pub fn hides(&self, other: usize, small: usize, measure: usize) -> bool {
        let [other, small] = [other, small].map(|row| self.values[measure][row]);
        match self.kinds[measure] {
            Kind::Size { .. } => other.total >= u128::from(self.minimum),
            Kind::Weight => {
                !self.small(measure, other)
                    && (small.total + other.total) * MAX_SHARE >= small.largest * 100
            }
        }
    }
}

/// The parts of all holders but the observer.
fn others<'a>(
    row: &SortedRow<'a>,
    observer: Option<usize>,
) -> impl Iterator<Item = &'a Support> + use<'a> {
    let parts = row.support.iter().enumerate();
    parts.filter(move |(holder, _)| Some(*holder) != observer).map(|(_, part)| part)
}

/// Their shares of a figure.
fn shares<'a>(
    row: &SortedRow<'a>,
    observer: Option<usize>,
    figure: usize,
) -> impl Iterator<Item = &'a Share> + use<'a> {
    others(row, observer).filter_map(move |part| part.shares.get(figure))
}

/// Sums of numbers below 2^53, of fewer than there is memory for: no bit of the sign is used.
fn signed(sum: u128) -> i128 {
    i128::try_from(sum).unwrap_or(i128::MAX)
}

const MAX_SHARE: u128 = MAX_SHARE_PERCENT as u128;
/// Measures times rows: some hundred bytes for each row of the largest table.
const MAX_VALUES: usize = 2 << 20;
