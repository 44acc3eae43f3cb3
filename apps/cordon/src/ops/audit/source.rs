//! Where a log's files are: in a folder, or below a URL.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use reqwest::{StatusCode, Url};
use tokio::runtime::Runtime;

/// Where a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// A log's folder, or a broker's folder with the log in it.
    Folder(PathBuf),
    /// The URL above `/checkpoint` and `/tile`, for example `https://broker.example/log`.
    Url(String),
}

impl FromStr for LogSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let is_url = text.starts_with("https://") || text.starts_with("http://");
        Ok(if is_url { Self::Url(text.to_owned()) } else { Self::Folder(text.into()) })
    }
}

/// Reads the files of one log.
pub(super) struct Files<'a>(Box<dyn FnMut(&str) -> io::Result<Option<Vec<u8>>> + 'a>);

impl Files<'_> {
    /// A file by its tlog-tiles path; `None` if there is no such file.
    pub(super) fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        (self.0)(path)
    }
}

/// Does `work` with the files of a log.
pub(super) fn with_files<T: Send>(
    source: &LogSource,
    work: impl FnOnce(&mut Files<'_>) -> Result<T> + Send,
) -> Result<T> {
    match source {
        LogSource::Folder(folder) => {
            let folder = log_folder(folder);
            work(&mut Files(Box::new(|path| read_file(&folder.join(path)))))
        }
        LogSource::Url(url) => {
            let base = address(url)?;
            // A thread of its own, so that callers may stand in a runtime or not.
            let fetch = || {
                let fetcher = Fetcher::new(base)?;
                work(&mut Files(Box::new(|path| fetcher.read(path))))
            };
            let ended = std::thread::scope(|scope| scope.spawn(fetch).join());
            ended.map_err(|_| anyhow!("reading the log failed"))?
        }
    }
}

fn log_folder(folder: &Path) -> PathBuf {
    let within = cordon_broker::setup::log_folder(folder);
    if !folder.join(super::CHECKPOINT).exists() && within.is_dir() {
        return within;
    }
    folder.to_owned()
}

fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    Ok(Some(bytes))
}

/// An address that may be read: https, or this machine.
fn address(url: &str) -> io::Result<Url> {
    let wrong = |why| io::Error::new(io::ErrorKind::InvalidInput, format!("`{url}` {why}"));
    let base = Url::parse(url).map_err(|_| wrong("is no URL"))?;
    let host = base.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match base.scheme() {
        "https" => Ok(base),
        "http" if loopback => Ok(base),
        _ => Err(wrong("cannot be used: expected https, or http on this machine")),
    }
}

struct Fetcher {
    runtime: Runtime,
    client: reqwest::Client,
    base: String,
}

impl Fetcher {
    fn new(base: Url) -> io::Result<Self> {
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DEADLINE);
        let builder = match base.scheme() {
            "https" => builder.https_only(true),
            // Checked to be on this machine.
            _ => builder.no_proxy().tls_certs_only([]),
        };
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            client: builder.build().map_err(io::Error::other)?,
            base: base.as_str().trim_end_matches('/').to_owned(),
        })
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.runtime.block_on(self.fetch(path))
    }

    async fn fetch(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let asked = self.client.get(format!("{}/{path}", self.base)).send();
        let mut answer = asked.await.map_err(io::Error::other)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            other => return Err(io::Error::other(format!("the server answers {other}"))),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(io::Error::other)? {
            if bytes.len() + chunk.len() > MAX_FILE_BYTES {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }
}

fn too_large() -> io::Error {
    io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes, which no file of a log is"))
}

/// The largest file is a full bundle of the largest entries.
const MAX_FILE_BYTES: usize =
    cordon_tlog::tile::FULL_WIDTH as usize * (2 + cordon_tlog::tile::MAX_ENTRY_BYTES);
/// One file.
const DEADLINE: Duration = Duration::from_secs(30);
