//! System calls that the standard library lacks, one safe function each.
#![expect(unsafe_code, reason = "system calls; every block wraps one")]

use std::ffi::{CStr, CString, c_int, c_long, c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

// ---- files and descriptors

/// A new file in memory that can be sealed, executed, and closes on exec.
pub(crate) fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let create = |flags: c_uint| {
        // SAFETY: `name` is a C string that outlives the call.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        check(fd)
    };
    // MFD_EXEC says it aloud since Linux 6.3; older kernels do not know the flag.
    let fd = match create(flags | libc::MFD_EXEC) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => create(flags)?,
        other => other?,
    };
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a memory file unchangeable for good, the seals themselves included.
pub(crate) fn seal(file: BorrowedFd<'_>) -> io::Result<()> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: takes no pointer.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// The seals of a memory file.
#[cfg(test)]
pub(crate) fn seals(file: BorrowedFd<'_>) -> io::Result<c_int> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) })
}

/// Makes `to` a copy of `from`, which closes on exec if `close_on_exec`. Whatever `to` was is
/// closed, so this is for the launcher, which owns its whole descriptor table.
pub(crate) fn duplicate_to(from: RawFd, to: RawFd, close_on_exec: bool) -> io::Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: takes no pointer; only `owned` makes owners of descriptors that land here.
    check(unsafe { libc::dup3(from, to, flags) }).map(drop)
}

/// Takes ownership of a descriptor that was inherited or placed by [`duplicate_to`]. The caller
/// takes each number once.
pub(crate) fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: the descriptor is open, as just checked, and the caller takes each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: c_uint) -> io::Result<()> {
    // SAFETY: takes no pointer; the launcher calls this before it owns any descriptor.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0) }).map(drop)
}

/// Waits until one of the descriptors is readable or hung up, or the time is over; says which.
pub(crate) fn wait_readable<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    timeout: Duration,
) -> io::Result<[bool; N]> {
    let mut polled =
        descriptors.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // One more millisecond, so that a rest of less than one is waited for, too.
    let timeout_ms = c_int::try_from(timeout.as_millis().saturating_add(1)).unwrap_or(c_int::MAX);
    let timeout_ms = if timeout.is_zero() { 0 } else { timeout_ms };
    // SAFETY: `polled` is an array of N initialised entries.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, timeout_ms) };
    match check(result) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(error) => Err(error),
        Ok(_) => Ok(polled.map(|entry| entry.revents != 0)),
    }
}

// ---- processes

/// The two sides of [`clone_process`].
pub(crate) enum Cloned {
    /// Here is the new process.
    Child,
    /// The process that made it, with its number and a handle that becomes readable at its end.
    Parent { pid: i32, handle: OwnedFd },
}

/// Starts a copy of this process in new namespaces. For single-threaded processes only: locks
/// that another thread holds would stay locked in the copy.
pub(crate) fn clone_process(namespaces: c_int) -> io::Result<Cloned> {
    let flags = c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
    let mut handle: c_int = -1;
    let pid_place: *mut c_int = &mut handle;
    // The order of the last arguments differs between architectures; both are zero.
    // SAFETY: without CLONE_VM and with no stack given, this is a fork: the child goes on with
    // its own copy of the stack. `pid_place` is valid for the one integer that the kernel writes.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, flags, 0 as c_long, pid_place, 0 as c_long, 0 as c_long)
    };
    let pid = check_long(pid)?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    Ok(Cloned::Parent {
        pid: pid as i32, // Linux process numbers have 22 bits
        handle: owned(handle)?,
    })
}

/// Kills the process behind the handle, and with the first process of a pid namespace all of it.
pub(crate) fn kill(handle: BorrowedFd<'_>) -> io::Result<()> {
    let (fd, nothing) = (handle.as_raw_fd(), ptr::null::<c_void>());
    // SAFETY: the information pointer may be null.
    check_long(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, nothing, 0) })
        .map(drop)
}

/// How a child ended.
pub(crate) struct Ended {
    pub status: c_int,
    pub cpu: Duration,
    pub peak_memory_bytes: u64,
}

/// Waits for the end of a child.
pub(crate) fn wait(pid: i32) -> io::Result<Ended> {
    // SAFETY: all-zero is a valid `rusage`, which holds only integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let mut status = 0;
    loop {
        // SAFETY: both pointers are valid for writing their types.
        match check(unsafe { libc::wait4(pid, &mut status, 0, &mut usage) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs())
            + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    Ok(Ended {
        status,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_memory_bytes: usage.ru_maxrss.unsigned_abs().saturating_mul(1024),
    })
}

/// Processor time that all threads of a process have used so far.
pub(crate) fn processor_time(pid: i32) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: `clock` is valid for writing.
    let error = unsafe { libc::clock_getcpuclockid(pid, &mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing.
    check(unsafe { libc::clock_gettime(clock, &mut time) })?;
    let (seconds, nanoseconds) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
}

/// Replaces this process by the program behind `fd`, with an empty environment. Returns only
/// on failure. `empty_path` is the very string whose address the filter lets through.
pub(crate) fn execute(fd: RawFd, empty_path: &CStr, name: &CStr) -> io::Error {
    let arguments = [name.as_ptr(), ptr::null()];
    let environment = [ptr::null::<libc::c_char>()];
    // SAFETY: the strings and both null-terminated arrays outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd,
            empty_path.as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Ends this process at once, running nothing on the way out.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}

// ---- identity and privileges

/// The effective user of this process.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The effective group of this process.
pub(crate) fn effective_group() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getegid() }
}

/// Leaves all supplementary groups.
pub(crate) fn leave_groups() -> io::Result<()> {
    // SAFETY: an empty list is not read.
    check(unsafe { libc::setgroups(0, ptr::null()) }).map(drop)
}

/// Becomes this user and group for good. For single-threaded processes.
pub(crate) fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::setresgid(id, id, id) })?;
    // SAFETY: takes no pointer.
    check(unsafe { libc::setresuid(id, id, id) }).map(drop)
}

