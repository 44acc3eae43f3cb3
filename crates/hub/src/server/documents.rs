//! Signed documents under the digest of their payload, and an index of what they claim.
//!
//! Form only: an envelope must be a known document under a signature that holds for the key it
//! names. Whose key that is, is the reader's question. Two signers of one payload are kept apart,
//! so that nobody can displace a document by signing its payload first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use axum::extract::{Path as UrlPath, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use cordon_crypto::dsse::{Document, Envelope};
use cordon_crypto::{VerifyingKey, sha256};
use cordon_protocol::{Agreement, Manifest, Receipt, Refusal, Release, RunId, RunRequest};
use cordon_types::{Sha256Digest, UnixMillis};
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use super::{Hub, blocking, durable, json, json_bytes, lock, query, read, write};
use crate::api::{
    DocumentEntry, DocumentKind, DocumentList, DocumentQuery, MAX_ENVELOPE_BYTES,
    MAX_LISTED_DOCUMENTS, digest_from_hex,
};

/// Most signatures that are kept of one payload.
const MAX_SIGNERS: usize = 8;

/// The documents of a hub.
pub(crate) struct Documents {
    folder: PathBuf,
    max_documents: usize,
    max_bytes: u64,
    /// Held while a document is written.
    writing: Mutex<()>,
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    /// In order of arrival.
    entries: Vec<DocumentEntry>,
    by_digest: BTreeMap<Sha256Digest, Vec<usize>>,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    received: UnixMillis,
    envelope: Envelope,
}

impl Documents {
    pub(crate) fn open(
        folder: PathBuf,
        max_documents: usize,
        max_bytes: u64,
    ) -> std::io::Result<Self> {
        durable::create_folder(&folder)?;
        let mut found = Vec::new();
        for shard in durable::list(&folder)? {
            let shard = folder.join(shard);
            for name in durable::list(&shard)? {
                let path = shard.join(&name);
                let Some(content) = durable::read_checked(&path)? else {
                    // Half-written when the machine went down: its sender was never told yes.
                    std::fs::remove_file(&path)?;
                    continue;
                };
                let entry = serde_json::from_slice::<Stored>(&content)
                    .ok()
                    .and_then(|s| describe(&s.envelope, s.received).ok());
                match entry {
                    Some(entry) => found.push((entry, content.len() as u64)),
                    None => tracing::error!("a stored document is of another version, ignored"),
                }
            }
        }
        found.sort_by_key(|(entry, _)| (entry.received, entry.digest));
        let mut index = Index::default();
        for (entry, bytes) in found {
            index.add(entry, bytes);
        }
        let (writing, index) = (Mutex::new(()), RwLock::new(index));
        Ok(Self { folder, max_documents, max_bytes, writing, index })
    }

    /// Stores an envelope; storing it again changes nothing. Blocks.
    pub(crate) fn put(
        &self,
        envelope: Envelope,
        now: UnixMillis,
    ) -> Result<DocumentEntry, Problem> {
        let entry = describe(&envelope, now)?;
        let _writing = lock(&self.writing);
        if let Some(known) = read(&self.index).of_signer(&entry.digest, &entry.signer) {
            return Ok(known.clone());
        }
        let stored = Stored { received: now, envelope };
        let content = serde_json::to_vec(&stored).map_err(|_| Problem::new(Code::Internal))?;
        let bytes = content.len() as u64;
        {
            let index = read(&self.index);
            if index.by_digest.get(&entry.digest).is_some_and(|all| all.len() >= MAX_SIGNERS)
                || index.entries.len() >= self.max_documents
            {
                return Err(Problem::new(Code::TooMany));
            }
            if index.bytes + bytes > self.max_bytes {
                return Err(Problem::new(Code::StorageFull));
            }
        }
        let path = self.path(&entry);
        let written = path
            .parent()
            .map_or(
                Ok(()),
                |shard| {
                    if shard.exists() { Ok(()) } else { durable::create_folder(shard) }
                },
            )
            .and_then(|()| durable::create_checked(&path, &content, true));
        written.map_err(|e| Problem::from_io("write document", &e))?;
        write(&self.index).add(entry.clone(), bytes);
        Ok(entry)
    }

    /// An envelope with this payload: of this signer, or else the first that came. Blocks.
    pub(crate) fn get(
        &self,
        digest: &Sha256Digest,
        signer: Option<&VerifyingKey>,
    ) -> Result<Envelope, Problem> {
        let entry = {
            let index = read(&self.index);
            match signer {
                Some(signer) => index.of_signer(digest, signer).cloned(),
                None => index.of_digest(digest).next().cloned(),
            }
        };
        let entry = entry.ok_or_else(|| Problem::new(Code::NotFound))?;
        let content = durable::read_checked(&self.path(&entry))
            .map_err(|e| Problem::from_io("read document", &e))?;
        content
            .and_then(|content| serde_json::from_slice::<Stored>(&content).ok())
            .map(|stored| stored.envelope)
            .ok_or_else(|| Problem::new(Code::Internal))
    }

    fn list(&self, query: &DocumentQuery) -> DocumentList {
        let index = read(&self.index);
        let mut matching = index.entries.iter().rev().filter(|entry| query.matches(entry));
        let mut documents: Vec<_> = matching.by_ref().take(MAX_LISTED_DOCUMENTS).cloned().collect();
        documents.reverse();
        DocumentList { truncated: matching.next().is_some(), documents }
    }

