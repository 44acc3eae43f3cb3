//! The guard: evidence -> keys -> worker -> egress -> sealed result.
//!
//! It is the only program that ever holds keys and plaintext of more than one holder, so it does
//! little, and everything in one direction. It has no network, no files, no configuration, no
//! log and no clock that it would show to anybody; its host, which it does not trust, carries
//! messages and ciphertext.
//!
//! | step | module | fails with |
//! |---|---|---|
//! | 1 read and check agreement, request, engine | `order` | `agreement_…`, `request_…`, `wrong_engine` |
//! | 2 ask every broker for a nonce and manifests; plan without keys | `inputs`, `jobs` | `manifest_…`, `schema_not_agreed`, `plan_differs` |
//! | 3 one evidence for all of them | here | `no_evidence`, `sandbox_too_weak` |
//! | 4 a grant of every broker, or no key is used | `grants` | `grant_…` |
//! | 5 the worker runs, while every broker renews its lease | `work`, `lease` | `stopped`, `lease_expired`, `deadline`, `worker_…` |
//! | 6 form and gate | `output` | `output_…`, `gate_…` |
//! | 7 seal, share out, sign, deliver, end | `seal` | `cannot_seal` |
//!
//! What leaves: questions to brokers, reads of ciphertext, stages and counts of ciphertext bytes,
//! the sealed result, sealed shares and review copies, the signed receipt, a stable code. There is
//! no path from a record to any of the others (DESIGN invariants 3 and 11).
//!
//! Keys live in [`cordon_types::Secret`] and are wiped on every way out of their step; a panic
//! aborts the process without a word. What the kernel frees with the process is not wiped by us.
#![forbid(unsafe_code)]

mod failure;
mod grants;
mod inputs;
mod jobs;
mod lease;
mod lines;
mod order;
mod output;
mod run;
mod seal;
mod talk;
mod work;
mod worker;

#[cfg(test)]
#[path = "../tests/fixture/mod.rs"]
mod fixture;
#[cfg(test)]
mod testing;

pub use run::{Ended, run};
