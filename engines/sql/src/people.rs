use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use cordon_protocol::worker::FailureCode;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::HashMap;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;

use crate::failure::Failure;

/// Numbers the patients of a job: one number for each holder and pseudonym, the same in all
/// tables.
///
/// That is what joins and the counting of patients work on. Since a number belongs to one
/// holder, rows of two holders never join, whatever their pseudonyms; and a set of numbers is
/// small where a set of pseudonyms would not be. Numbers never leave the engine.
pub(crate) struct People {
    holders: Vec<Mutex<Known>>,
    next: AtomicU32,
    memory: MemoryReservation,
}

#[derive(Default)]
struct Known {
    texts: HashMap<Box<str>, u32>,
    integers: HashMap<i64, u32>,
}

impl People {
    /// Knows nobody yet.
    pub(crate) fn new(holders: usize, memory: MemoryReservation) -> Self {
        let holders = std::iter::repeat_with(Mutex::default).take(holders).collect();
        Self { holders, next: AtomicU32::new(0), memory }
    }

    /// The numbers of the patients whom a subject column names.
    pub(crate) fn number(&self, holder: usize, subjects: &ArrayRef) -> Result<UInt32Array> {
        let known = self.holders.get(holder).ok_or_else(internal)?;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers = Vec::with_capacity(subjects.len());
        // A subject column has no nulls: the sealer, `check_metadata` and this see to it.
        if subjects.null_count() > 0 {
            return Err(Failure::bare(FailureCode::DataInvalid).into());
        }
        match subjects.data_type() {
            DataType::Utf8View => {
                // The rows of a patient mostly follow each other.
                let mut last: Option<(&str, u32)> = None;
                for subject in subjects.as_string_view().iter().flatten() {
                    let number = match last {
                        Some((text, number)) if text == subject => number,
                        Some(_) | None => self.of_text(&mut known.texts, subject)?,
                    };
                    last = Some((subject, number));
                    numbers.push(number);
                }
            }
            DataType::Int32 => {
                for subject in subjects.as_primitive::<Int32Type>().values() {
                    numbers.push(self.of_integer(&mut known.integers, i64::from(*subject))?);
                }
            }
            DataType::Int64 => {
                for subject in subjects.as_primitive::<Int64Type>().values() {
                    numbers.push(self.of_integer(&mut known.integers, *subject)?);
                }
            }
            _ => return Err(internal()),
        }
        Ok(numbers.into())
    }

    fn of_text(&self, texts: &mut HashMap<Box<str>, u32>, subject: &str) -> Result<u32> {
        if let Some(number) = texts.get(subject) {
            return Ok(*number);
        }
        let number = self.take_number(subject.len() + size_of::<(Box<str>, u32)>())?;
        texts.insert(subject.into(), number);
        Ok(number)
    }

    fn of_integer(&self, integers: &mut HashMap<i64, u32>, subject: i64) -> Result<u32> {
        if let Some(number) = integers.get(&subject) {
            return Ok(*number);
        }
        let number = self.take_number(size_of::<(i64, u32)>())?;
        integers.insert(subject, number);
        Ok(number)
    }

    fn take_number(&self, entry_bytes: usize) -> Result<u32> {
        // A hash table that has just grown is half empty.
        self.memory.try_grow(entry_bytes * 2)?;
        let taken =
            self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1));
        taken.map_err(|_| DataFusionError::ResourcesExhausted("patients".to_owned()))
    }
}

fn internal() -> DataFusionError {
    Failure::bare(FailureCode::Internal).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int32Array, Int64Array, StringViewArray};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
    use std::sync::Arc;

    fn people(memory_bytes: usize) -> People {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(memory_bytes));
        People::new(2, MemoryConsumer::new("people").register(&pool))
    }

    fn texts(subjects: &[&str]) -> ArrayRef {
        Arc::new(StringViewArray::from(subjects.to_vec()))
    }

    #[test]
    fn a_patient_has_one_number_at_each_holder() {
        let people = people(1 << 20);
        let first = people.number(0, &texts(&["a", "a", "b", "a"])).unwrap();
        assert_eq!(first.values().as_ref(), [0, 0, 1, 0]);
        let other_holder = people.number(1, &texts(&["a", "b"])).unwrap();
        assert_eq!(other_holder.values().as_ref(), [2, 3]);
        let later = people.number(0, &texts(&["b", "c"])).unwrap();
        assert_eq!(later.values().as_ref(), [1, 4]);
    }

    #[test]
    fn integers_name_patients_whatever_their_width() {
        let people = people(1 << 20);
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![7, 8]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![8, 7]));
        assert_eq!(people.number(0, &narrow).unwrap().values().as_ref(), [0, 1]);
        assert_eq!(people.number(0, &wide).unwrap().values().as_ref(), [1, 0]);
    }

    #[test]
    fn patients_take_memory_of_the_job() {
        let error = people(100).number(0, &texts(&["a", "b", "c", "d"])).unwrap_err();
        assert_eq!(Failure::running(&error).code(), FailureCode::MemoryExceeded);
    }

    #[test]
    fn a_row_of_nobody_is_refused() {
        let subjects: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
        let error = people(1 << 20).number(0, &subjects).unwrap_err();
        assert_eq!(Failure::running(&error).code(), FailureCode::DataInvalid);
    }
}
