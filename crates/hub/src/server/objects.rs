//! Sealed objects under the SHA-256 of their bytes: written once, read by ranges.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use cordon_crypto::Sha256Writer;
use cordon_types::Sha256Digest;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use tokio::sync::Semaphore;

use super::problem::{Code, Problem};
use super::range::{self, Requested};
use super::{Hub, durable};
use crate::api::digest_from_hex;

/// Bytes that one upload holds in memory; also the size of a part, for which S3 asks 5 MiB.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that one download holds in memory.
const WINDOW_BYTES: u64 = 1024 * 1024;
/// Uploads at a time: bounds memory at 256 MiB.
const MAX_UPLOADS: usize = 32;
/// An upload that sends nothing for this long ends.
const UPLOAD_IDLE: Duration = Duration::from_secs(30);
/// Where uploads grow until their digest is known. Emptied at start.
const STAGING: &str = "staging";

/// Where objects live.
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The folder, if it is one: then uploads are staged, synced and renamed. Other stores
    /// publish atomically and durably by themselves.
    folder: Option<Arc<LocalFileSystem>>,
    stored_bytes: AtomicU64,
    next_upload: AtomicU64,
    uploads: Semaphore,
    max_object_bytes: u64,
    max_stored_bytes: u64,
}

impl Objects {
    /// Opens the folder `root`, made if missing.
    pub(crate) async fn open_folder(
        root: PathBuf,
        max_object_bytes: u64,
        max_stored_bytes: u64,
    ) -> std::io::Result<Self> {
        let staging = root.join(STAGING);
        tokio::task::spawn_blocking({
            let root = root.clone();
            move || {
                durable::create_folder(&root)?;
                if staging.exists() {
                    std::fs::remove_dir_all(&staging)?;
                }
                durable::create_folder(&staging)
            }
        })
        .await??;
        let folder = Arc::new(LocalFileSystem::new_with_prefix(&root)?);
        Self::open(folder.clone(), Some(folder), max_object_bytes, max_stored_bytes).await
    }

    /// Opens any other store.
    pub(crate) async fn open(
        store: Arc<dyn ObjectStore>,
        folder: Option<Arc<LocalFileSystem>>,
        max_object_bytes: u64,
        max_stored_bytes: u64,
    ) -> std::io::Result<Self> {
        let stored = store
            .list(None)
            .try_fold(0_u64, |sum, meta| async move { Ok(sum.saturating_add(meta.size)) })
            .await?;
        Ok(Self {
            store,
            folder,
            stored_bytes: AtomicU64::new(stored),
            next_upload: AtomicU64::new(0),
            uploads: Semaphore::new(MAX_UPLOADS),
            max_object_bytes,
            max_stored_bytes,
        })
    }

    async fn size(&self, digest: &Sha256Digest) -> Result<u64, Problem> {
        match self.store.head(&path_of(digest)).await {
            Ok(meta) => Ok(meta.size),
            Err(object_store::Error::NotFound { .. }) => Err(Problem::new(Code::NotFound)),
            Err(error) => Err(store_problem("head", error)),
        }
    }

    /// Streams an upload into the store. Nothing is visible under the digest before all bytes
    /// are there, hashed, and (in a folder) synced:
    /// 1. parts go to a staging name; a crash leaves a file that the next start removes;
    /// 2. the digest is compared; a mismatch aborts;
    /// 3. the file is synced, renamed, its folder synced; a crash leaves it staged or published;
    /// 4. only then the uploader hears of it.
    async fn put(&self, digest: Sha256Digest, body: BodyDataStream) -> Result<(), Problem> {
        let _slot = self
            .uploads
            .try_acquire()
            .map_err(|_| Problem::with(Code::StoppingOrBusy, "too many uploads at once"))?;
        let target = path_of(&digest);
        let upload = self.next_upload.fetch_add(1, Ordering::Relaxed);
        let staged = match &self.folder {
            Some(_) => ObjectPath::from(format!("{STAGING}/{upload}")),
            None => target.clone(),
        };
        let mut reserved = Reserved { objects: self, bytes: 0 };
        self.receive(digest, body, &staged, &mut reserved).await?;
        if let Some(folder) = &self.folder {
            self.publish(folder, &staged, &target).await?;
        }
        reserved.keep();
        Ok(())
    }

