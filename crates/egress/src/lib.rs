//! What may leave: the gate that judges an aggregate table in the guard (DESIGN §10).
//!
//! [`apply`] takes the table as the worker made it, with the distinct patients of each holder
//! behind every row, and gives the table that may leave, or a refusal that names a rule and
//! never a value. It must never see a key, a file or a clock, and it does not trust the worker:
//! a table that does not hold together is refused, not repaired.
//!
//! # The rules
//! A row has several *measures*: its patients in all; for each holder, the patients of all the
//! others, because a holder can subtract its own; each of its counts, because a count of a
//! subset can be small where the row is not; and of each figure those who add to it and how much
//! of it is one patient's, again in all and without each holder.
//!
//! 1. **Cell size.** Every number of patients, and every count, is 0 or at least `min_cell`, else
//!    the row is withheld: a sum over fifty patients of whom two have a value is a figure of two.
//!    With [`ZeroPolicy::Suppress`] a 0 withholds it too; that *another holder's* share is 0 never
//!    does, since then only one holder could ever answer.
//! 2. **Dominance.** No patient makes up more than [`MAX_SHARE_PERCENT`] of a figure: of a sum or
//!    mean, by the magnitude of what the patient's values add up to; of a count of rows, by its
//!    rows. So nobody who knows one contribution can tell another to better than half of it: with
//!    the greatest `x` and the second at most `x`, the others have `x / 0.4 - 2x = x / 2` or more.
//!    (In the terms of statistical disclosure control: it implies the p% rule with p = 50.)
//! 3. **Complementary suppression.** A withheld cell must not come back by subtraction from
//!    totals that another run may publish. With one key column: what is withheld is, together,
//!    not small in any measure that withheld a row of it. With two: every withheld cell stands in
//!    a rectangle of withheld cells whose neighbours are large, so that the totals fit a table in
//!    which it is no longer small ([`suppress`] has the proof and what it assumes). Nothing is
//!    proven for more than two key columns: such a table leaves only if no row needs withholding.
//! 4. **Keys.** A key is data: a rare diagnosis, a postcode, an encounter number. A withheld row
//!    keeps its keys only where each of them stands in a row that is shown, so that they belong
//!    to enough patients anyway, and only if zeros are shown, since a marked row is then known
//!    not to be empty. All other withheld rows leave as one row without keys, so that neither
//!    their number nor their place says anything. A key longer than [`MAX_TEXT_BYTES`] is a note
//!    and no category: its row is withheld. Rows leave sorted by key: an order by value would say
//!    between which values a withheld one lies.
//! 5. **Rounding.** Counts are rounded to a multiple of `round_to`, never below `min_cell`.
//!
//! The verdicts count rows of the table that leaves, so that the receipt says no more than the
//! result does. Suppressed cells look alike, whichever rule withheld them.
//!
//! # What it does not do
//! Differences to earlier releases, and links between tables with *different* filters are not
//! judged here yet; until then agreements fix their parameters or have people review each output.
//! That all but a few add to a figure is not judged either, nor what several holders subtract
//! together. A sum beside a mean gives the exact count, so rounding hides little there; cell size
//! is what protects. One person known to two holders counts as two, since holders' pseudonyms
//! cannot be linked.
//!
//! ```
//! use cordon_protocol::agreement::{ResultKind, TableGate, ZeroPolicy};
//! use cordon_protocol::table::{Cell, Column, RawTable, Share, Support};
//!
//! let gate = TableGate { min_cell: 11, zeros: ZeroPolicy::Show, round_to: 1 };
//! let row = |key: &str, count| vec![Cell::Text(key.into()), Cell::Integer(count)];
//! // Each patient counts once.
//! let support = |patients| Support {
//!     patients,
//!     shares: vec![Share { patients, total: patients, largest: 1 }],
//! };
//! let table = RawTable {
//!     columns: vec![
//!         Column { name: "arm".parse()?, kind: ResultKind::Key },
//!         Column { name: "patients".parse()?, kind: ResultKind::Count },
//!     ],
//!     rows: vec![row("a", 50), row("b", 60), row("c", 3)],
//!     support: [[25, 25], [30, 30], [2, 1]].map(|row| row.map(support).to_vec()).to_vec(),
//! };
//! let (result, _verdicts) = cordon_egress::apply(&gate, &table)?;
//! // `c` is too small, and `a` goes with it: a published total of 113 would give `c` away.
//! assert_eq!(result.rows, [row("b", 60), vec![Cell::Suppressed, Cell::Suppressed]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod form;
mod measure;
mod render;
pub mod suppress;

use cordon_protocol::agreement::TableGate;
use cordon_protocol::release::GateVerdict;
use cordon_protocol::table::{RawTable, ResultTable};

#[cfg(doc)]
use cordon_protocol::agreement::ZeroPolicy;

/// The most of a figure that one patient may make up.
pub const MAX_SHARE_PERCENT: u8 = 40;

pub use form::{MAX_COLUMNS, MAX_HOLDERS, MAX_NUMBER_BYTES, MAX_ROWS, MAX_TEXT_BYTES};

/// Why a table does not leave. It names the rule and never a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateRefusal {
    /// The gate's own numbers make no sense; `cordon-govern` refuses such an agreement.
    #[error("the gate needs a minimum cell size and a rounding base of at least 1")]
    Misconfigured,
    /// More than any table may have.
    #[error("the table has more than {limit} {what}")]
    TooLarge {
        /// Rows, columns, holders.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The worker made a table that does not hold together.
    #[error("the worker's table is malformed: expected {expected}")]
    Malformed {
        /// What a table is.
        expected: &'static str,
    },
    /// No row may be shown: each is too small or too much of one patient, or would give away one
    /// that is.
    #[error(
        "no row may be shown: each has too few patients, or one who makes up most of it, or would give such a row away"
    )]
    SmallCells,
    /// A withheld row in a table of more than two key columns.
    #[error(
        "a row must be withheld, and complementary suppression is proven for at most 2 key columns"
    )]
    TooManyKeys,
}

impl GateRefusal {
    /// The stable code, as it stands in receipts.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Misconfigured => "gate_misconfigured",
            Self::TooLarge { .. } => "gate_too_large",
            Self::Malformed { .. } => "gate_malformed_table",
            Self::SmallCells => "gate_small_cells",
            Self::TooManyKeys => "gate_too_many_keys",
        }
    }
}

/// Judges `table` by `gate`: the table that may leave, and what was done to it.
///
/// The caller has checked that each row of `table.support` has one entry for each holder of the
/// agreement, and that the columns are the agreement's: the gate knows only the table.
///
/// # Errors
/// [`GateRefusal`], when nothing may leave.
pub fn apply(
    gate: &TableGate,
    table: &RawTable,
) -> Result<(ResultTable, Vec<GateVerdict>), GateRefusal> {
    let sorted = form::check(gate, table)?;
    let measures = measure::Measures::of(gate, &sorted)?;
    let withheld = suppress::decide(&measures, &sorted)?;
    render::render(gate, &sorted, &withheld)
}

#[cfg(test)]
mod tests;
