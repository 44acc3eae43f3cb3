//! A hub in this process, a clock that tests move, and requests that the client would not make.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cordon_crypto::{SigningKey, sha256};
use cordon_hub::client::{Client, ClientConfig, ClientError};
use cordon_hub::server::{ServerConfig, serve};
use cordon_hub::signature::{KEY_HEADER, SIGNATURE_HEADER, Service, SignedParts, TIME_HEADER};
use cordon_hub::{Clock, api::ProblemBody};
use cordon_types::{Secret, UnixMillis};
use reqwest::{Method, RequestBuilder, Response, Url};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// When every test begins.
pub const NOW_MS: u64 = 1_800_000_000_000;

/// A clock that stands still until it is moved.
pub struct TestClock(AtomicU64);

impl TestClock {
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).expect("a short time");
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::new(self.0.load(Ordering::SeqCst))
    }
}

/// The signing key of this number.
pub fn key(number: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(Secret::from_bytes([number; 32])))
}

/// A running hub.
pub struct Hub {
    pub url: String,
    pub clock: Arc<TestClock>,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Hub {
    /// A hub as it comes.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A hub with other settings.
    pub async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::resume(folder, Arc::new(TestClock(AtomicU64::new(NOW_MS))), change).await
    }

    /// A hub on the folder of an earlier one.
    pub async fn resume(
        folder: TempDir,
        clock: Arc<TestClock>,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut config = ServerConfig::new(folder.path());
        config.clock = clock.clone();
        change(&mut config);
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let task = tokio::spawn(async move {
            serve(listener, config, shutdown).await.expect("the hub serves");
        });
        Self { url, clock, folder, stop, task }
    }

    /// Ends it; gives what a later one needs.
    pub async fn stop(self) -> (TempDir, Arc<TestClock>) {
        let _ = self.stop.send(());
        self.task.await.expect("the hub ends");
        (self.folder, self.clock)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self, config: ClientConfig) -> ClientConfig {
        config.with_clock(self.clock.clone()).within(Duration::from_secs(20))
    }

    /// A client that signs with the key of this number.
    pub fn client(&self, number: u8) -> Client {
        Client::new(&self.url, self.config(ClientConfig::signing_as(key(number))))
            .expect("a client")
    }

    /// A client that signs nothing.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.url, self.config(ClientConfig::anonymous())).expect("a client")
    }

    /// A request by hand.
    pub fn request(&self, method: Method, target: &str) -> RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build();
        client.expect("a client").request(method, format!("{}{target}", self.url))
    }

    /// A request by hand, signed as a client does.
    pub fn signed(
        &self,
        number: u8,
        method: Method,
        target: &str,
        body: impl Into<Vec<u8>>,
    ) -> RequestBuilder {
        let body = body.into();
        let url = Url::parse(&format!("{}{target}", self.url)).expect("a url");
        let parts = SignedParts {
            service: Service::Hub,
            method: method.as_str(),
            path: url.path(),
            query: url.query().unwrap_or_default(),
            body: sha256(&[&body]),
        };
        let headers = self.headers(number, parts);
        let request = self.request(method, target).body(body);
        headers.into_iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// The headers of a signature that is made now.
    pub fn headers(&self, number: u8, parts: SignedParts<'_>) -> [(&'static str, String); 3] {
        let key = key(number);
        let (time, signature) = parts.sign(&key, self.clock.now().to_seconds());
        let name = key.verifying_key().to_string();
        [(KEY_HEADER, name), (TIME_HEADER, time), (SIGNATURE_HEADER, signature)]
    }
}

/// Status and code of a refusal.
pub async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").expect("a type").clone();
    assert_eq!(kind, "application/problem+json");
    let problem: ProblemBody = response.json().await.expect("a problem");
    assert_eq!(problem.status, status);
    assert_eq!(problem.kind, format!("urn:cordon:problem:{}", problem.code));
    (status, problem.code)
}

/// The code with which the hub refuses a call.
#[track_caller]
pub fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    let error = result.expect_err("must be refused");
    error.code().unwrap_or_else(|| panic!("expected a code, found {error}")).to_owned()
}
