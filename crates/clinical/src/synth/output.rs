//! Writing JSON straight into a line.

use std::fmt::Display;
use std::io::Write;

use super::codes::Code;
use super::model::Moment;
use crate::json::write_escaped;
use crate::temporal::civil_from_days;

/// An object that is being written.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

/// Writes one object.
pub(super) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    let mut object = Object { out, is_empty: true };
    fill(&mut object);
    out.push(b'}');
}

impl Object<'_> {
    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.push(b'"');
        write_escaped(self.out, value);
        self.out.push(b'"');
    }

    /// A value that needs no escapes, between quotes.
    pub fn plain(&mut self, key: &str, value: impl Display) {
        self.key(key);
        // Writing to memory does not fail.
        let _ = write!(self.out, "\"{value}\"");
    }

    /// A number or boolean.
    pub fn bare(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }

    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        object(self.out, fill);
    }

    /// An array of one object.
    pub fn only(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.objects(key, std::iter::once(fill), |object, fill| fill(object));
    }

    /// An array of objects.
    pub fn objects<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_>, T),
    ) {
        self.key(key);
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            object(self.out, |object| fill(object, item));
        }
        self.out.push(b']');
    }

    pub fn coding(&mut self, system: &str, code: &str) {
        self.text("system", system);
        self.text("code", code);
    }

    /// A CodeableConcept with one coding and its display.
    pub fn concept(&mut self, key: &str, code: &Code) {
        self.object(key, |concept| {
            concept.only("coding", |coding| {
                coding.coding(code.system, code.code);
                coding.text("display", code.display);
            });
        });
    }

    /// A CodeableConcept with one coding of a FHIR code system.
    pub fn fhir_concept(&mut self, key: &str, system: &str, code: &str) {
        self.object(key, |concept| {
            concept.only("coding", |coding| coding.coding(system, code));
        });
    }

    pub fn reference(&mut self, key: &str, reference: impl Display) {
        self.object(key, |object| object.plain("reference", reference));
    }

    fn key(&mut self, key: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        let _ = write!(self.out, "\"{key}\":");
    }
}

/// A FHIR `date`.
pub(super) struct Date(pub i64);

impl Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day) = civil_from_days(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// A FHIR `dateTime` in UTC.
pub(super) struct DateTime(pub Moment);

impl Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Moment { day, minute } = self.0;
        write!(f, "{}T{:02}:{:02}:00Z", Date(day), minute / 60, minute % 60)
    }
}

/// A decimal from a whole number of its last digit's units.
pub(super) struct Fixed {
    pub units: i64,
    pub digits: usize,
}

impl Display for Fixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = 10_i64.pow(self.digits as u32);
        match self.digits {
            0 => write!(f, "{}", self.units),
            digits => write!(f, "{}.{:0digits$}", self.units / unit, self.units % unit),
        }
    }
}

/// An amount of money from cents.
pub(super) fn dollars(cents: i64) -> Fixed {
    Fixed { units: cents, digits: 2 }
}
