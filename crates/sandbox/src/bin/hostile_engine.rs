//! An engine that attacks its sandbox. It does what it is told over its socket, one line per
//! attempt, and answers with one line each: `allowed`, `errno N`, or what it has learnt.
//!
//! For tests only. Run with the argument `outside`, it speaks on standard input instead, so
//! that the same attempts can be seen to succeed without a sandbox.
#![expect(unsafe_code, reason = "attacks by raw system calls; every block makes one")]
#![expect(clippy::disallowed_methods, reason = "an attacker keeps no rules")]

use libc::{c_int, c_long};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, hint, process, ptr, thread};

fn main() -> io::Result<()> {
    let outside = env::args().nth(1).as_deref() == Some("outside");
    let socket = match outside {
        // SAFETY: standard input is a socket here, and nobody else uses it.
        true => unsafe { UnixStream::from_raw_fd(0) },
        false => cordon_sandbox::worker::socket()?,
    };
    // No copy of the socket, so that `descriptors` tells what the worker was born with.
    let mut answers = &socket;
    for line in BufReader::new(&socket).lines() {
        let line = line?;
        let mut words = line.split(' ');
        let command = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let answer = match attempt(command, &words, outside, answers) {
            Ok(learnt) => learnt,
            Err(error) => format!("errno {}", error.raw_os_error().unwrap_or(-1)),
        };
        writeln!(answers, "{answer}")?;
    }
    Ok(())
}

fn attempt(
    command: &str,
    words: &[&str],
    outside: bool,
    mut socket: &UnixStream,
) -> io::Result<String> {
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    let number = |index: usize| word(index).parse::<u64>().unwrap_or_default();
    match command {
        // files
        "read" => File::open(word(0))?.read_exact(&mut [0]),
        "write" => File::create_new(word(0)).and_then(|_| fs::remove_file(word(0))),
        "overwrite" => File::options().write(true).open(word(0)).map(drop),
        "list" => return list(word(0)),
        "memfd" => call(libc::SYS_memfd_create, [c"x".as_ptr() as c_long, 0, 0, 0, 0, 0]),
        // what it was born with
        "environment" => return Ok(env::vars_os().count().to_string()),
        "descriptors" => return Ok(descriptors()),
        "identity" => return Ok(identity()),
        "host" => return host(),
        // network
        "tcp" => TcpStream::connect(word(0)).map(drop),
        "udp" => UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", word(0)).map(drop),
        "unix" => UnixStream::connect(word(0)).map(drop),
        "abstract" => UnixStream::connect_addr(&SocketAddr::from_abstract_name(word(0))?).map(drop),
        "socketpair" => UnixStream::pair().map(drop),
        "vsock" => {
            call(libc::SYS_socket, [libc::AF_VSOCK.into(), libc::SOCK_STREAM.into(), 0, 0, 0, 0])
        }
        "netlink" => {
            call(libc::SYS_socket, [libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0, 0, 0, 0])
        }
        // other processes
        "ptrace" => call(libc::SYS_ptrace, [PTRACE_SEIZE, number(0) as c_long, 0, 0, 0, 0]),
        "peek" => peek(number(0), number(1)),
        "kill" => call(libc::SYS_kill, [word(0).parse().unwrap_or(1), 0, 0, 0, 0, 0]),
        "fork" => fork(),
        "clone3" => call(libc::SYS_clone3, [0; 6]),
        "exec" => return Err(Command::new(word(0)).exec()),
        "spawn" => Command::new(word(0)).spawn().and_then(|mut child| child.wait()).map(drop),
        "execveat" => return Err(exec_at(word(0))),
        // the kernel
        "unshare" => call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0, 0]),
        "mount" => mount(outside),
        "fsopen" => call(libc::SYS_fsopen, [c"tmpfs".as_ptr() as c_long, 0, 0, 0, 0, 0]),
        "chroot" => call(libc::SYS_chroot, [c"/".as_ptr() as c_long, 0, 0, 0, 0, 0]),
        "io_uring" => io_uring(),
        "keyctl" => call(libc::SYS_keyctl, [0, -2, 1, 0, 0, 0]), // the process keyring, made if need be
        "add_key" => call(
            libc::SYS_add_key,
            [
                c"user".as_ptr() as c_long,
                c"cordon".as_ptr() as c_long,
                c"x".as_ptr() as c_long,
                1,
                -2,
                0,
            ],
        ),
        "bpf" => bpf(),
        "userfaultfd" => call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]), // UFFD_USER_MODE_ONLY
        "perf" => perf(),
        "setrlimit" => raise_limit(),
        "personality" => call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]),
        "x32" => call(libc::SYS_getpid | 0x4000_0000, [0; 6]),
        "i386" => i386(),
        // too much
        "threads" => return Ok(threads(number(0))),
        "files" => return Ok(files(number(0))),
        "memory" => memory(number(0), libc::MAP_PRIVATE, libc::PROT_READ | libc::PROT_WRITE),
        "shared-memory" => memory(number(0), libc::MAP_SHARED, libc::PROT_READ | libc::PROT_WRITE),
        "code" => memory(4096, libc::MAP_PRIVATE, libc::PROT_READ | libc::PROT_EXEC),
        "hog" => hog(),
        "spin" => loop {
            hint::spin_loop();
        },
        "sleep" => loop {
            thread::sleep(Duration::from_secs(60));
        },
        "flood" => loop {
            socket.write_all(&[b'x'; 64 * 1024])?;
        },
        // ends
        "exit" => process::exit(number(0) as c_int),
        "abort" => process::abort(),
        "tighten" => cordon_sandbox::worker::tighten().map(drop).map_err(io::Error::other),
        "ping" => Ok(()),
        _ => return Ok("unknown".to_owned()),
    }
    .map(|()| "allowed".to_owned())
}

fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the callers pass numbers, or pointers to what the call expects.
    check(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

fn check(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn list(path: &str) -> io::Result<String> {
    let names = fs::read_dir(path)?.flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names.join(" "))
}

fn descriptors() -> String {
    // SAFETY: takes no pointer.
    let open = |fd: &c_int| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0;
    let open: Vec<_> = (0..4096).filter(open).map(|fd| fd.to_string()).collect();
    open.join(" ")
}

fn identity() -> String {
    // SAFETY: takes nothing.
    let user = unsafe { libc::getuid() };
    // SAFETY: takes nothing.
    let parent = unsafe { libc::getppid() };
    format!("user {user} process {} parent {parent}", process::id())
}

fn host() -> io::Result<String> {
    // SAFETY: all-zero is a valid `utsname`, which holds only characters.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `names` is valid for writing.
    check(c_long::from(unsafe { libc::uname(&mut names) }))?;
    let node = names.nodename.iter().take_while(|c| **c != 0);
    Ok(node.map(|c| char::from(c.cast_unsigned())).collect())
}

fn peek(process: u64, address: u64) -> io::Result<()> {
    let mut byte = [0u8; 1];
    let here = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: ptr::without_provenance_mut(address as usize), iov_len: 1 };
    // SAFETY: `here` is valid for writing one byte; the kernel checks the other address.
    check(unsafe { libc::process_vm_readv(process as i32, &here, 1, &there, 1, 0) } as c_long)
}

fn fork() -> io::Result<()> {
    // SAFETY: the child does nothing but end.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    check(child.into())
}

