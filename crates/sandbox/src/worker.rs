//! For the engine: what it does before anything else.

use crate::{filter, sys};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// The descriptor on which a worker finds its socket to the guard.
pub const SOCKET: RawFd = 3;

/// Gives up what the launcher still had to leave: opening files, starting the program, making
/// memory executable. From now on, a call that only an attacker would make (a socket, another
/// process, another program, …) ends the worker at once; the guard sees
/// [`ExitCause::Forbidden`](crate::ExitCause::Forbidden).
///
/// Call it first in `main`, before any thread: it covers all threads, but what it forbids may
/// have happened by then. Afterwards these work: memory, threads, clocks, randomness, the
/// socket, `std::thread::available_parallelism`, and a tokio runtime built with `enable_time`.
/// A tokio runtime with `enable_io` or `enable_all` does not: its signal handling wants a
/// socket pair.
///
/// # Errors
/// The kernel refused. The engine must then end: it is not as confined as it was approved.
pub fn tighten() -> Result<Tightened, TightenError> {
    sys::process_control(libc::PR_SET_DUMPABLE, 0, 0).map_err(TightenError::Dumpable)?;
    // A kernel without filters says so here; then the guard has said so in its evidence.
    if let Err(error) = sys::process_control(libc::PR_GET_SECCOMP, 0, 0)
        && error.raw_os_error() == Some(libc::EINVAL)
    {
        return Ok(Tightened::NoFilters);
    }
    for program in filter::for_engine(std::process::id()).map_err(TightenError::Filter)? {
        seccompiler::apply_filter_all_threads(&program).map_err(TightenError::Install)?;
    }
    Ok(Tightened::Filtered)
}

/// What [`tighten`] achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Tightened {
    /// The filter holds for all threads.
    Filtered,
    /// The kernel has no system call filters at all, as at
    /// [`SandboxLevel::None`](crate::SandboxLevel::None).
    NoFilters,
}

/// Why an engine could not be tightened.
#[derive(Debug, thiserror::Error)]
pub enum TightenError {
    /// The process could not be made undumpable; so it is when an engine tightens itself twice.
    #[error("cannot forbid core dumps and tracing")]
    Dumpable(#[source] io::Error),
    /// The filter could not be built.
    #[error("cannot build the system call filter")]
    Filter(#[source] seccompiler::BackendError),
    /// The kernel did not take the filter.
    #[error("cannot install the system call filter")]
    Install(#[source] seccompiler::Error),
}

/// Takes the socket to the guard. Once: a second call fails.
///
/// # Errors
/// Descriptor [`SOCKET`] is not open, or has been taken.
pub fn socket() -> io::Result<UnixStream> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    let socket = sys::owned(SOCKET)?;
    Ok(UnixStream::from(socket))
}
