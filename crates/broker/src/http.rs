//! The staff interface over HTTP: signed requests in, RFC 9457 problems out.
//!
//! Every change is a signed document with audience and nonce, checked in [`crate::service`]; the
//! request's own signature says who reads. Only the card, the health and the log are open.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use cordon_crypto::VerifyingKey;
use cordon_crypto::dsse::Envelope;
use cordon_hub::signature::{
    KEY_HEADER, SIGNATURE_HEADER, Service, SignatureHeaders, SignedParts, TIME_HEADER,
};
use cordon_protocol::RunId;
use cordon_protocol::entry::Action;
use cordon_protocol::party::Role;
use cordon_types::Sha256Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{Problem, Recorded};
use crate::records::directory::Enrolled;
use crate::service::{Broker, ServiceError};

/// Largest request: a manifest of 4 MiB in base64, its deposit, and room.
const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;

/// For the body of a request; a manifest of 4 MiB comes over a slow line.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The routes of one broker.
pub fn router(broker: Arc<Broker>) -> Router {
    let signed = Router::new()
        .route("/v1/datasets", get(datasets))
        .route("/v1/agreements", get(agreements))
        .route("/v1/agreements/{digest}", get(agreement))
        .route("/v1/runs", get(runs))
        .route("/v1/runs/{run}", get(run))
        .route("/v1/runs/{run}/review", get(review))
        .route("/v1/refusals", get(refusals))
        // These carry signed documents, which say more than the request does: but whoever may
        // not even ask is told nothing, and leaves no trace in the log.
        .route("/v1/parties", post(enrol_party))
        .route("/v1/persons", post(enrol_person))
        .route("/v1/datasets", post(publish))
        .route("/v1/approvals", post(approve))
        .route("/v1/stops", post(stop))
        .route("/v1/reviews", post(decide_review))
        .layer(middleware::from_fn_with_state(broker.clone(), require_person));
    let open = Router::new()
        .route("/healthz", get(health))
        .route("/v1/party", get(party))
        .route("/log/{*path}", get(log_file));
    Router::new()
        .merge(signed)
        .merge(open)
        .method_not_allowed_fallback(|| async { Refused(ServiceError::NotFound("resource")) })
        .fallback(|| async { Refused(ServiceError::NotFound("resource")) })
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(broker)
}

type Answer = Result<Response, Refused>;
/// Who signed the request.
type Staff = Extension<Arc<Enrolled>>;

fn json<T: Serialize>(value: &T) -> Response {
    axum::Json(value).into_response()
}

async fn health(State(broker): State<Arc<Broker>>) -> Answer {
    Ok(json(&broker.health().await?))
}

async fn party(State(broker): State<Arc<Broker>>) -> Answer {
    Ok(json(broker.card().envelope()))
}

async fn log_file(State(broker): State<Arc<Broker>>, Path(path): Path<String>) -> Answer {
    let kind =
        if path == "checkpoint" { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    match broker.log_file(&path).await? {
        Some(bytes) => Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response()),
        None => Err(Refused(ServiceError::NotFound("log file"))),
    }
}

async fn enrol_party(
    State(broker): State<Arc<Broker>>,
    Extension(person): Staff,
    body: Bytes,
) -> Answer {
    let done = broker.enrol_party(&parse(&body)?).await;
    recorded(&broker, &person, Action::PartyEnrolled, done).await
}

async fn enrol_person(
    State(broker): State<Arc<Broker>>,
    Extension(person): Staff,
    body: Bytes,
) -> Answer {
    let done = broker.enrol_person(&parse(&body)?).await;
    recorded(&broker, &person, Action::PersonEnrolled, done).await
}

async fn publish(
    State(broker): State<Arc<Broker>>,
    Extension(person): Staff,
    body: Bytes,
) -> Answer {
    let done = broker.publish(&parse(&body)?).await;
    recorded(&broker, &person, Action::DatasetPublished, done).await
}

async fn approve(
    State(broker): State<Arc<Broker>>,
    Extension(person): Staff,
    body: Bytes,
) -> Answer {
    let done = broker.approve(&parse::<Envelope>(&body)?).await;
    recorded(&broker, &person, Action::ApprovalGiven, done).await
}

async fn stop(State(broker): State<Arc<Broker>>, Extension(person): Staff, body: Bytes) -> Answer {
    let done = broker.stop(&parse::<Envelope>(&body)?).await;
    recorded(&broker, &person, Action::StudyStopped, done).await
}

async fn decide_review(
    State(broker): State<Arc<Broker>>,
    Extension(person): Staff,
    body: Bytes,
) -> Answer {
    let done = broker.decide_review(&parse::<Envelope>(&body)?).await;
    recorded(&broker, &person, Action::OutputReviewed, done).await
}

/// What became of a signed document: either way the log tells of it.
async fn recorded(
    broker: &Broker,
    person: &Enrolled,
    action: Action,
    done: Result<Recorded, ServiceError>,
) -> Answer {
    match done {
        Ok(recorded) => Ok(json(&recorded)),
        Err(refused) => {
            let actor = broker.staff(&person.card.value().person);
            Err(Refused(broker.note(refused, actor, action, None).await))
        }
    }
}

