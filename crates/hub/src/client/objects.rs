use std::io::{self, Write as _};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cordon_crypto::{Sha256Writer, sha256};
use cordon_types::Sha256Digest;
use futures_util::stream;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, StatusCode};
use tokio::io::AsyncReadExt as _;

use super::call::Call;
use super::{Client, ClientError};

/// Smaller objects are sent at once; for larger ones the client first asks whether the hub has
/// them.
const ASK_FIRST_BYTES: u64 = 256 * 1024;
/// The slowest connection that an upload or download is given time for.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Files are read and hashed in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;

impl Client {
    /// Stores an object; gives its name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_object(&self, bytes: Bytes) -> Result<Sha256Digest, ClientError> {
        let digest = sha256(&[&bytes]);
        let size = bytes.len() as u64;
        if !self.has_large_object(&digest, size).await? {
            let call = Call::new("store an object", Method::PUT, path(&digest))
                .bytes(bytes, OCTETS)
                .signed()
                .with_extra_time(time_for(size));
            self.done(call).await?;
        }
        Ok(digest)
    }

    /// Stores a file as an object, streaming; gives its name and size.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Refused`] with `digest_mismatch` if the file changes
    /// meanwhile.
    pub async fn put_object_file(&self, file: &Path) -> Result<(Sha256Digest, u64), ClientError> {
        let operation = "store an object";
        let owned = file.to_owned();
        let (digest, size) = tokio::task::spawn_blocking(move || hash_file(&owned))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|source| ClientError::File { operation, source })?;
        if !self.has_large_object(&digest, size).await? {
            let call = Call::new(operation, Method::PUT, path(&digest))
                .file(file, digest)
                .signed()
                .with_extra_time(time_for(size));
            self.done(call).await?;
        }
        Ok((digest, size))
    }

    async fn has_large_object(
        &self,
        digest: &Sha256Digest,
        size: u64,
    ) -> Result<bool, ClientError> {
        Ok(size > ASK_FIRST_BYTES && self.object_size(digest).await? == Some(size))
    }

    /// Size of an object; `None` if the hub does not have it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn object_size(&self, digest: &Sha256Digest) -> Result<Option<u64>, ClientError> {
        let operation = "look up an object";
        let call = Call::new(operation, Method::HEAD, path(digest));
        let size = self.call(call, |answer| {
            // The announced length; HEAD has no body to count.
            let length = answer.response.headers().get(reqwest::header::CONTENT_LENGTH);
            let size = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
            let expected = "the object's size";
            std::future::ready(size.ok_or(ClientError::Unexpected { operation, expected }))
        });
        match size.await {
            Ok(size) => Ok(Some(size)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A whole object of at most `limit` bytes, with the digest that was asked for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn object(&self, digest: &Sha256Digest, limit: u64) -> Result<Bytes, ClientError> {
        let operation = "read an object";
        let call = Call::new(operation, Method::GET, path(digest)).with_extra_time(time_for(limit));
        let bytes = self.bytes(call, limit).await?;
        if sha256(&[&bytes]) != *digest {
            let expected = "bytes with the digest that was asked for";
            return Err(ClientError::Unexpected { operation, expected });
        }
        Ok(bytes)
    }

    /// Bytes of an object, exactly as many as were asked for. What they are is not checked: a
    /// part has no digest, its reader authenticates it.
    ///
    /// # Errors
    /// [`ClientError`]; also if the object ends before the range does.
    pub async fn object_range(
        &self,
        digest: &Sha256Digest,
        range: Range<u64>,
    ) -> Result<Bytes, ClientError> {
        let operation = "read a range of an object";
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let length = range.end - range.start;
        let last = range.end - 1;
        let call = Call::new(operation, Method::GET, path(digest))
            .header(RANGE, &format!("bytes={}-{last}", range.start))
            .with_extra_time(time_for(length));
        let expected = "exactly the range that was asked for";
        let wrong = || ClientError::Unexpected { operation, expected };
        let start = &format!("bytes {}-{last}/", range.start);
        let bytes = self
            .call(call, |answer| async move {
                let given = answer.response.headers().get(CONTENT_RANGE);
                let given = given.and_then(|v| v.to_str().ok()).unwrap_or_default();
                if answer.response.status() != StatusCode::PARTIAL_CONTENT
                    || !given.starts_with(start)
                {
                    return Err(wrong());
                }
                answer.read(length).await
            })
            .await?;
        if bytes.len() as u64 != length { Err(wrong()) } else { Ok(bytes) }
    }

    /// Writes an object of at most `limit` bytes into a new file, streaming. The file appears
    /// only if it has the digest that was asked for.
    ///
    /// # Errors
    /// [`ClientError`]; also if the file exists.
    pub async fn object_to_file(
        &self,
        digest: &Sha256Digest,
        file: &Path,
        limit: u64,
    ) -> Result<u64, ClientError> {
        let operation = "download an object";
        let failed = |source| ClientError::File { operation, source };
        let size = self.object_size(digest).await?.ok_or_else(|| ClientError::Refused {
            operation,
            status: 404,
            code: "not_found".to_owned(),
            detail: None,
        })?;
        if size > limit {
            return Err(ClientError::Unexpected { operation, expected: "a smaller object" });
        }
        if file.exists() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let partial = &file.with_added_extension("partial");
        let call = Call::new(operation, Method::GET, path(digest)).with_extra_time(time_for(size));
        let result = self
            .call(call, |mut answer| async move {
                let mut out = std::fs::File::create(partial).map_err(failed)?;
                let mut hasher = Sha256Writer::new();
                let mut left = size;
                let wrong = ClientError::Unexpected {
                    operation,
                    expected: "bytes with the digest that was asked for",
                };
                while let Some(chunk) = answer.chunk().await? {
                    let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                        return Err(wrong);
                    };
                    left = rest;
                    hasher.update(&chunk);
                    out.write_all(&chunk).map_err(failed)?;
                }
                if left > 0 || hasher.finish() != *digest {
                    return Err(wrong);
                }
                out.sync_all().map_err(failed)?;
                std::fs::rename(partial, file).map_err(failed)
            })
            .await;
        if result.is_err() {
            // A leftover would be overwritten by the next attempt anyway.
            let _ = std::fs::remove_file(partial);
        }
        result.map(|()| size)
    }
}

/// A file as a request body, read piece by piece.
pub(super) async fn file_body(path: &Path) -> io::Result<reqwest::Body> {
    let file = tokio::fs::File::open(path).await?;
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece).await?;
        Ok::<_, io::Error>((read > 0).then(|| (Bytes::from(piece), file)))
    });
    Ok(reqwest::Body::wrap_stream(pieces))
}

fn hash_file(path: &Path) -> io::Result<(Sha256Digest, u64)> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256Writer::new();
    let size = io::copy(&mut io::BufReader::with_capacity(PIECE_BYTES, &mut file), &mut hasher)?;
    Ok((hasher.finish(), size))
}

fn path(digest: &Sha256Digest) -> String {
    format!("/v1/objects/{}", digest.to_hex())
}

fn time_for(size: u64) -> Duration {
    Duration::from_secs(size / SLOWEST_BYTES_PER_SECOND)
}

const OCTETS: &str = "application/octet-stream";
