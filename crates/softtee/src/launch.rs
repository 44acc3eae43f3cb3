use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cordon_crypto::SigningKey;
use cordon_protocol::frame;

use crate::sys;
use crate::tee::{SoftwareTee, measurement_of};

/// Largest guard: ten times the one of this version with its symbols.
pub const MAX_GUARD_BYTES: u64 = 512 * 1024 * 1024;

/// Why a guard did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The file could not be read.
    #[error("cannot read guard `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a program, or too large.
    #[error("guard of {found_bytes} bytes is not an elf file of at most {MAX_GUARD_BYTES} bytes")]
    NotAProgram {
        /// How many bytes there were.
        found_bytes: usize,
    },
    /// The program could not be sealed in memory.
    #[error("cannot seal the guard in memory")]
    Seal(#[source] io::Error),
    /// The program could not be started.
    #[error("cannot start the guard")]
    Start(#[source] io::Error),
}

/// A running guard. Dropped, it is killed and gone.
pub struct Child {
    process: process::Child,
    measurement: String,
    reports: Option<JoinHandle<()>>,
}

/// Reads the guard once and launches what was read.
///
/// # Errors
/// As [`launch`], or if the file cannot be read.
pub fn launch_file(guard: &Path, root: SigningKey, host: UnixStream) -> Result<Child, LaunchError> {
    let failed = |source| LaunchError::Read { path: guard.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(guard).map_err(failed)?;
    file.take(MAX_GUARD_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    launch(&bytes, root, host)
}

/// Measures `guard`, executes exactly those bytes with `host` as standard input, and answers its
/// requests for reports until it ends.
///
/// # Errors
/// If the bytes are no program or it cannot be started; then nothing is running.
pub fn launch(guard: &[u8], root: SigningKey, host: UnixStream) -> Result<Child, LaunchError> {
    let too_large = u64::try_from(guard.len()).is_ok_and(|size| size > MAX_GUARD_BYTES);
    if too_large || !guard.starts_with(b"\x7fELF") {
        return Err(LaunchError::NotAProgram { found_bytes: guard.len() });
    }
    // 1. What is measured here is what runs: the sealed file has these bytes for good.
    let measurement = measurement_of(guard);
    let file = seal(guard).map_err(LaunchError::Seal)?;

    // 2. The kernel reads the program from the descriptor itself, not from a path that somebody
    //    could exchange.
    let (socket, guards_end) = UnixStream::pair().map_err(LaunchError::Start)?;
    let process = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .arg0("cordon-enclave")
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(host))
        .stdout(OwnedFd::from(guards_end))
        .stderr(Stdio::null())
        .spawn()
        .map_err(LaunchError::Start)?;

    // 3. Reports are for whoever holds the other end, and that is the guard alone.
    let mut child = Child { process, measurement: measurement.clone(), reports: None };
    let tee = SoftwareTee::new(root, measurement);
    let reports = std::thread::Builder::new()
        .name("softtee-reports".to_owned())
        .spawn(move || answer_reports(socket, &tee))
        .map_err(LaunchError::Start)?;
    child.reports = Some(reports);
    Ok(child)
}

impl Child {
    /// What was measured, lower-case hex.
    pub fn measurement(&self) -> &str {
        &self.measurement
    }

    /// The guard's process number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait()?;
        self.end_reports();
        Ok(status)
    }

    /// Its exit status if it has ended.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Kills it.
    ///
    /// # Errors
    /// If the kernel does not let us.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.wait().map(drop)
    }

    /// The guard's end of the socket is closed, so that the thread ends.
    fn end_reports(&mut self) {
        if let Some(thread) = self.reports.take() {
            // It can only have panicked, and then it has answered nothing.
            let _ = thread.join();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails if it has ended, which is what is wanted.
        let _ = self.kill();
    }
}

/// Answers any number of requests, none faster than [`REPORT_INTERVAL`]; anything but a frame of
/// 64 bytes ends the service.
fn answer_reports(mut socket: UnixStream, tee: &SoftwareTee) {
    loop {
        let Ok(asked) = frame::read_bytes(&mut socket, 64) else { return };
        let begun = Instant::now();
        let Ok(report_data) = <[u8; 64]>::try_from(asked) else { return };
        let Ok(report) = tee.report(&report_data) else { return };
        if frame::write_bytes(&mut socket, &report).is_err() {
            return;
        }
        std::thread::sleep(REPORT_INTERVAL.saturating_sub(begun.elapsed()));
    }
}

fn seal(guard: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(sys::memory_file(c"cordon-enclave")?);
    file.write_all(guard)?;
    sys::seal(file.as_fd())?;
    Ok(file.into())
}

/// A guard needs one report in its life; a hundred a second keep nobody waiting.
const REPORT_INTERVAL: Duration = Duration::from_millis(10);