    async fn receive(
        &self,
        digest: Sha256Digest,
        mut body: BodyDataStream,
        staged: &ObjectPath,
        reserved: &mut Reserved<'_>,
    ) -> Result<(), Problem> {
        let mut upload = None;
        let result = async {
            let mut hasher = Sha256Writer::new();
            let mut part = Vec::new();
            let mut part_bytes = 0;
            while let Some(chunk) = next_chunk(&mut body).await? {
                reserved.add(chunk.len())?;
                hasher.update(&chunk);
                part_bytes += chunk.len();
                part.push(chunk);
                if part_bytes >= PART_BYTES {
                    part_bytes = 0;
                    let payload = PutPayload::from_iter(part.drain(..));
                    let upload = match &mut upload {
                        Some(upload) => upload,
                        None => upload.insert(
                            self.store
                                .put_multipart(staged)
                                .await
                                .map_err(|e| store_problem("begin upload", e))?,
                        ),
                    };
                    upload.put_part(payload).await.map_err(|e| store_problem("put part", e))?;
                }
            }
            if hasher.finish() != digest {
                return Err(Problem::new(Code::DigestMismatch));
            }
            let rest = PutPayload::from_iter(part);
            match &mut upload {
                None => {
                    self.store.put(staged, rest).await.map_err(|e| store_problem("put", e))?;
                }
                Some(upload) => {
                    if rest.content_length() > 0 {
                        upload.put_part(rest).await.map_err(|e| store_problem("put part", e))?;
                    }
                    upload.complete().await.map_err(|e| store_problem("complete", e))?;
                }
            }
            Ok(())
        }
        .await;
        if let (Err(_), Some(upload)) = (&result, &mut upload)
            && let Err(error) = upload.abort().await
        {
            drop(store_problem("abort upload", error));
        }
        result
    }

    async fn publish(
        &self,
        folder: &LocalFileSystem,
        staged: &ObjectPath,
        target: &ObjectPath,
    ) -> Result<(), Problem> {
        let path = |p| folder.path_to_filesystem(p).map_err(|e| store_problem("path", e));
        let (from, to) = (path(staged)?, path(target)?);
        tokio::task::spawn_blocking(move || {
            std::fs::File::open(&from)?.sync_all()?;
            if let Some(folder) = to.parent()
                && !folder.exists()
            {
                durable::create_folder(folder)?;
            }
            std::fs::rename(&from, &to)?;
            durable::sync_folder_of(&to)
        })
        .await
        .map_err(|_| Problem::new(Code::Internal))?
        .map_err(|e| Problem::from_io("publish object", &e))
    }

    async fn read(&self, digest: &Sha256Digest, range: Range<u64>) -> Result<Bytes, Problem> {
        self.store
            .get_range(&path_of(digest), range)
            .await
            .map_err(|error| store_problem("get range", error))
    }
}

/// Bytes of an upload that count against the store's limit, given back unless it succeeds.
struct Reserved<'a> {
    objects: &'a Objects,
    bytes: u64,
}

impl Reserved<'_> {
    fn add(&mut self, bytes: usize) -> Result<(), Problem> {
        let bytes = bytes as u64;
        self.bytes += bytes;
        let stored = self.objects.stored_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.bytes > self.objects.max_object_bytes {
            let limit = self.objects.max_object_bytes;
            return Err(Problem::with(
                Code::TooLarge,
                format!("objects have {limit} bytes at most"),
            ));
        }
        if stored > self.objects.max_stored_bytes {
            return Err(Problem::new(Code::StorageFull));
        }
        Ok(())
    }

    /// An object that was there before is counted twice until the next start: to the safe side.
    fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.objects.stored_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// `PUT /v1/objects/{hex}`: signed by a known key; the digest in the path stands for the body.
