use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Int32Array, RecordBatch, StringArray};
use cordon_crypto::dsse::Signed;
use cordon_crypto::{Label, Random, RecipientSecret, SigningKey};
use cordon_dataset::{
    DatasetSealer, DepositError, FileSink, KeyMismatch, Layout, ManifestError, MemoryFolder,
    ProofError, Summary, WriteError, deposit, verify_files,
};
use cordon_protocol::dataset::ColumnType;
use cordon_types::{Secret, UnixSeconds};
use proptest::prelude::*;

use crate::support::{column, id, read_all, rows, schema, seal, sealer, small_files};

#[test]
fn a_table_of_every_type_reads_back_as_it_was_sealed() {
    let sealed = rows(0, 1_000);
    let (manifest, folder) = seal(std::slice::from_ref(&sealed), Layout::default());
    assert_eq!(read_all(&manifest, &folder), sealed);
    verify_files(&manifest, &folder).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_batches_and_layout_read_back_in_order(
        sizes in proptest::collection::vec(0_usize..400, 0..6),
        row_group_rows in 1_usize..300,
        row_group_bytes in 1_usize..200_000,
        file_bytes in 1_u64..60_000,
    ) {
        let layout = Layout { row_group_rows, row_group_bytes, file_bytes };
        let mut first = 0;
        let batches: Vec<RecordBatch> = sizes.iter().map(|size| {
            let batch = rows(first, *size);
            first += size;
            batch
        }).collect();
        let (manifest, folder) = seal(&batches, layout);
        prop_assert_eq!(manifest.tables[0].rows, first as u64);
        prop_assert_eq!(read_all(&manifest, &folder), rows(0, first));
        verify_files(&manifest, &folder).unwrap();
    }
}

#[test]
fn a_table_without_rows_is_one_file_without_rows() {
    let (manifest, folder) = seal(&[], Layout::default());
    assert_eq!(manifest.tables[0].files.len(), 1);
    assert_eq!(read_all(&manifest, &folder).num_rows(), 0);
}

#[test]
fn the_same_rows_never_give_the_same_ciphertext() {
    let (first, _) = seal(&[rows(0, 10)], Layout::default());
    let (second, _) = seal(&[rows(0, 10)], Layout::default());
    assert_ne!(first.tables[0].files[0].sha256, second.tables[0].files[0].sha256);
    assert_eq!(first.schema(), second.schema());
}

#[test]
fn the_manifest_commits_to_every_key_and_the_deposit_opens_at_the_broker_only() {
    let (manifest, _) = small_files();
    let signed =
        Signed::sign(manifest, &SigningKey::from_seed(Secret::from_bytes([1; 32]))).unwrap();
    let broker = RecipientSecret::from_seed(Secret::from_bytes([2; 32]));
    let mut random = Counting(0);
    let version_key = Secret::from_bytes(crate::support::VERSION_KEY);
    let audience = "hospital-a".parse().unwrap();
    let now = UnixSeconds::new(1_700_000_000);
    let sent =
        deposit(&signed, &version_key, &audience, &broker.public_key(), now, &mut random).unwrap();
    let digest = signed.digest();
    let context: &[&[u8]] = &[digest.as_bytes()];
    let opened = broker.open(Label::DatasetVersionBox, context, &sent.sealed_key).unwrap();
    assert_eq!(*opened, version_key.expose());
    assert!(broker.open(Label::DatasetVersionBox, &[b"other"], &sent.sealed_key).is_err());

    let wrong = Secret::from_bytes([3; 32]);
    let refused = deposit(&signed, &wrong, &audience, &broker.public_key(), now, &mut random);
    assert!(matches!(refused, Err(DepositError::Key(KeyMismatch::Footer { .. }))));
}

#[test]
fn a_commitment_of_one_column_is_compared_too() {
    let (mut manifest, _) = small_files();
    manifest.tables[0].columns[2].key_commitment = manifest.tables[0].columns[1].key_commitment;
    let key = Secret::from_bytes(crate::support::VERSION_KEY);
    let expected =
        KeyMismatch::Column { table: "visit".parse().unwrap(), column: "age".parse().unwrap() };
    assert_eq!(cordon_dataset::check_key(&manifest, &key), Err(expected));
}

#[test]
fn the_summary_counts_rows_files_and_bytes() {
    let (manifest, folder) = small_files();
    let summary = Summary::of(&manifest);
    let path = |n: usize| &manifest.tables[0].files[n].path;
    let size: usize = (0..3).map(|n| folder.bytes(path(n)).unwrap().len()).sum();
    assert_eq!(summary.size_bytes, size as u64);
    assert_eq!((summary.tables[0].rows, summary.tables[0].files.len()), (300, 3));
    assert_eq!(summary.tables[0].columns[5].kind, ColumnType::Decimal);
}

#[test]
fn rows_that_are_not_the_tables_are_refused() {
    let write = |batch: &RecordBatch| {
        let mut folder = MemoryFolder::default();
        sealer(Layout::default()).table(schema()).unwrap().write(batch, &mut folder).unwrap_err()
    };
    let good = rows(0, 10);
    let fewer = good.project(&[0, 1, 2]).unwrap();
    assert!(matches!(write(&fewer), WriteError::ColumnMismatch { position: 4, .. }));
    let swapped = good.project(&[0, 1, 3, 2, 4, 5, 6, 7, 8]).unwrap();
    assert!(matches!(write(&swapped), WriteError::ColumnMismatch { position: 3, .. }));
    let more = good.project(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]).unwrap();
    assert!(matches!(write(&more), WriteError::ColumnMismatch { position: 10, .. }));
}

