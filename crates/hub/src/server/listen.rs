use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A client that has not sent its headers by then is no client.
const HEADER_DEADLINE: Duration = Duration::from_secs(15);
/// Likewise for the TLS handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// What is under way when the hub ends gets this long.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// After a failed accept (out of file descriptors) the loop rests.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a hub does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Plain HTTP is for loopback only (DESIGN §4).
    #[error("`{0}` is not a loopback address: expected a TLS certificate and key, found none")]
    PlainHttp(SocketAddr),
    /// The listener has no address.
    #[error("cannot read the listener's address")]
    Address(#[source] io::Error),
    /// The folder cannot be used.
    #[error("cannot open the hub's folder")]
    Folder(#[source] io::Error),
}

/// Certificate chain and private key of a hub: TLS 1.3 only, X25519MLKEM768 preferred.
#[derive(Clone)]
pub struct TlsIdentity {
    acceptor: TlsAcceptor,
}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsIdentityError {
    /// The certificate file.
    #[error("expected one or more certificates in PEM")]
    Certificate,
    /// The key file.
    #[error("expected one private key in PEM")]
    Key,
    /// The two do not go together, or are of a kind that TLS 1.3 does not use.
    #[error("certificate and key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

impl TlsIdentity {
    /// Reads a certificate chain, own certificate first, and its private key.
    ///
    /// # Errors
    /// If either is not PEM, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsIdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsIdentityError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsIdentityError::Certificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsIdentityError::Key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsIdentityError::Unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsIdentityError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// Refuses to serve plain HTTP to the world.
///
/// # Errors
/// If the address is not loopback and there is no TLS.
pub fn check_address(listener: &TcpListener, tls: Option<&TlsIdentity>) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Address)?;
    match tls {
        None if !address.ip().is_loopback() => Err(ServeError::PlainHttp(address)),
        _ => Ok(()),
    }
}

/// What a checked listener accepts connections with.
pub(super) fn acceptor(
    listener: &TcpListener,
    tls: Option<&TlsIdentity>,
) -> Result<Option<TlsAcceptor>, ServeError> {
    check_address(listener, tls)?;
    Ok(tls.map(|tls| tls.acceptor.clone()))
}

/// Accepts connections until `shutdown`, then lets them end.
pub(super) async fn run(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    max_connections: usize,
    app: Router,
    shutdown: impl Future<Output = ()>,
    stop: watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // A slot first: beyond the limit, callers wait in the kernel's queue.
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((stream, slot)) = accepted else { continue };
        let (tls, app, stopping) = (tls.clone(), app.clone(), stopping.clone());
        connections.spawn(async move {
            let _slot = slot;
            serve_connection(stream, tls, app, stopping).await;
        });
    }
    drop(listener);
    // The receivers in `stopping` cannot all be gone: this function holds one.
    let _ = stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_DEADLINE, drained).await.is_err() {
        tracing::warn!("some requests did not end in time");
        connections.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(kind = ?error.kind(), "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    app: Router,
    stopping: watch::Receiver<bool>,
) {
    // Small answers must not wait for more to come.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_http(stream, app, stopping).await,
        Some(tls) => {
            let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await;
            if let Ok(Ok(stream)) = handshake {
                serve_http(stream, app, stopping).await;
            }
        }
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    // Errors here are broken-off connections: the other side knows.
    let stopped = async {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
