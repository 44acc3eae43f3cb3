//! Services under bad conditions: wrong addresses, a full disk, a dead key process.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::{broker_arguments, new_holder, new_holder_of, tee_root};
use crate::programs::{CORDON, Service, cordon, fails};

#[test]
fn a_folder_may_be_named_from_where_one_stands() {
    let place = tempfile::tempdir().unwrap();
    let mut hub = Command::new(CORDON);
    hub.args(["hub", "--folder", "hub", "--listen", "127.0.0.1:0"]).current_dir(place.path());
    let _hub = Service::run(&mut hub, "listening http://127.0.0.1:");
    new_holder(place.path(), "hospital-a");
    let mut broker = Command::new(CORDON);
    broker.args(["broker", "--folder", "broker", "--listen", "127.0.0.1:0"]);
    broker.args(["--key-file", "root.key"]).current_dir(place.path());
    let _broker = Service::run(&mut broker, "listening http://127.0.0.1:");
}

/// Records, mail and sealed keys are nobody else's, whatever the umask says.
#[test]
fn folders_of_services_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir().unwrap();
    new_holder(place.path(), "hospital-a");
    let hub = place.path().join("hub").display().to_string();
    let _hub = Service::start(&["hub", "--folder", &hub, "--listen", "127.0.0.1:0"], "listening ");
    for folder in ["hub", "broker"] {
        let mode = fs::metadata(place.path().join(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
}

/// A broker is made whole or not at all, and nothing of somebody else's is touched.
#[test]
fn a_broker_is_not_made_where_something_is() {
    let place = tempfile::tempdir().unwrap();
    new_holder(place.path(), "hospital-a");
    let path = |name: &str| place.path().join(name).display().to_string();
    let init = |folder: &str| {
        let (folder, key, card) = (path(folder), path("other.key"), path("administrator.json"));
        fails(&[
            "init",
            "party",
            "--party",
            "hospital-a",
            "--profile",
            "development",
            "--log-origin",
            "b.example/log",
            "--folder",
            &folder,
            "--key-file",
            &key,
            "--administrator",
            &card,
        ])
    };
    let (code, said) = init("broker");
    assert!(code == 1 && said.contains("holds a broker already"), "{said}");
    fs::create_dir(path("mine")).unwrap();
    fs::write(path("mine/notes"), "x").unwrap();
    let (code, said) = init("mine");
    assert!(code == 1 && said.contains("not empty"), "{said}");
    assert_eq!(fs::read(path("mine/notes")).unwrap(), b"x");
    let names = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().contains("partial")));
}

/// Nobody may read "listening" of a service that then serves nobody.
#[test]
fn plain_http_for_the_world_is_refused_before_anything_is_said() {
    let place = tempfile::tempdir().unwrap();
    new_holder(place.path(), "hospital-a");
    let hub = place.path().join("hub").display().to_string();
    let mut broker = broker_arguments(place.path());
    let listen = broker.iter().position(|word| word == "127.0.0.1:0").unwrap();
    broker[listen] = "0.0.0.0:0".to_owned();
    let broker: Vec<&str> = broker.iter().map(String::as_str).collect();
    for arguments in [&["hub", "--folder", &hub, "--listen", "0.0.0.0:0"][..], &broker] {
        let output = Command::new(CORDON).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty() && said.contains("not a loopback address"), "{said}");
    }
}

/// Nothing is made in a folder that is none of a broker.
#[test]
fn a_folder_without_a_broker_is_named_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().display().to_string();
    let arguments = ["broker", "--folder", &folder, "--listen", "127.0.0.1:0", "--key-file"];
    let key = place.path().join("root.key").display().to_string();
    fs::write(&key, "not looked at").unwrap();
    let (code, said) = fails(&[&arguments[..], &[&key]].concat());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("`cordon init party` makes one"), "{said}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

/// A broker works for its staff while its hub is away, says why, and ends when it is told to.
#[test]
fn a_broker_whose_hub_is_away_says_why_and_ends_at_once() {
    let place = tempfile::tempdir().unwrap();
    new_holder(place.path(), "hospital-a");
    let mut command = Command::new(CORDON);
    // Nobody listens there: the port is reserved and privileged.
    command.args(broker_arguments(place.path())).args(["--hub", "http://127.0.0.1:1"]);
    let broker = Service::run(command.stderr(Stdio::piped()), "listening ");
    std::thread::sleep(Duration::from_secs(11));
    let asked = Instant::now();
    assert!(Command::new("kill").arg(broker.id().to_string()).status().unwrap().success());
    let (code, said) = broker.ended();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the hub does not take the card"), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
}

