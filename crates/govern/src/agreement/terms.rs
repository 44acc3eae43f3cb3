//! Platform, output, limits, witnesses and validity.

use std::fmt::Display;
use std::ops::RangeInclusive;

use cordon_protocol::Agreement;
use cordon_protocol::agreement::Gate;
use cordon_protocol::message::MAX_REVIEW_BYTES;
use cordon_protocol::party::Profile;
use cordon_protocol::release::Assurance;

use super::{AgreementError, ascending, count};
use crate::Code;

/// Fewest patients behind a cell that an agreement may ask for. Holders may only raise it.
pub const MIN_CELL_FLOOR: u32 = 5;
/// What to propose: no cell of 1 to 10 (the CMS cell size policy).
pub const DEFAULT_MIN_CELL: u32 = 11;
/// Most bytes of a result: figures, not records.
pub const MAX_OUTPUT_BYTES: u32 = 2 * 1024 * 1024;
/// Most runs of one agreement.
pub const MAX_RUNS: u32 = 10_000;
/// How long a run may take: a second to a day.
pub const DEADLINE_MS: RangeInclusive<u64> = 1_000..=86_400_000;
/// How long a lease may be: what a stop may take, so 10 minutes at most.
pub const LEASE_MS: RangeInclusive<u64> = 500..=600_000;
/// Shortest time between heartbeats.
pub const MIN_HEARTBEAT_MS: u64 = 100;
/// A lost heartbeat must not end a run: at least two fit a lease.
pub const HEARTBEATS_PER_LEASE: u64 = 2;
/// Memory of the worker: 64 MiB to 1 TiB.
pub const MEMORY_BYTES: RangeInclusive<u64> = (64 << 20)..=(1 << 40);
/// Longest validity: five years; then people look again.
pub const MAX_VALID_SECONDS: u64 = 5 * 366 * 86_400;

const MAX_MEASUREMENTS: usize = 32;
const MAX_TEES: usize = 8;
const MAX_PRODUCT_BYTES: usize = 64;
const MAX_ROUNDING: u32 = 1_000;

pub(super) fn check(agreement: &Agreement) -> Result<(), AgreementError> {
    check_platform(agreement)?;
    check_output(agreement)?;
    check_quorum(agreement)?;
    check_limits(agreement)?;
    check_time(agreement)
}

fn check_platform(agreement: &Agreement) -> Result<(), AgreementError> {
    let platform = &agreement.platform;
    count("platform.tees", platform.tees.len(), 1..=MAX_TEES)?;
    ascending("platform.tees", &platform.tees)?;
    // A TPM alone keeps nothing from the machine's operator.
    let mut weak = platform.tees.iter().filter(|tee| Assurance::of(**tee) != Assurance::Hardware);
    if agreement.profile == Profile::Production
        && let Some(weak) = weak.next()
    {
        return Err(AgreementError::new(
            Code::AgreementSoftwareTee,
            "platform.tees",
            "hardware only, in profile `production`",
            format_args!("`{weak}`"),
        ));
    }
    // Releases or measurements, or both: something must say which guard.
    let least = usize::from(platform.releases.is_empty());
    count("platform.measurements", platform.measurements.len(), least..=MAX_MEASUREMENTS)?;
    count("platform.releases", platform.releases.len(), 0..=MAX_MEASUREMENTS)?;
    ascending("platform.releases", &platform.releases)?;
    let is_product = |text: &String| {
        let is_plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (1..=MAX_PRODUCT_BYTES).contains(&text.len()) && text.bytes().all(is_plain)
    };
    if !platform.releases.iter().all(|rule| is_product(&rule.product)) {
        return Err(AgreementError::new(
            Code::AgreementPlatform,
            "platform.releases",
            "products of 1 to 64 characters: a to z, 0 to 9, `-`",
            "another text",
        ));
    }
    ascending("platform.measurements", &platform.measurements)?;
    let is_measurement = |text: &String| {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        matches!(text.len(), 64 | 96 | 128) && text.bytes().all(is_digit)
    };
    if !platform.measurements.iter().all(is_measurement) {
        return Err(AgreementError::new(
            Code::AgreementPlatform,
            "platform.measurements",
            "64, 96 or 128 lower-case hex digits",
            "another text",
        ));
    }
    Ok(())
}

