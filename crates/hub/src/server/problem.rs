use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::ProblemBody;
use crate::signature::SignatureRefusal;

/// Why a request is refused. Codes are stable; `docs/protocol.md` lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    code: Code,
    detail: Option<String>,
}

macro_rules! codes {
    ($($name:ident $code:literal $status:ident $title:literal;)*) => {
        /// The stable codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code { $($name),* }

        impl Code {
            fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    BadRequest "bad_request" BAD_REQUEST "The request is malformed.";
    DigestMismatch "digest_mismatch" BAD_REQUEST "The content does not have the digest in its name.";
    SignatureMissing "signature_missing" UNAUTHORIZED "This request must be signed.";
    SignatureInvalid "signature_invalid" UNAUTHORIZED "The request's signature does not hold.";
    SignatureStale "signature_stale" UNAUTHORIZED "The request was signed too long ago or in the future.";
    NotYours "not_yours" FORBIDDEN "Another key owns this.";
    SignerUnknown "signer_unknown" FORBIDDEN "The hub does not know this key; register its card first.";
    RegistrationClosed "registration_closed" FORBIDDEN "This hub registers listed parties only.";
    NotFound "not_found" NOT_FOUND "There is nothing of this name.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "The resource has no such method.";
    TimedOut "timed_out" REQUEST_TIMEOUT "The request's body did not arrive in time.";
    AlreadyRegistered "already_registered" CONFLICT "Another card is registered under this name.";
    AgreementUnknown "agreement_unknown" CONFLICT "Store the run's agreement first.";
    ClaimLost "claim_lost" CONFLICT "This host does not hold the run.";
    TooLarge "too_large" PAYLOAD_TOO_LARGE "The content is over the limit.";
    RangeNotSatisfiable "range_not_satisfiable" RANGE_NOT_SATISFIABLE "The range lies outside of the object.";
    DocumentRefused "document_refused" UNPROCESSABLE_ENTITY "The document is not well formed.";
    RunExpired "run_expired" UNPROCESSABLE_ENTITY "The run request is not valid any more.";
    MailboxFull "mailbox_full" TOO_MANY_REQUESTS "The mailbox holds as much as it may; try again later.";
    TooMany "too_many" TOO_MANY_REQUESTS "The hub holds as many of these as it may.";
    Internal "internal" INTERNAL_SERVER_ERROR "The hub failed; its log says why.";
    StoppingOrBusy "unavailable" SERVICE_UNAVAILABLE "The hub is stopping or too busy; try again.";
    StorageFull "storage_full" INSUFFICIENT_STORAGE "The hub has no room left.";
}

impl Problem {
    pub(crate) fn new(code: Code) -> Self {
        Self { code, detail: None }
    }

    pub(crate) fn with(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: Some(detail.into()) }
    }

    /// An I/O error: a full disk has its own code, the rest is for the log.
    pub(crate) fn from_io(doing: &'static str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            return Self::new(Code::StorageFull);
        }
        tracing::error!(doing, kind = ?error.kind(), "storage failed");
        Self::new(Code::Internal)
    }
}

impl From<SignatureRefusal> for Problem {
    fn from(refusal: SignatureRefusal) -> Self {
        let code = match refusal {
            SignatureRefusal::Stale => Code::SignatureStale,
            SignatureRefusal::Malformed | SignatureRefusal::Mismatch => Code::SignatureInvalid,
        };
        Self::with(code, refusal.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = ProblemBody {
            kind: format!("urn:cordon:problem:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: status.as_u16(),
            code: self.code.as_str().to_owned(),
            detail: self.detail,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1: a 401 names the scheme that would do.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Cordon-Signature"));
        }
        response
    }
}
