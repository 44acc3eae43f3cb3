//! The test program is its own guard: started by the launcher, it asks for reports and tells
//! its host what it got.
#![expect(clippy::disallowed_methods, reason = "tests read and write guards")]

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use cordon_attester::probe;
use cordon_crypto::{SigningKey, SystemRandom};
use cordon_softtee::{Child, LaunchError, SoftwareTee, launch, measurement_of};
use libtest_mimic::{Arguments, Failed, Trial};

mod evidence;

fn main() {
    if std::env::args_os().next().is_some_and(|name| name == "cordon-enclave") {
        return guard();
    }
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(name, test);
    let tests = vec![
        trial("a_guard_gets_reports_about_itself", a_guard_gets_reports_about_itself),
        trial("a_guard_has_two_sockets_and_no_environment", a_guard_has_no_environment),
        trial("a_dropped_guard_is_gone", a_dropped_guard_is_gone),
        trial("only_programs_are_launched", only_programs_are_launched),
        trial("a_changed_file_does_not_change_the_guard", a_changed_file_does_not_matter),
        trial("evidence_verifies", evidence::verifies),
        trial("one_byte_more_is_another_measurement", evidence::one_byte_more),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

/// What a guard does here: one command byte from its host, one answer.
fn guard() {
    let copy = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input");
    let mut host = UnixStream::from(copy);
    let mut command = [0];
    while host.read_exact(&mut command).is_ok() {
        let answer = match command[0] {
            b'r' => {
                let mut data = [0; 64];
                host.read_exact(&mut data).expect("report data");
                probe().expect("a tee").report(&data).expect("a report").evidence
            }
            b'e' => {
                let mut links = Vec::new();
                for entry in std::fs::read_dir("/proc/self/fd").expect("descriptors") {
                    let path = entry.expect("a descriptor").path();
                    let link = std::fs::read_link(&path).unwrap_or_default();
                    links.push(format!("{}={}", name(&path), link.display()));
                }
                format!("{};{}", std::env::vars().count(), links.join(",")).into_bytes()
            }
            other => panic!("unknown command {other}"),
        };
        cordon_protocol::frame::write_bytes(&mut host, &answer).expect("an answer");
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn myself() -> Vec<u8> {
    std::fs::read("/proc/self/exe").expect("this program")
}

fn start(guard: &[u8]) -> (Child, UnixStream, SigningKey) {
    let root = SigningKey::generate(&mut SystemRandom::new());
    let (host, guards_end) = UnixStream::pair().expect("a pair");
    let copy = SigningKey::from_seed(root.seed().duplicate());
    (launch(guard, root, guards_end).expect("a guard"), host, copy)
}

fn ask(host: &mut UnixStream, command: &[u8]) -> Vec<u8> {
    host.write_all(command).expect("asked");
    cordon_protocol::frame::read_bytes(host, 1 << 20).expect("an answer")
}

fn a_guard_gets_reports_about_itself() -> Result<(), Failed> {
    let guard = myself();
    let (mut child, mut host, root) = start(&guard);
    let tee = SoftwareTee::new(root, measurement_of(&guard));
    assert_eq!(child.measurement(), tee.measurement());
    for round in 0..3u8 {
        let data = [round; 64];
        let report = ask(&mut host, &[b"r".as_slice(), &data].concat());
        assert_eq!(report, tee.report(&data)?);
    }
    drop(host);
    assert!(child.wait()?.success());
    Ok(())
}

fn a_guard_has_no_environment() -> Result<(), Failed> {
    let (_child, mut host, _) = start(&myself());
    let text = String::from_utf8(ask(&mut host, b"e"))?;
    let (variables, links) = text.split_once(';').expect("two parts");
    assert_eq!(variables, "0");
    let sockets = links.split(',').filter(|link| link.contains("socket:"));
    let mut sockets: Vec<_> = sockets.filter_map(|link| link.split_once('=')).collect();
    sockets.sort_unstable();
    // 0, 1, and the copy of 0 that the guard works with.
    assert_eq!(sockets.iter().filter(|(fd, _)| ["0", "1"].contains(fd)).count(), 2, "{text}");
    assert_eq!(sockets.len(), 3, "{text}");
    assert!(links.contains("2=/dev/null"), "{text}");
    assert!(!links.contains("memfd"), "{text}");
    Ok(())
}

fn a_dropped_guard_is_gone() -> Result<(), Failed> {
    let (child, mut host, _) = start(&myself());
    drop(child);
    let mut rest = Vec::new();
    // The guard's end is closed: the stream ends.
    assert_eq!(host.read_to_end(&mut rest)?, 0);
    Ok(())
}

fn only_programs_are_launched() -> Result<(), Failed> {
    for other in [b"".as_slice(), b"#!/bin/sh\nexit 0\n", b"\x7fEL"] {
        let root = SigningKey::generate(&mut SystemRandom::new());
        let (_host, guards_end) = UnixStream::pair()?;
        assert!(matches!(launch(other, root, guards_end), Err(LaunchError::NotAProgram { .. })));
    }
    Ok(())
}

fn a_changed_file_does_not_matter() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("guard");
    std::fs::write(&path, myself())?;
    let root = SigningKey::generate(&mut SystemRandom::new());
    let (mut host, guards_end) = UnixStream::pair()?;
    let mut child = cordon_softtee::launch_file(&path, root, guards_end)?;
    std::fs::write(&path, b"something else")?;
    assert_eq!(child.measurement(), measurement_of(&myself()));
    ask(&mut host, &[b"r".as_slice(), &[1; 64]].concat());
    drop(host);
    assert!(child.wait()?.success());
    Ok(())
}
