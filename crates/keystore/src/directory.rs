//! The parties whose brokers witness this party's log.
//!
//! The broker service reads the network; if it is taken over, it can make up an agreement whose
//! "holders" are all its own and cosign for them. So the key process believes the witness keys of
//! enrolled parties only, and enrolment needs the signature of an administrator whom the store
//! was made with: a broker that is taken over can then still lie to its log, but not without
//! honest witnesses having seen it.

use cordon_crypto::VerifyingKey;
use cordon_crypto::dsse::{Envelope, Signed};
use cordon_protocol::PartyCard;
use cordon_protocol::agreement::Holder;
use cordon_protocol::party::Enrolment;
use cordon_types::{PartyId, Sha256Digest, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::refusal::{DocumentKind, Refusal};
use crate::store::PublicParts;

/// The enrolled parties, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory {
    pub parties: Vec<EnrolledParty>,
}

/// What of a party's card matters here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolledParty {
    pub party: PartyId,
    pub card: Sha256Digest,
    pub issued: UnixSeconds,
    pub broker_key: VerifyingKey,
    pub log_origin: String,
    pub log_key: VerifyingKey,
    pub witness_key: VerifyingKey,
}

impl Directory {
    /// The directory with this card in it, in place of an older one of the same party.
    ///
    /// Enrolling the very same card again changes nothing.
    pub fn with(
        &self,
        own: &PublicParts,
        administrators: &[VerifyingKey],
        card: &Envelope,
        enrolment: &Envelope,
    ) -> Result<Self, Refusal> {
        let card = open_card(card)?;
        check_enrolment(own, administrators, card.digest(), enrolment)?;
        let (digest, card) = (card.digest(), card.into_value());
        let enrolled = EnrolledParty {
            party: card.party,
            card: digest,
            issued: card.issued,
            broker_key: card.broker_key,
            log_origin: card.log_origin,
            log_key: card.log_key,
            witness_key: card.witness_key,
        };
        let party = enrolled.party.clone();
        if self.find(&party).is_some_and(|known| known.card == digest) {
            return Ok(self.clone());
        }
        if self.find(&party).is_some_and(|known| known.issued >= enrolled.issued) {
            return Err(Refusal::CardNotNewer { party });
        }
        let mut parties = self.parties.clone();
        parties.retain(|known| known.party != party);
        if repeats_own(&enrolled, own) || parties.iter().any(|known| repeats(&enrolled, known)) {
            return Err(Refusal::CardRepeatsKeys { party });
        }
        if parties.len() >= MAX_PARTIES {
            return Err(Refusal::DirectoryFull);
        }
        parties.push(enrolled);
        parties.sort_by(|a, b| a.party.cmp(&b.party));
        Ok(Self { parties })
    }

    /// Checks that another holder of an agreement stands there as it is enrolled here.
    pub fn check(&self, holder: &Holder) -> Result<(), Refusal> {
        let same = |known: &EnrolledParty| {
            known.broker_key == holder.broker_key
                && known.log_origin == holder.log_origin
                && known.log_key == holder.log_key
                && known.witness_key == holder.witness_key
        };
        if self.find(&holder.party).is_some_and(same) {
            Ok(())
        } else {
            Err(Refusal::HolderNotEnrolled { party: holder.party.clone() })
        }
    }

    fn find(&self, party: &PartyId) -> Option<&EnrolledParty> {
        self.parties.iter().find(|known| known.party == *party)
    }
}

/// A card is signed by the key that it names.
fn open_card(envelope: &Envelope) -> Result<Signed<PartyCard>, Refusal> {
    let refuse = |error| Refusal::document(DocumentKind::Card, &error);
    let signed = envelope.open::<PartyCard>(&envelope.claimed_signer()).map_err(refuse)?;
    if signed.value().broker_key == signed.signer() {
        Ok(signed)
    } else {
        let reason = "not signed by the broker key that it names".to_owned();
        Err(Refusal::Document { document: DocumentKind::Card, reason })
    }
}

fn check_enrolment(
    own: &PublicParts,
    administrators: &[VerifyingKey],
    card: Sha256Digest,
    envelope: &Envelope,
) -> Result<(), Refusal> {
    let signer = envelope.claimed_signer();
    if !administrators.contains(&signer) {
        return Err(Refusal::NotAnAdministrator);
    }
    let enrolment = envelope
        .open::<Enrolment>(&signer)
        .map_err(|error| Refusal::document(DocumentKind::Enrolment, &error))?
        .into_value();
    if enrolment.audience != own.party {
        return Err(Refusal::OtherAudience { audience: enrolment.audience });
    }
    if enrolment.card == card { Ok(()) } else { Err(Refusal::OtherCard) }
}

/// Nobody witnesses a log that they operate: one signing key under two names would.
fn repeats(card: &EnrolledParty, known: &EnrolledParty) -> bool {
    let of = |party: &EnrolledParty| [party.broker_key, party.log_key, party.witness_key];
    card.log_origin == known.log_origin || of(card).iter().any(|key| of(known).contains(key))
}

fn repeats_own(card: &EnrolledParty, own: &PublicParts) -> bool {
    card.party == own.party
        || card.log_origin == own.log_origin
        || [card.broker_key, card.log_key, card.witness_key]
            .iter()
            .any(|key| [own.broker_key, own.log_key, own.witness_key].contains(key))
}

/// Most enrolled parties; an agreement can use 64 witnesses.
const MAX_PARTIES: usize = 1024;