fn check_output(agreement: &Agreement) -> Result<(), AgreementError> {
    let output = &agreement.output;
    let Gate::Table(gate) = &output.gate;
    if gate.min_cell < MIN_CELL_FLOOR {
        return Err(AgreementError::new(
            Code::AgreementMinCell,
            "output.gate.min_cell",
            format_args!("at least {MIN_CELL_FLOOR}; {DEFAULT_MIN_CELL} is usual"),
            gate.min_cell,
        ));
    }
    within("output.gate.round_to", gate.round_to, 1..=MAX_ROUNDING)?;
    let most_rows = u32::try_from(cordon_egress::MAX_ROWS).unwrap_or(u32::MAX);
    within("output.max_rows", output.max_rows, 1..=most_rows)?;
    // Each reviewer of a holder gets a copy, all in one message.
    let reviewers = agreement.holders.iter().map(|holder| holder.reviewers.len()).max();
    let copies = u32::try_from(reviewers.unwrap_or_default().max(1)).unwrap_or(u32::MAX);
    let most_bytes = u32::try_from(MAX_REVIEW_BYTES).unwrap_or(u32::MAX) / copies;
    within("output.max_bytes", output.max_bytes, 1..=MAX_OUTPUT_BYTES.min(most_bytes))
}

/// INVARIANT: any two quorums share a witness, who has cosigned one history of the log only. Of
/// half of the witnesses or fewer, two could be shown two histories.
pub(super) fn check_quorum(agreement: &Agreement) -> Result<(), AgreementError> {
    let (quorum, holders) = (agreement.witness_quorum, agreement.holders.len());
    let others = u32::try_from(holders.saturating_sub(1)).unwrap_or(u32::MAX);
    let majority = others / 2 + 1;
    // Without witnesses nobody else would notice a log that was rewritten or an old backup.
    let none = match agreement.profile {
        Profile::Development => true,
        Profile::Production => false,
    };
    if (majority..=others).contains(&quorum) || (none && quorum == 0) {
        return Ok(());
    }
    let or_none = if none { ", or none" } else { "" };
    let profile = agreement.profile;
    let expected =
        format!("a majority of the {others} other holders{or_none}, in profile `{profile}`");
    Err(AgreementError::new(Code::AgreementQuorum, "witness_quorum", expected, quorum))
}

fn check_limits(agreement: &Agreement) -> Result<(), AgreementError> {
    let limits = &agreement.limits;
    within("limits.max_runs", limits.max_runs, 1..=MAX_RUNS)?;
    within("limits.deadline_ms", limits.deadline_ms.get(), DEADLINE_MS)?;
    let lease = limits.lease_ms.get();
    within("limits.lease_ms", lease, LEASE_MS)?;
    let longest_heartbeat = lease / HEARTBEATS_PER_LEASE;
    within("limits.heartbeat_ms", limits.heartbeat_ms.get(), MIN_HEARTBEAT_MS..=longest_heartbeat)?;
    within("limits.memory_bytes", limits.memory_bytes, MEMORY_BYTES)
}

fn check_time(agreement: &Agreement) -> Result<(), AgreementError> {
    let (from, to) = (agreement.not_before.get(), agreement.not_after.get());
    if from < to && to - from <= MAX_VALID_SECONDS {
        return Ok(());
    }
    let expected = format!("a time after `not_before`, by at most {MAX_VALID_SECONDS} s");
    Err(AgreementError::new(Code::AgreementTime, "not_after", expected, agreement.not_after))
}

fn within<T: PartialOrd + Display>(
    field: &str,
    found: T,
    allowed: RangeInclusive<T>,
) -> Result<(), AgreementError> {
    if allowed.contains(&found) {
        return Ok(());
    }
    let expected = format!("{} to {}", allowed.start(), allowed.end());
    Err(AgreementError::new(Code::AgreementLimits, field, expected, found))
}
