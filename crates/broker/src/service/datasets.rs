//! Dataset versions: a signed manifest, and the version key on its way into the key process.

use cordon_crypto::dsse::Envelope;
use cordon_keystore::DepositRequest;
use cordon_protocol::entry::{Action, Actor};
use cordon_protocol::{Deposit, Manifest};

use super::{Broker, ServiceError, append};
use crate::api::{Publish, Recorded};
use crate::records::{datasets, nonces};

impl Broker {
    /// Takes a dataset version in: the key process checks the key against every commitment of
    /// the manifest and keeps it, then the version is recorded and shown to researchers.
    ///
    /// # Errors
    /// If manifest or deposit do not hold, or this version is there already.
    pub async fn publish(&self, publish: &Publish) -> Result<Recorded, ServiceError> {
        let card = self.card.value();
        let signer = publish.manifest.claimed_signer();
        if !card.manifest_keys.contains(&signer) {
            return Err(ServiceError::NotAllowed(
                "the manifest is not signed by a manifest key of this holder's card",
            ));
        }
        let malformed =
            |error: cordon_crypto::dsse::EnvelopeError| ServiceError::Malformed(error.to_string());
        let manifest = publish.manifest.open::<Manifest>(&signer).map_err(malformed)?;
        let deposit = publish.deposit.open::<Deposit>(&signer).map_err(malformed)?;
        if manifest.value().holder != card.party {
            return Err(ServiceError::NotAllowed("the dataset is of another holder"));
        }
        let now = self.now();
        let deposited = self
            .keys
            .deposit(DepositRequest {
                manifest: publish.manifest.clone(),
                deposit: publish.deposit.clone(),
                allowed: card.manifest_keys.clone(),
                time: now,
            })
            .await
            .map_err(ServiceError::Keys)?;
        let party = card.party.clone();
        let entry = self.entry(Actor::Party(party), Action::DatasetPublished, manifest.digest());
        let (digest, nonce) = (manifest.digest(), deposit.value().nonce);
        let index = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    nonces::spend(c, nonce, now).await?;
                    let index = append(c, &entry).await?;
                    datasets::insert(c, &manifest, index).await?;
                    Ok(index)
                })
            })
            .await?;
        self.log.wake();
        // The log knows of it: from now on it may be granted. A crash before this is made good at
        // the next start.
        self.activate(&deposited).await?;
        self.show(&publish.manifest).await;
        Ok(Recorded { digest, entry: Some(index) })
    }

    /// Puts a document on the hub. The hub is not needed for anything to hold, so that failing
    /// to reach it is not an error of what was done.
    pub(super) async fn show(&self, document: &Envelope) {
        let Some(hub) = &self.hub else { return };
        if let Err(error) = hub.put_document(document).await {
            tracing::warn!(error = crate::why(&error), "the hub did not take a document");
        }
    }
}
