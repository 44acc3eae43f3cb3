//! One call: sign, send, retry, read.

use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cordon_crypto::{SigningKey, sha256};
use cordon_types::Sha256Digest;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError};
use crate::api::{MAX_CODE_BYTES, ProblemBody, is_code};
use crate::signature::{KEY_HEADER, SIGNATURE_HEADER, Service, SignedParts, TIME_HEADER};

/// First pause between attempts; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(3);
/// Largest problem document that is read.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;
/// Longest detail of a problem that is passed on.
const MAX_DETAIL_CHARS: usize = 300;

/// A call to be made.
pub(super) struct Call<'a> {
    operation: &'static str,
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    body: CallBody<'a>,
    body_digest: Sha256Digest,
    signing: Signing<'a>,
    extra_time: Duration,
    repeatable: bool,
}

#[derive(Clone)]
enum CallBody<'a> {
    Empty,
    Bytes(Bytes, &'static str),
    File(&'a Path),
}

enum Signing<'a> {
    No,
    IfPossible,
    Identity,
    Key(&'a SigningKey),
}

/// Whether a failed attempt may be followed by another.
enum Failure {
    Final(ClientError),
    Again(ClientError),
}

impl<'a> Call<'a> {
    pub(super) fn new(operation: &'static str, method: Method, path: impl Into<String>) -> Self {
        Self {
            operation,
            method,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: CallBody::Empty,
            body_digest: sha256(&[]),
            signing: Signing::No,
            extra_time: Duration::ZERO,
            repeatable: true,
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    pub(super) fn header(mut self, name: reqwest::header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) fn bytes(mut self, bytes: Bytes, content_type: &'static str) -> Self {
        self.body_digest = sha256(&[&bytes]);
        self.body = CallBody::Bytes(bytes, content_type);
        self
    }

    pub(super) fn json(self, value: &impl Serialize) -> Self {
        // Our bodies are structs of plain values, which always serialise.
        self.bytes(serde_json::to_vec(value).unwrap_or_default().into(), "application/json")
    }

    /// A file whose digest is known.
    pub(super) fn file(mut self, path: &'a Path, digest: Sha256Digest) -> Self {
        self.body_digest = digest;
        self.body = CallBody::File(path);
        self
    }

    /// Signed as who the client is.
    pub(super) fn signed(mut self) -> Self {
        self.signing = Signing::Identity;
        self
    }

    /// Likewise, if the client is somebody.
    pub(super) fn signed_if_possible(mut self) -> Self {
        self.signing = Signing::IfPossible;
        self
    }

    /// Signed with another key.
    pub(super) fn signed_with(mut self, key: &'a SigningKey) -> Self {
        self.signing = Signing::Key(key);
        self
    }

    /// May take longer than other calls.
    pub(super) fn with_extra_time(mut self, time: Duration) -> Self {
        self.extra_time = time;
        self
    }

    /// Must not be sent again once the hub may have seen it.
    pub(super) fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }
}

/// An answer whose body has not been read.
pub(super) struct Answer {
    operation: &'static str,
    pub(super) response: Response,
}

impl Client {
    /// Makes the call and reads an answer of at most `limit` bytes.
    pub(super) async fn bytes(&self, call: Call<'_>, limit: u64) -> Result<Bytes, ClientError> {
        self.call(call, |answer| answer.read(limit)).await
    }

    /// Makes the call and parses a JSON answer of at most `limit` bytes.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        limit: u64,
    ) -> Result<T, ClientError> {
        let operation = call.operation;
        let body = self.bytes(call, limit).await?;
        serde_json::from_slice(&body).map_err(|_| ClientError::Unexpected {
            operation,
            expected: "the JSON of this resource",
        })
    }

    /// Makes the call; the answer has no body that matters.
    pub(super) async fn done(&self, call: Call<'_>) -> Result<(), ClientError> {
        self.bytes(call, MAX_PROBLEM_BYTES as u64).await.map(drop)
    }

    /// Makes the call until an attempt succeeds, fails for good, or the deadline passes. Reading
    /// the answer is part of an attempt: connections break there too.
    // Not `AsyncFn`: nothing could be said of whether its futures can move between threads.
    pub(super) async fn call<T, F>(
        &self,
        call: Call<'_>,
        read: impl Fn(Answer) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let within = self.inner.deadline.saturating_add(call.extra_time);
        let (mut last, mut reached) = (None, false);
        let attempts = async {
            let mut pause = FIRST_PAUSE;
            loop {
                // An attempt that the deadline cuts off may have arrived.
                let reached_before = std::mem::replace(&mut reached, true);
                let failed = match self.attempt(&call).await {
                    Ok(answer) => match read(answer).await {
                        Err(error @ ClientError::Unreachable { .. }) if call.repeatable => error,
                        result => return result,
                    },
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Again(error)) => error,
                };
                if failed.has_not_reached_the_hub() {
                    reached = reached_before;
                }
                last = Some(Box::new(failed));
                tokio::time::sleep(jittered(pause)).await;
                pause = MAX_PAUSE.min(pause * 2);
            }
        };
        let result = tokio::time::timeout(within, attempts).await;
        let operation = call.operation;
        result.unwrap_or_else(|_| Err(ClientError::Deadline { operation, within, reached, last }))
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let operation = call.operation;
        let request = self.request(call).await.map_err(Failure::Final)?;
        let response = match self.inner.http.execute(request).await {
            Ok(response) => response,
            Err(source) => {
                // Before the connection stands, the hub has seen nothing of the request.
                let again = call.repeatable || source.is_connect();
                let error = ClientError::Unreachable { operation, source };
                return Err(if again { Failure::Again(error) } else { Failure::Final(error) });
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(Answer { operation, response });
        }
        let error = refusal(operation, response).await;
        let again = call.repeatable
            && matches!(
                status,
                StatusCode::INTERNAL_SERVER_ERROR
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            );
        Err(if again { Failure::Again(error) } else { Failure::Final(error) })
    }

    async fn request(&self, call: &Call<'_>) -> Result<reqwest::Request, ClientError> {
        let operation = call.operation;
        let mut url = self.inner.base.clone();
        url.set_path(&call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut headers = call.headers.clone();
        let key = match &call.signing {
            Signing::No => None,
            Signing::IfPossible => self.inner.identity.as_deref(),
            Signing::Identity => match self.inner.identity.as_deref() {
                Some(key) => Some(key),
                None => return Err(ClientError::NoIdentity { operation }),
            },
            Signing::Key(key) => Some(*key),
        };
        if let Some(key) = key {
            let parts = SignedParts {
                service: Service::Hub,
                method: call.method.as_str(),
                path: url.path(),
                query: url.query().unwrap_or_default(),
                body: call.body_digest,
            };
            let (time, signature) = parts.sign(key, self.inner.clock.now().to_seconds());
            let key = key.verifying_key().to_string();
            for (name, value) in
                [(KEY_HEADER, key), (TIME_HEADER, time), (SIGNATURE_HEADER, signature)]
            {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(name, value);
                }
            }
        }
        let request = self.inner.http.request(call.method.clone(), url);
        let request = match &call.body {
            CallBody::Empty => request,
            CallBody::Bytes(bytes, content_type) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                request.body(bytes.clone())
            }
            CallBody::File(path) => {
                let body = super::objects::file_body(path)
                    .await
                    .map_err(|source| ClientError::File { operation, source })?;
                request.body(body)
            }
        };
        request
            .headers(headers)
            .build()
            .map_err(|source| ClientError::Unreachable { operation, source })
    }
}

