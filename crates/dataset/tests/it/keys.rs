use std::sync::Arc;

use cordon_dataset::{FileKeys, OpenError, open};
use cordon_types::Secret;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::support::{
    ReadError, VERSION_KEY, all_columns, id, keys, names, read, rows, schema, small_files,
};

const PATH: &str = "visit/part-00001.parquet";

#[test]
fn the_keys_of_two_columns_open_these_and_no_other() {
    let (_, folder) = small_files();
    let bytes = folder.bytes(PATH).unwrap();
    let granted = names(&["patient", "age"]);
    let batch = read(bytes.clone(), PATH, &keys(&granted, PATH), &granted).unwrap();
    assert_eq!(batch, rows(100, 100).project(&[0, 2]).unwrap());

    for column in all_columns().into_iter().filter(|c| !granted.contains(c)) {
        let refused =
            read(bytes.clone(), PATH, &keys(&granted, PATH), std::slice::from_ref(&column));
        assert!(matches!(refused, Err(ReadError::Open(OpenError::NoKey { .. }))), "{column}");
    }
}

/// The refusal above is ours; this one is the cipher's. The Parquet reader is asked for all
/// columns, with the granted keys and nothing of ours in between.
#[test]
fn without_its_key_a_column_shows_neither_values_nor_statistics_to_the_reader_itself() {
    let (_, folder) = small_files();
    let bytes = bytes::Bytes::from(folder.bytes(PATH).unwrap());
    let granted = names(&["patient", "age"]);
    let decryption = keys(&granted, PATH).decryption(&id().aad_prefix(PATH)).unwrap();
    let options = ArrowReaderOptions::new().with_file_decryption_properties(decryption);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap();
    for group in builder.metadata().row_groups() {
        for column in group.columns() {
            let name = column.column_path().string().parse().unwrap();
            assert_eq!(column.statistics().is_some(), granted.contains(&name), "{name}");
            assert_eq!(column.bloom_filter_offset(), None);
            assert_eq!(column.column_index_offset(), None);
        }
    }
    let read: Result<Vec<_>, _> = builder.build().and_then(|reader| {
        reader.collect::<Result<_, _>>().map_err(parquet::errors::ParquetError::from)
    });
    assert!(read.is_err());
}

#[test]
fn a_wrong_column_key_does_not_open_the_column() {
    let (_, folder) = small_files();
    let columns = names(&["age"]);
    let mut wrong = keys(&[], PATH);
    wrong.add(columns[0].clone(), Secret::from_bytes([1; 32]));
    let refused = read(folder.bytes(PATH).unwrap(), PATH, &wrong, &columns);
    assert!(matches!(refused, Err(ReadError::Open(OpenError::Parquet(_)))));
}

#[test]
fn column_keys_without_the_footer_key_open_nothing() {
    let (_, folder) = small_files();
    let columns = all_columns();
    let mut wrong = FileKeys::new(Secret::from_bytes([1; 32]));
    for column in &columns {
        let version_key = Secret::from_bytes(VERSION_KEY);
        let table = schema().name;
        let key = cordon_protocol::dataset::column_key(&version_key, &table, column);
        wrong.add(column.clone(), cordon_protocol::dataset::file_key(&key, PATH));
    }
    let refused = read(folder.bytes(PATH).unwrap(), PATH, &wrong, &columns);
    assert!(matches!(refused, Err(ReadError::Open(OpenError::Parquet(_)))));
}

#[test]
fn the_keys_of_one_file_do_not_open_another() {
    let (manifest, folder) = small_files();
    let other = &manifest.tables[0].files[0].path;
    let columns = all_columns();
    let refused = read(folder.bytes(PATH).unwrap(), PATH, &keys(&columns, other), &columns);
    assert!(matches!(refused, Err(ReadError::Open(OpenError::Parquet(_)))));
}

#[test]
fn a_file_of_another_holder_dataset_version_or_path_does_not_open_with_the_right_keys() {
    let (_, folder) = small_files();
    let columns = all_columns();
    let right = id();
    let mut holder = right.clone();
    holder.holder = "hospital-b".parse().unwrap();
    let mut dataset = right.clone();
    dataset.dataset = "billing".parse().unwrap();
    let mut version = right.clone();
    version.version += 1;
    let attempt = |prefix| {
        let file = folder.file(PATH).unwrap();
        open(Arc::clone(&file), &keys(&columns, PATH), &prefix, &schema(), &columns).map(drop)
    };
    assert!(attempt(right.aad_prefix(PATH)).is_ok());
    for prefix in [
        holder.aad_prefix(PATH),
        dataset.aad_prefix(PATH),
        version.aad_prefix(PATH),
        right.aad_prefix("visit/part-00002.parquet"),
    ] {
        assert!(matches!(attempt(prefix), Err(OpenError::Parquet(_))));
    }
}

#[test]
fn debug_output_of_the_reader_options_shows_no_key() {
    let decryption = keys(&all_columns(), PATH).decryption(&id().aad_prefix(PATH)).unwrap();
    assert_eq!(format!("{decryption:?}"), "FileDecryptionProperties { }");
}
