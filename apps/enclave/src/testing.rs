//! What the unit tests share; the study itself is the testkit's.

use crate::fixture::study::Study;
use cordon_protocol::Agreement;

use crate::order::{self, Order};

/// The bytes that stand for the engine.
pub(crate) const ENGINE: &[u8] = b"\x7fELF: the engine";

/// Three holders who have agreed.
pub(crate) fn study() -> Study {
    Study::new(ENGINE)
}

/// Their agreement.
pub(crate) fn agreement() -> Agreement {
    study().agreement
}

/// The study's run, ordered and checked.
pub(crate) fn order(study: &Study) -> Order {
    let (agreement, request) = study.order();
    order::check(&agreement, &request).expect("an order")
}
