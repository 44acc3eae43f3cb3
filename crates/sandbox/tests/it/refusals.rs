//! What any engine, whatever it does, is refused.

use crate::support::{BEST, LIMITS, Outside, Test, ask, hostile};
use cordon_sandbox::{ExitCause, SandboxLevel};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process;

pub fn tests() -> Vec<Test> {
    vec![
        ("every_attack_is_refused_inside_and_works_outside", every_attack),
        ("a_worker_is_born_with_nothing", born_with_nothing),
        ("another_architecture_s_system_calls_end_the_worker", other_architecture),
    ]
}

/// What the machine itself says to the attempt, outside of the sandbox.
#[derive(PartialEq)]
enum Elsewhere {
    /// It works, always.
    Works,
    /// It works for root on a usual kernel; a machine may be stricter. That the sandbox refuses
    /// it all the same is what `tightened` proves.
    MayBeRefused,
}
use Elsewhere::{MayBeRefused, Works};

const EPERM: &str = "errno 1";
const ENOENT: &str = "errno 2";
const EACCES: &str = "errno 13";
const ENOSYS: &str = "errno 38";

static SECRET: u8 = 42;

fn every_attack() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let folder = tempfile();
    let unix_path = folder.join("socket");
    let _unix = UnixListener::bind(&unix_path).expect("a listener");
    let abstract_name = format!("cordon-test-{}", process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).expect("an address");
    let _abstract = UnixListener::bind_addr(&address).expect("a listener");
    let tcp = tcp.local_addr().expect("an address");
    let udp = udp.local_addr().expect("an address");
    let (folder_name, unix_path) = (folder.display(), unix_path.display());
    let (guard, secret) = (process::id(), &raw const SECRET as usize);

    let attacks = [
        ("read /etc/passwd".to_owned(), ENOENT, Works),
        ("read /proc/self/environ".to_owned(), ENOENT, Works),
        ("read /proc/1/stat".to_owned(), ENOENT, MayBeRefused),
        ("read /dev/null/../zero".to_owned(), ENOENT, MayBeRefused),
        ("read /dev/zero".to_owned(), ENOENT, Works),
        ("list /".to_owned(), EACCES, Works),
        ("list /etc".to_owned(), ENOENT, Works),
        ("list /proc".to_owned(), ENOENT, Works),
        (format!("write {folder_name}/x"), EPERM, Works),
        ("write /x".to_owned(), EPERM, MayBeRefused),
        ("write /tmp/cordon-hostile".to_owned(), EPERM, Works),
        ("write /lib64/x".to_owned(), EPERM, MayBeRefused),
        ("write /dev/shm/cordon-hostile".to_owned(), EPERM, MayBeRefused),
        ("overwrite /dev/null".to_owned(), EPERM, Works),
        ("memfd".to_owned(), EPERM, Works),
        (format!("tcp {tcp}"), EPERM, Works),
        (format!("udp {udp}"), EPERM, Works),
        (format!("unix {unix_path}"), EPERM, Works),
        (format!("abstract {abstract_name}"), EPERM, Works),
        ("socketpair".to_owned(), EPERM, Works),
        ("netlink".to_owned(), EPERM, MayBeRefused),
        ("vsock".to_owned(), EPERM, MayBeRefused),
        (format!("ptrace {guard}"), EPERM, MayBeRefused),
        (format!("peek {guard} {secret}"), EPERM, MayBeRefused),
        (format!("kill {guard}"), EPERM, Works),
        ("kill 1".to_owned(), EPERM, MayBeRefused),
        ("kill -1".to_owned(), EPERM, Works),
        ("fork".to_owned(), EPERM, Works),
        ("spawn /bin/true".to_owned(), EPERM, Works),
        ("clone3".to_owned(), ENOSYS, MayBeRefused),
        ("unshare".to_owned(), EPERM, MayBeRefused),
        ("mount".to_owned(), EPERM, MayBeRefused),
        ("fsopen".to_owned(), EPERM, MayBeRefused),
        ("chroot".to_owned(), EPERM, MayBeRefused),
        ("io_uring".to_owned(), EPERM, MayBeRefused),
        ("keyctl".to_owned(), EPERM, MayBeRefused),
        ("add_key".to_owned(), EPERM, MayBeRefused),
        ("bpf".to_owned(), EPERM, MayBeRefused),
        ("userfaultfd".to_owned(), EPERM, MayBeRefused),
        ("perf".to_owned(), EPERM, MayBeRefused),
        ("setrlimit".to_owned(), EPERM, Works),
        ("personality".to_owned(), EPERM, Works),
        ("shared-memory 4096".to_owned(), EPERM, Works),
        ("x32".to_owned(), EPERM, MayBeRefused),
        ("exec /bin/true".to_owned(), EPERM, MayBeRefused),
        ("execveat /bin/true".to_owned(), EPERM, MayBeRefused),
    ];
    let mut inside = hostile(*BEST, LIMITS);
    let mut surprises = Vec::new();
    for (attempt, expected, outside) in &attacks {
        let found = ask(inside.socket(), attempt);
        // A weaker machine refuses for other reasons; that it refuses, and how each layer
        // does, is in `layers`.
        let refused = match *BEST {
            SandboxLevel::NamespacesLandlock => found == *expected,
            _ => {
                found.starts_with("errno")
                    || attempt.starts_with("read")
                    || attempt.starts_with("list")
            }
        };
        if !refused {
            surprises.push(format!("inside `{attempt}`: expected {expected}, found {found}"));
        }
        // A process of its own each: some attempts change the process.
        let found = Outside::run().ask(attempt);
        match (outside, found.starts_with("errno")) {
            (Works, true) => surprises.push(format!("outside `{attempt}`: {found}")),
            (MayBeRefused, true) => eprintln!("this machine refuses `{attempt}` itself: {found}"),
            (_, false) => {}
        }
    }
    assert!(surprises.is_empty(), "{surprises:#?}");
    // It has survived all of it, and answers still.
    assert_eq!(ask(inside.socket(), "ping"), "allowed");
    assert_eq!(inside.kill().cause, ExitCause::Stopped);
    std::fs::remove_dir_all(folder).expect("an own folder");
}

fn born_with_nothing() {
    let inside = hostile(*BEST, LIMITS);
    assert_eq!(ask(inside.socket(), "environment"), "0");
    assert_eq!(ask(inside.socket(), "descriptors"), "0 1 2 3");
    if *BEST >= SandboxLevel::Namespaces {
        assert_eq!(ask(inside.socket(), "identity"), "user 65533 process 1 parent 0");
        assert_eq!(ask(inside.socket(), "host"), "worker");
    }
    let outside = Outside::run();
    assert_ne!(outside.ask("environment"), "0");
    assert_ne!(outside.ask("identity"), "user 65533 process 1 parent 0");
    assert_ne!(outside.ask("host"), "worker");
}

fn other_architecture() {
    if cfg!(not(target_arch = "x86_64")) {
        return; // no other gate
    }
    let mut inside = hostile(*BEST, LIMITS);
    assert_eq!(ask(inside.socket(), "i386"), "");
    assert_eq!(inside.wait().cause, ExitCause::Forbidden);
}

fn tempfile() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("cordon-sandbox-{}", process::id()));
    std::fs::create_dir(&folder).expect("a new folder");
    folder
}
