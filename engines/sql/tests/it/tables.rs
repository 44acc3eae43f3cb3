//! Sealed tables in memory, and the jobs that ask about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use cordon_dataset::{DatasetSealer, DatasetVersion, Layout, MemoryFolder, arrow_schema};
use cordon_protocol::dataset::{
    ColumnSchema, ColumnType, TableSchema, column_key, file_key, footer_key,
};
use cordon_protocol::worker::{Job, JobFile, JobKey, JobLimits, JobSource, Mode};
use cordon_types::{Secret, Sha256Digest, TableName, UnixSeconds};

use crate::guard::job_keys;

/// A visit: patient, sex, age, days, cost, weight, seen, day, at.
#[derive(Clone, Debug)]
pub struct Visit {
    pub patient: String,
    pub sex: &'static str,
    pub age: Option<i32>,
    pub days: i64,
    pub cost: i128,
    pub weight: f64,
    pub seen: bool,
    pub day: i32,
    pub at: i64,
}

/// A lab value: patient, code, value.
#[derive(Clone, Debug)]
pub struct Lab {
    pub patient: String,
    pub code: Option<&'static str>,
    pub value: i32,
}

pub fn visit(patient: &str, sex: &'static str, age: impl Into<Option<i32>>) -> Visit {
    let age = age.into();
    let weight = 50.0 + f64::from(age.unwrap_or(0)) / 10.0;
    Visit {
        patient: patient.to_owned(),
        sex,
        age,
        days: i64::from(age.unwrap_or(1)),
        cost: 12_345,
        weight,
        seen: age.is_some(),
        day: 19_782,
        at: 0,
    }
}

pub fn lab(patient: &str, code: impl Into<Option<&'static str>>, value: i32) -> Lab {
    Lab { patient: patient.to_owned(), code: code.into(), value }
}

const WRITE_ROWS: usize = 2_000;

/// The sealed tables of several holders.
#[derive(Default)]
pub struct Sealed {
    sources: Vec<(TableName, JobSource)>,
    keys: Vec<JobKey>,
    objects: BTreeMap<u32, Vec<u8>>,
    holders: Vec<&'static str>,
}

impl Sealed {
    pub fn with_visits(self, holder: &'static str, visits: &[Visit]) -> Self {
        self.with("visit", holder, visit_schema("visit"), visit_rows(visits), Layout::default())
    }

    pub fn with_labs(self, holder: &'static str, labs: &[Lab]) -> Self {
        self.with("lab", holder, lab_schema(), lab_rows(labs), Layout::default())
    }

    /// Seals a table for the query table `name`.
    pub fn with(
        mut self,
        name: &str,
        holder: &'static str,
        schema: TableSchema,
        rows: Vec<ArrayRef>,
        layout: Layout,
    ) -> Self {
        if !self.holders.contains(&holder) {
            self.holders.push(holder);
        }
        let number = u8::try_from(self.sources.len()).unwrap();
        let version_key = [number + 1; 32];
        let id = DatasetVersion {
            holder: holder.parse().unwrap(),
            dataset: "data".parse().unwrap(),
            version: 1,
        };
        let mut folder = MemoryFolder::default();
        let sealer =
            DatasetSealer::new(id.clone(), Secret::from_bytes(version_key), layout).unwrap();
        let mut writer = sealer.table(schema.clone()).unwrap();
        let rows = RecordBatch::try_new(arrow_schema(&schema.columns), rows).unwrap();
        // In parts, since the writer may start another file only between two of them.
        for start in (0..rows.num_rows()).step_by(WRITE_ROWS) {
            let part = rows.slice(start, WRITE_ROWS.min(rows.num_rows() - start));
            writer.write(&part, &mut folder).unwrap();
        }
        let table = writer.finish(0, &mut folder).unwrap().prove(&folder, &[]).unwrap();
        let manifest = sealer.manifest(vec![table], UnixSeconds::new(1)).unwrap();
        let mut files = Vec::new();
        for file in &manifest.tables[0].files {
            let id_number = u32::try_from(self.objects.len()).unwrap();
            files.push(JobFile {
                id: id_number,
                size_bytes: file.size_bytes,
                rows: file.rows,
                aad_prefix: id.aad_prefix(&file.path),
            });
            let version_key = Secret::from_bytes(version_key);
            let of_file = |key| *file_key(&key, &file.path).expose();
            let columns = schema.columns.iter();
            let columns: Vec<_> = columns
                .map(|column| of_file(column_key(&version_key, &schema.name, &column.name)))
                .collect();
            let footer = of_file(footer_key(&version_key, &schema.name));
            self.keys.extend(job_keys(id_number, footer, &columns));
            self.objects.insert(id_number, folder.bytes(&file.path).unwrap());
        }
        let columns = schema.columns.iter().map(|column| column.name.clone()).collect();
        let source = JobSource { holder: holder.parse().unwrap(), schema, columns, files };
        self.sources.push((name.parse().unwrap(), source));
        self
    }

