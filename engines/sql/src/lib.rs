//! One query over sealed tables, by DataFusion, in a process that can do nothing else.
//!
//! The guard sends a job; the engine plans the query, and only if its shape is allowed and every
//! column that it touches is agreed does it read anything. It fetches ciphertext by range from
//! the guard, decrypts the agreed columns with this run's file keys, computes, answers with one
//! table and ends.
//!
//! ```text
//! job -> [parse] -> statement -> DataFusion's planner -> [shape] -> CheckedQuery
//!     -> [compute] plan with support -> [tables] scan of sealed files <-> [link] guard
//!     -> [output] sorted rows, and behind each row the patients of each holder
//!     -> [shares] how much of each figure is the greatest patient's
//! ```
//! # What is allowed
//! Exactly one aggregate of `COUNT`, `SUM` and `AVG` over bare columns, on top of scans, filters,
//! unions and joins by patient within a holder. Each value of a result is a group key or such an
//! aggregate: a constant cannot be dressed up as a count, and no expression can pick one patient
//! out. The engine, not the query, adds the number of distinct patients per holder behind each
//! row, how many of them add to each figure, and how much the greatest of them adds; and since an aggregate over a column that may be missing needs `IS NOT NULL`, they are
//! the patients behind each value of the row.
//!
//! # What it must never do
//! Print; write a message made from data; let a value of a record decide whether an expression
//! fails (that is why division, text casts and the like are off) or which bytes are asked for
//! (that is why nothing is pruned by statistics); give another answer to the same question: sums
//! of integers and decimals are exact, floats are summed patient by patient in the order in which
//! they were sealed.
#![forbid(unsafe_code)]

mod cell;
mod compute;
mod expression;
mod failure;
mod fetched;
mod files;
mod job;
mod link;
mod output;
mod parameters;
mod parse;
mod people;
mod relation;
mod run;
mod scan;
mod serve;
mod session;
mod shape;
mod shares;
mod tables;

pub use failure::Failure;
pub use job::{HOLDER_COLUMN, MAX_HOLDERS, MAX_TABLES};
pub use serve::{ServeError, serve};
