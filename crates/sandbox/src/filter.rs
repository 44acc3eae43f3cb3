//! Which system calls a worker may make.
//!
//! Two allow-lists. The launcher's holds for any engine, hostile ones included: what is not on
//! it fails with `EPERM`, and the engine can go on and report it. The engine then tightens
//! itself: no more files, no new executable memory, no programs; and since no honest engine
//! ever calls anything in [`NEVER`], such a call now ends the worker at once. An attacker who
//! takes over the engine does not get a second try.

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::RawFd;

/// The launcher's filters, in the order in which to install them. They let one program start:
/// the one behind `engine`, by the string at this very address. The worker may never have a
/// descriptor of that number, and the address means nothing in its memory.
pub(crate) fn for_launch(
    engine: RawFd,
    empty_path: &CStr,
    own_pid: u32,
) -> Result<[BpfProgram; 2], BackendError> {
    let mut rules = common(own_pid)?;
    allow(&mut rules, FILES);
    let mut add = |call: c_long, conditions: &[Condition]| add_rule(&mut rules, call, conditions);
    add(libc::SYS_openat, &[int(2, masked(WRITING, 0))])?;
    add(libc::SYS_mmap, &[long(3, masked(libc::MAP_TYPE, libc::MAP_PRIVATE))])?;
    add(libc::SYS_mprotect, &[])?;
    add(
        libc::SYS_execveat,
        &[
            int(0, equal(engine)),
            (1, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, empty_path.as_ptr() as u64),
            int(4, equal(libc::AT_EMPTY_PATH)),
        ],
    )?;
    // What `worker::tighten` needs.
    for operation in [libc::PR_SET_NO_NEW_PRIVS, libc::PR_GET_SECCOMP] {
        add(libc::SYS_prctl, &[int(0, equal(operation))])?;
    }
    add(libc::SYS_prctl, &[int(0, equal(libc::PR_SET_DUMPABLE)), long(1, equal(0))])?;
    add(libc::SYS_seccomp, &[int(0, equal(SECCOMP_SET_MODE_FILTER))])?;
    #[cfg(target_arch = "x86_64")]
    add(libc::SYS_arch_prctl, &[int(0, equal(ARCH_SET_FS))])?;
    Ok([unknown_clone3()?, allow_list(rules)?])
}

/// The filters of a tightened engine, in the order in which to install them.
pub(crate) fn for_engine(own_pid: u32) -> Result<[BpfProgram; 3], BackendError> {
    let mut rules = common(own_pid)?;
    let mut add = |call: c_long, conditions: &[Condition]| add_rule(&mut rules, call, conditions);
    add(
        libc::SYS_mmap,
        &[long(2, masked(libc::PROT_EXEC, 0)), long(3, masked(libc::MAP_TYPE, libc::MAP_PRIVATE))],
    )?;
    add(libc::SYS_mprotect, &[long(2, masked(libc::PROT_EXEC, 0))])?;
    // The allow-list last: it allows no further filter.
    Ok([unknown_clone3()?, deadly()?, allow_list(rules)?])
}

/// What every engine needs at any time: memory, threads, time, its socket.
fn common(own_pid: u32) -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    allow(&mut rules, COMMON);
    let mut add = |call: c_long, conditions: &[Condition]| add_rule(&mut rules, call, conditions);
    // Threads of this process only: no new process, no new namespace, nobody traced.
    add(libc::SYS_clone, &[long(0, masked(THREAD | NOT_THREAD, THREAD))])?;
    // The answer comes from the filter beside this one: not there, so that the C library falls
    // back to `clone`, whose flags a filter can see.
    add(libc::SYS_clone3, &[])?;
    // An abort, and no other process.
    add(libc::SYS_tgkill, &[(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own_pid.into())])?;
    // On its connected socket; an address would be for another.
    add(libc::SYS_sendto, &[(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)])?;
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        let timeout = [int(1, equal(libc::SOL_SOCKET)), int(2, equal(option))];
        add(libc::SYS_setsockopt, &timeout)?;
        add(libc::SYS_getsockopt, &timeout)?;
    }
    for command in
        [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC]
    {
        add(libc::SYS_fcntl, &[int(1, equal(command))])?;
    }
    add(libc::SYS_ioctl, &[(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::FIONBIO)])?;
    // Look at limits, of this process, never set them.
    add(
        libc::SYS_prlimit64,
        &[int(0, equal(0)), (2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)],
    )?;
    for operation in [libc::PR_SET_NAME, libc::PR_SET_VMA] {
        add(libc::SYS_prctl, &[int(0, equal(operation))])?;
    }
    Ok(rules)
}

