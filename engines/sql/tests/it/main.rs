//! The engine as the guard meets it: a job over a socket, sealed bytes on demand, one answer.

mod guard;
mod hostile;
mod plan;
mod refused;
mod run;
mod tables;