#[test]
fn a_row_without_a_patient_is_refused() {
    let mut schema = schema();
    schema.columns =
        vec![column("patient", ColumnType::Text, false), column("age", ColumnType::Int32, true)];
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("patient", Arc::new(StringArray::from(vec![Some("a"), None])) as _, true),
        ("age", Arc::new(Int32Array::from(vec![None, Some(4)])) as _, true),
    ])
    .unwrap();
    let mut folder = MemoryFolder::default();
    let mut writer = sealer(Layout::default()).table(schema).unwrap();
    let refused = writer.write(&batch, &mut folder).unwrap_err();
    assert!(
        matches!(refused, WriteError::MissingValue { column, .. } if column.as_str() == "patient")
    );
}

#[test]
fn a_full_disk_is_an_error_with_the_path_and_leaves_no_manifest() {
    for limit in [0, 3, 1_000, 20_000] {
        let mut disk = FullDisk(limit);
        let sealer = sealer(Layout::default());
        let mut writer = sealer.table(schema()).unwrap();
        let result = writer
            .write(&rows(0, 2_000), &mut disk)
            .and_then(|()| writer.finish(0, &mut disk).map(drop));
        let message = result.unwrap_err().to_string();
        assert!(message.contains("`visit/part-00000.parquet`"), "{message}");
    }
}

#[test]
fn a_file_that_is_there_already_is_not_overwritten() {
    let mut folder = MemoryFolder::default();
    folder.put("visit/part-00000.parquet", b"another's".to_vec());
    let mut writer = sealer(Layout::default()).table(schema()).unwrap();
    assert!(matches!(writer.write(&rows(0, 5), &mut folder), Err(WriteError::Sink { .. })));
    assert_eq!(folder.bytes("visit/part-00000.parquet").unwrap(), b"another's");
}

#[test]
fn only_tables_of_this_sealer_make_its_manifest() {
    let mut folder = MemoryFolder::default();
    let other = DatasetSealer::new(id(), Secret::from_bytes([0; 32]), Layout::default()).unwrap();
    let written = other.table(schema()).unwrap().finish(0, &mut folder).unwrap();
    let table = written.prove(&folder, &[]).unwrap();
    let refused = sealer(Layout::default()).manifest(vec![table], UnixSeconds::new(1));
    assert!(matches!(refused, Err(ManifestError::ForeignTable { .. })));
}

#[test]
fn two_tables_of_one_name_make_no_manifest() {
    let sealer = sealer(Layout::default());
    let table = || {
        let mut folder = MemoryFolder::default();
        let mut writer = sealer.table(schema()).unwrap();
        writer.write(&rows(0, 3), &mut folder).unwrap();
        writer.finish(0, &mut folder).unwrap().prove(&folder, &[]).unwrap()
    };
    let refused = sealer.manifest(vec![table(), table()], UnixSeconds::new(1));
    assert!(matches!(refused, Err(ManifestError::Form(_))));
}

#[test]
fn version_zero_is_refused() {
    let mut id = id();
    id.version = 0;
    let refused = DatasetSealer::new(id, Secret::from_bytes([0; 32]), Layout::default());
    assert!(matches!(refused, Err(ManifestError::VersionZero)));
}

#[test]
fn a_canary_too_short_to_mean_anything_is_refused() {
    let mut folder = MemoryFolder::default();
    let written =
        sealer(Layout::default()).table(schema()).unwrap().finish(0, &mut folder).unwrap();
    let refused = written.prove(&folder, &[b"male"]);
    assert!(matches!(refused, Err(ProofError::ShortCanary { found: 4 })));
}

#[test]
fn a_known_value_anywhere_in_the_file_fails_the_proof() {
    let sealed = |at: fn(usize) -> usize| {
        let mut folder = MemoryFolder::default();
        let mut writer = sealer(Layout::default()).table(schema()).unwrap();
        writer.write(&rows(0, 200_000), &mut folder).unwrap();
        let written = writer.finish(0, &mut folder).unwrap();
        let bytes = folder.bytes("visit/part-00000.parquet").unwrap();
        assert!(
            bytes.len() > (1 << 20) + 16,
            "{} bytes: the search must go over a seam",
            bytes.len()
        );
        let start = at(bytes.len());
        written.prove(&folder, &[&bytes[start..start + 16]]).map(drop)
    };
    let places: [fn(usize) -> usize; 3] = [|_| 100, |_| (1 << 20) - 7, |len| len - 16];
    for at in places {
        assert!(matches!(sealed(at), Err(ProofError::Canary { .. })));
    }
}

/// Not random, but different each time.
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        self.0 = self.0.wrapping_add(1);
        out.fill(self.0);
    }
}

/// Takes so many bytes and no more.
struct FullDisk(usize);

impl FileSink for FullDisk {
    fn create(&mut self, _path: &str) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(FullFile(self.0)))
    }
}

struct FullFile(usize);

impl Write for FullFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.0);
        self.0 -= count;
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
