//! Step 4: grants, each checked by itself; and all of them, or no key is used.

use std::collections::BTreeMap;

use cordon_crypto::canonical::from_canonical;
use cordon_crypto::dsse::{Document as _, Envelope, document_digest};
use cordon_crypto::{Label, RecipientSecret, VerifyingKey, commitment, sha256};
use cordon_protocol::agreement::Holder;
use cordon_protocol::entry::{Action, Decision, LogEntry};
use cordon_protocol::grant::{GrantContext, GrantedDataset, KeyName};
use cordon_protocol::party::witness_name;
use cordon_protocol::{Agreement, Grant, Manifest, RunId};
use cordon_tlog::{KeyName as NoteName, LogKey, Quorum, WitnessKey, verify_proof};
use cordon_types::{DatasetId, Milliseconds, PartyId, Secret, Sha256Digest};

use crate::failure::Code;
use crate::inputs::Inputs;

/// What a grant must say, all of it known before it came.
pub(crate) struct Wanted<'a> {
    /// The agreement.
    pub agreement: &'a Agreement,
    /// Its digest.
    pub agreement_digest: Sha256Digest,
    /// The run.
    pub run: RunId,
    /// The evidence that the brokers appraised.
    pub evidence: Sha256Digest,
    /// The guard's keys.
    pub guard_signing_key: VerifyingKey,
    /// Its box key by digest.
    pub guard_box_key: Sha256Digest,
    /// The dataset versions that were planned with.
    pub inputs: &'a Inputs,
}

/// An opened grant. Only [`open`] makes one.
pub(crate) struct Granted {
    /// Whose.
    pub holder: PartyId,
    /// Digest of its context.
    pub context: Sha256Digest,
    /// How long it lasts without a renewed lease.
    pub lease: Milliseconds,
    keys: BTreeMap<(DatasetId, KeyName), Secret<32>>,
}

impl Granted {
    /// A key by name.
    pub fn key(&self, dataset: &DatasetId, name: &KeyName) -> Option<&Secret<32>> {
        self.keys.get(&(dataset.clone(), name.clone()))
    }
}

/// Checks a grant and opens its keys.
pub(crate) fn open(
    wanted: &Wanted<'_>,
    holder: &Holder,
    envelope: &Envelope,
    opening: &RecipientSecret,
) -> Result<Granted, Code> {
    // 1. Signed by this holder's broker.
    let grant = envelope.open::<Grant>(&holder.broker_key).map_err(|_| Code::GrantSignature)?;
    let grant = grant.into_value();

    // 2. For this guard, run and evidence.
    check_context(wanted, holder, &grant.context)?;

    // 3. Of the agreed keys, all of them and no others.
    if grant.context.datasets != wanted_datasets(wanted, holder)? {
        return Err(Code::GrantKeys);
    }

    // 4. Logged before it was opened, and witnessed.
    let context = document_digest(&grant.context).map_err(|_| Code::GrantContext)?;
    check_logged(wanted, holder, &grant, context)?;

    // 5. The box opens for this context and no other, and holds what the manifests commit to.
    let opened = opening.open(Label::GrantBox, &[context.as_bytes()], &grant.sealed_keys);
    let opened = opened.map_err(|_| Code::GrantBox)?;
    let keys = split_keys(wanted.inputs, holder, &grant.context.datasets, &opened)?;
    Ok(Granted { holder: holder.party.clone(), context, lease: grant.context.lease_ms, keys })
}

fn check_context(wanted: &Wanted<'_>, holder: &Holder, context: &GrantContext) -> Result<(), Code> {
    let longest = wanted.agreement.limits.lease_ms;
    let fits = context.holder == holder.party
        && context.agreement == wanted.agreement_digest
        && context.run == wanted.run
        && context.evidence == wanted.evidence
        && context.guard_signing_key == wanted.guard_signing_key
        && context.guard_box_key == wanted.guard_box_key
        && context.lease_ms.get() > 0
        && context.lease_ms <= longest;
    if fits { Ok(()) } else { Err(Code::GrantContext) }
}