fn exec_at(path: &str) -> io::Error {
    let path = std::ffi::CString::new(path).unwrap_or_default();
    let arguments = [path.as_ptr(), ptr::null()];
    // The flags are the launcher's, the path is absolute: only the address gives it away.
    // SAFETY: the string and the array, which ends with null, outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            200,
            path.as_ptr(),
            arguments.as_ptr(),
            ptr::null::<()>(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

fn mount(outside: bool) -> io::Result<()> {
    if outside {
        // In a namespace of our own, so that the attempt harms nobody.
        call(
            libc::SYS_unshare,
            [c_long::from(libc::CLONE_NEWUSER | libc::CLONE_NEWNS), 0, 0, 0, 0, 0],
        )?;
    }
    let tmpfs = c"tmpfs".as_ptr();
    // SAFETY: all three are C strings, and no options are given.
    check(c_long::from(unsafe { libc::mount(tmpfs, c"/".as_ptr(), tmpfs, 0, ptr::null()) }))
}

fn io_uring() -> io::Result<()> {
    let mut parameters = [0u64; 15]; // struct io_uring_params has 120 bytes
    call(libc::SYS_io_uring_setup, [1, parameters.as_mut_ptr() as c_long, 0, 0, 0, 0])
}

fn bpf() -> io::Result<()> {
    let map: [u32; 4] = [2, 4, 4, 1]; // BPF_MAP_TYPE_ARRAY, key, value, entries
    call(libc::SYS_bpf, [0, map.as_ptr() as c_long, size_of_val(&map) as c_long, 0, 0, 0])
}

fn perf() -> io::Result<()> {
    let mut event = [0u64; 16]; // struct perf_event_attr: type and size, config, …
    event[0] = 1 | (128 << 32); // PERF_TYPE_SOFTWARE
    event[1] = 9; // PERF_COUNT_SW_DUMMY
    call(libc::SYS_perf_event_open, [event.as_ptr() as c_long, 0, -1, -1, 0, 0])
}

fn raise_limit() -> io::Result<()> {
    let limits = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: `limits` is valid for reading.
    check(c_long::from(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limits) }))
}

/// Asks for its process number by the gate of another architecture, which has other numbers.
#[cfg(target_arch = "x86_64")]
fn i386() -> io::Result<()> {
    let mut result: c_long = 20; // getpid there
    // SAFETY: the call takes nothing and changes the result only.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
    if result > 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-result as c_int)) }
}

#[cfg(not(target_arch = "x86_64"))]
fn i386() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How many threads live at once before one is refused.
fn threads(wanted: u64) -> String {
    let (keep, kept) = mpsc::channel::<()>();
    let kept = std::sync::Arc::new(std::sync::Mutex::new(kept));
    let mut running = Vec::new();
    let mut answer = "allowed".to_owned();
    for _ in 0..wanted {
        let kept = kept.clone();
        let body = move || drop(kept.lock().map(|end| end.recv()));
        match thread::Builder::new().stack_size(64 * 1024).spawn(body) {
            Ok(thread) => running.push(thread),
            Err(error) => {
                answer = format!("errno {}", error.raw_os_error().unwrap_or(-1));
                break;
            }
        }
    }
    drop(keep);
    let count = running.len();
    for thread in running {
        let _ = thread.join();
    }
    format!("{count} {answer}")
}

/// How many descriptors can be had before one is refused.
fn files(wanted: u64) -> String {
    let mut copies = Vec::new();
    for count in 0..wanted {
        // SAFETY: it has no memory to write to.
        match unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 0) } {
            -1 => {
                let error = io::Error::last_os_error().raw_os_error().unwrap_or(-1);
                return format!("{count} errno {error}");
            }
            // SAFETY: the descriptor of just now, which nobody else has.
            copy => copies.push(unsafe { OwnedFd::from_raw_fd(copy) }),
        }
    }
    format!("{wanted} allowed")
}

fn memory(bytes: u64, kind: c_int, protection: c_int) -> io::Result<()> {
    let nowhere = ptr::null_mut();
    let flags = kind | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, which is never used.
    let place = unsafe { libc::mmap(nowhere, bytes as usize, protection, flags, -1, 0) };
    check(if place == libc::MAP_FAILED { -1 } else { 0 })?;
    // SAFETY: the mapping of just now.
    check(c_long::from(unsafe { libc::munmap(place, bytes as usize) }))
}

/// Takes and touches memory until there is none left; then the allocator aborts.
fn hog() -> io::Result<()> {
    let mut all = Vec::new();
    loop {
        all.push(hint::black_box(vec![1u8; 1 << 20]));
    }
}

const PTRACE_SEIZE: c_long = 0x4206;