    fn path(&self, entry: &DocumentEntry) -> PathBuf {
        let digest = entry.digest.to_hex();
        let signer = sha256(&[entry.signer.as_bytes()]).to_hex();
        let shard = Path::new(digest.get(..2).unwrap_or_default());
        self.folder.join(shard).join(format!("{digest}.{signer}"))
    }
}

impl Index {
    fn add(&mut self, entry: DocumentEntry, bytes: u64) {
        self.by_digest.entry(entry.digest).or_default().push(self.entries.len());
        self.entries.push(entry);
        self.bytes += bytes;
    }

    fn of_digest(&self, digest: &Sha256Digest) -> impl Iterator<Item = &DocumentEntry> {
        let places = self.by_digest.get(digest).into_iter().flatten();
        places.filter_map(|place| self.entries.get(*place))
    }

    fn of_signer(&self, digest: &Sha256Digest, signer: &VerifyingKey) -> Option<&DocumentEntry> {
        self.of_digest(digest).find(|entry| entry.signer == *signer)
    }
}

/// What an envelope says it is. The signature is checked against the key that it names.
fn describe(envelope: &Envelope, received: UnixMillis) -> Result<DocumentEntry, Problem> {
    fn open<T: Document>(envelope: &Envelope) -> Result<T, Problem> {
        let opened = envelope.open::<T>(&envelope.claimed_signer());
        opened
            .map(cordon_crypto::dsse::Signed::into_value)
            .map_err(|error| Problem::with(Code::DocumentRefused, error.to_string()))
    }
    let digest = envelope.payload_digest();
    let mut entry = DocumentEntry {
        digest,
        kind: DocumentKind::Agreement,
        signer: envelope.claimed_signer(),
        received,
        study: None,
        agreement: None,
        run: None,
        holder: None,
        dataset: None,
    };
    match envelope.payload_type() {
        Agreement::PAYLOAD_TYPE => {
            entry.study = Some(open::<Agreement>(envelope)?.study);
            entry.agreement = Some(digest);
        }
        Manifest::PAYLOAD_TYPE => {
            let manifest = open::<Manifest>(envelope)?;
            entry.kind = DocumentKind::Manifest;
            entry.holder = Some(manifest.holder);
            entry.dataset = Some(manifest.dataset);
        }
        RunRequest::PAYLOAD_TYPE => {
            entry.kind = DocumentKind::RunRequest;
            entry.agreement = Some(open::<RunRequest>(envelope)?.agreement);
            entry.run = Some(RunId(digest));
        }
        Receipt::PAYLOAD_TYPE => {
            let receipt = open::<Receipt>(envelope)?;
            entry.kind = DocumentKind::Receipt;
            entry.agreement = Some(receipt.agreement);
            entry.run = Some(receipt.run);
        }
        Release::PAYLOAD_TYPE => {
            let context = open::<Release>(envelope)?.context;
            entry.kind = DocumentKind::Release;
            entry.agreement = Some(context.agreement);
            entry.run = Some(context.run);
            entry.holder = Some(context.holder);
        }
        Refusal::PAYLOAD_TYPE => {
            let refusal = open::<Refusal>(envelope)?;
            entry.kind = DocumentKind::Refusal;
            entry.run = refusal.run;
            entry.holder = Some(refusal.holder);
        }
        _ => {
            let detail = "not a kind of document that the hub keeps";
            return Err(Problem::with(Code::DocumentRefused, detail));
        }
    }
    Ok(entry)
}

/// `PUT /v1/documents/{hex}`: an envelope, in a request signed by a known key.
pub(super) async fn put(
    State(hub): State<Arc<Hub>>,
    UrlPath(hex): UrlPath<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let digest = parse_name(&hex)?;
    let (parts, body) = request.into_parts();
    let body = hub.receive(body, MAX_ENVELOPE_BYTES).await?;
    let signer = hub.signer(&parts, sha256(&[&body]))?;
    hub.require_known(&signer)?;
    let envelope = Envelope::from_json(&body, MAX_ENVELOPE_BYTES)
        .map_err(|error| Problem::with(Code::DocumentRefused, error.to_string()))?;
    if envelope.payload_digest() != digest {
        return Err(Problem::new(Code::DigestMismatch));
    }
    blocking(move || {
        let now = hub.clock.now();
        hub.documents.put(envelope, now)
    })
    .await?;
    Ok(StatusCode::CREATED)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    signer: Option<VerifyingKey>,
}

/// `GET /v1/documents/{hex}?signer=`: the envelope.
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    UrlPath(hex): UrlPath<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let digest = parse_name(&hex)?;
    let which: Which = query(&uri)?;
    let envelope = blocking(move || hub.documents.get(&digest, which.signer.as_ref())).await?;
    Ok(json_bytes(envelope.to_json()))
}

/// `GET /v1/documents?kind=&study=&agreement=&run=&holder=&dataset=&signer=`: what there is.
pub(super) async fn list(State(hub): State<Arc<Hub>>, uri: Uri) -> Result<Response, Problem> {
    let query: DocumentQuery = query(&uri)?;
    json(&hub.documents.list(&query))
}

fn parse_name(hex: &str) -> Result<Sha256Digest, Problem> {
    digest_from_hex(hex).ok_or_else(|| {
        Problem::with(Code::BadRequest, "a document is named by 64 lower-case hex digits")
    })
}

const _: () = assert!(Manifest::MAX_BYTES * 4 / 3 + 1024 <= MAX_ENVELOPE_BYTES);
