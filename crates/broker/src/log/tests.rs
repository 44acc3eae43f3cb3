//! Logs that witness each other, on real folders.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cordon_crypto::dsse::Signed;
use cordon_crypto::{RecipientSecret, SigningKey};
use cordon_protocol::V1;
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_protocol::party::{PartyCard, Profile};
use cordon_tlog::{LogKey, Quorum, SignedCheckpoint, WitnessKey, verify_proof};
use cordon_types::{PartyId, Secret, UnixSeconds};
use futures_util::future::BoxFuture;
use tempfile::TempDir;

use super::*;
use crate::store::Store;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Secret::from_bytes([seed; 32]))
}

fn card(party: &str, seed: u8) -> PartyCard {
    PartyCard {
        v: V1,
        party: party.parse().unwrap(),
        profile: Profile::Development,
        broker_key: key(seed).verifying_key(),
        log_origin: format!("{party}.example/log"),
        log_key: key(seed + 1).verifying_key(),
        witness_key: key(seed + 2).verifying_key(),
        box_key: RecipientSecret::from_seed(Secret::from_bytes([seed + 3; 32])).public_key(),
        manifest_keys: vec![key(seed + 4).verifying_key()],
        issued: NOW,
    }
}

/// Logs by party; those that are not in it do not answer.
#[derive(Clone, Default)]
struct Others(Arc<Mutex<BTreeMap<PartyId, Weak<Log>>>>);

impl Others {
    fn add(&self, party: &str, log: &Arc<Log>) {
        self.lock().insert(party.parse().unwrap(), Arc::downgrade(log));
    }

    fn silence(&self, party: &str) {
        self.lock().remove(&party.parse::<PartyId>().unwrap());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PartyId, Weak<Log>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers for Others {
    fn ask<'a>(
        &'a self,
        party: &'a PartyId,
        message: ToBroker,
    ) -> BoxFuture<'a, Result<FromBroker, PeerError>> {
        Box::pin(async move {
            let silent = || PeerError("silent".to_owned());
            let log = self.lock().get(party).and_then(Weak::upgrade).ok_or_else(silent)?;
            match message {
                ToBroker::AddCheckpoint { body } => {
                    let (status, body) = log.cosign(&body, NOW).await.unwrap();
                    Ok(FromBroker::Cosigned { status, body })
                }
                ToBroker::LastCheckpoint { origin } => {
                    let checkpoint = log.last_cosigned(&origin).await.unwrap();
                    Ok(FromBroker::LastCheckpoint { checkpoint })
                }
                other => panic!("not asked of a witness: {other:?}"),
            }
        })
    }
}

/// Two parties, `a` and `b`, each with a folder.
struct Pair {
    root: TempDir,
    others: Others,
}

impl Pair {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), others: Others::default() }
    }

    async fn try_open(&self, party: &str) -> Result<(Arc<Store>, Arc<Log>), LogError> {
        let (own, other) = match party {
            "a" => (card("a", 10), card("b", 20)),
            _ => (card("b", 20), card("a", 10)),
        };
        let seed = if party == "a" { 10 } else { 20 };
        let folder = self.root.path().join(party);
        std::fs::create_dir_all(&folder).unwrap();
        let store = Arc::new(Store::open(&folder).await.unwrap());
        let parts = LogParts {
            card: Signed::sign(own, &key(seed)).unwrap(),
            log_key: key(seed + 1),
            witness_key: key(seed + 2),
            store: store.clone(),
            peers: Arc::new(self.others.clone()),
            enrolled: vec![other],
        };
        let log = Arc::new(Log::open(&folder.join("log"), parts).await?);
        self.others.add(party, &log);
        Ok((store, log))
    }

    async fn open(&self, party: &str) -> (Arc<Store>, Arc<Log>) {
        self.try_open(party).await.unwrap()
    }

    fn folder(&self, party: &str) -> std::path::PathBuf {
        self.root.path().join(party)
    }
}

