//! The agreement against what this broker knows by itself: its own keys, the cards that its
//! people enrolled, its own datasets.

use std::collections::BTreeSet;
use std::sync::Arc;

use cordon_crypto::canonical::to_canonical;
use cordon_crypto::dsse::Signed;
use cordon_crypto::sha256;
use cordon_protocol::agreement::{DatasetTerms, Holder, Person};
use cordon_protocol::party::{PartyCard, Profile, Role, witness_name};
use cordon_protocol::{Agreement, Manifest};
use cordon_tlog::{KeyName, LogKey, Quorum, WitnessKey};
use cordon_types::PartyId;

use super::{AgreementError, CheckedAgreement};
use crate::{Code, Directory};

/// An agreement whose keys are those that this broker enrolled, its own among them. Only
/// [`compare_with_directory`] makes one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recognized(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    agreement: CheckedAgreement,
    own: PartyCard,
    own_index: usize,
    log: LogKey,
    witnesses: Quorum,
}

/// Compares every key of an agreement with the card that was enrolled for its owner.
///
/// # Errors
/// If this party is not among the holders, a key or profile differs, or somebody is unknown.
pub fn compare_with_directory(
    agreement: &CheckedAgreement,
    directory: &Directory,
) -> Result<Recognized, AgreementError> {
    let value = agreement.value();
    let own = directory.own();
    let Some(own_index) = value.holders.iter().position(|holder| holder.party == own.party) else {
        let expected = format!("`{}` among the holders", own.party);
        return Err(AgreementError::new(Code::NotAHolder, "holders", expected, "others"));
    };
    if value.profile != own.profile {
        let (field, found) = ("profile", value.profile);
        return Err(AgreementError::new(Code::ProfileMismatch, field, own.profile, found));
    }
    for holder in &value.holders {
        compare_holder(value, holder, directory)?;
    }
    compare_person("requester", &value.requester, directory)?;
    let requester = directory.person(&value.requester.party, &value.requester.person);
    if !requester.is_some_and(|person| person.roles.contains(&Role::Researcher)) {
        let expected = "somebody enrolled here as researcher";
        return Err(AgreementError::new(Code::RoleMissing, "requester", expected, "no such role"));
    }
    for person in &value.recipients {
        compare_person("recipients", person, directory)?;
    }
    for holder in &value.holders {
        let field = format!("holders[{}].reviewers", holder.party);
        for person in &holder.reviewers {
            compare_person(&field, person, directory)?;
        }
    }
    let (log, witnesses) = log_and_witnesses(value, own)?;
    let agreement = agreement.clone();
    let own = own.clone();
    Ok(Recognized(Arc::new(Inner { agreement, own, own_index, log, witnesses })))
}

/// Checks one of this holder's manifests against the terms of its dataset.
///
/// # Errors
/// If it is signed by another key, of another holder, dataset or schema, or if the agreed columns
/// are not its columns, the subject column of each table among them.
pub fn check_dataset<'a>(
    agreement: &'a Recognized,
    manifest: &Signed<Manifest>,
) -> Result<&'a DatasetTerms, AgreementError> {
    let (holder, value) = (agreement.own_holder(), manifest.value());
    let field = format!("holders[{}].datasets[{}]", holder.party, value.dataset);
    let refuse = |expected: &str, found: String| {
        AgreementError::new(Code::DatasetMismatch, field.clone(), expected, found)
    };
    if value.holder != holder.party {
        return Err(refuse("a manifest of this holder", format!("one of `{}`", value.holder)));
    }
    if !holder.manifest_keys.contains(&manifest.signer()) {
        let found = format!("`{}`", manifest.signer());
        return Err(refuse("a manifest signed by an agreed key", found));
    }
    let terms = holder.datasets.iter().find(|terms| terms.dataset == value.dataset);
    let terms = terms.ok_or_else(|| refuse("an agreed dataset", "another".to_owned()))?;
    let schema = to_canonical(&value.schema()).map(|bytes| sha256(&[&bytes]));
    if !schema.is_ok_and(|schema| schema == terms.schema) {
        let found = format!("version {} of another", value.version);
        return Err(refuse("the agreed schema", found));
    }
    for (name, columns) in &terms.columns {
        let table = value.table(name);
        let table = table.ok_or_else(|| refuse("tables of the dataset", format!("`{name}`")))?;
        let present: BTreeSet<_> = table.columns.iter().map(|column| &column.name).collect();
        if let Some(column) = columns.iter().find(|column| !present.contains(column)) {
            return Err(refuse("columns of the dataset", format!("`{name}.{column}`")));
        }
        if !columns.contains(&table.subject) {
            let found = format!("`{name}` without `{}`", table.subject);
            return Err(refuse("the subject column of each table", found));
        }
    }
    Ok(terms)
}