impl Answer {
    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read(mut self, limit: u64) -> Result<Bytes, ClientError> {
        let operation = self.operation;
        let too_large = ClientError::Unexpected { operation, expected: "a smaller answer" };
        let announced = self.response.content_length();
        if announced.is_some_and(|size| size > limit) {
            return Err(too_large);
        }
        let mut body = Vec::with_capacity(usize::try_from(announced.unwrap_or(0)).unwrap_or(0));
        while let Some(chunk) = self.chunk().await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    /// The next piece of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        let operation = self.operation;
        self.response.chunk().await.map_err(|source| ClientError::Unreachable { operation, source })
    }
}

/// What the hub says about a refusal, cut to size: it may say anything.
async fn refusal(operation: &'static str, response: Response) -> ClientError {
    let status = response.status().as_u16();
    let answer = Answer { operation, response };
    let problem = match answer.read(MAX_PROBLEM_BYTES as u64).await {
        Ok(body) => serde_json::from_slice::<ProblemBody>(&body).ok(),
        Err(_) => None,
    };
    let (code, detail) = match problem {
        Some(problem) if is_code(&problem.code) => (problem.code, problem.detail),
        // HEAD has no body to say more.
        Some(_) | None if status == 404 => ("not_found".to_owned(), None),
        Some(_) | None => ("unknown".to_owned(), None),
    };
    let printable = |text: String| -> String {
        text.chars().filter(|c| !c.is_control()).take(MAX_DETAIL_CHARS).collect()
    };
    ClientError::Refused { operation, status, code, detail: detail.map(printable) }
}

/// Between half of the pause and all of it, so that clients of a hub that was away do not come
/// back together.
fn jittered(pause: Duration) -> Duration {
    // Each `RandomState` is keyed anew, which is random enough for a pause.
    let random = std::hash::RandomState::new().build_hasher().finish();
    let half = pause / 2;
    let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_nanos(random % nanos)
}

const _: () = assert!(MAX_CODE_BYTES < MAX_DETAIL_CHARS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_jittered_within_its_upper_half() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_millis(100));
            assert!((Duration::from_millis(50)..Duration::from_millis(100)).contains(&pause));
        }
        assert!(jittered(Duration::ZERO) < Duration::from_millis(1));
    }
}
