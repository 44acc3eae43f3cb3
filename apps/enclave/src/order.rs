//! Step 1: what the host says shall run, checked before anything is asked of anybody.
//!
//! The agreement carries the keys of all parties; the guard trusts these and no others. Whether
//! it is approved, and valid at this time, is the brokers' to say: the guard has no clock that
//! anybody would believe, and its evidence binds the digest of exactly this agreement.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::mpsc;
use std::thread;

use cordon_crypto::Sha256Writer;
use cordon_crypto::dsse::{Document as _, Envelope};
use cordon_protocol::agreement::{DatasetTerms, TableSource};
use cordon_protocol::frame::{self, MAX_FRAME_BYTES};
use cordon_protocol::message::ToGuard;
use cordon_protocol::party::Profile;
use cordon_protocol::release::ResultDocument;
use cordon_protocol::{Agreement, RunId, RunRequest};
use cordon_sandbox::{EngineWriter, MAX_ENGINE_BYTES, SealedEngine};
use cordon_types::Sha256Digest;

use crate::failure::Code;

/// One run, ordered and checked.
pub(crate) struct Order {
    /// The agreement.
    pub agreement: Agreement,
    /// Its digest.
    pub digest: Sha256Digest,
    /// The run: digest of the request.
    pub run: RunId,
    /// The requester's choice.
    pub request: RunRequest,
    /// As it came, for the brokers.
    pub request_envelope: Envelope,
}

/// Reads what to run, and the engine that the agreement names.
pub(crate) fn receive(host: &mut impl Read) -> Result<(Order, SealedEngine), Code> {
    let start = frame::read_message(host, MAX_START_BYTES).map_err(|_| Code::BadStart)?;
    let ToGuard::Start { agreement, request, engine_size } = start else {
        return Err(Code::BadStart);
    };
    let order = check(&agreement, &request)?;
    let engine = receive_engine(host, engine_size, order.agreement.program.engine)?;
    Ok((order, engine))
}

/// Each part is put where it will run from, and then hashed while the next one comes: the engine is
/// held once, in a file in memory that only this process can write until it is sealed.
fn receive_engine(
    host: &mut impl Read,
    size: u64,
    agreed: Sha256Digest,
) -> Result<SealedEngine, Code> {
    let size = usize::try_from(size).map_err(|_| Code::WrongEngine)?;
    if size > MAX_ENGINE_BYTES {
        return Err(Code::WrongEngine);
    }
    // Grows with what arrives: an announced size alone takes no memory.
    let mut engine = EngineWriter::new().map_err(|_| Code::WorkerNotStarted)?;
    let digest = thread::scope(|scope| {
        let (to_hash, parts) = mpsc::sync_channel::<Vec<u8>>(PARTS_AHEAD);
        let hashing = scope.spawn(move || {
            let mut digest = Sha256Writer::new();
            parts.iter().for_each(|part| digest.update(&part));
            digest.finish()
        });
        let mut left = size;
        while left > 0 {
            let missing = left.min(MAX_FRAME_BYTES);
            let part = frame::read_bytes(host, missing).map_err(|_| Code::BadStart)?;
            if part.is_empty() {
                return Err(Code::BadStart);
            }
            engine.write(&part).map_err(|_| Code::WorkerNotStarted)?;
            left -= part.len();
            to_hash.send(part).map_err(|_| Code::WorkerNotStarted)?;
        }
        drop(to_hash);
        hashing.join().map_err(|_| Code::WorkerNotStarted)
    })?;
    if digest != agreed {
        return Err(Code::WrongEngine);
    }
    // Approved bytes that are no program.
    engine.seal().map_err(|_| Code::WorkerNotStarted)
}

/// Parts of the engine that wait for being hashed.
const PARTS_AHEAD: usize = 2;

