//! Three brokers that release, and everything that a recipient must not believe.

use std::sync::Arc;

use cordon_crypto::SigningKey;
use cordon_protocol::RunRequest;
use cordon_protocol::release::ClearanceContext;
use cordon_testkit::guard::{Delivery, Guard};
use cordon_testkit::world::{Terms, World};

use super::*;

/// A run that every broker has cleared, and what its recipient has in hand.
struct Run {
    guard: Guard,
    evidence: Evidence,
    delivery: Delivery,
    releases: BTreeMap<PartyId, Envelope>,
}

impl Run {
    async fn cleared(world: &World, agreement: &Signed<Agreement>) -> Self {
        let guard = world.guard(agreement).unwrap();
        let nonces = guard.challenge(world).await.unwrap();
        let evidence = guard.evidence(&guard.runtime_data(nonces)).unwrap();
        let mut grants = BTreeMap::new();
        for holder in &world.holders {
            let grant = guard.ask_grant(world, &holder.party, &evidence).await.unwrap();
            grants.insert(holder.party.clone(), grant);
        }
        let delivery = guard.deliver(&grants).unwrap();
        let mut releases = BTreeMap::new();
        for (index, holder) in world.holders.iter().enumerate() {
            guard.hand_over(world, &holder.party, &delivery).await.unwrap();
            let release = async || Ok(world.broker(index).release(guard.run()).await?.is_some());
            world.until("a release", release).await.unwrap();
            let release = world.broker(index).release(guard.run()).await.unwrap().unwrap();
            releases.insert(holder.party.clone(), release);
        }
        Self { guard, evidence, delivery, releases }
    }

    fn receipt(&self) -> Receipt {
        self.delivery
            .receipt
            .open(&self.guard.signing.verifying_key())
            .map(Signed::into_value)
            .unwrap()
    }

    fn checked(&self) -> CheckedReceipt {
        let (agreement, run) = (&self.guard.agreement, self.guard.run());
        check_receipt(agreement, run, &self.delivery.receipt, &self.evidence).unwrap()
    }

    fn opened(
        &self,
        recipient: &PersonKeys,
        releases: &BTreeMap<PartyId, Envelope>,
    ) -> Result<ResultDocument> {
        let (agreement, receipt) = (&self.guard.agreement, self.checked());
        let opened = open(agreement, &receipt, releases, &self.delivery.sealed, recipient)?;
        Ok(opened.into_value())
    }

    /// How opening fails if one holder's release is another.
    fn refused(&self, recipient: &PersonKeys, holder: &PartyId, release: Envelope) -> String {
        let mut releases = self.releases.clone();
        releases.insert(holder.clone(), release);
        format!("{:#}", self.opened(recipient, &releases).unwrap_err())
    }
}

