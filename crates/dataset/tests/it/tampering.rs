use std::sync::Arc;

use arrow::array::RecordBatch;
use cordon_dataset::{MemoryFolder, OpenError, SchemaError, VerifyError, check_form, verify_files};
use cordon_protocol::Manifest;
use cordon_types::Sha256Digest;
use parquet::arrow::ArrowWriter;
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::properties::WriterProperties;

use crate::support::{
    ReadError, VERSION_KEY, all_columns, id, keys, names, read, rows, schema, seal, small_files,
};
use cordon_dataset::Layout;
use cordon_protocol::dataset::{column_key, file_key, footer_key};
use cordon_types::Secret;

const FIRST: &str = "visit/part-00000.parquet";
const SECOND: &str = "visit/part-00001.parquet";

#[test]
fn files_other_than_the_manifests_are_named() {
    let (manifest, folder) = small_files();
    let refused = |change: &dyn Fn(&mut MemoryFolder)| {
        let mut copy = MemoryFolder::default();
        for file in &manifest.tables[0].files {
            copy.put(&file.path, folder.bytes(&file.path).unwrap());
        }
        change(&mut copy);
        verify_files(&manifest, &copy).unwrap_err()
    };
    let first = || folder.bytes(FIRST).unwrap();
    let second = || folder.bytes(SECOND).unwrap();
    assert!(matches!(refused(&|f| f.remove(SECOND)),
        VerifyError::Missing { path } if path == SECOND));
    assert!(matches!(refused(&|f| f.put("visit/part-00003.parquet", first())),
        VerifyError::Extra { path } if path == "visit/part-00003.parquet"));
    assert!(matches!(refused(&|f| f.put(SECOND, second()[..9].to_vec())),
        VerifyError::Size { path, found: 9, .. } if path == SECOND));
    let longer = [second(), vec![0]].concat();
    assert!(matches!(refused(&|f| f.put(SECOND, longer.clone())),
        VerifyError::Size { path, .. } if path == SECOND));
    let mut flipped = second();
    flipped[100] ^= 1;
    assert!(matches!(refused(&|f| f.put(SECOND, flipped.clone())),
        VerifyError::Digest { path } if path == SECOND));
    let swap = |f: &mut MemoryFolder| {
        f.put(FIRST, second());
        f.put(SECOND, first());
    };
    assert!(matches!(refused(&swap),
        VerifyError::Size { path, .. } | VerifyError::Digest { path } if path == FIRST));
}

#[test]
fn a_file_of_another_sealing_of_the_same_rows_is_refused() {
    let (manifest, mut folder) = small_files();
    let (_, other) = small_files();
    folder.put(SECOND, other.bytes(SECOND).unwrap());
    assert!(matches!(verify_files(&manifest, &folder),
        Err(VerifyError::Size { path, .. } | VerifyError::Digest { path }) if path == SECOND));
}

#[test]
fn a_manifest_is_refused_for_one_reason_each() {
    let (good, _) = small_files();
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        check_form(&manifest).unwrap_err()
    };
    assert!(matches!(refused(&|m| m.version = 0), VerifyError::VersionZero));
    assert!(matches!(refused(&|m| m.tables.clear()), VerifyError::NoTables));
    let twice = |m: &mut Manifest| m.tables.push(m.tables[0].clone());
    assert!(matches!(refused(&twice), VerifyError::TableOrder { .. }));
    let unsorted = |m: &mut Manifest| {
        let mut table = m.tables[0].clone();
        table.name = "age".parse().unwrap();
        m.tables.push(table);
    };
    assert!(matches!(refused(&unsorted), VerifyError::TableOrder { .. }));
    let nullable = |m: &mut Manifest| m.tables[0].columns[0].nullable = true;
    assert!(matches!(refused(&nullable), VerifyError::Schema(SchemaError::NullableSubject { .. })));
    assert!(matches!(refused(&|m| m.tables[0].files.clear()), VerifyError::NoFiles { .. }));
    let reordered = |m: &mut Manifest| m.tables[0].files.swap(0, 1);
    assert!(matches!(refused(&reordered),
        VerifyError::FilePath { expected, .. } if expected == FIRST));
    let dropped = |m: &mut Manifest| drop(m.tables[0].files.remove(1));
    assert!(matches!(refused(&dropped),
        VerifyError::FilePath { expected, .. } if expected == SECOND));
    let outside = |m: &mut Manifest| m.tables[0].files[0].path = "../secret".to_owned();
    assert!(matches!(refused(&outside), VerifyError::FilePath { .. }));
    let same = |m: &mut Manifest| m.tables[0].files[1].sha256 = m.tables[0].files[0].sha256;
    assert!(matches!(refused(&same), VerifyError::SameFile { path } if path == SECOND));
    let sum = |m: &mut Manifest| m.tables[0].rows += 1;
    assert!(matches!(refused(&sum), VerifyError::RowSum { .. }));
    let overflow = |m: &mut Manifest| m.tables[0].files[0].rows = u64::MAX;
    assert!(matches!(refused(&overflow), VerifyError::RowSum { .. }));
    let key = |m: &mut Manifest| {
        m.tables[0].columns[1].key_commitment = m.tables[0].footer_commitment;
    };
    assert!(matches!(refused(&key), VerifyError::SameKey { .. }));
}

