//! What may leave: the gate that judges an aggregate table in the guard (DESIGN §10).
//!
//! [`apply`] takes the table as the worker made it, with the distinct patients of each holder
//! behind every row, and gives the table that may leave, or a refusal that names a rule and
//! never a value. It must never see a key, a file or a clock, and it does not trust the worker:
//! a table that does not hold together is refused, not repaired.
//!
//! # The rules
//! A row has several *measures*: its patients in all; for each holder, the patients of all the
//! others, because a holder can subtract its own; and each of its counts, because a count of a
//! subset can be small where the row is not.
//!
//! 1. **Cell size.** Every measure is 0 or at least `min_cell`, else the row is withheld. With
//!    [`ZeroPolicy::Suppress`] a measure of 0 patients, or a count of 0, withholds it too; that
//!    *another holder's* share is 0 never does, since then only one holder could ever answer.
//! 2. **Complementary suppression.** A withheld cell must not come back by subtraction from
//!    totals that another run may publish. With one key column: what is withheld is, together, at
//!    least `min_cell` in each measure that withheld a row of it. With two: every withheld cell
//!    stands in a rectangle of withheld cells whose neighbours are large, so that the totals fit
//!    a table in which it is larger by `min_cell - 1`, or even more ([`suppress`] has the proof
//!    and what it assumes). Nothing is proven for more than two key columns: such a table
//!    leaves only if no row needs withholding.
//! 3. **Keys.** A key is data: a rare diagnosis, a postcode, an encounter number. A withheld row
//!    keeps its keys only where each of them stands in a row that is shown, so that they belong
//!    to enough patients anyway, and only if zeros are shown, since a marked row is then known
//!    not to be empty. All other withheld rows leave as one row without keys, so that neither
//!    their number nor their place says anything. Rows leave sorted by key: an order by value
//!    would say between which values a withheld one lies.
//! 4. **Rounding.** Counts are rounded to a multiple of `round_to`, never below `min_cell`.
//!
//! The verdicts count rows of the table that leaves, so that the receipt says no more than the
//! result does. Suppressed cells look alike, whichever rule withheld them.
//!
//! # What it does not do
//! Dominance (one patient making up most of a sum), differences to earlier releases, and links
//! between tables with *different* filters are not judged here yet; until then agreements fix
//! their parameters or have people review each output. A sum beside a mean gives the exact
//! count, so rounding hides little there; cell size is what protects. One person known to two
//! holders counts as two, since holders' pseudonyms cannot be linked.
//!
//! ```
//! use cordon_protocol::agreement::{ResultKind, TableGate, ZeroPolicy};
//! use cordon_protocol::table::{Cell, Column, RawTable};
//!
//! let gate = TableGate { min_cell: 11, zeros: ZeroPolicy::Show, round_to: 1 };
//! let row = |key: &str, count| vec![Cell::Text(key.into()), Cell::Integer(count)];
//! let table = RawTable {
//!     columns: vec![
//!         Column { name: "arm".parse()?, kind: ResultKind::Key },
//!         Column { name: "patients".parse()?, kind: ResultKind::Count },
//!     ],
//!     rows: vec![row("a", 50), row("b", 60), row("c", 3)],
//!     support: vec![vec![25, 25], vec![30, 30], vec![2, 1]],
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
    /// No row may be shown.
    #[error("no row of the table is large enough to be shown")]
    SmallCells,
    /// A withheld row in a table of more than two key columns.
    #[error(
        "a row is too small, and complementary suppression is proven for at most 2 key columns"
    )]
    TooManyKeys,
    /// A withheld row that could be recomputed whatever else is withheld.
    #[error("a row is too small, and totals would give it away whatever else is withheld")]
    CannotProtect,
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
            Self::CannotProtect => "gate_cannot_protect",
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
    let measures = measure::Measures::of(gate, &sorted);
    let withheld = suppress::decide(&measures, &sorted)?;
    render::render(gate, &sorted, &withheld)
}

#[cfg(test)]
mod tests;