async fn add(store: &Store, log: &Log, bytes: &'static [u8]) -> u64 {
    let index = store
        .write(move |c| {
            Box::pin(async move { append(c, bytes).await.map_err(crate::store::StoreError::Log) })
        })
        .await
        .unwrap();
    log.wake();
    index
}

fn quorum() -> Quorum {
    let name = "b.example/log/witness".parse().unwrap();
    Quorum::all([WitnessKey::new(name, key(22).verifying_key())]).unwrap()
}

fn log_key_of_a() -> LogKey {
    LogKey::new("a.example/log".parse().unwrap(), key(11).verifying_key())
}

async fn prove(log: &Log, index: u64, bytes: &[u8]) -> String {
    log.prove(index, bytes, &quorum()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_proven_under_a_cosigned_head_and_no_other_entry_is() {
    let pair = Pair::new();
    let (_store_b, _b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    for (index, bytes) in [&b"one"[..], b"two", b"three"].into_iter().enumerate() {
        assert_eq!(add(&store, &a, bytes).await, index as u64);
    }
    let proof = prove(&a, 1, b"two").await;
    let proven = verify_proof(proof.as_bytes(), b"two", &log_key_of_a(), &quorum()).unwrap();
    assert_eq!(proven.index(), 1);
    assert!(verify_proof(proof.as_bytes(), b"tw0", &log_key_of_a(), &quorum()).is_err());
    // What is not in the log has no proof, wherever it is said to stand.
    assert!(matches!(a.prove(1, b"tw0", &quorum()).await, Err(LogError::Damaged(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_witness_no_proof_and_a_late_witness_completes_it() {
    let pair = Pair::new();
    let (_store_b, b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    add(&store, &a, b"one").await;
    prove(&a, 0, b"one").await;
    pair.others.silence("b");
    let index = add(&store, &a, b"two").await;
    let quorum = quorum();
    let early = tokio::time::timeout(Duration::from_millis(300), a.prove(index, b"two", &quorum));
    assert!(early.await.is_err(), "nobody cosigned");
    pair.others.add("b", &b);
    prove(&a, index, b"two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_puts_entries_into_tiles_that_a_crash_left_in_the_database() {
    let pair = Pair::new();
    let (_store_b, _b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    add(&store, &a, b"one").await;
    prove(&a, 0, b"one").await;
    a.close().await;
    // Committed, and then the process was gone.
    add(&store, &a, b"two").await;
    drop((store, a));
    std::fs::remove_dir_all(pair.folder("a").join("log/tile")).unwrap();
    let (_store, a) = pair.open("a").await;
    prove(&a, 1, b"two").await;
    prove(&a, 0, b"one").await;
}

/// Tiles are not flushed: a power failure may leave an empty file under a right name.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_mends_tiles_that_a_power_failure_tore() {
    let pair = Pair::new();
    let (_store_b, _b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    add(&store, &a, b"one").await;
    add(&store, &a, b"two").await;
    prove(&a, 1, b"two").await;
    a.close().await;
    drop((store, a));
    let size = 2;
    for tile in [format!("tile/0/000.p/{size}"), format!("tile/entries/000.p/{size}")] {
        let path = pair.folder("a").join("log").join(tile);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, []).unwrap();
        let (store, a) = pair.open("a").await;
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        prove(&a, 0, b"one").await;
        a.close().await;
        drop((store, a));
    }
}

/// A crash may tear the head that was being written; the one before it is in the other file. Nobody
/// has seen the torn one: it is flushed before witnesses are asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_from_the_head_before_a_torn_one() {
    let pair = Pair::new();
    let (_store_b, b) = pair.open("b").await;
    let heads = ["head.0", "head.1"].map(|name| pair.folder("a").join("log").join(name));
    let sizes = || {
        heads.each_ref().map(|path| {
            let head = SignedCheckpoint::parse(&std::fs::read(path).ok()?).ok()?;
            Some(head.verify(&log_key_of_a()).ok()?.size())
        })
    };
    let (store, a) = pair.open("a").await;
    for (index, bytes) in [&b"one"[..], b"two"].into_iter().enumerate() {
        add(&store, &a, bytes).await;
        prove(&a, index as u64, bytes).await;
    }
    a.close().await;
    drop((store, a));
    assert_eq!(sizes(), [Some(1), Some(2)], "they take turns");

    for (torn, size) in [(&b""[..], 3), (b"a.example/log\n4\n", 4), (&[0; 300], 5)] {
        let (store, a) = pair.open("a").await;
        prove(&a, size - 2, if size == 3 { b"two" } else { b"more" }).await;
        pair.others.silence("b");
        let index = add(&store, &a, b"more").await;
        let newest = async {
            loop {
                match sizes().iter().position(|found| *found == Some(size)) {
                    Some(slot) => return slot,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let slot = tokio::time::timeout(Duration::from_secs(20), newest).await.unwrap();
        a.close().await;
        drop((store, a));
        std::fs::write(&heads[slot], torn).unwrap();
        pair.others.add("b", &b);
        let (store, a) = pair.open("a").await;
        prove(&a, index, b"more").await;
        a.close().await;
        drop((store, a));
        assert_eq!(sizes()[slot], Some(size), "the torn one is replaced");
        assert_eq!(sizes()[1 - slot], Some(size - 1), "by itself");
    }
    // Two that do not verify are no crash.
    for path in &heads {
        std::fs::write(path, b"").unwrap();
    }
    assert!(matches!(pair.try_open("a").await, Err(LogError::Damaged(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_tiles_go_when_the_full_one_is_there() {
    let pair = Pair::new();
    let (_store_b, _b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    add(&store, &a, b"entry").await;
    prove(&a, 0, b"entry").await;
    let tiles = pair.folder("a").join("log/tile/0");
    assert!(tiles.join("000.p/1").exists());
    for _ in 1..256 {
        add(&store, &a, b"entry").await;
    }
    prove(&a, 255, b"entry").await;
    prove(&a, 0, b"entry").await;
    assert!(tiles.join("000").exists() && !tiles.join("000.p").exists());
    assert!(!pair.folder("a").join("log/tile/entries/000.p").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_entry_is_noticed_before_anything_is_signed_on_top() {
    let pair = Pair::new();
    let (_store_b, _b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    add(&store, &a, b"one").await;
    prove(&a, 0, b"one").await;
    a.close().await;
    edit(&store, "UPDATE log_entry SET bytes = x'626164'").await;
    drop((store, a));
    let error = pair.try_open("a").await.map(|_| ()).unwrap_err();
    assert!(matches!(error, LogError::Fatal(Fatal::DatabaseChanged { size: 1 })), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_older_than_the_signed_head_is_refused() {
    let pair = Pair::new();
    let (_store_b, _b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    add(&store, &a, b"one").await;
    prove(&a, 0, b"one").await;
    a.close().await;
    edit(&store, "DELETE FROM log_entry").await;
    drop((store, a));
    let error = pair.try_open("a").await.map(|_| ()).unwrap_err();
    assert!(
        matches!(error, LogError::Fatal(Fatal::DatabaseBehind { found: 0, signed: 1 })),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_folder_that_is_an_old_backup_is_noticed_by_the_witness() {
    let pair = Pair::new();
    let (_store_b, _b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    add(&store, &a, b"one").await;
    prove(&a, 0, b"one").await;
    a.close().await;
    store.close().await;
    drop((store, a));
    let backup = pair.root.path().join("backup");
    copy(&pair.folder("a"), &backup);
    let (store, a) = pair.open("a").await;
    let index = add(&store, &a, b"two").await;
    prove(&a, index, b"two").await;
    a.close().await;
    store.close().await;
    drop((store, a));

    std::fs::remove_dir_all(pair.folder("a")).unwrap();
    copy(&backup, &pair.folder("a"));
    let (_store, a) = pair.open("a").await;
    let expected = Fatal::BehindWitness { witness: "b".parse().unwrap(), own: 1, cosigned: 2 };
    assert_eq!(a.fatal().await, expected);
    assert!(!a.is_ready());
}

/// A second history, longer by now than what this witness saw of the first. Both are signed by
/// the same key, so that only the witness can tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_longer_log_with_another_beginning_than_a_witness_saw_is_a_fork() {
    let (pair, other) = (Pair::new(), Pair::new());
    let (_store_b, _b) = pair.open("b").await;
    let (_other_store_b, _other_b) = other.open("b").await;
    for (pair, entries) in [(&pair, vec!["one"]), (&other, vec!["another", "two", "three"])] {
        let (store, a) = pair.open("a").await;
        for entry in entries {
            let index = add(&store, &a, entry.as_bytes()).await;
            prove(&a, index, entry.as_bytes()).await;
        }
        a.close().await;
        store.close().await;
    }
    std::fs::remove_dir_all(pair.folder("a")).unwrap();
    copy(&other.folder("a"), &pair.folder("a"));
    let (_store, a) = pair.open("a").await;
    assert_eq!(a.fatal().await, Fatal::Forked { witness: "b".parse().unwrap(), size: 1 });
    assert!(!a.is_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_keeps_proof_of_a_fork_and_does_not_cosign_it() {
    let pair = Pair::new();
    let (store_b, b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    add(&store, &a, b"one").await;
    prove(&a, 0, b"one").await;
    // Whoever has the log key can sign another history; its witness does not go along.
    let signing = key(11);
    let signer = cordon_tlog::LogSigner::new("a.example/log".parse().unwrap(), &signing);
    let forged = cordon_tlog::tile::LogTree::new().append(&["another"]).unwrap().tree;
    let forged = signer.sign(forged.size(), forged.root()).unwrap();
    let request = cordon_tlog::witness::AddCheckpoint::new(1, Vec::new(), forged.signed().clone());
    let (status, _) = b.cosign(&request.to_string(), NOW).await.unwrap();
    assert_eq!(status, 422);
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM witness_evidence")
        .fetch_one(store_b.readers())
        .await
        .unwrap();
    assert_eq!(kept, 1);
    // A genuine head with a proof of nonsense, which anybody can send, is no fork.
    let genuine = b.last_cosigned("a.example/log").await.unwrap().unwrap();
    let genuine = SignedCheckpoint::parse(genuine.as_bytes()).unwrap();
    let junk = vec![TreeHash::of_entry(b"junk")];
    let request = cordon_tlog::witness::AddCheckpoint::new(1, junk, genuine);
    assert_eq!(b.cosign(&request.to_string(), NOW).await.unwrap().0, 422);
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM witness_evidence")
        .fetch_one(store_b.readers())
        .await
        .unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_somebody_who_is_not_enrolled_is_not_witnessed() {
    let pair = Pair::new();
    let (_store_b, b) = pair.open("b").await;
    let signing = key(90);
    let signer = cordon_tlog::LogSigner::new("z.example/log".parse().unwrap(), &signing);
    let tree = cordon_tlog::tile::LogTree::new().append(&["entry"]).unwrap().tree;
    let head = signer.sign(tree.size(), tree.root()).unwrap();
    let request = cordon_tlog::witness::AddCheckpoint::new(0, Vec::new(), head.signed().clone());
    assert_eq!(b.cosign(&request.to_string(), NOW).await.unwrap().0, 404);
    assert_eq!(b.cosign("nonsense", NOW).await.unwrap().0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_of_the_log_are_served() {
    let pair = Pair::new();
    let (_store_b, _b) = pair.open("b").await;
    let (store, a) = pair.open("a").await;
    add(&store, &a, b"one").await;
    prove(&a, 0, b"one").await;
    assert!(a.file("tile/0/000.p/1").await.unwrap().is_some());
    assert!(a.file("tile/entries/000.p/1").await.unwrap().is_some());
    for other in ["head.0", "../broker.sqlite", "tile/../head.0", "/etc/passwd", "", "tile/0/0"] {
        assert_eq!(a.file(other).await.unwrap(), None, "{other}");
    }
}

async fn edit(store: &Store, sql: &'static str) {
    let edited = store.write(move |c| {
        Box::pin(async move {
            sqlx::query(sql).execute(c).await?;
            Ok(())
        })
    });
    edited.await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
