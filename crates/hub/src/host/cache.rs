use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use cordon_protocol::worker::MAX_RANGE_BYTES;
use cordon_types::Sha256Digest;

use crate::client::{Client, ClientError};

/// Ciphertext is fetched and kept in blocks: an engine reads the same footers and neighbouring
/// column chunks again and again.
const BLOCK_BYTES: u64 = 1 << 20;
/// Sizes that are remembered.
const MAX_SIZES: usize = 100_000;

/// Ranges of ciphertext objects, through a cache in memory that all runs of a host share.
/// Objects never change, so nothing in it is ever stale; but what a range holds is known only to
/// the engine, so that what a failed run read is forgotten.
pub(super) struct ObjectCache {
    client: Client,
    max_bytes: usize,
    blocks: Mutex<Blocks>,
    sizes: Mutex<HashMap<Sha256Digest, u64>>,
}

#[derive(Default)]
struct Blocks {
    by_place: HashMap<(Sha256Digest, u64), Block>,
    bytes: usize,
    clock: u64,
}

struct Block {
    bytes: Bytes,
    used: u64,
}

/// Why a range cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum RangeError {
    #[error("a range of {0} bytes: expected 1 to {MAX_RANGE_BYTES}")]
    Length(u32),
    #[error("the range ends after the object")]
    Outside,
    #[error("the hub does not give the range")]
    Hub(#[from] ClientError),
}

impl ObjectCache {
    pub(super) fn new(client: Client, max_bytes: usize) -> Self {
        Self { client, max_bytes, blocks: Mutex::default(), sizes: Mutex::default() }
    }

    /// Exactly these bytes of an object.
    pub(super) async fn read(
        &self,
        object: Sha256Digest,
        offset: u64,
        length: u32,
    ) -> Result<Bytes, RangeError> {
        if length == 0 || length > MAX_RANGE_BYTES {
            return Err(RangeError::Length(length));
        }
        let size = self.size(object).await?;
        let end = offset.checked_add(length.into()).filter(|end| *end <= size);
        let range = offset..end.ok_or(RangeError::Outside)?;
        let mut out = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        let mut next = blocks.start;
        while next < blocks.end {
            if let Some(block) = self.kept(object, next) {
                copy(&mut out, next, &block, &range);
                next += 1;
                continue;
            }
            // One request for all missing blocks in a row.
            let missing = (next..blocks.end).take_while(|block| !self.has(object, *block)).count();
            let after = next + missing.max(1) as u64;
            let fetch = next * BLOCK_BYTES..size.min(after * BLOCK_BYTES);
            let mut fetched = self.client.object_range(&object, fetch).await?;
            for block in next..after {
                let length = fetched.len().min(usize::try_from(BLOCK_BYTES).unwrap_or(0));
                let bytes = fetched.split_to(length);
                copy(&mut out, block, &bytes, &range);
                // A copy of its own, so that evicting one block frees its memory.
                self.keep(object, block, Bytes::copy_from_slice(&bytes));
            }
            next = after;
        }
        Ok(out.freeze())
    }

    /// Forgets all of an object: a hub that lied once must not spoil later runs.
    pub(super) fn forget(&self, objects: &BTreeSet<Sha256Digest>) {
        let mut blocks = lock(&self.blocks);
        let Blocks { by_place, bytes, .. } = &mut *blocks;
        by_place.retain(|(object, _), block| {
            let keep = !objects.contains(object);
            if !keep {
                *bytes -= block.bytes.len();
            }
            keep
        });
        drop(blocks);
        lock(&self.sizes).retain(|object, _| !objects.contains(object));
    }

    async fn size(&self, object: Sha256Digest) -> Result<u64, RangeError> {
        if let Some(size) = lock(&self.sizes).get(&object) {
            return Ok(*size);
        }
        let size = self.client.object_size(&object).await?.ok_or(RangeError::Outside)?;
        let mut sizes = lock(&self.sizes);
        if sizes.len() >= MAX_SIZES {
            sizes.clear();
        }
        sizes.insert(object, size);
        Ok(size)
    }

    fn has(&self, object: Sha256Digest, block: u64) -> bool {
        lock(&self.blocks).by_place.contains_key(&(object, block))
    }

    fn kept(&self, object: Sha256Digest, block: u64) -> Option<Bytes> {
        let mut blocks = lock(&self.blocks);
        blocks.clock += 1;
        let clock = blocks.clock;
        let block = blocks.by_place.get_mut(&(object, block))?;
        block.used = clock;
        Some(block.bytes.clone())
    }

    fn keep(&self, object: Sha256Digest, block: u64, bytes: Bytes) {
        let mut blocks = lock(&self.blocks);
        blocks.clock += 1;
        let used = blocks.clock;
        blocks.bytes += bytes.len();
        if let Some(old) = blocks.by_place.insert((object, block), Block { bytes, used }) {
            blocks.bytes -= old.bytes.len();
        }
        while blocks.bytes > self.max_bytes {
            // A few hundred blocks: looking at all of them is cheaper than keeping an order.
            let oldest = blocks.by_place.iter().min_by_key(|(_, block)| block.used);
            let Some(place) = oldest.map(|(place, _)| *place) else { return };
            if let Some(old) = blocks.by_place.remove(&place) {
                blocks.bytes -= old.bytes.len();
            }
        }
    }
}

/// Copies the part of a block that lies in the range.
fn copy(out: &mut BytesMut, block: u64, bytes: &Bytes, range: &Range<u64>) {
    let start = block * BLOCK_BYTES;
    let within = |position: u64| {
        usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len())
    };
    out.extend_from_slice(&bytes[within(range.start)..within(range.end)]);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