pub(super) async fn put(
    State(hub): State<Arc<Hub>>,
    Path(hex): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let digest = parse_name(&hex)?;
    let (parts, body) = request.into_parts();
    let signer = hub.signer(&parts, digest)?;
    hub.require_known(&signer)?;
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<u64>().ok());
    if announced.is_some_and(|size| size > hub.objects.max_object_bytes) {
        return Err(Problem::new(Code::TooLarge));
    }
    hub.objects.put(digest, body.into_data_stream()).await?;
    Ok(StatusCode::CREATED)
}

/// `GET` and `HEAD /v1/objects/{hex}`, with one byte range.
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Path(hex): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let digest = parse_name(&hex)?;
    let size = hub.objects.size(&digest).await?;
    let etag = format!("\"{}\"", digest.to_hex());
    // RFC 9110 §14.2: ranges are for GET only.
    let requested = match *request.method() {
        Method::GET => requested(request.headers(), size, &etag),
        _ => Requested::Whole,
    };
    let (status, range) = match requested {
        Requested::Whole => (StatusCode::OK, 0..size),
        Requested::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Requested::Unsatisfiable => {
            let mut response = Problem::new(Code::RangeNotSatisfiable).into_response();
            set(&mut response, header::CONTENT_RANGE, format!("bytes */{size}"));
            return Ok(response);
        }
    };
    let length = range.end - range.start;
    let body = if request.method() == Method::HEAD {
        Body::empty()
    } else if length <= WINDOW_BYTES {
        Body::from(hub.objects.read(&digest, range.clone()).await?)
    } else {
        stream_range(hub.clone(), digest, range.clone())
    };
    let mut response = (status, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end - 1;
        set(&mut response, header::CONTENT_RANGE, format!("bytes {}-{last}/{size}", range.start));
    }
    set(&mut response, header::CONTENT_LENGTH, length.to_string());
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream".to_owned());
    set(&mut response, header::ACCEPT_RANGES, "bytes".to_owned());
    set(&mut response, header::ETAG, etag);
    set(&mut response, header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned());
    Ok(response)
}

/// RFC 9110 §13.1.5: a range only if `If-Range`, where given, names this very content.
fn requested(headers: &HeaderMap, size: u64, etag: &str) -> Requested {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let Some(range) = text(header::RANGE) else { return Requested::Whole };
    if headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(etag) {
        return Requested::Whole;
    }
    range::parse(range, size)
}

fn stream_range(hub: Arc<Hub>, digest: Sha256Digest, range: Range<u64>) -> Body {
    let windows = stream::try_unfold(range, move |rest| {
        let hub = hub.clone();
        async move {
            if rest.is_empty() {
                return Ok::<_, std::io::Error>(None);
            }
            let end = rest.end.min(rest.start.saturating_add(WINDOW_BYTES));
            let bytes = hub
                .objects
                .read(&digest, rest.start..end)
                .await
                .map_err(|_| std::io::Error::other("object became unreadable"))?;
            Ok(Some((bytes, end..rest.end)))
        }
    });
    Body::from_stream(windows)
}

async fn next_chunk(body: &mut BodyDataStream) -> Result<Option<Bytes>, Problem> {
    match tokio::time::timeout(UPLOAD_IDLE, body.next()).await {
        Err(_) => Err(Problem::new(Code::TimedOut)),
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(_))) => Err(Problem::with(Code::BadRequest, "the upload broke off")),
    }
}

fn parse_name(hex: &str) -> Result<Sha256Digest, Problem> {
    digest_from_hex(hex).ok_or_else(|| {
        Problem::with(Code::BadRequest, "an object is named by 64 lower-case hex digits")
    })
}

/// 256 folders, so that none grows too long.
fn path_of(digest: &Sha256Digest) -> ObjectPath {
    let hex = digest.to_hex();
    let folder = hex.get(..2).unwrap_or_default();
    ObjectPath::from(format!("{folder}/{hex}"))
}

fn set(response: &mut Response, name: header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

fn store_problem(doing: &'static str, error: object_store::Error) -> Problem {
    // The store wraps I/O errors; a full disk must be told from a broken one.
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return Problem::from_io(doing, io);
        }
        source = inner.source();
    }
    tracing::error!(doing, "object store failed");
    Problem::new(Code::Internal)
}
