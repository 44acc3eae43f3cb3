//! Two hospitals, a university, a hub and a host, set up by commands only, as in
//! `docs/quickstart.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::programs::{CORDON, Service, beside, cordon, fails};

/// The hospitals.
pub const PARTIES: [&str; 2] = ["hospital-a", "hospital-b"];

/// All that runs.
pub struct Place {
    pub folder: TempDir,
    pub hub: String,
    pub hospitals: Vec<Hospital>,
    researcher: PathBuf,
    /// The root of the software TEE.
    root: String,
    /// The brokers first, in the order of the hospitals.
    services: Vec<Service>,
}

/// A hospital with its broker.
pub struct Hospital {
    pub party: &'static str,
    pub folder: PathBuf,
    pub broker: String,
}

impl Hospital {
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Runs a command at this hospital's broker, as one of its people.
    pub fn at(&self, command: &[&str], person: &str) -> Value {
        let key = self.path(&format!("{person}.key"));
        let mut arguments = command.to_vec();
        arguments.extend(["--broker", &self.broker, "--as", &key]);
        cordon(&arguments)
    }

    /// The same, for a command that must fail.
    #[track_caller]
    pub fn fails_at(&self, command: &[&str], person: &str) -> (i32, String) {
        let key = self.path(&format!("{person}.key"));
        let mut arguments = command.to_vec();
        arguments.extend(["--broker", &self.broker, "--as", &key]);
        fails(&arguments)
    }

    /// The two people who approve, do.
    pub fn approve(&self, digest: &str) {
        for person in ["steward", "officer"] {
            self.at(&["study", "approve", digest, "--digest", digest], person);
        }
    }
}

impl Place {
    pub fn start() -> Self {
        Self::start_by(|arguments, _, word| Service::start(arguments, word))
    }

    /// The same, with services that say all they can say, each into a `.log` file of the place.
    pub fn start_talkative() -> Self {
        Self::start_by(|arguments, folder, word| {
            let count = fs::read_dir(folder).expect("a folder").count();
            let log = folder.join(format!("{}-{count}.log", arguments[0]));
            let log = fs::File::create(log).expect("a file");
            let mut command = Command::new(CORDON);
            command.args(arguments).env("CORDON_LOG", "trace").stderr(log);
            Service::run(&mut command, word)
        })
    }

    fn start_by(serve: impl Fn(&[&str], &Path, &str) -> Service) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let serve = |arguments: &[&str], word| serve(arguments, folder.path(), word);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut brokers = Vec::new();
        for party in PARTIES {
            let folder = folder.path().join(party);
            new_holder(&folder, party);
            let card =
                cordon(&["party", "show", &folder.join("broker/card.json").display().to_string()]);
            brokers.push(card["card"]["broker_key"].as_str().expect("a key").to_owned());
        }
        let hub_folder = path("hub");
        let mut arguments = vec!["hub", "--folder", &hub_folder, "--listen", "127.0.0.1:0"];
        brokers.iter().for_each(|key| arguments.extend(["--broker-key", key]));
        let hub = serve(&arguments, "listening ");
        let root = tee_root(folder.path());
        let mut services = Vec::new();
        let mut hospitals = Vec::new();
        for party in PARTIES {
            let folder = folder.path().join(party);
            let arguments = broker_of_place(&folder, &hub.first, &root);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let broker = serve(&arguments, "listening ");
            hospitals.push(Hospital { party, broker: broker.first.clone(), folder });
            services.push(broker);
        }
        new_person(folder.path(), "university", "researcher");
        services.push(serve(
            &[
                "host",
                "--hub",
                &hub.first,
                "--key",
                &path("host.key"),
                "--guard",
                "cordon-enclave",
                "--engine",
                "cordon-engine-sql",
                "--software-root-key",
                &path("tee.key"),
            ],
            "claiming runs",
        ));
        let place = Self {
            researcher: folder.path().join("researcher.key"),
            hub: hub.first.clone(),
            root,
            hospitals,
            services: [services, vec![hub]].into_iter().flatten().collect(),
            folder,
        };
        place.enrol();
        place
    }

    /// The process of a hospital's broker.
    pub fn broker(&self, index: usize) -> u32 {
        self.services[index].id()
    }

    /// Starts a broker again that has ended by itself; gives its exit code.
    pub fn start_broker_again(&mut self, index: usize) -> Option<i32> {
        let arguments = broker_of_place(&self.hospitals[index].folder, &self.hub, &self.root);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (code, _) = self.services.remove(index).ended();
        let broker = Service::start(&arguments, "listening ");
        self.hospitals[index].broker = broker.first.clone();
        self.services.insert(index, broker);
        code
    }

    /// The process of the host.
    pub fn host(&self) -> Option<u32> {
        let host = self.services.iter().find(|service| service.first.starts_with("from "));
        host.map(Service::id)
    }

    fn enrol(&self) {
        for own in &self.hospitals {
            let enrol = |card: String, roles: &[&str]| {
                let mut command = vec!["party", "enrol", &card];
                roles.iter().for_each(|role| command.extend(["--role", role]));
                own.at(&command, "administrator");
            };
            enrol(own.path("steward.json"), &["steward"]);
            enrol(own.path("officer.json"), &["data_protection_officer"]);
            enrol(own.path("reviewer.json"), &["reviewer"]);
            let researcher = self.folder.path().join("researcher.json");
            enrol(researcher.display().to_string(), &["researcher"]);
            for other in self.hospitals.iter().filter(|other| other.party != own.party) {
                enrol(other.path("broker/card.json"), &[]);
                enrol(other.path("reviewer.json"), &[]);
            }
        }
    }

    /// Seals and publishes a dataset at a hospital.
    pub fn seal(&self, hospital: &Hospital, dataset: &str, source: &[&str]) -> Value {
        let out = hospital.path(&format!("sealed-{dataset}"));
        let (card, manifest_key) =
            (hospital.path("broker/card.json"), hospital.path("broker.manifest.key"));
        let subject_key = hospital.path("broker.subject.key");
        let mut command = vec!["dataset", "seal", "--card", &card, "--manifest-key", &manifest_key];
        command.extend(["--subject-key", &subject_key, "--dataset", dataset, "--version", "1"]);
        command.extend(["--strict", "--out", &out]);
        command.extend(source);
        let sealed = cordon(&command);
        cordon(&["dataset", "inspect", &out, "--verify", "--card", &card]);
        hospital.at(&["dataset", "publish", &out, "--hub", &self.hub], "steward");
        sealed
    }

    /// Runs a command as the researcher, at the hub.
    pub fn research(&self, command: &[&str]) -> Value {
        let key = self.researcher.display().to_string();
        let mut arguments = command.to_vec();
        arguments.extend(["--hub", &self.hub, "--as", &key]);
        cordon(&arguments)
    }

    /// The same arguments as [`Self::research`], for a command that must fail.
    #[track_caller]
    pub fn research_fails(&self, command: &[&str]) -> (i32, String) {
        let key = self.researcher.display().to_string();
        let mut arguments = command.to_vec();
        arguments.extend(["--hub", &self.hub, "--as", &key]);
        fails(&arguments)
    }

    /// From a draft to an agreement that everybody approved.
    pub fn agree(&self, draft: &Value) -> String {
        let digest = self.propose(draft);
        self.hospitals.iter().for_each(|hospital| hospital.approve(&digest));
        digest
    }

    /// From a draft to an agreement that waits for approvals.
    pub fn propose(&self, draft: &Value) -> String {
        let file = self.folder.path().join("study.json");
        fs::write(&file, draft.to_string()).expect("a draft");
        let draft = file.display().to_string();
        let mut command = vec!["study", "propose", "--draft", &draft];
        command.extend(["--engine", "cordon-engine-sql", "--guard", "cordon-enclave"]);
        let answer = self.research(&command);
        let recorded = |holder: &Value| holder["answer"] == "recorded";
        assert!(answer["holders"].as_array().expect("holders").iter().all(recorded), "{answer}");
        answer["agreement"].as_str().expect("a digest").to_owned()
    }

    /// Runs an agreement and opens the result.
    pub fn result(&self, agreement: &str) -> Value {
        let status = self.research(&["run", "start", "--agreement", agreement, "--wait"]);
        let run = status["run"].as_str().expect("a run").to_owned();
        self.research(&["run", "output", "open", &run])
    }
}

