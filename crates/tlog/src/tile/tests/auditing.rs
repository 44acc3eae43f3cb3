use crate::hash::TreeHash;
use crate::testing::*;
use crate::tile::tests::{SIZES, path};
use crate::tile::*;

#[test]
fn a_complete_log_passes_the_audit_and_shows_every_entry() {
    for size in SIZES {
        let (_, mut disk, head) = stored_log(size);
        let mut next = 0;
        let audited = audit(&head, &mut disk, |index, bytes| {
            assert_eq!((index, bytes), (next, entry(index).as_slice()));
            next += 1;
        });
        let audited = audited.unwrap_or_else(|error| panic!("size {size}: {error}"));
        assert_eq!(next, size);
        assert_eq!(audited.checkpoint(), &head);
        assert_eq!(audited.files(), changed_tiles(0, size).count() as u64);
    }
}

#[test]
fn every_changed_byte_fails_the_audit() {
    let (_, disk, head) = stored_log(600);
    let implied: Vec<TilePath> = changed_tiles(0, 600).collect();
    for (path, bytes) in disk.files.iter().filter(|(path, _)| implied.contains(path)) {
        for at in (0..bytes.len()).step_by(97) {
            let mut changed = disk.clone();
            changed.files.get_mut(path).expect("stored")[at] ^= 0x20;
            assert!(audit(&head, &mut changed, |_, _| ()).is_err(), "{path} at {at}");
        }
    }
}

#[test]
fn the_audit_names_what_is_wrong() {
    let (_, disk, head) = stored_log(600);
    let audited = |change: &dyn Fn(&mut Disk)| {
        let mut disk = disk.clone();
        change(&mut disk);
        audit(&head, &mut disk, |_, _| ()).map(|_| ()).expect_err("refused")
    };
    let (bundle, leaves, upper) =
        (path("tile/entries/001"), path("tile/0/001"), path("tile/1/000.p/2"));
    let edit = |disk: &mut Disk, path: &TilePath, at: usize| {
        disk.files.get_mut(path).expect("stored")[at] ^= 1
    };

    // The second byte of the text of entry 257; each entry is 9 bytes behind a length of 2.
    let edited = audited(&|disk| edit(disk, &bundle, 11 + 2 + 1));
    assert_eq!(edited, AuditError::Entry { index: 257, path: bundle });
    let edited = audited(&|disk| edit(disk, &leaves, 2 * 32));
    assert_eq!(edited, AuditError::Entry { index: 258, path: bundle });
    let edited = audited(&|disk| edit(disk, &upper, 32));
    assert_eq!(edited, AuditError::Node { position: 1, path: upper });
    // Entry and leaf changed together: the tile above gives them away.
    let edited = audited(&|disk| {
        edit(disk, &bundle, 2);
        let forged = TreeHash::of_entry(&disk.files[&bundle][2..11]);
        disk.files.get_mut(&leaves).expect("stored")[..32].copy_from_slice(forged.as_bytes());
    });
    assert_eq!(edited, AuditError::Node { position: 1, path: upper });
    let missing = audited(&|disk| drop(disk.files.remove(&upper)));
    assert_eq!(missing, AuditError::Read(ReadTileError::Missing { path: upper }));
    let shortened = audited(&|disk| disk.files.get_mut(&bundle).expect("stored").truncate(100));
    let source = BundleError::Truncated { position: 9, width: 256 };
    assert_eq!(shortened, AuditError::Read(ReadTileError::Bundle { path: bundle, source }));
}

#[test]
fn a_whole_log_that_was_rewritten_fails_against_the_old_head() {
    let (_, _, head) = stored_log(300);
    let mut entries: Vec<_> = (0..300).map(entry).collect();
    entries[7] = b"forged".to_vec();
    let growth = LogTree::new().append(&entries).expect("fits");
    let mut disk = Disk::default();
    disk.files.extend(growth.files.into_iter().map(|file| (file.path, file.bytes)));
    let refused = audit(&head, &mut disk, |_, _| ());
    let (found, expected) = (growth.tree.root(), *head.root());
    assert_eq!(refused, Err(AuditError::WrongRoot { found, expected }));
}

#[test]
fn failures_of_the_source_name_the_file() {
    let (_, _, head) = stored_log(1);
    let mut broken = |_: &TilePath| Err::<Option<Vec<u8>>, _>(std::fmt::Error);
    let refused = audit(&head, &mut broken, |_, _| ());
    let expected =
        ReadTileError::Source { path: path("tile/entries/000.p/1"), source: std::fmt::Error };
    assert_eq!(refused, Err(AuditError::Read(expected)));
}
