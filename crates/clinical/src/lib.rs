//! FHIR to tables, and synthetic patients.
//!
//! Records come in as NDJSON or CSV, views written in SQL on FHIR v2 turn them
//! into Arrow batches, and the holder seals those. This crate is pure: it opens no
//! file, and time, randomness and keys come in as arguments.
//!
//! It must never put a value of a record into an error, a report or a log: those
//! carry line numbers, codes, and pointers into the view.
//!
//! - [`view`] compiles a ViewDefinition, [`table`] runs it over lines;
//! - [`csv`] reads comma separated values against a schema;
//! - [`views`] is the pack of views that ships with Cordon;
//! - [`synth`] makes patients who do not exist, with known truths to find again.

#![forbid(unsafe_code)]

pub mod csv;
pub mod decimal;
pub mod fhir;
pub mod fhirpath;
pub mod json;
pub mod keys;
pub mod synth;
pub mod table;
pub mod temporal;
#[cfg(test)]
mod testing;
pub mod view;
pub mod views;
