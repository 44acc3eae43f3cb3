//! The two decisions of the key process: keys in, results out.
//!
//! Neither answers "unwrap this": each takes the whole context, checks that exactly it is in the
//! cosigned log, and seals to the one whom the context names.

use cordon_crypto::canonical::to_canonical;
use cordon_crypto::dsse::Envelope;
use cordon_crypto::{Label, Random, RecipientKey, SealedBox, sha256};
use cordon_protocol::agreement::DatasetTerms;
use cordon_protocol::dataset::{column_key, footer_key};
use cordon_protocol::entry::Action;
use cordon_protocol::grant::{GrantedDataset, KeyName, MAX_GRANT_KEYS};
use cordon_protocol::{Agreement, ClearanceContext, GrantContext};
use cordon_types::{Base64Bytes, Secret, Sha256Digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::logged::{self, Claim, Logged};
use crate::record::VersionRecord;
use crate::refusal::{DocumentKind, Refusal};
use crate::state::KeyState;
use crate::store::{Keystore, PublicParts};

/// Asks to seal the keys of a grant context to the guard that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// What is granted.
    pub context: GrantContext,
    /// Its log entry, canonical bytes.
    pub entry: Base64Bytes,
    /// The entry's `.tlog-proof`.
    pub proof: String,
    /// The signed agreement.
    pub agreement: Envelope,
    /// The key to seal to; its digest is in the context.
    pub guard_box_key: RecipientKey,
}

/// Asks to open this broker's share of a result key and to seal it to the recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// What is cleared.
    pub context: ClearanceContext,
    /// Its log entry, canonical bytes.
    pub entry: Base64Bytes,
    /// The entry's `.tlog-proof`.
    pub proof: String,
    /// The signed agreement.
    pub agreement: Envelope,
    /// The share as the guard sealed it; its digest is in the context.
    pub share: SealedBox,
}

impl Keystore {
    /// Seals the keys of a grant to its guard: label `GrantBox`, context `[digest of the grant
    /// context]`, the 32-byte keys joined in the context's order.
    ///
    /// # Errors
    /// The first check that fails; nothing is unwrapped before all of them hold.
    pub fn grant(
        &mut self,
        request: &GrantRequest,
        random: &mut dyn Random,
    ) -> Result<SealedBox, Refusal> {
        let context = &request.context;
        let digest = context_digest(context)?;
        let claim = Claim {
            holder: &context.holder,
            agreement: context.agreement,
            run: context.run,
            issued: context.issued,
            digest,
            action: Action::GrantIssued,
        };
        let logged =
            self.check_logged(&claim, &request.agreement, &request.entry, &request.proof)?;
        let terms = logged.agreement.value();
        if sha256(&[request.guard_box_key.as_bytes()]) != context.guard_box_key {
            return Err(Refusal::OtherGuardKey);
        }
        if context.lease_ms > terms.limits.lease_ms {
            return Err(Refusal::LeaseTooLong);
        }
        check_form(&context.datasets)?;
        let mut records = Vec::with_capacity(context.datasets.len());
        for granted in &context.datasets {
            records.push(self.check_dataset(terms, granted)?.clone());
        }
        let keys = self.join_keys(&context.datasets, &records)?;
        request
            .guard_box_key
            .seal(Label::GrantBox, &[digest.as_bytes()], &keys, random)
            .map_err(|_| Refusal::UnusableKey)
    }

    /// Opens this broker's share and seals it to every recipient of the agreement, in its order:
    /// label `ReleaseBox`, context `[digest of the clearance context]`.
    ///
    /// # Errors
    /// The first check that fails; nothing is opened before all of them hold.
    pub fn release(
        &mut self,
        request: &ReleaseRequest,
        random: &mut dyn Random,
    ) -> Result<Vec<SealedBox>, Refusal> {
        let context = &request.context;
        let digest = context_digest(context)?;
        let claim = Claim {
            holder: &context.holder,
            agreement: context.agreement,
            run: context.run,
            issued: context.issued,
            digest,
            action: Action::OutputCleared,
        };
        let logged =
            self.check_logged(&claim, &request.agreement, &request.entry, &request.proof)?;
        let recipients = &logged.agreement.value().recipients;
        let digests: Vec<Sha256Digest> =
            recipients.iter().map(|person| sha256(&[person.box_key.as_bytes()])).collect();
        if digests.is_empty() || context.recipients != digests {
            return Err(Refusal::OtherRecipients);
        }
        if request.share.digest() != context.share {
            return Err(Refusal::OtherShare);
        }
        let share = self.open_share(context, &request.share)?;
        let mut seal = |key: &RecipientKey| {
            key.seal(Label::ReleaseBox, &[digest.as_bytes()], share.expose(), random)
        };
        recipients
            .iter()
            .map(|person| seal(&person.box_key))
            .collect::<Result<_, _>>()
            .map_err(|_| Refusal::UnusableKey)
    }

