//! What commands do, without how they are called: the demo uses the same functions.

pub mod audit;
pub mod csv;
pub mod holder;
pub mod hub;
pub mod launcher;
pub mod open_table;
pub mod plan;
pub mod propose;
pub mod refusals;
pub mod result;
pub mod review;
pub mod run;
pub mod seal;
pub mod stop;
pub mod submit;
pub mod synth;
pub mod view;
pub mod words;
