//! For the guard: keeps what it holds in memory out of files.

use crate::sys;
use std::io;

/// Forbids core dumps and tracing by processes of the same user, and locks all present and
/// future memory of this process, so that no key or record reaches a swap file. Call it first
/// in `main` after the launcher's hook.
///
/// # Errors
/// Core dumps cannot be forbidden. That memory cannot be locked is no error but a fact to
/// report: a user without privileges may lock a few megabytes only, and a confidential virtual
/// machine should have no swap to begin with.
pub fn protect() -> Result<Locked, io::Error> {
    sys::process_control(libc::PR_SET_DUMPABLE, 0, 0)?;
    sys::limit(libc::RLIMIT_CORE, NO_CORE)?;
    let unlimited = sys::limit_of(libc::RLIMIT_MEMLOCK)? == libc::RLIM64_INFINITY;
    // With a limit, locking succeeds now and lets a later allocation fail.
    if !unlimited && !sys::may_lock_memory() {
        return Ok(Locked::Nothing);
    }
    match sys::lock_all_memory() {
        Ok(()) => Ok(Locked::Everything),
        Err(_) => Ok(Locked::Nothing),
    }
}

/// What of this process stays in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Locked {
    /// All pages, now and later.
    Everything,
    /// Only what [`lock`] locks.
    Nothing,
}

/// Locks the pages of one region, for example a key, until the process ends.
///
/// # Errors
/// The limit of locked memory is used up.
pub fn lock(region: &[u8]) -> io::Result<()> {
    sys::lock_memory(region)
}

/// The limit of a core file that means none. 0 would not: the kernel heeds that for files but
/// still feeds a program named in `core_pattern`. 1 is too small for a file and is what the
/// kernel takes as "no program either" (core(5), fs/coredump.c).
pub(crate) const NO_CORE: u64 = 1;
