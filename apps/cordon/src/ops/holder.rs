//! What people of a holder sign, and publishing what the holder sealed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use cordon_broker::api::{Publish, Recorded};
use cordon_broker::client::StaffClient;
use cordon_crypto::Random;
use cordon_crypto::dsse::{Envelope, Signed};
use cordon_dataset::verify_files;
use cordon_hub::client::Client;
use cordon_protocol::dataset::ManifestFile;
use cordon_protocol::decision::{Approval, Stop, Verdict};
use cordon_protocol::party::{Enrolment, Role};
use cordon_protocol::{Manifest, V1};
use cordon_types::{PartyId, Sha256Digest, StudyId, UnixSeconds};
use indicatif::ProgressBar;

use crate::files::{self, SealedFolder};
use crate::person::PersonKeys;

/// An administrator's statement that a card is known here, with these roles.
///
/// # Errors
/// If it has no canonical form, which does not happen.
pub fn enrolment(
    card: Sha256Digest,
    roles: &[Role],
    audience: &PartyId,
    administrator: &PersonKeys,
    now: UnixSeconds,
    random: &mut dyn Random,
) -> Result<Envelope> {
    let mut roles = roles.to_vec();
    roles.sort();
    roles.dedup();
    let enrolment = Enrolment {
        v: V1,
        audience: audience.clone(),
        card,
        roles,
        administrator: administrator.person.clone(),
        nonce: random.nonce(),
        issued: now,
    };
    Ok(Signed::sign(enrolment, &administrator.signing)?.envelope().clone())
}

/// A person's yes or no to an agreement, for that person's own broker.
///
/// # Errors
/// If it has no canonical form, which does not happen.
pub fn approval(
    agreement: Sha256Digest,
    verdict: Verdict,
    expires: UnixSeconds,
    person: &PersonKeys,
    now: UnixSeconds,
    random: &mut dyn Random,
) -> Result<Envelope> {
    let approval = Approval {
        v: V1,
        agreement,
        audience: person.party.clone(),
        person: person.person.clone(),
        verdict,
        nonce: random.nonce(),
        issued: now,
        expires,
    };
    Ok(Signed::sign(approval, &person.signing)?.envelope().clone())
}

/// A person stops a study at that person's own broker.
///
/// # Errors
/// If it has no canonical form, which does not happen.
pub fn stop(
    study: &StudyId,
    person: &PersonKeys,
    now: UnixSeconds,
    random: &mut dyn Random,
) -> Result<Envelope> {
    let stop = Stop {
        v: V1,
        study: study.clone(),
        audience: person.party.clone(),
        person: person.person.clone(),
        nonce: random.nonce(),
        issued: now,
    };
    Ok(Signed::sign(stop, &person.signing)?.envelope().clone())
}

/// The signed manifest in a sealed folder. Whether its key is one of the holder's is for the
/// broker to say.
///
/// # Errors
/// If there is none, or its signature does not hold.
pub fn manifest(folder: &Path) -> Result<Signed<Manifest>> {
    files::read_signed(&folder.join(MANIFEST))
}

/// Publishes a sealed folder: verifies every file, uploads the ciphertext to the hub, and hands
/// manifest and key to the holder's broker. Nothing is uploaded unless all of it verifies.
///
/// # Errors
/// If a file is not what the manifest says, or hub or broker do not take it.
pub async fn publish(
    staff: &StaffClient,
    hub: &Client,
    folder: &Path,
    progress: &ProgressBar,
) -> Result<Recorded> {
    let signed = manifest(folder)?;
    let deposit = files::read_envelope(&folder.join(DEPOSIT)).context("reading the version key")?;
    let sealed: PathBuf = folder.to_owned();
    let checked = signed.value().clone();
    tokio::task::spawn_blocking(move || verify_files(&checked, &SealedFolder::new(&sealed)))
        .await?
        .with_context(|| format!("`{}` is not what its manifest says", folder.display()))?;
    let all: Vec<&ManifestFile> = signed.value().tables.iter().flat_map(|t| &t.files).collect();
    progress.set_length(all.iter().map(|file| file.size_bytes).sum());
    for file in all {
        progress.set_message(file.path.clone());
        upload(hub, folder, file).await.with_context(|| format!("uploading `{}`", file.path))?;
        progress.inc(file.size_bytes);
    }
    let publish = Publish { manifest: signed.envelope().clone(), deposit };
    Ok(staff.publish(&publish).await?)
}

async fn upload(hub: &Client, folder: &Path, file: &ManifestFile) -> Result<()> {
    match hub.object_size(&file.sha256).await? {
        Some(size) if size == file.size_bytes => return Ok(()),
        Some(size) => bail!("the hub has {size} bytes of it, expected {}", file.size_bytes),
        None => {}
    }
    let (digest, _) = hub.put_object_file(&folder.join(&file.path)).await?;
    ensure!(digest == file.sha256, "the file changed while it was uploaded");
    Ok(())
}

/// The signed manifest of a sealed folder.
pub const MANIFEST: &str = "manifest.json";
/// The version key, sealed to the holder's broker.
pub const DEPOSIT: &str = "deposit.json";

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_crypto::SystemRandom;

    fn person() -> PersonKeys {
        let (party, name) = ("hospital-a".parse().unwrap(), "alice".parse().unwrap());
        PersonKeys::generate(party, name, &mut SystemRandom::new())
    }

    #[test]
    fn what_a_person_signs_is_for_the_own_broker_and_used_once() {
        let (person, now) = (person(), UnixSeconds::new(1_700_000_000));
        let mut random = SystemRandom::new();
        let digest = Sha256Digest::from_bytes([7; 32]);
        let expires = now.plus_seconds(60);
        let mut approve =
            || approval(digest, Verdict::Approve, expires, &person, now, &mut random).unwrap();
        let key = person.signing.verifying_key();
        let (one, two) = (approve().open::<Approval>(&key).unwrap(), approve());
        assert_eq!(one.value().audience, person.party);
        assert_eq!(one.value().person, person.person);
        assert_ne!(one.digest(), two.payload_digest());
    }

    #[test]
    fn roles_of_an_enrolment_are_in_order_and_once() {
        let (person, now) = (person(), UnixSeconds::new(1_700_000_000));
        let roles = [Role::Reviewer, Role::Steward, Role::Reviewer];
        let digest = Sha256Digest::from_bytes([7; 32]);
        let random = &mut SystemRandom::new();
        let signed = enrolment(digest, &roles, &person.party, &person, now, random).unwrap();
        let opened = signed.open::<Enrolment>(&person.signing.verifying_key()).unwrap();
        assert_eq!(opened.value().roles, [Role::Steward, Role::Reviewer]);
    }
}