/// What a broker is good for is fixed when it is made, and a broker that may accept the software
/// TEE says so.
#[test]
fn a_production_broker_knows_no_software_tee_and_a_development_broker_shows_what_it_is() {
    let place = tempfile::tempdir().unwrap();
    let root = tee_root(place.path());
    let holder = |profile: &str| {
        let folder = place.path().join(profile);
        new_holder_of(&folder, "hospital-a", profile);
        broker_arguments(&folder)
    };
    let (production, development) = (holder("production"), holder("development"));
    let mut with_root: Vec<&str> = production.iter().map(String::as_str).collect();
    with_root.extend(["--software-root", &root]);
    let (code, said) = fails(&with_root);
    assert!(code == 1 && said.contains("a production broker"), "{said}");

    let banner = |arguments: &[String]| {
        let mut command = Command::new(CORDON);
        let broker = Service::run(command.args(arguments).stderr(Stdio::piped()), "listening ");
        assert!(Command::new("kill").arg(broker.id().to_string()).status().unwrap().success());
        let (code, said) = broker.ended();
        assert_eq!(code, Some(0), "{said}");
        said.contains("DEVELOPMENT BROKER")
    };
    assert!(!banner(&production));
    assert!(banner(&development));
}

/// Keys reach no file of a crash, neither of the broker nor of the process that has its root key.
#[test]
fn neither_a_broker_nor_its_key_process_leaves_a_core() {
    let place = tempfile::tempdir().unwrap();
    new_holder(place.path(), "hospital-a");
    let mut command = Command::new(CORDON);
    command.args(broker_arguments(place.path())).stderr(Stdio::null());
    let broker = Service::run(&mut command, "listening ");
    let keys = child_of(broker.id());
    for (process, name) in [(broker.id(), "broker"), (keys, "key-process")] {
        let of = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap();
        assert!(of("cmdline").split('\0').any(|word| word == name), "{}", of("cmdline"));
        // 1 byte: with 0 the kernel would still feed a program that collects cores.
        let limits = of("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let words: Vec<&str> = core.split_whitespace().collect();
        assert_eq!(words[4..6], ["1", "1"], "{core}");
    }
}

/// Without its key process a broker can do nothing that counts, and people have to know.
#[test]
fn a_broker_whose_key_process_dies_ends_and_says_why() {
    let place = tempfile::tempdir().unwrap();
    new_holder(place.path(), "hospital-a");
    let mut command = Command::new(CORDON);
    command.args(broker_arguments(place.path())).stderr(Stdio::piped());
    let broker = Service::run(&mut command, "listening ");
    let keys = child_of(broker.id());
    assert!(Command::new("kill").args(["-KILL", &keys.to_string()]).status().unwrap().success());
    let (code, said) = broker.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the key process is gone"), "{said}");
}

/// On a disk of three megabytes, in a mount namespace of its own.
#[test]
fn a_full_disk_is_named_and_nothing_is_lost() {
    let place = tempfile::tempdir().unwrap();
    new_holder(place.path(), "hospital-a");
    let disk = place.path().join("broker");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c"]).arg(
        "cp -a \"$1\" \"$1.copy\" && mount -t tmpfs -o size=3m none \"$1\" \
         && cp -a \"$1.copy/.\" \"$1\" && shift && exec \"$@\"",
    );
    command.arg("sh").arg(&disk).arg(CORDON).args(broker_arguments(place.path()));
    let broker = Service::run(command.stderr(Stdio::null()), "listening ");
    let inside = Path::new("/proc").join(broker.id().to_string()).join("root");
    let filler = inside.join(disk.strip_prefix("/").unwrap()).join("filler");

    let path = |name: &str| place.path().join(name).display().to_string();
    let (card, key) = (path("steward.json"), path("administrator.key"));
    let enrol = ["party", "enrol", &card, "--role", "steward", "--broker", &broker.first];
    let enrol = [&enrol[..], &["--as", &key]].concat();
    fill(&filler);
    let (code, said) = fails(&enrol);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("disk is full") && said.contains("storage_full"), "{said}");
    fs::remove_file(&filler).unwrap();
    cordon(&enrol);
}

/// Writes until there is no room.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(path).unwrap();
    let mut size = 65_536;
    while size > 0 {
        if file.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
}

/// The one child of a process, once it has one.
fn child_of(parent: u32) -> u32 {
    let started = Instant::now();
    let children = format!("/proc/{parent}/task");
    loop {
        let found = fs::read_dir(&children).unwrap().find_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("children")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        });
        if let Some(child) = found {
            return child;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "no child");
        std::thread::sleep(Duration::from_millis(20));
    }
}
