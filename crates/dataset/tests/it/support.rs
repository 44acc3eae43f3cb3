use std::sync::Arc;

use arrow::array::{
    BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use cordon_dataset::{
    DatasetSealer, DatasetVersion, FileKeys, Layout, MemoryFolder, OpenError, arrow_schema, open,
};
use cordon_protocol::Manifest;
use cordon_protocol::dataset::{ColumnSchema, ColumnType, TableSchema};
use cordon_types::{ColumnName, Secret, Sha256Digest, UnixSeconds};

pub const VERSION_KEY: [u8; 32] = [0x5a; 32];

pub fn id() -> DatasetVersion {
    DatasetVersion {
        holder: "hospital-a".parse().unwrap(),
        dataset: "registry".parse().unwrap(),
        version: 3,
    }
}

pub fn column(name: &str, kind: ColumnType, nullable: bool) -> ColumnSchema {
    ColumnSchema { name: name.parse().unwrap(), kind, nullable }
}

pub fn names(columns: &[&str]) -> Vec<ColumnName> {
    columns.iter().map(|name| name.parse().unwrap()).collect()
}

/// A table with a column of every type.
pub fn schema() -> TableSchema {
    TableSchema {
        name: "visit".parse().unwrap(),
        source: Sha256Digest::from_bytes([9; 32]),
        subject: "patient".parse().unwrap(),
        columns: vec![
            column("patient", ColumnType::Text, false),
            column("alive", ColumnType::Boolean, true),
            column("age", ColumnType::Int32, true),
            column("cost_cents", ColumnType::Int64, true),
            column("crp", ColumnType::Float64, true),
            column("charge", ColumnType::Decimal, true),
            column("day", ColumnType::Date, true),
            column("seen", ColumnType::Timestamp, true),
            column("diagnosis", ColumnType::Text, true),
        ],
    }
}

pub fn all_columns() -> Vec<ColumnName> {
    schema().columns.into_iter().map(|c| c.name).collect()
}

/// Rows `first..first + count`; every seventh value is missing, beginning with column index.
pub fn rows(first: usize, count: usize) -> RecordBatch {
    let some = |column: usize, row: usize| !(row + column).is_multiple_of(7);
    let range = || first..first + count;
    let decimal =
        Decimal128Array::from_iter(range().map(|r| some(5, r).then_some(r as i128 * 12_345)));
    let seen = TimestampMicrosecondArray::from_iter(
        range().map(|r| some(7, r).then_some(r as i64 * 1_000_003)),
    );
    let text = |r: usize| format!("diagnosis of kind {}", r % 50);
    RecordBatch::try_new(
        arrow_schema(&schema().columns),
        vec![
            Arc::new(StringArray::from_iter_values(range().map(|r| format!("pseudonym-{r:06}")))),
            Arc::new(BooleanArray::from_iter(range().map(|r| some(1, r).then_some(r % 2 == 0)))),
            Arc::new(Int32Array::from_iter(range().map(|r| some(2, r).then_some(r as i32 % 90)))),
            Arc::new(Int64Array::from_iter(range().map(|r| some(3, r).then_some(r as i64 * 17)))),
            Arc::new(Float64Array::from_iter(
                range().map(|r| some(4, r).then_some(r as f64 / 3.0)),
            )),
            Arc::new(decimal.with_precision_and_scale(38, 4).unwrap()),
            Arc::new(Date32Array::from_iter(range().map(|r| some(6, r).then_some(r as i32)))),
            Arc::new(seen.with_timezone("+00:00")),
            Arc::new(StringArray::from_iter(range().map(|r| some(8, r).then(|| text(r))))),
        ],
    )
    .unwrap()
}

pub fn sealer(layout: Layout) -> DatasetSealer {
    DatasetSealer::new(id(), Secret::from_bytes(VERSION_KEY), layout).unwrap()
}

/// Seals `batches` as the table `visit`.
pub fn seal(batches: &[RecordBatch], layout: Layout) -> (Manifest, MemoryFolder) {
    let mut folder = MemoryFolder::default();
    let sealer = sealer(layout);
    let mut writer = sealer.table(schema()).unwrap();
    for batch in batches {
        writer.write(batch, &mut folder).unwrap();
    }
    let table = writer.finish(0, &mut folder).unwrap().prove(&folder, &[]).unwrap();
    (sealer.manifest(vec![table], UnixSeconds::new(1_700_000_000)).unwrap(), folder)
}

/// Three small files of two row groups each.
pub fn small_files() -> (Manifest, MemoryFolder) {
    // A row group has some 2,500 bytes; the footer, nearly as large, is not counted.
    let layout = Layout { row_group_rows: 50, row_group_bytes: 1 << 20, file_bytes: 4_000 };
    let batches: Vec<_> = (0..6).map(|i| rows(i * 50, 50)).collect();
    let sealed = seal(&batches, layout);
    assert_eq!(sealed.0.tables[0].files.len(), 3);
    sealed
}

pub fn keys(columns: &[ColumnName], path: &str) -> FileKeys {
    FileKeys::derive(&Secret::from_bytes(VERSION_KEY), &schema().name, columns, path)
}

/// Why a sealed file could not be read to its end.
#[derive(Debug)]
pub enum ReadError {
    Open(OpenError),
    Rows,
}

/// Reads some columns of bytes that claim to be the file of `path`.
pub fn read(
    bytes: Vec<u8>,
    path: &str,
    keys: &FileKeys,
    columns: &[ColumnName],
) -> Result<RecordBatch, ReadError> {
    let file = Arc::new(bytes::Bytes::from(bytes));
    let prefix = id().aad_prefix(path);
    let opened = open(file, keys, &prefix, &schema(), columns).map_err(ReadError::Open)?;
    let batches: Result<Vec<_>, _> = opened.collect();
    let batches = batches.map_err(|_| ReadError::Rows)?;
    let wanted: Vec<_> =
        schema().columns.into_iter().filter(|c| columns.contains(&c.name)).collect();
    concat_batches(&arrow_schema(&wanted), &batches).map_err(|_| ReadError::Rows)
}

/// Reads a table as a whole.
pub fn read_all(manifest: &Manifest, folder: &MemoryFolder) -> RecordBatch {
    let batches = manifest.tables[0].files.iter().map(|file| {
        let bytes = folder.bytes(&file.path).unwrap();
        read(bytes, &file.path, &keys(&all_columns(), &file.path), &all_columns()).unwrap()
    });
    concat_batches(&arrow_schema(&schema().columns), &batches.collect::<Vec<_>>()).unwrap()
}
