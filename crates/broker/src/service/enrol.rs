//! Enrolment: an administrator says that a card's owner is known here, after people compared
//! fingerprints.

use cordon_crypto::dsse::Signed;
use cordon_govern::document::{
    DocumentError, check_enrolment, check_party_card, check_person_card,
};
use cordon_govern::{Code, Directory};
use cordon_protocol::entry::Action;
use cordon_protocol::party::{PartyCard, PersonCard, Role};

use super::{Broker, ServiceError, append};
use crate::api::{Enrol, Recorded};
use crate::records::{directory, nonces};

impl Broker {
    /// Enrols another holder: the key process pins its witness key, too.
    ///
    /// # Errors
    /// If card or enrolment do not hold, or the party is enrolled with another card.
    pub async fn enrol_party(&self, enrol: &Enrol) -> Result<Recorded, ServiceError> {
        let _alone = self.enrolling.lock().await;
        let (now, known) = (self.now(), self.directory());
        let refuse =
            |error: DocumentError| error.deny(&known, Action::PartyEnrolled, None, None, now);
        let card = match check_party_card(&enrol.card, self.card.value().profile) {
            Ok(card) => card,
            Err(error) => return Err(self.refuse(refuse(error)).await),
        };
        let enrolment = match check_enrolment(&enrol.enrolment, card.digest(), &known, now) {
            Ok(enrolment) => enrolment,
            Err(error) => return Err(self.refuse(refuse(error)).await),
        };
        let fits = self.fits([card.clone()], []).await?;
        if let Err(error) = fits {
            return Err(self.refuse(refuse(error)).await);
        }
        self.keys
            .enrol(enrol.card.clone(), enrol.enrolment.clone())
            .await
            .map_err(ServiceError::Keys)?;
        let actor = self.person(&enrolment.value().administrator, Some(Role::Administrator));
        let entry = self.entry(actor, Action::PartyEnrolled, card.digest());
        let (digest, nonce) = (card.digest(), enrolment.value().nonce);
        let enrolled = card.value().clone();
        let index = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    nonces::spend(c, nonce, now).await?;
                    let index = append(c, &entry).await?;
                    directory::insert_party(c, &card, index).await?;
                    Ok(index)
                })
            })
            .await?;
        self.log.wake();
        self.log.enrol(&enrolled)?;
        self.refresh_directory().await?;
        Ok(Recorded { digest, entry: Some(index) })
    }

    /// Enrols a person: own staff with roles, or a researcher of another party.
    ///
    /// # Errors
    /// If card or enrolment do not hold, or the person is enrolled already.
    pub async fn enrol_person(&self, enrol: &Enrol) -> Result<Recorded, ServiceError> {
        let _alone = self.enrolling.lock().await;
        let (now, known) = (self.now(), self.directory());
        let refuse =
            |error: DocumentError| error.deny(&known, Action::PersonEnrolled, None, None, now);
        let card = match check_person_card(&enrol.card) {
            Ok(card) => card,
            Err(error) => return Err(self.refuse(refuse(error)).await),
        };
        let enrolment = match check_enrolment(&enrol.enrolment, card.digest(), &known, now) {
            Ok(enrolment) => enrolment,
            Err(error) => return Err(self.refuse(refuse(error)).await),
        };
        let roles = enrolment.value().roles.clone();
        let fits = self.fits([], [(card.clone(), roles.clone())]).await?;
        if let Err(error) = fits {
            return Err(self.refuse(refuse(error)).await);
        }
        let actor = self.person(&enrolment.value().administrator, Some(Role::Administrator));
        let entry = self.entry(actor, Action::PersonEnrolled, card.digest());
        let (digest, nonce) = (card.digest(), enrolment.value().nonce);
        let enrolled = card.clone();
        let index = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    nonces::spend(c, nonce, now).await?;
                    let index = append(c, &entry).await?;
                    directory::insert_person(c, &card, &roles, index).await?;
                    Ok(index)
                })
            })
            .await?;
        self.log.wake();
        self.refresh_directory().await?;
        self.introduce(&enrolled).await;
        Ok(Recorded { digest, entry: Some(index) })
    }

    /// Shows the hub the cards of everybody whom this broker speaks for: what was enrolled while
    /// the hub was away, or by another program.
    pub async fn introduce_people(&self) {
        match directory::people(self.store.readers()).await {
            Ok(people) => {
                for person in people {
                    self.introduce(&person.card).await;
                }
            }
            Err(error) => {
                tracing::warn!(error = crate::why(&error), "nobody is introduced to the hub")
            }
        }
    }

    /// Shows the hub a person's card, so that proposals can name the person and mail arrives. Other
    /// holders' people are introduced by their own brokers; those of a party without a broker by
    /// whoever enrols them.
    async fn introduce(&self, person: &Signed<PersonCard>) {
        let Some(hub) = &self.hub else { return };
        let party = &person.value().party;
        let has_own_broker =
            *party != self.card.value().party && self.directory().party(party).is_some();
        if has_own_broker {
            return;
        }
        if let Err(error) = hub.register_person(person).await {
            // Nothing that is enrolled depends on it.
            tracing::warn!(
                error = crate::why(&error),
                "the hub does not take the card of a person"
            );
        }
    }

    /// Whether the directory with these would still be one, looked at before anything of them is
    /// stored: a name twice or a key twice would keep the broker from starting again.
    async fn fits(
        &self,
        new_parties: impl IntoIterator<Item = Signed<PartyCard>>,
        new_people: impl IntoIterator<Item = (Signed<PersonCard>, Vec<Role>)>,
    ) -> Result<Result<(), DocumentError>, ServiceError> {
        let mut parties = directory::parties(self.store.readers()).await?;
        let people = directory::people(self.store.readers()).await?;
        let mut people: Vec<_> =
            people.into_iter().map(|person| (person.card, person.roles)).collect();
        parties.extend(new_parties);
        people.extend(new_people);
        let directory = Directory::new(&self.card, parties, people).map(|_| ());
        Ok(directory.map_err(|e| DocumentError::new(Code::DirectoryConflict, e.to_string())))
    }
}