fn researcher(world: &World) -> PersonKeys {
    let person = &world.researcher;
    PersonKeys {
        party: person.party.clone(),
        person: person.person.clone(),
        signing: Arc::new(SigningKey::from_seed(person.signing.seed().duplicate())),
        boxes: Arc::new(cordon_crypto::RecipientSecret::from_seed(person.boxes.seed().duplicate())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_counts_with_its_own_evidence_run_and_agreement_only() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let run = Run::cleared(&world, &agreement).await;
    let checked = run.checked();
    assert_eq!(checked.receipt.value(), &run.receipt());

    let refused = |agreement: &_, id, receipt: &Envelope, evidence: &Evidence| {
        let refused = check_receipt(agreement, id, receipt, evidence);
        format!("{:#}", refused.err().expect("must be refused"))
    };
    let (id, good) = (run.guard.run(), &run.delivery.receipt);
    let of = |receipt: &Envelope| refused(&agreement, id, receipt, &run.evidence);

    // What the host may put together from other runs.
    let other_run = RunId(sha256(&[b"another run"]));
    assert!(refused(&agreement, other_run, good, &run.evidence).contains("another run"));
    let terms = Terms { max_runs: 9, ..Terms::default() };
    let other_agreement = world.agreement(&terms).unwrap();
    assert!(refused(&other_agreement, id, good, &run.evidence).contains("another agreement"));
    let nonces = run.guard.challenge(&world).await.unwrap();
    let later = run.guard.evidence(&run.guard.runtime_data(nonces)).unwrap();
    assert!(refused(&agreement, id, good, &later).contains("other evidence"));
    let second = request_again(&world, &run.guard);
    let nonces = second.challenge(&world).await.unwrap();
    let of_another_guard = second.evidence(&second.runtime_data(nonces)).unwrap();
    assert!(refused(&agreement, id, good, &of_another_guard).contains("not signed by the guard"));
    let mut cut = run.evidence.clone();
    cut.runtime_data = b"{}".to_vec().into();
    assert!(refused(&agreement, id, good, &cut).contains("no runtime data"));

    // What a guard may say that does not do what it was told.
    let says = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = run.receipt();
        change(&mut receipt);
        of(Signed::sign(receipt, &run.guard.signing).unwrap().envelope())
    };
    assert!(says(&|r| r.run = other_run).contains("another run"));
    assert!(says(&|r| r.agreement = other_agreement.digest()).contains("another agreement"));
    assert!(says(&|r| r.evidence = later.digest()).contains("other evidence"));
    assert!(says(&|r| r.engine = sha256(&[b"another"])).contains("another engine"));
    assert!(says(&|r| r.assurance = Assurance::Hardware).contains("another assurance"));
}

/// Another guard for the same run.
fn request_again(world: &World, guard: &Guard) -> Guard {
    let request: Signed<RunRequest> = guard.request.clone();
    Guard::for_request(world, &guard.agreement, request).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_opens_with_what_every_holder_released_for_it() {
    let mut world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let run = Run::cleared(&world, &agreement).await;
    let later = Run::cleared(&world, &agreement).await;
    let me = researcher(&world);
    let document = run.opened(&me, &run.releases).unwrap();
    assert_eq!((document.run, document.assurance), (run.guard.run(), Assurance::None));

    let (first, second) = (world.holders[0].party.clone(), world.holders[1].party.clone());
    // One that is missing is named.
    let mut releases = run.releases.clone();
    releases.remove(&second);
    let missing = format!("{:#}", run.opened(&me, &releases).unwrap_err());
    assert_eq!(missing, format!("`{second}` has not released its share"));
    // The host swaps what it relays.
    let swapped = run.refused(&me, &first, run.releases[&second].clone());
    assert!(swapped.starts_with(&format!("the release of `{first}`")), "{swapped}");
    let of_later = run.refused(&me, &first, later.releases[&first].clone());
    assert!(of_later.contains("another receipt"), "{of_later}");
    let mut cut = run.delivery.sealed.clone();
    cut.pop();
    let checked = run.checked();
    let refused = open(&agreement, &checked, &run.releases, &cut, &me).err().unwrap();
    assert!(refused.to_string().contains("not the receipt's"), "{refused}");
    // Another person, also one with the researcher's name.
    let mut stranger = PersonKeys::generate(
        me.party.clone(),
        me.person.clone(),
        &mut cordon_crypto::SystemRandom::new(),
    );
    assert!(run.opened(&stranger, &run.releases).is_err());
    stranger.person = "somebody".parse().unwrap();
    let refused = format!("{:#}", run.opened(&stranger, &run.releases).unwrap_err());
    assert!(refused.contains("not among the recipients"), "{refused}");

    // A broker that was taken over signs what its log does not tell of.
    world.stop_broker(0).await.unwrap();
    let key = world.holders[0].broker_key().await.unwrap();
    let release = |run: &Run| {
        run.releases[&first].open::<Release>(&key.verifying_key()).unwrap().into_value()
    };
    let forged = |change: &dyn Fn(&mut Release)| {
        let mut release = release(&run);
        change(&mut release);
        run.refused(&me, &first, Signed::sign(release, &key).unwrap().envelope().clone())
    };
    let other = release(&later);
    let unproven = forged(&|r| r.proof = other.proof.clone());
    assert!(unproven.contains("not proven"), "{unproven}");
    let elsewhere = forged(&|r| r.entry = other.entry.clone());
    assert!(elsewhere.contains("tells of something else"), "{elsewhere}");
    let tells = |change: &dyn Fn(&mut LogEntry)| {
        forged(&|r| {
            let mut entry: LogEntry =
                canonical::from_canonical(r.entry.as_slice(), LogEntry::MAX_BYTES).unwrap();
            change(&mut entry);
            r.entry = entry.to_bytes().unwrap().into();
        })
    };
    let refused_it = tells(&|entry| entry.decision = Decision::Deny);
    assert!(refused_it.contains("tells of something else"), "{refused_it}");
    let held_it = tells(&|entry| entry.action = Action::OutputHeld);
    assert!(held_it.contains("tells of something else"), "{held_it}");
    let never_logged = tells(&|entry| entry.time = entry.time.plus_seconds(1));
    assert!(never_logged.contains("not proven"), "{never_logged}");
    for (change, said) in [
        (
            (|c: &mut ClearanceContext| c.holder = "hospital-x".parse().unwrap()) as fn(&mut _),
            "another holder",
        ),
        (|c: &mut ClearanceContext| c.agreement = sha256(&[]), "another agreement"),
        (|c: &mut ClearanceContext| c.receipt = sha256(&[]), "another receipt"),
        (|c: &mut ClearanceContext| c.share = sha256(&[]), "another share"),
        (|c: &mut ClearanceContext| c.reviews = vec![sha256(&[])], "tells of something else"),
    ] {
        let refused = forged(&|r| change(&mut r.context));
        assert!(refused.contains(said), "{said}: {refused}");
    }
    let none = forged(&|r| r.sealed_shares.clear());
    assert!(none.contains("no share for you"), "{none}");
    let of_another_run = forged(&|r| r.sealed_shares = other.sealed_shares.clone());
    assert!(of_another_run.contains(&format!("the release of `{first}`")), "{of_another_run}");
    // A share that is none, sealed as it should be.
    let lie = forged(&|r| {
        let digest = document_digest(&r.context).unwrap();
        let mut random = cordon_crypto::SystemRandom::new();
        let context: [&[u8]; 1] = [digest.as_bytes()];
        let sealed = me.boxes.public_key().seal(Label::ReleaseBox, &context, &[7; 32], &mut random);
        r.sealed_shares = vec![sealed.unwrap()];
    });
    assert!(lie.contains("do not join"), "{lie}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_failed_has_nothing_to_open() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let run = Run::cleared(&world, &agreement).await;
    let mut receipt = run.receipt();
    receipt.outcome = Outcome::Failed { code: "gate_small_cells".to_owned() };
    let failed = Signed::sign(receipt, &run.guard.signing).unwrap();
    let checked = check_receipt(&agreement, run.guard.run(), failed.envelope(), &run.evidence);
    let me = researcher(&world);
    let refused = open(&agreement, &checked.unwrap(), &run.releases, &run.delivery.sealed, &me);
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("gate_small_cells"), "{refused}");
}