    fn check_logged(
        &mut self,
        claim: &Claim<'_>,
        agreement: &Envelope,
        entry: &Base64Bytes,
        proof: &str,
    ) -> Result<Logged, Refusal> {
        let (own, directory, agreements) = self.parts_for_checks();
        logged::check(own, directory, agreements, claim, agreement, entry, proof)
    }

    /// Checks that a granted dataset is deposited, active, and agreed key by key.
    fn check_dataset(
        &self,
        terms: &Agreement,
        granted: &GrantedDataset,
    ) -> Result<&VersionRecord, Refusal> {
        let (dataset, version) = (granted.dataset.clone(), granted.version);
        let Some(record) = self.record(&dataset, version) else {
            return Err(Refusal::UnknownVersion { dataset, version });
        };
        if record.manifest != granted.manifest {
            return Err(Refusal::OtherManifest);
        }
        if record.state != KeyState::Active {
            return Err(Refusal::State { dataset, version, state: record.state });
        }
        let Some((agreed, may_sign)) = agreed_dataset(self.public(), terms, granted) else {
            return Err(Refusal::DatasetNotAgreed { dataset });
        };
        if agreed.schema != record.schema {
            return Err(Refusal::SchemaNotAgreed { dataset, version });
        }
        if !may_sign.contains(&record.signer) {
            return Err(Refusal::SignerNotAgreed { dataset });
        }
        for key in &granted.keys {
            if record.keys.binary_search(key).is_err() {
                return Err(Refusal::UnknownKey { dataset, key: key.into() });
            }
            if !is_agreed(agreed, key) {
                return Err(Refusal::KeyNotAgreed { dataset, key: key.into() });
            }
        }
        Ok(record)
    }

    fn join_keys(
        &mut self,
        datasets: &[GrantedDataset],
        records: &[VersionRecord],
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let count: usize = datasets.iter().map(|granted| granted.keys.len()).sum();
        // Enough from the start: a buffer that grows leaves its old bytes behind.
        let mut joined = Zeroizing::new(Vec::with_capacity(count * 32));
        for (granted, record) in datasets.iter().zip(records) {
            let version_key = self.version_key(record)?;
            for name in &granted.keys {
                joined.extend_from_slice(derive_key(version_key, name).expose());
            }
        }
        Ok(joined)
    }

    /// Label `ShareBox`, context `[run id, holder]`: 32 raw bytes and the party's name.
    fn open_share(
        &self,
        context: &ClearanceContext,
        share: &SealedBox,
    ) -> Result<Secret<32>, Refusal> {
        let place = [context.run.0.as_bytes().as_slice(), context.holder.as_str().as_bytes()];
        let opened = self.box_secret().open(Label::ShareBox, &place, share);
        opened.ok().and_then(|bytes| Secret::from_slice(&bytes)).ok_or(Refusal::ShareDoesNotOpen)
    }
}

fn derive_key(version_key: &Secret<32>, name: &KeyName) -> Secret<32> {
    match &name.column {
        Some(column) => column_key(version_key, &name.table, column),
        None => footer_key(version_key, &name.table),
    }
}

fn context_digest<T: Serialize>(context: &T) -> Result<Sha256Digest, Refusal> {
    let bytes =
        to_canonical(context).map_err(|error| Refusal::document(DocumentKind::Context, &error))?;
    Ok(sha256(&[&bytes]))
}

/// One order for datasets and keys, each once: the guard splits the box by it.
fn check_form(datasets: &[GrantedDataset]) -> Result<(), Refusal> {
    let count: usize = datasets.iter().map(|granted| granted.keys.len()).sum();
    let sorted = datasets.is_sorted_by(|a, b| a.dataset < b.dataset)
        && datasets
            .iter()
            .all(|granted| !granted.keys.is_empty() && granted.keys.is_sorted_by(|a, b| a < b));
    if sorted && (1..=MAX_GRANT_KEYS).contains(&count) {
        Ok(())
    } else {
        Err(Refusal::GrantForm { limit: MAX_GRANT_KEYS })
    }
}

/// What the agreement says of a dataset of this party, and who may sign its manifests.
fn agreed_dataset<'a>(
    own: &PublicParts,
    terms: &'a Agreement,
    granted: &GrantedDataset,
) -> Option<(&'a DatasetTerms, &'a [cordon_crypto::VerifyingKey])> {
    let holder = terms.holder(&own.party)?;
    let agreed = holder.datasets.iter().find(|agreed| agreed.dataset == granted.dataset)?;
    Some((agreed, &holder.manifest_keys))
}

/// Whether the agreement releases a key: the columns it lists, and the footers of their tables.
fn is_agreed(agreed: &DatasetTerms, key: &KeyName) -> bool {
    agreed.columns.get(&key.table).is_some_and(|columns| match &key.column {
        Some(column) => columns.contains(column),
        None => true,
    })
}

#[cfg(test)]
mod tests;
