//! Holders, people and keys: everybody once, and one key for one purpose.

use std::collections::BTreeMap;

use cordon_protocol::Agreement;
use cordon_protocol::agreement::{Holder, Person, Review};
use cordon_protocol::grant::MAX_GRANT_KEYS;
use cordon_protocol::party::witness_name;
use cordon_tlog::KeyName;

use super::{AgreementError, ascending, count, distinct};
use crate::Code;
use crate::approval::may_approve;

/// Most holders.
pub const MAX_HOLDERS: usize = cordon_egress::MAX_HOLDERS;
/// Most recipients: each gets a copy of every share.
pub const MAX_RECIPIENTS: usize = 32;
/// Most reviewers of one holder.
pub const MAX_REVIEWERS: usize = 8;
/// Most datasets of one holder.
pub const MAX_DATASETS: usize = 32;
/// Most keys that may sign one holder's manifests.
pub const MAX_MANIFEST_KEYS: usize = 8;
/// Most persons that a rule for approvals may demand.
pub const MAX_APPROVERS: u32 = 8;

pub(super) fn check(agreement: &Agreement) -> Result<(), AgreementError> {
    let holders = &agreement.holders;
    count("holders", holders.len(), 1..=MAX_HOLDERS)?;
    let parties: Vec<_> = holders.iter().map(|holder| &holder.party).collect();
    ascending("holders", &parties)?;
    for holder in holders {
        check_holder(agreement, holder)?;
    }
    let recipients: Vec<_> = agreement.recipients.iter().map(|p| (&p.party, &p.person)).collect();
    count("recipients", recipients.len(), 1..=MAX_RECIPIENTS)?;
    ascending("recipients", &recipients)?;
    check_logs(holders)?;
    check_keys(agreement)
}

fn check_holder(agreement: &Agreement, holder: &Holder) -> Result<(), AgreementError> {
    let at = |part: &str| format!("holders[{}].{part}", holder.party);
    count(&at("manifest_keys"), holder.manifest_keys.len(), 1..=MAX_MANIFEST_KEYS)?;
    distinct(&at("manifest_keys"), &holder.manifest_keys)?;
    let datasets: Vec<_> = holder.datasets.iter().map(|terms| &terms.dataset).collect();
    count(&at("datasets"), datasets.len(), 1..=MAX_DATASETS)?;
    ascending(&at("datasets"), &datasets)?;
    // A footer key for each table, and its columns.
    let tables = holder.datasets.iter().flat_map(|terms| terms.columns.values());
    let keys: usize = tables.map(|columns| 1 + columns.len()).sum();
    count(&at("datasets.keys"), keys, 1..=MAX_GRANT_KEYS)?;

    let rule = &holder.approvals;
    let malformed = |expected: String, found: String| {
        Err(AgreementError::new(Code::AgreementApprovals, at("approvals"), expected, found))
    };
    if !(1..=MAX_APPROVERS).contains(&rule.persons) {
        return malformed(format!("1 to {MAX_APPROVERS} persons"), rule.persons.to_string());
    }
    distinct(&at("approvals.roles"), &rule.roles)?;
    if rule.roles.is_empty() {
        return malformed("one role or more".to_owned(), "none".to_owned());
    }
    if let Some(role) = rule.roles.iter().find(|role| !may_approve(**role)) {
        return malformed("roles that approve".to_owned(), role.to_string());
    }
    check_reviewers(agreement, holder)
}

fn check_reviewers(agreement: &Agreement, holder: &Holder) -> Result<(), AgreementError> {
    let field = format!("holders[{}].reviewers", holder.party);
    let refuse = |expected: &str, found: &str| {
        Err(AgreementError::new(Code::AgreementReviewers, field.as_str(), expected, found))
    };
    let people: Vec<_> = holder.reviewers.iter().map(|p| (&p.party, &p.person)).collect();
    ascending(&field, &people)?;
    match agreement.output.review {
        Review::EachHolder if people.is_empty() => return refuse("a reviewer or more", "none"),
        Review::EachHolder => count(&field, people.len(), 1..=MAX_REVIEWERS)?,
        Review::GateSuffices if people.is_empty() => return Ok(()),
        // A copy for somebody whose word does not count would only be one more way out.
        Review::GateSuffices => return refuse("nobody, since the gate suffices", "reviewers"),
    }
    if holder.reviewers.iter().any(|reviewer| reviewer.party != holder.party) {
        return refuse("people of this holder", "somebody of another party");
    }
    let requester = &agreement.requester;
    let is_requester = |person: &Person| {
        (&person.party, &person.person) == (&requester.party, &requester.person)
            || person.signing_key == requester.signing_key
    };
    if holder.reviewers.iter().any(is_requester) {
        return refuse("anybody but the requester", "the requester");
    }
    Ok(())
}

fn check_logs(holders: &[Holder]) -> Result<(), AgreementError> {
    let mut names = BTreeMap::new();
    for holder in holders {
        for name in [holder.log_origin.clone(), witness_name(&holder.log_origin)] {
            let field = format!("holders[{}].log_origin", holder.party);
            if name.parse::<KeyName>().is_err() {
                let expected = "the name of a signed note's key";
                return Err(AgreementError::new(
                    Code::AgreementLog,
                    field,
                    expected,
                    "another text",
                ));
            }
            if let Some(other) = names.insert(name, &holder.party) {
                let found = format!("the name of `{other}`'s");
                return Err(AgreementError::new(Code::AgreementLog, field, "its own name", found));
            }
        }
    }
    Ok(())
}

/// INVARIANT: a key that stands in an agreement has one owner and one purpose. A person may
/// stand in it several times, always with the same keys.
fn check_keys(agreement: &Agreement) -> Result<(), AgreementError> {
    let mut uses: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut claim = |key: &[u8], purpose: String| match uses.get(key) {
        Some(other) if *other != purpose => Err(AgreementError::new(
            Code::AgreementKeyReused,
            purpose,
            "a key of its own",
            format!("the key of `{other}`"),
        )),
        Some(_) => Ok(()),
        None => {
            uses.insert(key.to_vec(), purpose);
            Ok(())
        }
    };
    let mut people: BTreeMap<_, &Person> = BTreeMap::new();
    for holder in &agreement.holders {
        let purpose = |name: &str| format!("holders[{}].{name}", holder.party);
        claim(holder.broker_key.as_bytes(), purpose("broker_key"))?;
        claim(holder.log_key.as_bytes(), purpose("log_key"))?;
        claim(holder.witness_key.as_bytes(), purpose("witness_key"))?;
        claim(holder.box_key.as_bytes(), purpose("box_key"))?;
        for key in &holder.manifest_keys {
            claim(key.as_bytes(), purpose("manifest_keys"))?;
        }
    }
    let reviewers = agreement.holders.iter().flat_map(|holder| &holder.reviewers);
    let everybody = std::iter::once(&agreement.requester).chain(&agreement.recipients);
    for person in everybody.chain(reviewers) {
        let name = format!("{}/{}", person.party, person.person);
        claim(person.signing_key.as_bytes(), format!("{name} signing_key"))?;
        claim(person.box_key.as_bytes(), format!("{name} box_key"))?;
        let first = people.entry((&person.party, &person.person)).or_insert(person);
        if *first != person {
            let expected = "the same keys wherever the person stands";
            return Err(AgreementError::new(Code::AgreementParties, name, expected, "others"));
        }
    }
    Ok(())
}
