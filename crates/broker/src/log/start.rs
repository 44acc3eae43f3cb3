//! Starting: is what is here what was signed, and is it the newest?

use std::sync::Arc;
use std::time::Duration;

use cordon_tlog::tile::LogTree;
use cordon_tlog::{LogKey, VerifiedCheckpoint};
use futures_util::future::join_all;

use super::files::LogFolder;
use super::peers::{self, Peer};
use super::{Condition, Fatal, LogError, Shared, rows};
use crate::store::Store;

/// Entries that are read at a time.
const REPLAY_ROWS: u32 = 4096;
/// After a witness did not say what it cosigned last.
const PAUSE: Duration = Duration::from_millis(500);
/// How long all witnesses are waited for. After that, those who answered must do; but one must.
const PATIENCE: Duration = Duration::from_secs(15);

/// A log as it was left.
pub(super) struct Resumed {
    pub(super) tree: LogTree,
    pub(super) head: Option<VerifiedCheckpoint>,
}

/// Rebuilds the tree from the database and checks that it is the one that was signed last.
///
/// The tiles are not believed: what the database holds is hashed again, so that an entry that
/// somebody edited there is noticed before anything new is signed on top of it.
pub(super) async fn resume(
    folder: &LogFolder,
    store: &Store,
    own: &LogKey,
) -> Result<Resumed, LogError> {
    let head = folder.read_head(own)?;
    let signed = head.as_ref().map_or(0, VerifiedCheckpoint::size);
    let found = rows::count(store.readers()).await?;
    if found < signed {
        return Err(Fatal::DatabaseBehind { found, signed }.into());
    }
    let mut tree = LogTree::new();
    while tree.size() < signed {
        let left = u32::try_from(signed - tree.size()).unwrap_or(u32::MAX);
        let entries = rows::from(store.readers(), tree.size(), left.min(REPLAY_ROWS)).await?;
        if entries.is_empty() {
            return Err(Fatal::DatabaseBehind { found: tree.size(), signed }.into());
        }
        let growth = tree.append(&entries).map_err(|error| LogError::damaged(&error))?;
        // The same bytes as before, unless a crash or somebody took a file away.
        let (folder, files) = (folder.clone(), growth.files);
        tokio::task::spawn_blocking(move || restore(&folder, files))
            .await
            .map_err(|_| LogError::Closed)??;
        tree = growth.tree;
    }
    match &head {
        Some(head) if tree.root() != *head.root() => {
            Err(Fatal::DatabaseChanged { size: signed }.into())
        }
        _ => Ok(Resumed { tree, head }),
    }
}

/// Writes again what is missing or differs.
fn restore(folder: &LogFolder, files: Vec<cordon_tlog::tile::LogFile>) -> Result<(), LogError> {
    let mut missing = Vec::new();
    for file in files {
        if folder.read_public(&file.path.to_string())?.as_ref() != Some(&file.bytes) {
            missing.push(file);
        }
    }
    folder.write_tiles(&missing)
}

/// Asks every witness which head of this log it cosigned last; only then may the log sign.
pub(super) async fn ask_witnesses(shared: Arc<Shared>, peers: Vec<Peer>) {
    let ask = |peer: Peer| {
        let shared = shared.clone();
        async move {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            loop {
                match peers::last_cosigned(&shared, &peer).await {
                    Ok(None) => return Ok(true),
                    Ok(Some(theirs)) => {
                        return peers::compare(&shared, &peer, &theirs).map(|()| true);
                    }
                    Err(error) => {
                        tracing::debug!(party = %peer.party, error = crate::why(&error), "no last head");
                    }
                }
                if tokio::time::Instant::now() >= deadline {
                    return Ok(false);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    loop {
        let answers = join_all(peers.iter().cloned().map(ask)).await;
        let mut answered = peers.is_empty();
        for answer in answers {
            match answer {
                Ok(said) => answered |= said,
                Err(fatal) => return shared.fail(fatal),
            }
        }
        // A witness that is silent now still refuses to cosign a log that is behind: without its
        // cosignature nothing takes effect in its studies.
        if answered {
            shared.condition.send_if_modified(|condition| {
                let starts = *condition == Condition::Starting;
                if starts {
                    *condition = Condition::Ready;
                }
                starts
            });
            return;
        }
    }
}