/// Checks both documents, in this order.
pub(crate) fn check(agreement: &Envelope, request: &Envelope) -> Result<Order, Code> {
    // 1. The agreement is signed by the requester that it names.
    let signer = agreement.claimed_signer();
    let signed = agreement.open::<Agreement>(&signer).map_err(|_| Code::AgreementSignature)?;
    if signed.value().requester.signing_key != signer {
        return Err(Code::AgreementSignature);
    }
    let digest = signed.digest();
    let agreement = signed.into_value();

    // 2. It holds together as far as the guard relies on it.
    check_agreement(&agreement)?;

    // 3. The request is the requester's, for this agreement and all of its holders.
    let signed = request.open::<RunRequest>(&signer).map_err(|_| Code::RequestSignature)?;
    let run = RunId(signed.digest());
    let choice = signed.into_value();
    let holders = agreement.holders.iter().map(|holder| &holder.party);
    if choice.agreement != digest || !choice.audience.iter().eq(holders) {
        return Err(Code::RequestInvalid);
    }

    // 4. Its parameters are exactly the agreed ones, each with an agreed value.
    let bounds = &agreement.program.parameters;
    let within = choice.parameters.keys().eq(bounds.keys())
        && choice
            .parameters
            .values()
            .zip(bounds.values())
            .all(|(value, bound)| bound.one_of.contains(value));
    if !within {
        return Err(Code::ParameterOutOfBounds);
    }
    Ok(Order { agreement, digest, run, request: choice, request_envelope: request.clone() })
}

/// The guard's own part of what makes an agreement valid; `cordon-govern` checks all of it.
fn check_agreement(agreement: &Agreement) -> Result<(), Code> {
    let fits = holders_fit(agreement)
        && quorum_fits(agreement)
        && tables_fit(agreement)
        && limits_fit(agreement);
    if fits { Ok(()) } else { Err(Code::AgreementInvalid) }
}

/// Sorted, distinct, and no key of one holder stands in for another's.
fn holders_fit(agreement: &Agreement) -> bool {
    let holders = &agreement.holders;
    let mut keys = BTreeSet::new();
    let distinct = holders.iter().all(|holder| {
        [holder.broker_key, holder.log_key, holder.witness_key]
            .into_iter()
            .all(|key| keys.insert(key))
    });
    (1..=cordon_egress::MAX_HOLDERS).contains(&holders.len())
        && holders.is_sorted_by(|a, b| a.party < b.party)
        && distinct
}

/// A majority of the others, so that any two quorums share a witness: with fewer, or none, a log
/// can show each reader another history. None is for development only.
fn quorum_fits(agreement: &Agreement) -> bool {
    let others = agreement.holders.len().saturating_sub(1);
    match usize::try_from(agreement.witness_quorum) {
        Ok(0) => agreement.profile == Profile::Development,
        Ok(quorum) => (others / 2 + 1..=others).contains(&quorum),
        Err(_) => false,
    }
}

/// Every table that the query sees comes from agreed tables, and touches agreed columns only.
fn tables_fit(agreement: &Agreement) -> bool {
    let program = &agreement.program;
    let terms = |source: &TableSource| -> Option<&DatasetTerms> {
        let mut datasets = agreement.holder(&source.holder)?.datasets.iter();
        datasets.find(|terms| terms.dataset == source.dataset)
    };
    let tables_agreed = program.tables.values().all(|sources| {
        let distinct: BTreeSet<_> = sources.iter().collect();
        !sources.is_empty()
            && distinct.len() == sources.len()
            && sources.iter().all(|source| {
                terms(source).is_some_and(|terms| terms.columns.contains_key(&source.table))
            })
    });
    let touched_agreed = program.touched.iter().all(|(table, columns)| {
        program.tables.get(table).into_iter().flatten().all(|source| {
            let agreed = terms(source).and_then(|terms| terms.columns.get(&source.table));
            agreed.is_some_and(|agreed| columns.iter().all(|column| agreed.contains(column)))
        })
    });
    // A sealed table under two names would be two tables to the engine.
    let mut named = BTreeSet::new();
    let named_once = program.tables.values().flatten().all(|source| named.insert(source));
    !program.tables.is_empty()
        && tables_agreed
        && named_once
        && program.touched.keys().eq(program.tables.keys())
        && touched_agreed
}

fn limits_fit(agreement: &Agreement) -> bool {
    let (limits, output) = (&agreement.limits, &agreement.output);
    let result_bytes = usize::try_from(output.max_bytes).unwrap_or(usize::MAX);
    (1..=MAX_DEADLINE_MS).contains(&limits.deadline_ms.get())
        && limits.heartbeat_ms.get() > 0
        && limits.heartbeat_ms < limits.lease_ms
        && limits.lease_ms.get() <= MAX_LEASE_MS
        && result_bytes <= ResultDocument::MAX_BYTES
}

/// Agreement and request, in base64.
const MAX_START_BYTES: usize = 1024 * 1024;
/// A week, the longest that a worker may run.
const MAX_DEADLINE_MS: u64 = 7 * 24 * 3600 * 1000;
/// A lease that lasts longer would make a stop slow.
const MAX_LEASE_MS: u64 = 10 * 60 * 1000;

#[cfg(test)]
mod tests;
