//! From rows to heads: one task that appends, and one that publishes.

use std::sync::Arc;
use std::time::Duration;

use cordon_tlog::tile::LogTree;
use cordon_tlog::{LogSigner, VerifiedCheckpoint};

use super::{LogError, Shared, rows};

/// Most entries of one head.
const MAX_BATCH: u32 = 1024;
/// How long the next head waits for witnesses that answered last time.
const ROUND: Duration = Duration::from_secs(5);
/// Between two heads that are shown: a busy broker signs hundreds in a second.
const SHOW_PAUSE: Duration = Duration::from_millis(50);
/// After the disk failed. The entries are safe in the database meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// Puts entries into tiles and signs heads, as long as the log lives.
pub(super) async fn run(shared: Arc<Shared>, mut tree: LogTree) {
    if !shared.ready().await {
        return;
    }
    loop {
        match next(&shared, &tree).await {
            Ok(Some(grown)) => tree = grown,
            Ok(None) => shared.work.notified().await,
            Err(error) => {
                tracing::error!(error = crate::why(&error), "the log cannot be written");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One head over the entries that wait; `None` if there are none.
async fn next(shared: &Arc<Shared>, tree: &LogTree) -> Result<Option<LogTree>, LogError> {
    if rows::from(shared.store.readers(), tree.size(), 1).await?.is_empty() {
        return Ok(None);
    }
    // While the witnesses are at work, more entries gather for the next head.
    let mut heads = shared.heads.subscribe();
    let settled = heads.wait_for(|heads| heads.is_settled());
    // Whoever is late is late: the entries go on without them.
    let _ = tokio::time::timeout(ROUND, settled).await;

    let entries = rows::from(shared.store.readers(), tree.size(), MAX_BATCH).await?;
    let (tree, shared_too) = (tree.clone(), shared.clone());
    let work = tokio::task::spawn_blocking(move || grow(&shared_too, &tree, &entries));
    let (tree, head) = work.await.map_err(|_| LogError::Closed)??;
    shared.heads.send_modify(|heads| heads.add(head));
    Ok(Some(tree))
}

/// In this order: bundles and tiles, then the head, then the world. What a crash leaves in
/// between is made again from the rows, to the same bytes.
fn grow(
    shared: &Shared,
    tree: &LogTree,
    entries: &[Vec<u8>],
) -> Result<(LogTree, VerifiedCheckpoint), LogError> {
    let growth = tree.append(entries).map_err(|error| LogError::damaged(&error))?;
    shared.folder.write_tiles(&growth.files)?;
    // INVARIANT: this head continues the one signed last: it is made from the same tree.
    let signer = LogSigner::new(shared.origin.clone(), &shared.log_key);
    let head = signer
        .sign(growth.tree.size(), growth.tree.root())
        .map_err(|error| LogError::damaged(&error))?;
    shared.folder.write_head(head.signed())?;
    Ok((growth.tree, head))
}

/// Shows the newest head to the world when the witnesses that answer have cosigned it. Grants do
/// not wait for this; auditors see at most [`SHOW_PAUSE`] later what was decided.
pub(super) async fn publish(shared: Arc<Shared>) {
    let mut heads = shared.heads.subscribe();
    let mut shown = String::new();
    loop {
        let head = match heads.wait_for(|heads| heads.is_settled()).await {
            Ok(heads) => heads.newest().cloned(),
            Err(_) => return,
        };
        if let Some(head) = head {
            let text = head.signed().to_string();
            if text != shown {
                let folder = shared.folder.clone();
                let written =
                    tokio::task::spawn_blocking(move || folder.write_checkpoint(head.signed()));
                match written.await {
                    Ok(Ok(())) => shown = text,
                    Ok(Err(error)) => {
                        tracing::error!(error = crate::why(&error), "cannot publish a head")
                    }
                    Err(_) => return,
                }
            }
        }
        tokio::time::sleep(SHOW_PAUSE).await;
        if heads.changed().await.is_err() {
            return;
        }
    }
}
