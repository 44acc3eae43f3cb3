//! Agreements that were read and checked before.
//!
//! An agreement does not change, and its check is the same until the directory is another. What
//! people decided and which dataset versions there are is read again when, and only when, the
//! database says that there is something newer: one statement at each look tells.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use cordon_crypto::dsse::Signed;
use cordon_govern::approval::{self, Standing};
use cordon_govern::{CheckedAgreement, Code, Directory, Recognized, compare_with_directory};
use cordon_protocol::{Approval, Manifest};
use cordon_types::Sha256Digest;

use super::{Broker, ServiceError, lock};
use crate::records::{agreements, datasets};

/// Agreements that are kept: each may have manifests of a megabyte with it.
const MAX_KNOWN: usize = 64;

/// An agreement at this broker, looked at now.
pub(super) struct Looked {
    pub recognized: Recognized,
    pub runs: u32,
    pub standing: Standing,
    pub stopped: bool,
    known: Arc<Known>,
    last_entry: Option<Vec<u8>>,
}

impl Looked {
    /// Why nothing more is granted or cleared under it, if a person of this holder said so.
    pub fn closed(&self) -> Option<Code> {
        match self.standing {
            _ if self.stopped => Some(Code::StudyStopped),
            Standing::Rejected { .. } => Some(Code::ApprovalRejected),
            Standing::Approved(_) | Standing::Missing(_) => None,
        }
    }

    /// What people decided, by person.
    pub fn decisions(&self) -> &[Signed<Approval>] {
        &self.known.decisions
    }

    /// The newest version of each of this holder's agreed datasets.
    ///
    /// # Errors
    /// If there is none of one of them.
    pub fn newest_manifests(&self) -> Result<Vec<&Signed<Manifest>>, ServiceError> {
        let newest = self.known.newest.iter().map(Option::as_ref);
        newest.map(|found| found.ok_or(ServiceError::NotFound("dataset"))).collect()
    }

    /// The newest log entry at the time of the look.
    pub fn last_entry(&self) -> Option<&[u8]> {
        self.last_entry.as_deref()
    }
}

/// What holds of an agreement as long as its marks stay the same.
struct Known {
    recognized: Recognized,
    decisions: Vec<Signed<Approval>>,
    newest: Vec<Option<Signed<Manifest>>>,
    directory: Arc<Directory>,
    decided: Option<i64>,
    published: Option<i64>,
}

/// The agreements of late.
#[derive(Default)]
pub(super) struct KnownAgreements(Mutex<HashMap<Sha256Digest, Arc<Known>>>);

impl Broker {
    /// Reads an agreement and judges it by what is known now: people may have left, approvals
    /// may have expired.
    pub(super) async fn look_at(&self, digest: Sha256Digest) -> Result<Looked, ServiceError> {
        let directory = self.directory();
        let marks = agreements::marks(self.store.readers(), digest).await?;
        let marks = marks.ok_or(ServiceError::NotFound("agreement"))?;
        let earlier = lock(&self.known.0).get(&digest).cloned().filter(|known| {
            known.decided == marks.decided
                && known.published == marks.published
                && Arc::ptr_eq(&known.directory, &directory)
        });
        let known = match earlier {
            Some(known) => known,
            None => self.read_agreement(digest, directory, &marks).await?,
        };
        let standing =
            approval::evaluate(&known.recognized, &known.directory, &known.decisions, self.now());
        Ok(Looked {
            recognized: known.recognized.clone(),
            runs: marks.runs,
            standing,
            stopped: marks.stopped,
            known,
            last_entry: marks.last_entry,
        })
    }

    /// What is read here may be newer than its marks, which were read before; then it is read
    /// once more at the next look. It is never older.
    async fn read_agreement(
        &self,
        digest: Sha256Digest,
        directory: Arc<Directory>,
        marks: &agreements::Marks,
    ) -> Result<Arc<Known>, ServiceError> {
        let readers = self.store.readers();
        let stored = agreements::get(readers, digest).await?;
        let stored = stored.ok_or(ServiceError::NotFound("agreement"))?;
        let recognized = CheckedAgreement::check(&stored)
            .and_then(|checked| compare_with_directory(&checked, &directory))
            .map_err(|error| ServiceError::Malformed(error.to_string()))?;
        let decisions = agreements::approvals(readers, digest).await?;
        let mut newest = Vec::new();
        for terms in &recognized.own_holder().datasets {
            newest.push(datasets::newest(readers, &terms.dataset).await?);
        }
        let known = Arc::new(Known {
            recognized,
            decisions,
            newest,
            directory,
            decided: marks.decided,
            published: marks.published,
        });
        let mut all = lock(&self.known.0);
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert(digest, known.clone());
        Ok(known)
    }
}