/// Empties the set of capabilities that a program could ever bring.
pub(crate) fn drop_bounding_capabilities() -> io::Result<()> {
    for capability in 0.. {
        match process_control(libc::PR_CAPBSET_DROP, capability, 0) {
            // The first number that the kernel does not know ends the list.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => drop(other?),
        }
    }
    Ok(())
}

/// Gives up all capabilities.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    process_control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong, 0)?;
    // struct __user_cap_header_struct {version, pid} and two of __user_cap_data_struct
    // {effective, permitted, inheritable}, capabilities(7).
    let header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: both arrays have the layout that version 3 prescribes and outlive the call.
    check_long(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// Whether this process may lock any amount of memory (`CAP_IPC_LOCK`).
pub(crate) fn may_lock_memory() -> bool {
    const CAP_IPC_LOCK: u32 = 14; // linux/capability.h
    let header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let mut sets = [0u32; 6];
    // SAFETY: both arrays have the layout that version 3 prescribes; the second is written.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    let [effective, ..] = sets;
    result == 0 && effective & (1 << CAP_IPC_LOCK) != 0
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// `prctl` with up to two plain numbers.
pub(crate) fn process_control(
    operation: c_int,
    first: c_ulong,
    second: c_ulong,
) -> io::Result<c_int> {
    let zero: c_ulong = 0;
    // SAFETY: the callers' operations take numbers, not pointers.
    check(unsafe { libc::prctl(operation, first, second, zero, zero) })
}

/// Starts a session of its own, without a terminal.
pub(crate) fn new_session() -> io::Result<()> {
    // SAFETY: takes nothing.
    check(unsafe { libc::setsid() }).map(drop)
}

/// Names the machine of this host name namespace.
pub(crate) fn set_host_name(name: &CStr) -> io::Result<()> {
    let length = name.count_bytes();
    // SAFETY: `name` has that many bytes.
    check(unsafe { libc::sethostname(name.as_ptr(), length) })?;
    // SAFETY: `name` has that many bytes.
    check(unsafe { libc::setdomainname(name.as_ptr(), length) }).map(drop)
}

// ---- limits and memory

/// Sets soft and hard limit, not above the hard limit that is in force.
pub(crate) fn limit(resource: c_uint, value: u64) -> io::Result<()> {
    let value = value.min(limit_of(resource)?);
    let limits = libc::rlimit64 { rlim_cur: value, rlim_max: value };
    // SAFETY: `limits` is valid for reading.
    check(unsafe { libc::setrlimit64(resource, &limits) }).map(drop)
}

/// The hard limit in force.
pub(crate) fn limit_of(resource: c_uint) -> io::Result<u64> {
    let mut limits = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limits` is valid for writing.
    check(unsafe { libc::getrlimit64(resource, &mut limits) })?;
    Ok(limits.rlim_max)
}

/// Locks all present and future pages of this process in memory.
pub(crate) fn lock_all_memory() -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) }).map(drop)
}

/// Locks the pages of a region in memory.
pub(crate) fn lock_memory(region: &[u8]) -> io::Result<()> {
    // SAFETY: the region is mapped, because it is borrowed; locking does not change it.
    check(unsafe { libc::mlock(region.as_ptr().cast(), region.len()) }).map(drop)
}

// ---- mounts

/// `mount(2)`.
pub(crate) fn mount(
    source: &Path,
    target: &Path,
    kind: &CStr,
    flags: c_ulong,
    options: &CStr,
) -> io::Result<()> {
    let (source, target) = (c_path(source)?, c_path(target)?);
    // SAFETY: all strings outlive the call.
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast())
    })
    .map(drop)
}

/// Makes a mount and all below it read-only, without set-user-id programs and devices.
/// Needs Linux 5.12.
pub(crate) fn freeze_mount(target: &Path) -> io::Result<()> {
    const AT_RECURSIVE: c_uint = 0x8000; // linux/fcntl.h
    // struct mount_attr {attr_set, attr_clr, propagation, userns_fd}, linux/mount.h, with
    // MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV to set.
    let attributes: [u64; 4] = [1 | 2 | 4, 0, 0, 0];
    let target = c_path(target)?;
    // SAFETY: the path is a C string; the attributes have the layout and size given.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            target.as_ptr(),
            AT_RECURSIVE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    })
    .map(drop)
}

/// Makes the working directory the root; the old root is stacked upon it.
pub(crate) fn pivot_root_here() -> io::Result<()> {
    let here = c".".as_ptr();
    // SAFETY: both are C strings.
    check_long(unsafe { libc::syscall(libc::SYS_pivot_root, here, here) }).map(drop)
}

/// Takes what is mounted on the working directory out of sight for good.
pub(crate) fn detach_here() -> io::Result<()> {
    // SAFETY: the path is a C string.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Files made from now on are for their owner only.
pub(crate) fn private_files() {
    // SAFETY: takes no pointer and cannot fail.
    unsafe { libc::umask(0o077) };
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