/// Every byte of a small file, one bit changed: it never opens to other rows, and the digest of
/// the manifest shows each. What the reader itself does not notice means nothing to it: the length
/// before each encrypted page, and what stands in clear before the encrypted footer.
#[test]
fn a_flipped_bit_anywhere_never_gives_other_rows() {
    let sealed = rows(0, 4);
    let (manifest, mut folder) = seal(std::slice::from_ref(&sealed), Layout::default());
    let path = &manifest.tables[0].files[0].path;
    let bytes = folder.bytes(path).unwrap();
    let (columns, keys) = (all_columns(), keys(&all_columns(), path));
    let number = |at: usize| {
        let number = bytes.get(at..at + 4).map(|four| four.try_into().unwrap());
        number.map(u32::from_le_bytes).and_then(|number| usize::try_from(number).ok())
    };
    // The file ends with the length of the footer and the magic; the footer's encrypted part
    // begins with its own length.
    let end = bytes.len() - 8;
    let footer = end - number(end).unwrap();
    let encrypted = (footer..end).find(|at| number(*at) == Some(end - at - 4)).unwrap() + 4;
    assert!(encrypted - footer < 32, "{footer} {encrypted}");
    let is_length = |position: usize| {
        (position.saturating_sub(3)..=position)
            .any(|at| number(at).is_some_and(|length| length > 0 && at + 4 + length <= footer))
    };
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 1 << (position % 8);
        if let Ok(read) = read(changed.clone(), path, &keys, &columns) {
            assert_eq!(read, sealed, "byte {position}");
            let is_clear = (footer..encrypted).contains(&position) || is_length(position);
            assert!(is_clear, "byte {position} of {} is not authenticated", bytes.len());
        }
        folder.put(path, changed);
        let noticed = verify_files(&manifest, &folder);
        assert!(matches!(noticed, Err(VerifyError::Digest { .. })), "byte {position}");
    }
}

/// The length of a page header stands in clear before it; the Parquet reader subtracts from it
/// unchecked. A bit changed there once ended the program instead of the reading.
#[test]
fn a_length_that_is_too_small_is_an_error_and_no_panic() {
    let (manifest, folder) = seal(&[rows(0, 4)], Layout::default());
    let path = &manifest.tables[0].files[0].path;
    let mut bytes = folder.bytes(path).unwrap();
    // The first page header of the first column follows the magic.
    bytes[4..8].copy_from_slice(&3_u32.to_le_bytes());
    let refused = read(bytes, path, &keys(&all_columns(), path), &all_columns());
    assert!(matches!(refused, Err(ReadError::Rows)));
}

#[test]
fn a_truncated_file_does_not_open() {
    let (_, folder) = small_files();
    let bytes = folder.bytes(FIRST).unwrap();
    let (columns, keys) = (all_columns(), keys(&all_columns(), FIRST));
    for length in (0..bytes.len()).step_by(37).chain([bytes.len() - 1]) {
        assert!(read(bytes[..length].to_vec(), FIRST, &keys, &columns).is_err(), "{length}");
    }
    assert!(read(bytes, FIRST, &keys, &columns).is_ok());
}