    /// A run over those tables that the query names.
    pub fn job(&self, query: &str) -> (Job, Vec<JobKey>, BTreeMap<u32, Vec<u8>>) {
        let mut tables: BTreeMap<TableName, Vec<JobSource>> = BTreeMap::new();
        for (name, source) in &self.sources {
            if query.contains(name.as_str()) {
                tables.entry(name.clone()).or_default().push(source.clone());
            }
        }
        let job = Job {
            mode: Mode::Run,
            query: query.to_owned(),
            parameters: BTreeMap::new(),
            tables,
            holders: self.holders.iter().map(|holder| holder.parse().unwrap()).collect(),
            limits: JobLimits {
                memory_bytes: 256 << 20,
                max_rows: 10_000,
                max_output_bytes: 1 << 20,
            },
        };
        let copy = |key: &JobKey| JobKey {
            file: key.file,
            column: key.column,
            key: Secret::from_bytes(*key.key.expose()),
        };
        (job, self.keys.iter().map(copy).collect(), self.objects.clone())
    }
}

/// Three hospitals with a few visits and labs each; `p1` is the pseudonym of somebody at each.
pub fn hospitals() -> Sealed {
    Sealed::default()
        .with_visits(
            "north",
            &[
                visit("p1", "f", 30),
                visit("p1", "f", 31),
                visit("p2", "m", 60),
                visit("p3", "f", None),
            ],
        )
        .with_visits("south", &[visit("p1", "m", 40), visit("p4", "f", 55)])
        .with_visits("west", &[visit("p1", "f", 20), visit("p5", "f", 22), visit("p5", "f", 23)])
        .with_labs("north", &[lab("p1", "hb", 12), lab("p2", "hb", 14), lab("p2", None, 9)])
        .with_labs("south", &[lab("p4", "hb", 13), lab("p9", "crp", 2)])
        .with_labs("west", &[lab("p5", "crp", 7)])
}

pub fn column(name: &str, kind: ColumnType, nullable: bool) -> ColumnSchema {
    ColumnSchema { name: name.parse().unwrap(), kind, nullable }
}

pub fn table(name: &str, columns: Vec<ColumnSchema>) -> TableSchema {
    TableSchema {
        name: name.parse().unwrap(),
        source: Sha256Digest::from_bytes([7; 32]),
        subject: "patient".parse().unwrap(),
        columns,
    }
}

pub fn visit_schema(name: &str) -> TableSchema {
    table(
        name,
        vec![
            column("patient", ColumnType::Text, false),
            column("sex", ColumnType::Text, false),
            column("age", ColumnType::Int32, true),
            column("days", ColumnType::Int64, false),
            column("cost", ColumnType::Decimal, false),
            column("weight", ColumnType::Float64, false),
            column("seen", ColumnType::Boolean, false),
            column("day", ColumnType::Date, false),
            column("at", ColumnType::Timestamp, false),
        ],
    )
}

pub fn lab_schema() -> TableSchema {
    table(
        "lab",
        vec![
            column("patient", ColumnType::Text, false),
            column("code", ColumnType::Text, true),
            column("value", ColumnType::Int32, false),
        ],
    )
}

pub fn visit_rows(visits: &[Visit]) -> Vec<ArrayRef> {
    let each = visits.iter();
    let costs: Decimal128Array = each.clone().map(|v| Some(v.cost)).collect();
    let instants: TimestampMicrosecondArray = each.clone().map(|v| Some(v.at)).collect();
    vec![
        Arc::new(StringArray::from_iter_values(each.clone().map(|v| &v.patient))),
        Arc::new(StringArray::from_iter_values(each.clone().map(|v| v.sex))),
        Arc::new(each.clone().map(|v| v.age).collect::<Int32Array>()),
        Arc::new(each.clone().map(|v| Some(v.days)).collect::<Int64Array>()),
        Arc::new(costs.with_precision_and_scale(38, 4).unwrap()),
        Arc::new(each.clone().map(|v| Some(v.weight)).collect::<Float64Array>()),
        Arc::new(each.clone().map(|v| Some(v.seen)).collect::<BooleanArray>()),
        Arc::new(each.map(|v| Some(v.day)).collect::<Date32Array>()),
        Arc::new(instants.with_timezone("+00:00")),
    ]
}

pub fn lab_rows(labs: &[Lab]) -> Vec<ArrayRef> {
    let each = labs.iter();
    vec![
        Arc::new(StringArray::from_iter_values(each.clone().map(|l| &l.patient))),
        Arc::new(each.clone().map(|l| l.code).collect::<StringArray>()),
        Arc::new(each.map(|l| Some(l.value)).collect::<Int32Array>()),
    ]
}