/// Makes a holder's people and its broker's folder.
pub fn new_holder(folder: &Path, party: &str) {
    new_holder_of(folder, party, "development");
}

/// Likewise, in a profile.
pub fn new_holder_of(folder: &Path, party: &str, profile: &str) {
    fs::create_dir_all(folder).expect("a folder");
    for person in ["administrator", "steward", "officer", "reviewer"] {
        new_person(folder, party, person);
    }
    let path = |name: &str| folder.join(name).display().to_string();
    let origin = format!("broker.{party}.example/log");
    let (broker, key) = (path("broker"), path("root.key"));
    let administrator = path("administrator.json");
    let mut command = vec!["init", "party", "--party", party, "--profile", profile];
    command.extend(["--log-origin", &origin, "--folder", &broker, "--key-file", &key]);
    command.extend(["--administrator", &administrator]);
    cordon(&command);
}

/// How the broker of [`new_holder`] is started, on a free port of loopback.
pub fn broker_arguments(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut arguments = vec!["broker".to_owned(), "--folder".to_owned(), path("broker")];
    arguments.extend(["--listen", "127.0.0.1:0", "--key-file"].map(str::to_owned));
    arguments.push(path("root.key"));
    arguments
}

fn new_person(folder: &Path, party: &str, person: &str) {
    let path = |name: &str| folder.join(name).display().to_string();
    cordon(&[
        "init",
        "person",
        "--party",
        party,
        "--person",
        person,
        "--out",
        &path(&format!("{person}.key")),
        "--card",
        &path(&format!("{person}.json")),
    ]);
}

/// How a broker takes part.
fn broker_of_place(folder: &Path, hub: &str, root: &str) -> Vec<String> {
    let mut arguments = broker_arguments(folder);
    arguments.extend(["--hub", hub, "--software-root", root].map(str::to_owned));
    arguments
}

/// Makes the root of a software TEE; gives its public key.
pub fn tee_root(folder: &Path) -> String {
    let key = folder.join("tee.key");
    let made =
        Command::new(beside("cordon-softtee")).args(["init", "--root-key"]).arg(&key).status();
    assert!(made.expect("it starts").success());
    let shown =
        Command::new(beside("cordon-softtee")).args(["show", "--root-key"]).arg(&key).output();
    crate::programs::text(&shown.expect("it starts").stdout).trim().to_owned()
}
