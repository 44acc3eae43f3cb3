//! Proposing, approving, running: what people do, done by the functions behind the commands.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use cordon_crypto::SystemRandom;
use cordon_crypto::dsse::Signed;
use cordon_hub::api::RunStatus;
use cordon_hub::host::{Honest, Recording, Relay};
use cordon_protocol::agreement::{ApprovalRule, Purpose, Review, TableSource, ZeroPolicy};
use cordon_protocol::decision::Verdict;
use cordon_protocol::party::Role;
use cordon_protocol::release::{Outcome, ResultDocument};
use cordon_protocol::run::ParameterValue;
use cordon_protocol::{Agreement, Evidence, RunId};
use cordon_types::{ParameterName, TableName};

use super::place::{Hospital, Place};
use crate::clock::now;
use crate::ops::propose::{Draft, Known, NamedPerson, propose};
use crate::ops::submit::{Answer, Trusted, gather, send};
use crate::ops::{holder, result, review, run};

/// The dataset that each hospital seals.
pub const DATASET: &str = "clinical";
/// The tables in it: views of the pack.
pub const TABLES: [&str; 3] = ["condition", "encounter", "patient"];
/// The question.
pub const QUERY: &str = "SELECT p.birth_decade, COUNT(DISTINCT p.subject) AS patients\n\
     FROM patient p JOIN condition c ON p.subject = c.subject\n\
     WHERE c.code = $code\n\
     GROUP BY p.birth_decade";
/// The parameter of the question, and the values that are agreed.
pub const PARAMETER: &str = "code";
/// Type 2 diabetes, hypertension: ICD-10-CM.
pub const CODES: [&str; 2] = ["E11.9", "I10"];
/// Fewest patients behind a number.
pub const MIN_CELL: u32 = 11;

/// No run of the demo takes longer.
const RUN: Duration = Duration::from_secs(60);
const RELEASE: Duration = Duration::from_secs(30);
const MAX_SEALED_BYTES: u64 = 1024 * 1024;

/// A draft over both tables of all hospitals.
///
/// # Errors
/// If a name is malformed.
pub fn draft(place: &Place, study: &str, query: &str) -> Result<Draft> {
    let mut tables: BTreeMap<TableName, Vec<TableSource>> = BTreeMap::new();
    for table in ["condition", "patient"] {
        if !query.contains(table) {
            continue;
        }
        let name: TableName = table.parse()?;
        for hospital in &place.hospitals {
            let holder = hospital.party.clone();
            let source = TableSource { holder, dataset: DATASET.parse()?, table: name.clone() };
            tables.entry(name.clone()).or_default().push(source);
        }
    }
    let code: ParameterName = PARAMETER.parse()?;
    let values = CODES.map(|code| ParameterValue::Text(code.to_owned())).to_vec();
    let asks = query.contains("$code");
    let reviewer = |hospital: &Hospital| NamedPerson {
        party: hospital.party.clone(),
        person: hospital.reviewer.person.clone(),
    };
    Ok(Draft {
        study: study.parse()?,
        name: "v1".parse()?,
        title: "Diagnoses by decade of birth across three hospitals".to_owned(),
        purpose: Purpose {
            statement: "How many patients have the diagnosis, by decade of birth?".to_owned(),
            duo: vec!["DUO:0000006".to_owned()],
            legal_basis: "GDPR Art. 9(2)(j)".to_owned(),
            references: Vec::new(),
        },
        query: query.to_owned(),
        parameters: if asks { BTreeMap::from([(code, values)]) } else { BTreeMap::new() },
        tables,
        recipients: Vec::new(),
        approvals: ApprovalRule {
            persons: 2,
            roles: vec![Role::Steward, Role::DataProtectionOfficer],
        },
        review: Review::EachHolder,
        reviewers: place.hospitals.iter().map(reviewer).collect(),
        min_cell: MIN_CELL,
        zeros: ZeroPolicy::Suppress,
        round_to: 1,
        max_runs: 20,
        valid_days: 1,
        deadline_seconds: 60,
        memory_mib: 512,
        witness_quorum: None,
    })
}

/// Completes a draft: the query is planned by the engine, without any data.
///
/// # Errors
/// If a broker or person is not known, or the query is refused.
pub async fn complete(place: &Place, draft: &Draft) -> Result<Signed<Agreement>> {
    let parties = place.hospitals.iter().map(|h| h.card.clone()).collect();
    let people = place.hospitals.iter().map(|h| h.reviewer.card(now()));
    let people = people.collect::<Result<_>>()?;
    let trusted = Trusted { parties, people, fingerprints: BTreeMap::new() };
    let gathered = gather(&place.client, draft, trusted).await.map_err(anyhow::Error::msg)?;
    let measurements = [place.guards.measurement.clone()];
    let known = Known {
        parties: &gathered.parties,
        people: &gathered.people,
        manifests: &gathered.manifests,
        engine: &place.guards.engine,
        measurements: &measurements,
    };
    // It waits for the engine, some milliseconds; nothing else of the demo runs meanwhile.
    tokio::task::block_in_place(|| propose(draft, &known, &place.researcher, now()))
}

