//! What a broker's log on the disk says, believed only as far as it proves it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use cordon_crypto::dsse::{Document, Signed, document_digest};
use cordon_protocol::entry::{Action, Decision};
use cordon_protocol::{Agreement, Grant, LogEntry, Release};
use cordon_tlog::tile::{LogTree, TilePath, audit};
use cordon_tlog::{
    LogKey, Quorum, SignedCheckpoint, TreeHash, VerifiedCheckpoint, WitnessKey, verify_proof,
};
use cordon_types::Base64Bytes;

/// The log of one broker, as far as it was ever seen.
pub(super) struct LogOnDisk {
    folder: PathBuf,
    key: LogKey,
    entries: Vec<Vec<u8>>,
    tree: LogTree,
    /// The root at each size from 0.
    roots: Vec<TreeHash>,
}

impl LogOnDisk {
    /// A log of which nothing was seen yet.
    pub fn new(folder: PathBuf, key: LogKey) -> Self {
        let tree = LogTree::new();
        let roots = vec![tree.root()];
        Self { folder, key, entries: Vec::new(), tree, roots }
    }

    /// Reads all of it: every file must be what the newest head commits to, and what was seen
    /// before must still be there, unchanged.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(&mut self) -> Result<()> {
        // In this order: what auditors are shown was signed before, also while the log grows.
        let shown = self.head("checkpoint")?;
        let head = self.newest_head()?.context("there is no head")?;
        let mut entries = Vec::new();
        let mut files = |path: &TilePath| read(&self.folder.join(path.to_string()));
        audit(&head, &mut files, |_, entry| entries.push(entry.to_vec()))?;
        ensure!(entries.starts_with(&self.entries), "the log lost or changed an entry");
        for entry in entries.iter().skip(self.entries.len()) {
            self.tree = self.tree.append(&[entry])?.tree;
            self.roots.push(self.tree.root());
        }
        self.entries = entries;
        if let Some(shown) = shown {
            self.covers(&shown).context("the published checkpoint")?;
        }
        Ok(())
    }

    /// Whether a head that somebody else has, for instance a witness, is of this very history.
    ///
    /// # Errors
    /// If it is not.
    pub fn covers(&self, head: &VerifiedCheckpoint) -> Result<()> {
        let size = usize::try_from(head.size())?;
        let own = self.entries.len();
        let Some(root) = self.roots.get(size) else {
            bail!("a head over {size} entries is out, the log has {own}")
        };
        ensure!(root == head.root(), "another history at size {size}");
        Ok(())
    }

    /// A head in the witnesses' form, if this log signed it.
    ///
    /// # Errors
    /// If it did not.
    pub fn open(&self, text: &str) -> Result<VerifiedCheckpoint> {
        Ok(SignedCheckpoint::parse(text.as_bytes())?.verify(&self.key)?)
    }

    /// Whether the entry of a grant stands in the log, with a proof that holds.
    ///
    /// # Errors
    /// If it does not.
    pub fn holds_grant(&self, grant: &Signed<Grant>, quorum: &Quorum) -> Result<()> {
        let grant = grant.value();
        self.holds(Action::GrantIssued, &grant.context, &grant.entry, &grant.proof, quorum)
    }

    /// Likewise of a share of a result key.
    ///
    /// # Errors
    /// If it does not.
    pub fn holds_share(&self, release: &Signed<Release>, quorum: &Quorum) -> Result<()> {
        let release = release.value();
        self.holds(Action::OutputCleared, &release.context, &release.entry, &release.proof, quorum)
    }

    fn holds<C: Document>(
        &self,
        action: Action,
        context: &C,
        entry: &Base64Bytes,
        proof: &str,
        quorum: &Quorum,
    ) -> Result<()> {
        let bytes = entry.as_slice();
        ensure!(self.entries.iter().any(|logged| logged == bytes), "the entry is not in the log");
        verify_proof(proof.as_bytes(), bytes, &self.key, quorum)?;
        let entry: LogEntry = serde_json::from_slice(bytes)?;
        ensure!(entry.action == action && entry.decision == Decision::Permit, "another entry");
        ensure!(entry.objects == [document_digest(context)?], "an entry about something else");
        Ok(())
    }

    /// Where this was logged as done.
    pub fn places(&self, action: Action, is_it: impl Fn(&LogEntry) -> bool) -> Vec<u64> {
        let found = (0..).zip(&self.entries).filter(|(_, bytes)| {
            serde_json::from_slice::<LogEntry>(bytes).is_ok_and(|entry| {
                entry.action == action && entry.decision == Decision::Permit && is_it(&entry)
            })
        });
        found.map(|(index, _)| index).collect()
    }

    /// Heads take turns in two files, and a crash may have torn one of them.
    fn newest_head(&self) -> Result<Option<VerifiedCheckpoint>> {
        let mut newest: Option<VerifiedCheckpoint> = None;
        let mut torn = None;
        for name in ["head.0", "head.1"] {
            match self.head(name) {
                Ok(Some(head)) if newest.as_ref().is_none_or(|seen| seen.size() < head.size()) => {
                    newest = Some(head);
                }
                Ok(_) => {}
                Err(error) => torn = Some(error),
            }
        }
        match (newest, torn) {
            (None, Some(error)) => Err(error),
            (newest, _) => Ok(newest),
        }
    }

    fn head(&self, name: &str) -> Result<Option<VerifiedCheckpoint>> {
        let Some(bytes) = read(&self.folder.join(name))? else { return Ok(None) };
        Ok(Some(SignedCheckpoint::parse(&bytes)?.verify(&self.key)?))
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Who must have cosigned the log of this holder: all others.
pub(super) fn witnesses(agreement: &Agreement, holder: usize) -> Result<Quorum> {
    let others = agreement.holders.iter().enumerate().filter(|(index, _)| *index != holder);
    let keys = others.map(|(_, other)| {
        let name = cordon_protocol::party::witness_name(&other.log_origin).parse()?;
        anyhow::Ok(WitnessKey::new(name, other.witness_key))
    });
    Ok(Quorum::all(keys.collect::<Result<Vec<_>>>()?)?)
}
