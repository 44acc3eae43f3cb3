//! The staff interface from the caller's side: what `cordon` commands use.

use std::sync::Arc;
use std::time::Duration;

use cordon_crypto::SigningKey;
use cordon_crypto::dsse::Envelope;
use cordon_hub::signature::{KEY_HEADER, SIGNATURE_HEADER, Service, SignedParts, TIME_HEADER};
use cordon_hub::{Clock, SystemClock};
use cordon_protocol::run::RunId;
use cordon_types::Sha256Digest;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{
    AgreementView, DatasetView, Enrol, Health, Problem, Publish, Recorded, RefusalView, ReviewView,
    RunView,
};

/// No call takes longer: even publishing waits for one commit and its cosignatures only.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no URL, or plain HTTP to another machine.
    #[error("`{0}` cannot be used: expected an https URL, or http on this machine")]
    Address(String),
    /// No answer.
    #[error("the broker at `{address}` does not answer: is `cordon broker` running there?")]
    Unreachable {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The broker said no.
    #[error("{} ({})", .0.detail, .0.code)]
    Refused(Box<Problem>),
    /// The answer is not what was expected.
    #[error("this is not how a broker answers: is it the address of `cordon broker`?")]
    Answer(#[source] serde_json::Error),
    /// The answer is too large.
    #[error("the broker's answer is over {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
}

/// Calls one broker's staff interface, signing as one person.
#[derive(Clone)]
pub struct StaffClient {
    http: reqwest::Client,
    base: String,
    person: Arc<SigningKey>,
}

impl StaffClient {
    /// A client for the broker at `address`, for example `http://127.0.0.1:8701`.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(address: &str, person: Arc<SigningKey>) -> Result<Self, ClientError> {
        let refuse = || ClientError::Address(address.to_owned());
        let url = reqwest::Url::parse(address).map_err(|_| refuse())?;
        let loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(refuse());
        }
        let http =
            reqwest::Client::builder().timeout(DEADLINE).no_proxy().build().map_err(|source| {
                ClientError::Unreachable { address: address.to_owned(), source }
            })?;
        Ok(Self { http, base: address.trim_end_matches('/').to_owned(), person })
    }

    /// How the broker is.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get("/healthz").await
    }

    /// The broker's own card.
    pub async fn party(&self) -> Result<Envelope, ClientError> {
        self.get("/v1/party").await
    }

    /// Enrols a party.
    pub async fn enrol_party(&self, enrol: &Enrol) -> Result<Recorded, ClientError> {
        self.post("/v1/parties", enrol).await
    }

    /// Enrols a person.
    pub async fn enrol_person(&self, enrol: &Enrol) -> Result<Recorded, ClientError> {
        self.post("/v1/persons", enrol).await
    }

    /// Publishes a sealed dataset version.
    pub async fn publish(&self, publish: &Publish) -> Result<Recorded, ClientError> {
        self.post("/v1/datasets", publish).await
    }

    /// Lists dataset versions.
    pub async fn datasets(&self) -> Result<Vec<DatasetView>, ClientError> {
        self.get("/v1/datasets").await
    }

    /// Lists agreements.
    pub async fn agreements(&self) -> Result<Vec<AgreementView>, ClientError> {
        self.get("/v1/agreements").await
    }

    /// One agreement.
    pub async fn agreement(&self, digest: Sha256Digest) -> Result<AgreementView, ClientError> {
        self.get(&format!("/v1/agreements/{}", digest.to_hex())).await
    }

    /// Sends a signed approval.
    pub async fn approve(&self, approval: &Envelope) -> Result<Recorded, ClientError> {
        self.post("/v1/approvals", approval).await
    }

    /// Sends a signed stop.
    pub async fn stop(&self, stop: &Envelope) -> Result<Recorded, ClientError> {
        self.post("/v1/stops", stop).await
    }

    /// Lists runs.
    pub async fn runs(&self) -> Result<Vec<RunView>, ClientError> {
        self.get("/v1/runs").await
    }

    /// One run.
    pub async fn run(&self, run: RunId) -> Result<RunView, ClientError> {
        self.get(&format!("/v1/runs/{}", run.0.to_hex())).await
    }

    /// What there is to review of a run.
    pub async fn review(&self, run: RunId) -> Result<ReviewView, ClientError> {
        self.get(&format!("/v1/runs/{}/review", run.0.to_hex())).await
    }

    /// Sends a signed review decision.
    pub async fn decide_review(&self, decision: &Envelope) -> Result<Recorded, ClientError> {
        self.post("/v1/reviews", decision).await
    }

    /// The newest refusals with their full reasons.
    pub async fn refusals(&self) -> Result<Vec<RefusalView>, ClientError> {
        self.get("/v1/refusals").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Vec::new()).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Answer)?;
        self.call(Method::POST, path, body).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        let parts = SignedParts {
            service: Service::Broker,
            method: method.as_str(),
            path,
            query: "",
            body: cordon_crypto::sha256(&[&body]),
        };
        let (time, signature) = parts.sign(&self.person, SystemClock.now().to_seconds());
        let unreachable = |source| ClientError::Unreachable { address: self.base.clone(), source };
        let mut response = self
            .http
            .request(method.clone(), format!("{}{path}", self.base))
            .header(KEY_HEADER, self.person.verifying_key().to_string())
            .header(TIME_HEADER, time)
            .header(SIGNATURE_HEADER, signature)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .map_err(unreachable)?;
        let ok = response.status().is_success();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(ClientError::TooLarge);
            }
            answer.extend_from_slice(&chunk);
        }
        if ok {
            return serde_json::from_slice(&answer).map_err(ClientError::Answer);
        }
        let problem = serde_json::from_slice(&answer).map_err(ClientError::Answer)?;
        Err(ClientError::Refused(Box::new(problem)))
    }
}