impl Recognized {
    /// The agreement.
    pub fn agreement(&self) -> &CheckedAgreement {
        &self.0.agreement
    }

    /// Its content.
    pub fn value(&self) -> &Agreement {
        self.0.agreement.value()
    }

    /// This broker's party.
    pub fn party(&self) -> &PartyId {
        &self.0.own.party
    }

    /// This broker's profile, which is also the agreement's.
    pub fn profile(&self) -> Profile {
        self.0.own.profile
    }

    /// This broker's card.
    pub fn own_card(&self) -> &PartyCard {
        &self.0.own
    }

    /// This broker's part of the agreement.
    pub fn own_holder(&self) -> &Holder {
        // INVARIANT: `own_index` is a position in `holders`, found when this was made.
        &self.value().holders[self.0.own_index]
    }

    /// The key of this broker's log.
    pub fn log(&self) -> &LogKey {
        &self.0.log
    }

    /// The witnesses that must cosign a head before a decision takes effect.
    pub fn witnesses(&self) -> &Quorum {
        &self.0.witnesses
    }
}

fn compare_holder(
    agreement: &Agreement,
    holder: &Holder,
    directory: &Directory,
) -> Result<(), AgreementError> {
    let at = |part: &str| format!("holders[{}]{part}", holder.party);
    let mismatch = |field: String, found: &str| {
        let expected = "what was enrolled for this party";
        Err(AgreementError::new(Code::DirectoryMismatch, field, expected, found))
    };
    let Some(card) = directory.party(&holder.party) else {
        return mismatch(at(""), "a party that is not enrolled");
    };
    if agreement.profile == Profile::Production && card.profile != Profile::Production {
        let (field, expected) = (at(""), "a party of profile `production`");
        return Err(AgreementError::new(Code::ProfileMismatch, field, expected, card.profile));
    }
    let same = [
        ("broker_key", holder.broker_key == card.broker_key),
        ("log_origin", holder.log_origin == card.log_origin),
        ("log_key", holder.log_key == card.log_key),
        ("witness_key", holder.witness_key == card.witness_key),
        ("box_key", holder.box_key == card.box_key),
        ("manifest_keys", same_keys(holder, card)),
    ];
    match same.into_iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((part, _)) => mismatch(at(&format!(".{part}")), "another"),
    }
}

fn same_keys(holder: &Holder, card: &PartyCard) -> bool {
    let set = |keys: &[_]| BTreeSet::from_iter(keys.iter().copied());
    set(&holder.manifest_keys) == set(&card.manifest_keys)
}

fn compare_person(
    field: &str,
    person: &Person,
    directory: &Directory,
) -> Result<(), AgreementError> {
    let field = format!("{field}[{}/{}]", person.party, person.person);
    let expected = "what was enrolled for this person";
    let mismatch =
        |found| Err(AgreementError::new(Code::DirectoryMismatch, field, expected, found));
    match directory.person(&person.party, &person.person) {
        None => mismatch("a person who is not enrolled"),
        Some(known) if known.card.signing_key != person.signing_key => {
            mismatch("another signing key")
        }
        Some(known) if known.card.box_key != person.box_key => mismatch("another box key"),
        Some(_) => Ok(()),
    }
}

/// The witnesses of a log are the other holders' brokers (DESIGN invariant 13).
fn log_and_witnesses(
    agreement: &Agreement,
    own: &PartyCard,
) -> Result<(LogKey, Quorum), AgreementError> {
    let name = |text: &str| {
        text.parse::<KeyName>().map_err(|_| {
            let expected = "the name of a signed note's key";
            AgreementError::new(Code::AgreementLog, "holders", expected, "another text")
        })
    };
    let log = LogKey::new(name(&own.log_origin)?, own.log_key);
    if agreement.witness_quorum == 0 && own.profile == Profile::Development {
        return Ok((log, Quorum::dangerous_development_none()));
    }
    let mut witnesses = Vec::new();
    for holder in agreement.holders.iter().filter(|holder| holder.party != own.party) {
        let name = name(&witness_name(&holder.log_origin))?;
        witnesses.push(WitnessKey::new(name, holder.witness_key));
    }
    let threshold = usize::try_from(agreement.witness_quorum).unwrap_or(usize::MAX);
    let quorum = Quorum::at_least(threshold, witnesses).map_err(|error| {
        let expected = "a number of witnesses that there are";
        AgreementError::new(Code::AgreementQuorum, "witness_quorum", expected, error)
    })?;
    Ok((log, quorum))
}