/// The filter that denies all but these with `EPERM`.
fn allow_list(rules: Rules) -> Result<BpfProgram, BackendError> {
    build(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

fn unknown_clone3() -> Result<BpfProgram, BackendError> {
    let mut rules = Rules::new();
    allow(&mut rules, &[libc::SYS_clone3]);
    build(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))
}

/// The filter that ends the worker at any call of [`NEVER`], and at a clone that is no thread.
fn deadly() -> Result<BpfProgram, BackendError> {
    let mut rules = Rules::new();
    allow(&mut rules, NEVER);
    add_rule(&mut rules, libc::SYS_clone, &[long(0, masked(libc::CLONE_THREAD, 0))])?;
    build(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

fn build(
    rules: Rules,
    others: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, others, matching, architecture)?.try_into()
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Condition = (u8, SeccompCmpArgLen, SeccompCmpOp, u64);

fn allow(rules: &mut Rules, calls: &[c_long]) {
    rules.extend(calls.iter().map(|call| (*call, Vec::new())));
}

/// Lets `call` through if all conditions hold; several such rules for a call are alternatives.
fn add_rule(rules: &mut Rules, call: c_long, conditions: &[Condition]) -> Result<(), BackendError> {
    let alternatives = rules.entry(call).or_default();
    if conditions.is_empty() {
        return Ok(());
    }
    let conditions = conditions.iter().cloned();
    let conditions = conditions.map(|(argument, width, operator, value)| {
        SeccompCondition::new(argument, width, operator, value)
    });
    alternatives.push(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?);
    Ok(())
}

/// A condition on an argument of which the kernel reads 32 bits.
fn int(argument: u8, (operator, value): (SeccompCmpOp, u64)) -> Condition {
    (argument, SeccompCmpArgLen::Dword, operator, value)
}

/// A condition on an argument of which the kernel reads 64 bits.
fn long(argument: u8, (operator, value): (SeccompCmpOp, u64)) -> Condition {
    (argument, SeccompCmpArgLen::Qword, operator, value)
}

fn equal(value: c_int) -> (SeccompCmpOp, u64) {
    (SeccompCmpOp::Eq, u64::from(value.cast_unsigned()))
}

fn masked(mask: c_int, value: c_int) -> (SeccompCmpOp, u64) {
    let mask = u64::from(mask.cast_unsigned());
    (SeccompCmpOp::MaskedEq(mask), u64::from(value.cast_unsigned()))
}

/// What makes a clone a thread.
const THREAD: c_int =
    libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_FILES | libc::CLONE_FS;

/// What a thread never is: a namespace of its own, traced, somebody else's child. The lowest
/// byte is the exit signal, which threads have none of; `CLONE_NEWTIME` is in it.
const NOT_THREAD: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_PTRACE
    | libc::CLONE_UNTRACED
    | libc::CLONE_PARENT
    | libc::CLONE_VFORK
    | libc::CLONE_PIDFD
    | 0xff;

/// Flags of `openat` that do more than read.
const WRITING: c_int = libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_APPEND
    | libc::O_PATH
    | (libc::O_TMPFILE & !libc::O_DIRECTORY);

const SECCOMP_SET_MODE_FILTER: c_int = 1; // linux/seccomp.h
#[cfg(target_arch = "x86_64")]
const ARCH_SET_FS: c_int = 0x1002; // asm/prctl.h

const COMMON: &[c_long] = &[
    // memory
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_mremap,
    libc::SYS_munlock,
    libc::SYS_munmap,
    // threads
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // time and randomness
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // what is open already
    libc::SYS_close,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_write,
    libc::SYS_writev,
    // calls that only the older architecture still has
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// What loading the C library takes besides.
const FILES: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_getcwd,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// What an honest engine never calls once it is tightened.
const NEVER: &[c_long] = &[
    // another place
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_open_by_handle_at,
    libc::SYS_sendmmsg,
    libc::SYS_socket,
    libc::SYS_socketpair,
    // another process
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_kcmp,
    libc::SYS_kill,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_tkill,
    // another identity, root or namespace
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setns,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setuid,
    libc::SYS_umount2,
    libc::SYS_unshare,
    // more of the kernel
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    libc::SYS_vmsplice,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_must_never_be_called_is_allowed() {
        let tight = common(1).expect("rules");
        for call in NEVER {
            assert!(!tight.contains_key(call), "system call {call}");
            assert!(!FILES.contains(call), "system call {call}");
        }
    }

    #[test]
    fn filters_fit_into_the_kernel() {
        const MOST: usize = 4096; // BPF_MAXINSNS, linux/bpf_common.h
        for program in for_launch(200, c"", 1).expect("filters") {
            assert!(program.len() < MOST / 2);
        }
        for program in for_engine(1).expect("filters") {
            assert!(program.len() < MOST / 2);
        }
    }

    #[test]
    fn conditional_calls_are_not_allowed_without_conditions() {
        let rules = common(1).expect("rules");
        for call in [libc::SYS_clone, libc::SYS_tgkill, libc::SYS_sendto, libc::SYS_prctl] {
            assert!(!rules[&call].is_empty(), "system call {call}");
        }
    }
}
