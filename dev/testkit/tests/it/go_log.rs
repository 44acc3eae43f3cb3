//! Logs that `cordon-tlog` writes, verified by Go's `golang.org/x/mod/sumdb`.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use cordon_crypto::SigningKey;
use cordon_testkit::go::LogVerifier;
use cordon_tlog::tile::{LogTree, TileHashReader, TilePath};
use cordon_tlog::tree::ConsistencyProof;
use cordon_tlog::witness::{AddCheckpoint, Decision, Witness};
use cordon_tlog::{LogSigner, Quorum, VerifiedCheckpoint, WitnessSigner};
use cordon_types::{Secret, UnixSeconds};

const ORIGIN: &str = "broker.hospital-a.example/log";
const WITNESSES: [(&str, u8); 2] =
    [("broker.hospital-b.example/log/witness", 2), ("broker.hospital-c.example/log/witness", 3)];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Secret::from_bytes([seed; 32]))
}

fn verifier() -> LogVerifier {
    LogVerifier::build(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
}

/// A log on disk that grows, and every head that it had.
struct Log {
    folder: tempfile::TempDir,
    /// Stands in every entry.
    word: &'static str,
    tree: LogTree,
    head: Option<VerifiedCheckpoint>,
    older: Vec<PathBuf>,
}

impl Log {
    fn new(word: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, word, tree: LogTree::new(), head: None, older: Vec::new() }
    }

    /// A log that stood at each of these sizes.
    fn of(word: &'static str, sizes: &[u64]) -> Self {
        let mut log = Self::new(word);
        sizes.iter().for_each(|size| log.grow_to(*size));
        log
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn vkey() -> String {
        LogSigner::new(ORIGIN.parse().unwrap(), &key(1)).key().to_string()
    }

    /// Appends entries from empty to some hundred bytes, and a largest one.
    fn grow_to(&mut self, size: u64) {
        let entry = |index: u64| match index {
            300 => vec![0xff; 65_535],
            index => format!("{} {index};", self.word).repeat((index % 40) as usize).into_bytes(),
        };
        let entries: Vec<_> = (self.tree.size()..size).map(entry).collect();
        let growth = self.tree.append(&entries).unwrap();
        for file in growth.files {
            let path = self.path(&file.path.to_string());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file.bytes).unwrap();
        }
        self.tree = growth.tree;
        let log_key = key(1);
        let signer = LogSigner::new(ORIGIN.parse().unwrap(), &log_key);
        let mut head = signer.sign(self.tree.size(), self.tree.root()).unwrap();
        for (name, seed) in WITNESSES {
            self.cosign(&signer, &mut head, name, seed);
        }
        let text = head.signed().to_string();
        assert_eq!(text.matches("\u{2014} ").count(), 3, "the log's and both witnesses' lines");
        if let Some(old) = self.head.replace(head) {
            let path = self.path(&format!("checkpoint.{}", old.size()));
            fs::write(&path, old.signed().to_string()).unwrap();
            self.older.push(path);
        }
        fs::write(self.path("checkpoint"), text).unwrap();
    }

    /// Adds a type 04 line, which Go does not read and must not trip over.
    fn cosign(&self, log: &LogSigner<'_>, head: &mut VerifiedCheckpoint, name: &str, seed: u8) {
        let witness_key = key(seed);
        let signer = WitnessSigner::new(name.parse().unwrap(), &witness_key);
        let witness = Witness::new(signer, [log.key().clone()]).unwrap();
        let old_size = self.head.as_ref().map_or(0, VerifiedCheckpoint::size);
        let read =
            |path: &TilePath| Ok::<_, Infallible>(fs::read(self.path(&path.to_string())).ok());
        let mut reader = TileHashReader::new(read, head.size());
        let proof = match old_size {
            0 => Vec::new(),
            _ => ConsistencyProof::make(&mut reader, old_size, head.size()).unwrap().hashes,
        };
        let request = AddCheckpoint::new(old_size, proof, head.signed().clone());
        let now = UnixSeconds::new(1_700_000_000);
        let stored = self.head.as_ref().map(VerifiedCheckpoint::signed);
        let Decision::Cosign(cosigned) = witness.decide(stored, &request, now) else {
            panic!("an honest head is cosigned")
        };
        let quorum = Quorum::all([witness.key().clone()]).unwrap();
        let answer = cosigned.into_answer_once_stored();
        head.add_cosignatures(answer.body.as_bytes(), &quorum).unwrap();
    }

    /// What Go says against it.
    fn refusal(&self) -> String {
        verifier().verify(self.folder.path(), &Self::vkey(), &self.older).unwrap_err().to_string()
    }

    fn flip(&self, name: &str, at: usize) {
        let path = self.path(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn go_verifies_logs_of_every_kind_of_size_and_their_growth() {
    let verifier = verifier();
    let mut log = Log::new("entry");
    // One entry, partial and full tiles, a second tile level (256) and its partial widths.
    let sizes = [1, 2, 3, 255, 256, 257, 300, 511, 512, 700, 1_300];
    for (older, size) in sizes.into_iter().enumerate() {
        log.grow_to(size);
        let found = verifier.verify(log.folder.path(), &Log::vkey(), &log.older).unwrap();
        assert_eq!((found.origin.as_str(), found.size), (ORIGIN, size));
        assert_eq!(found.consistent, older as u64, "at size {size}");
    }
}

#[test]
fn go_verifies_a_log_with_three_levels_of_tiles() {
    let log = Log::of("entry", &[60_000, 65_536 + 300]);
    assert!(log.path("tile/2/000.p/1").exists());
    let found = verifier().verify(log.folder.path(), &Log::vkey(), &log.older).unwrap();
    assert_eq!((found.size, found.consistent), (65_836, 1));
}

#[test]
fn go_refuses_an_edited_entry() {
    let log = Log::of("entry", &[300]);
    // The last byte of entry 255, in the full bundle.
    let end = fs::read(log.path("tile/entries/000")).unwrap().len();
    log.flip("tile/entries/000", end - 1);
    assert!(log.refusal().contains("entry 255"), "{}", log.refusal());
}

#[test]
fn go_refuses_an_edited_entry_of_a_partial_bundle() {
    let log = Log::of("entry", &[300]);
    let end = fs::read(log.path("tile/entries/001.p/44")).unwrap().len();
    log.flip("tile/entries/001.p/44", end - 1);
    assert!(log.refusal().contains("entry 299"), "{}", log.refusal());
}

#[test]
fn go_refuses_an_edited_tile() {
    for (tile, why) in [
        // Hash 0 is the sibling of entry 1, and no part of what TileHashReader compares.
        ("tile/0/000", "entry 1"),
        ("tile/0/001.p/44", "inconsistent tile"),
        ("tile/1/000.p/1", "inconsistent tile"),
    ] {
        let log = Log::of("entry", &[300]);
        log.flip(tile, 5);
        assert!(log.refusal().contains(why), "{tile}: {}", log.refusal());
    }
}

#[test]
fn go_refuses_an_edited_head() {
    let log = Log::of("entry", &[300]);
    let text = fs::read_to_string(log.path("checkpoint")).unwrap();
    fs::write(log.path("checkpoint"), text.replace("\n300\n", "\n299\n")).unwrap();
    assert!(log.refusal().contains("invalid signature"), "{}", log.refusal());
}

#[test]
fn go_refuses_the_head_of_another_key() {
    let log = Log::of("entry", &[300]);
    let other = LogSigner::new(ORIGIN.parse().unwrap(), &key(9)).key().to_string();
    let refused = verifier().verify(log.folder.path(), &other, &[]).unwrap_err();
    assert!(refused.to_string().contains("no verifiable signatures"), "{refused}");
}

/// The rewritten log is in order by itself; what it once signed gives it away.
#[test]
fn go_refuses_a_log_that_was_rewritten() {
    let before = Log::of("entry", &[200, 257]);
    let after = Log::of("another", &[300]);
    let verifier = verifier();
    verifier.verify(after.folder.path(), &Log::vkey(), &[]).unwrap();
    let refused = verifier.verify(after.folder.path(), &Log::vkey(), &before.older).unwrap_err();
    assert!(refused.to_string().contains("checkpoint.200"), "{refused}");
}