#[test]
fn a_file_in_the_place_of_another_does_not_open() {
    let (_, folder) = small_files();
    let columns = all_columns();
    let swapped = folder.bytes(FIRST).unwrap();
    let refused = read(swapped, SECOND, &keys(&columns, SECOND), &columns);
    assert!(matches!(refused, Err(ReadError::Open(OpenError::Parquet(_)))));
}

#[test]
fn pages_moved_between_files_of_one_table_do_not_open() {
    let (_, folder) = small_files();
    let (first, second) = (folder.bytes(FIRST).unwrap(), folder.bytes(SECOND).unwrap());
    let mut mixed = second.clone();
    mixed[4..400].copy_from_slice(&first[4..400]);
    let columns = names(&["patient"]);
    assert!(read(mixed, SECOND, &keys(&columns, SECOND), &columns).is_err());
}

/// The Parquet reader takes a file in clear, decryption keys or not: without our check, whoever
/// stores the files could put any rows in.
#[test]
fn a_file_in_clear_with_the_right_columns_is_refused() {
    let forged = write(&rows(0, 20), WriterProperties::builder().build());
    let refused = read(forged, FIRST, &keys(&all_columns(), FIRST), &all_columns());
    assert!(matches!(refused, Err(ReadError::Open(OpenError::NotSealed))));
}

#[test]
fn a_file_with_a_column_in_clear_or_under_the_footer_key_is_refused() {
    let version_key = Secret::from_bytes(VERSION_KEY);
    let table = schema().name;
    let footer = file_key(&footer_key(&version_key, &table), FIRST).expose().to_vec();
    let prefix = id().aad_prefix(FIRST).as_bytes().to_vec();
    let sealed = |columns: &[cordon_types::ColumnName]| {
        let mut encryption =
            FileEncryptionProperties::builder(footer.clone()).with_aad_prefix(prefix.clone());
        for column in columns {
            let key = file_key(&column_key(&version_key, &table, column), FIRST);
            encryption = encryption.with_column_key(column.as_str(), key.expose().to_vec());
        }
        let encryption = encryption.build().unwrap();
        let properties = WriterProperties::builder().with_file_encryption_properties(encryption);
        let bytes = write(&rows(0, 20), properties.build());
        read(bytes, FIRST, &keys(&all_columns(), FIRST), &all_columns())
    };
    assert!(sealed(&all_columns()).is_ok());
    let mut gap = all_columns();
    let forgotten = gap.remove(3);
    assert!(matches!(sealed(&gap),
        Err(ReadError::Open(OpenError::ColumnNotSealed { column })) if column == forgotten));
    assert!(matches!(sealed(&[]),
        Err(ReadError::Open(OpenError::ColumnNotSealed { column })) if column.as_str() == "patient"));
}

#[test]
fn a_table_of_another_schema_is_refused() {
    let (_, folder) = small_files();
    let columns = names(&["age"]);
    let mut other = schema();
    other.columns[3].nullable = false;
    other.source = Sha256Digest::from_bytes([0; 32]);
    let file = Arc::new(bytes::Bytes::from(folder.bytes(FIRST).unwrap()));
    let prefix = id().aad_prefix(FIRST);
    let refused = cordon_dataset::open(file, &keys(&columns, FIRST), &prefix, &other, &columns);
    assert!(matches!(refused.map(drop), Err(OpenError::OtherSchema { .. })));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_an_error_and_never_a_panic(
        middle in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        length in proptest::prelude::any::<u32>(),
    ) {
        let bytes = [b"PARE".as_slice(), &middle, &length.to_le_bytes(), b"PARE"].concat();
        proptest::prop_assert!(read(bytes, FIRST, &keys(&all_columns(), FIRST), &all_columns()).is_err());
        proptest::prop_assert!(read(middle, FIRST, &keys(&all_columns(), FIRST), &all_columns()).is_err());
    }
}

fn write(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}