/// The datasets of this holder that the program uses, in the versions that were planned with.
fn wanted_datasets(wanted: &Wanted<'_>, holder: &Holder) -> Result<Vec<GrantedDataset>, Code> {
    let mut datasets = Vec::new();
    for terms in &holder.datasets {
        let keys = wanted.agreement.granted_keys(&holder.party, terms);
        if keys.is_empty() {
            continue;
        }
        let offer = wanted.inputs.offer(&holder.party, &terms.dataset).ok_or(Code::GrantKeys)?;
        datasets.push(GrantedDataset {
            dataset: terms.dataset.clone(),
            version: offer.manifest.version,
            manifest: offer.digest,
            keys,
        });
    }
    datasets.sort_by(|a, b| a.dataset.cmp(&b.dataset));
    Ok(datasets)
}

/// The entry is about exactly this grant, and stands in the holder's log under a head that the
/// other holders' witnesses cosigned.
fn check_logged(
    wanted: &Wanted<'_>,
    holder: &Holder,
    grant: &Grant,
    context: Sha256Digest,
) -> Result<(), Code> {
    let bytes = grant.entry.as_slice();
    let entry: LogEntry =
        from_canonical(bytes, LogEntry::MAX_BYTES).map_err(|_| Code::GrantNotLogged)?;
    let about_this = entry.action == Action::GrantIssued
        && entry.decision == Decision::Permit
        && entry.holder == holder.party
        && entry.profile == wanted.agreement.profile
        && entry.agreement == Some(wanted.agreement_digest)
        && entry.run == Some(wanted.run)
        && entry.objects == [context];
    if !about_this {
        return Err(Code::GrantNotLogged);
    }
    let name = |text: &str| text.parse::<NoteName>().map_err(|_| Code::GrantNotLogged);
    let log = LogKey::new(name(&holder.log_origin)?, holder.log_key);
    let quorum = witnesses(wanted.agreement, &holder.party)?;
    verify_proof(grant.proof.as_bytes(), bytes, &log, &quorum)
        .map(drop)
        .map_err(|_| Code::GrantNotLogged)
}

/// The brokers of the other holders; as many of them as the agreement demands.
fn witnesses(agreement: &Agreement, own: &PartyId) -> Result<Quorum, Code> {
    // INVARIANT: `order::check` lets 0 pass in development only.
    if agreement.witness_quorum == 0 {
        return Ok(Quorum::dangerous_development_none());
    }
    let others = agreement.holders.iter().filter(|holder| holder.party != *own);
    let keys: Result<Vec<_>, Code> = others
        .map(|holder| {
            let name = witness_name(&holder.log_origin);
            let name = name.parse::<NoteName>().map_err(|_| Code::GrantNotLogged)?;
            Ok(WitnessKey::new(name, holder.witness_key))
        })
        .collect();
    let threshold = usize::try_from(agreement.witness_quorum).unwrap_or(usize::MAX);
    Quorum::at_least(threshold, keys?).map_err(|_| Code::GrantNotLogged)
}

/// 32 bytes for each name, in the context's order.
fn split_keys(
    inputs: &Inputs,
    holder: &Holder,
    datasets: &[GrantedDataset],
    opened: &[u8],
) -> Result<BTreeMap<(DatasetId, KeyName), Secret<32>>, Code> {
    let (chunks, rest) = opened.as_chunks::<32>();
    let names = || datasets.iter().flat_map(|d| d.keys.iter().map(move |name| (&d.dataset, name)));
    if !rest.is_empty() || chunks.len() != names().count() {
        return Err(Code::GrantBox);
    }
    let mut keys = BTreeMap::new();
    for ((dataset, name), bytes) in names().zip(chunks) {
        let key = Secret::from_slice(bytes).ok_or(Code::GrantBox)?;
        let offer = inputs.offer(&holder.party, dataset).ok_or(Code::GrantKeys)?;
        let committed = committed(&offer.manifest, name).ok_or(Code::GrantKeys)?;
        if commitment(&key) != committed {
            return Err(Code::GrantCommitment);
        }
        keys.insert((dataset.clone(), name.clone()), key);
    }
    Ok(keys)
}

fn committed(manifest: &Manifest, name: &KeyName) -> Option<Sha256Digest> {
    let table = manifest.table(&name.table)?;
    match &name.column {
        None => Some(table.footer_commitment),
        Some(wanted) => {
            let mut columns = table.columns.iter();
            columns.find(|column| column.name == *wanted).map(|column| column.key_commitment)
        }
    }
}

/// SHA-256 of a box key, as grant contexts name it.
pub(crate) fn box_key_digest(opening: &RecipientSecret) -> Sha256Digest {
    sha256(&[opening.public_key().as_bytes()])
}

#[cfg(test)]
mod tests;