async fn datasets(State(broker): State<Arc<Broker>>) -> Answer {
    Ok(json(&broker.datasets().await?))
}

async fn agreements(State(broker): State<Arc<Broker>>) -> Answer {
    Ok(json(&broker.agreements().await?))
}

async fn agreement(State(broker): State<Arc<Broker>>, Path(digest): Path<String>) -> Answer {
    Ok(json(&broker.agreement(digest_in_path(&digest)?).await?))
}

async fn runs(State(broker): State<Arc<Broker>>) -> Answer {
    Ok(json(&broker.runs().await?))
}

async fn run(State(broker): State<Arc<Broker>>, Path(run): Path<String>) -> Answer {
    Ok(json(&broker.run(RunId(digest_in_path(&run)?)).await?))
}

async fn review(State(broker): State<Arc<Broker>>, Path(run): Path<String>) -> Answer {
    Ok(json(&broker.review(RunId(digest_in_path(&run)?)).await?))
}

async fn refusals(State(broker): State<Arc<Broker>>, Extension(reader): Staff) -> Answer {
    if !may_read_reasons(&reader) {
        return Err(Refused(ServiceError::NotAllowed("reasons are for owner and auditor")));
    }
    Ok(json(&broker.refusals().await?))
}

/// DESIGN invariant 7: full reasons are for owner and auditor.
fn may_read_reasons(reader: &Enrolled) -> bool {
    let may = [
        Role::Auditor,
        Role::SecurityOfficer,
        Role::DataProtectionOfficer,
        Role::Steward,
        Role::Administrator,
    ];
    reader.roles.iter().any(|role| may.contains(role))
}

/// Lets a request through that an enrolled person of this holder signed.
async fn require_person(
    State(broker): State<Arc<Broker>>,
    request: Request,
    next: Next,
) -> Response {
    let (request, person) = match signed_by_person(&broker, request).await {
        Ok(signed) => signed,
        Err(error) => return Refused(error).into_response(),
    };
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Arc<Problem>>() {
        Some(problem) if may_read_reasons(&person) => problem_response(&problem),
        _ => response,
    }
}

async fn signed_by_person(
    broker: &Broker,
    request: Request,
) -> Result<(Request, Arc<Enrolled>), ServiceError> {
    let (mut parts, body) = request.into_parts();
    // Who is not known gets no room and no time.
    let named = header_text(&parts.headers, KEY_HEADER);
    broker.own_person_named(named).await?;
    let reading = axum::body::to_bytes(body, MAX_REQUEST_BYTES);
    let body = tokio::time::timeout(BODY_DEADLINE, reading).await;
    let body = body.map_err(|_| ServiceError::Malformed("the request came too slowly".into()))?;
    let body = body.map_err(|_| ServiceError::Malformed("the request is too large".into()))?;
    let key = signer(broker, &parts, cordon_crypto::sha256(&[&body]))?;
    let person = Arc::new(broker.own_person_by_key(key).await?);
    parts.extensions.insert(person.clone());
    Ok((Request::from_parts(parts, Body::from(body)), person))
}

fn signer(
    broker: &Broker,
    request: &Parts,
    body: Sha256Digest,
) -> Result<VerifyingKey, ServiceError> {
    let text = |name: &str| header_text(&request.headers, name);
    let headers = SignatureHeaders {
        key: text(KEY_HEADER),
        time: text(TIME_HEADER),
        signature: text(SIGNATURE_HEADER),
    };
    let parts = SignedParts {
        service: Service::Broker,
        method: request.method.as_str(),
        path: request.uri.path(),
        query: request.uri.query().unwrap_or_default(),
        body,
    };
    parts.verify(headers, broker.now()).map_err(|_| ServiceError::Unsigned)
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        Refused(ServiceError::Malformed(format!(
            "the request does not hold what was expected, at line {} column {}",
            error.line(),
            error.column()
        )))
    })
}

fn digest_in_path(text: &str) -> Result<Sha256Digest, Refused> {
    cordon_hub::api::digest_from_hex(text)
        .ok_or_else(|| Refused(ServiceError::Malformed("expected 64 hex digits".into())))
}

/// A service error on its way out.
struct Refused(ServiceError);

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        if let ServiceError::Internal(error) = &self.0 {
            tracing::error!(error = format!("{error:#}"), "a request failed");
        }
        let status =
            StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code = self.0.code();
        let problem = Problem {
            kind: format!("urn:cordon:problem:{code}"),
            title: status.canonical_reason().unwrap_or("problem").to_owned(),
            status: status.as_u16(),
            detail: self.0.to_string(),
            code: code.to_owned(),
            reasons: Vec::new(),
        };
        let mut response = problem_response(&problem);
        // Put in by whoever knows that the reader may have them.
        let reasons = self.0.reasons().to_vec();
        response.extensions_mut().insert(Arc::new(Problem { reasons, ..problem }));
        response
    }
}

fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}