/// Hands an agreement to all brokers.
///
/// # Errors
/// If one does not take it.
pub async fn submit(place: &Place, agreement: &Signed<Agreement>) -> Result<()> {
    for (party, answer) in send(&place.client, agreement).await? {
        match answer {
            Answer::Recorded => {}
            Answer::Refused { code, sentence } => bail!("{party}: {code}: {sentence}"),
            Answer::Silent => bail!("{party} does not answer"),
        }
    }
    Ok(())
}

/// Steward and data protection officer of every hospital approve.
///
/// # Errors
/// If a broker does not take an approval.
pub async fn approve(place: &Place, agreement: &Signed<Agreement>) -> Result<()> {
    let expires = now().plus_seconds(86_400);
    for hospital in &place.hospitals {
        for person in [&hospital.steward, &hospital.officer] {
            let random = &mut SystemRandom::new();
            let (digest, verdict) = (agreement.digest(), Verdict::Approve);
            let approval = holder::approval(digest, verdict, expires, person, now(), random)?;
            hospital.staff(person)?.approve(&approval).await?;
        }
    }
    Ok(())
}

/// From a draft to an agreement that all have approved.
///
/// # Errors
/// As its steps.
pub async fn agree(place: &Place, draft: &Draft) -> Result<Signed<Agreement>> {
    let agreement = complete(place, draft).await?;
    submit(place, &agreement).await?;
    approve(place, &agreement).await?;
    Ok(agreement)
}

/// A run that is queued.
#[derive(Clone)]
pub struct Started {
    /// Its name.
    pub run: RunId,
    /// What its guard says.
    pub recording: Recording,
}

/// Queues a run through an honest host.
///
/// # Errors
/// If the hub does not take it.
pub async fn start(place: &Place, agreement: &Signed<Agreement>) -> Result<Started> {
    start_through(place, agreement, Honest).await
}

/// Queues a run whose traffic passes through `relay`.
///
/// # Errors
/// If the hub does not take it.
pub async fn start_through(
    place: &Place,
    agreement: &Signed<Agreement>,
    relay: impl Relay + 'static,
) -> Result<Started> {
    let random = &mut SystemRandom::new();
    let mut given = BTreeMap::new();
    if let Some((name, _)) = agreement.value().program.parameters.first_key_value() {
        given.insert(name.clone(), ParameterValue::Text(CODES[0].to_owned()));
    }
    let request = run::request(agreement, &given, &place.researcher, now(), random)?;
    let name = RunId(request.digest());
    let recording = place.intercept(name, relay);
    place.client.put_document(request.envelope()).await?;
    place.client.submit_run(&request).await?;
    Ok(Started { run: name, recording })
}

/// Waits until a run has ended.
///
/// # Errors
/// If it takes too long.
pub async fn ended(place: &Place, run: RunId) -> Result<RunStatus> {
    run::wait(&place.client, run, RUN, |_| {}).await
}

/// The code that a run ended with.
///
/// # Errors
/// If it takes too long.
pub async fn end_code(place: &Place, run: RunId) -> Result<String> {
    ended(place, run).await?.code.context("the run ended without a code")
}

/// The reviewer of a hospital opens the review copy and decides.
///
/// # Errors
/// If there is no copy, or the broker does not take the decision.
pub async fn decide(hospital: &Hospital, run: RunId, verdict: Verdict) -> Result<ResultDocument> {
    let reviewer = &hospital.reviewer;
    let staff = hospital.staff(reviewer)?;
    let view = staff.review(run).await?;
    let document = review::open(&view, run, reviewer)?;
    let random = &mut SystemRandom::new();
    let decision = review::decide(&view.receipt, run, verdict, reviewer, now(), random)?;
    staff.decide_review(&decision).await?;
    Ok(document)
}

/// What the researcher gets: the receipt, all shares, the result.
///
/// # Errors
/// Whatever is missing or does not verify.
pub async fn open(
    place: &Place,
    agreement: &Signed<Agreement>,
    run: RunId,
) -> Result<ResultDocument> {
    let (receipt, evidence) = receipt(place, run, RELEASE).await?;
    let receipt = result::check_receipt(agreement, run, &receipt, &evidence)?;
    let Outcome::Sealed(outcome) = &receipt.receipt.value().outcome else {
        bail!("nothing left the enclave");
    };
    let releases = run::all_releases(&place.client, agreement.value(), run, RELEASE).await?;
    ensure!(releases.len() == agreement.value().holders.len(), "a release is missing");
    let sealed = place.client.object(&outcome.sealed, MAX_SEALED_BYTES).await?;
    let sealed: Bytes = sealed;
    Ok(result::open(agreement, &receipt, &releases, &sealed, &place.researcher)?.into_value())
}

/// The receipt of a run in the researcher's mailbox.
///
/// # Errors
/// If there is none.
pub async fn receipt(
    place: &Place,
    run: RunId,
    within: Duration,
) -> Result<(cordon_crypto::dsse::Envelope, Evidence)> {
    run::receipt(&place.client, &place.researcher, run, within).await
}
