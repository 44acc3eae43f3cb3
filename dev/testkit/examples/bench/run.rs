//! A whole run against the bare engine on the same sealed data: what guard, sandbox, evidence,
//! grants, gate, sealing and receipt add.
//!
//! The guard is the real one in the software TEE; its brokers are real, too, and answer from this
//! process without a hub. The peer is the same engine, started without a sandbox, with the file
//! keys in its hand.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use cordon_crypto::dsse::Signed;
use cordon_crypto::{SigningKey, sha256};
use cordon_protocol::Agreement;
use cordon_protocol::dataset::{aad_prefix, column_key, file_key, footer_key};
use cordon_protocol::frame::{self, MAX_FRAME_BYTES};
use cordon_protocol::message::{FromGuard, Stage, ToGuard};
use cordon_protocol::run::RunRequest;
use cordon_protocol::worker::{
    FromWorker, Job, JobFile, JobKey, JobKeys, JobLimits, JobSource, Mode, ToWorker,
};
use cordon_softtee::measurement_of;
use cordon_testkit::holder::Holder;
use cordon_testkit::measure::{Report, Target, measure, median};
use cordon_testkit::world::{Terms, World};
use cordon_types::Sha256Digest;
use tokio::runtime::Runtime;

const REPETITIONS: usize = 21;
const STAGES: [(Stage, &str); 6] = [
    (Stage::Challenging, "asking three brokers for nonces"),
    (Stage::Planning, "planning: a first worker, without keys"),
    (Stage::Attesting, "evidence, three grants"),
    (Stage::Running, "the worker, confined"),
    (Stage::Checking, "the gate"),
    (Stage::Sealing, "sealing, receipt, three deliveries"),
];
const START: &str = "guard started, engine handed over and measured";

pub fn run(programs: &Path, engine: &Path) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let scene = Scene::prepare(&runtime, programs, engine)?;
    let (mut whole, mut bare, mut added) = (Vec::new(), Vec::new(), Vec::new());
    let mut stages: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for repetition in 0..=REPETITIONS {
        let request = scene.world.guard(&scene.agreement)?.request;
        let alone = measure(|| scene.bare(request.value(), engine));
        let (told, cost) = measure(|| scene.guarded(&runtime, &request));
        alone.0?;
        let told = told?;
        if repetition > 0 {
            let (with, without) = (cost.seconds() * 1e3, alone.1.seconds() * 1e3);
            whole.push(with);
            bare.push(without);
            added.push(with - without);
            told.into_iter().for_each(|(name, ms)| stages.entry(name).or_default().push(ms));
        }
    }
    let mut report = Report::new("run");
    report.add("bare engine, from its start to the table", "ms", &bare, Target::None);
    report.add("whole run, from the guard's start to the receipt", "ms", &whole, Target::None);
    report.add("overhead of the run", "ms", &added, Target::AtMost(150.0));
    for name in std::iter::once(START).chain(STAGES.map(|(_, name)| name)) {
        if let Some(took) = stages.get(name) {
            report.add(format!("  {name}"), "ms", took, Target::None);
        }
    }
    report.note(format!(
        "engine of the dev profile ({:.0} MiB), guard of the release profile; {REPETITIONS} \
         repetitions, each with the bare engine before the run; 3 × 30 rows",
        scene.engine.len() as f64 / 1_048_576.0
    ));
    report.note(format!(
        "bare engine plus overhead is {:.2} × the bare engine",
        median(&whole) / median(&bare)
    ));
    Ok(report)
}

struct Scene {
    world: Arc<World>,
    agreement: Signed<Agreement>,
    guard: Vec<u8>,
    engine: Vec<u8>,
    objects: HashMap<Sha256Digest, Vec<u8>>,
}

impl Scene {
    fn prepare(runtime: &Runtime, programs: &Path, engine: &Path) -> Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
        };
        let (guard, engine) = (read(&programs.join("cordon-enclave"))?, read(engine)?);
        let world = runtime.block_on(World::start())?;
        let terms = Terms { max_runs: 1_000, ..Terms::default() };
        let mut agreement = world.agreement(&terms)?.into_value();
        agreement.program.engine = sha256(&[&engine]);
        agreement.platform.measurements = vec![measurement_of(&guard)];
        let agreement = Signed::sign(agreement, &world.researcher.signing)?;
        runtime.block_on(async {
            for index in 0..world.holders.len() {
                world.broker(index).propose(agreement.envelope()).await?;
                world.approve(index, &agreement).await?;
            }
            anyhow::Ok(())
        })?;
        let mut objects = HashMap::new();
        for holder in &world.holders {
            for file in holder.manifest.value().tables.iter().flat_map(|table| &table.files) {
                let bytes = holder.sealed.bytes(&file.path).context("a sealed file")?;
                objects.insert(file.sha256, bytes);
            }
        }
        Ok(Self { world: Arc::new(world), agreement, guard, engine, objects })
    }

    /// Plays the host of one guard; how long each stage took, in milliseconds.
    fn guarded(
        &self,
        runtime: &Runtime,
        request: &Signed<RunRequest>,
    ) -> Result<Vec<(&'static str, f64)>> {
        let begin = Instant::now();
        let (mut host, guards_end) = UnixStream::pair()?;
        let root = SigningKey::from_seed(self.world.tee_root.seed().duplicate());
        let mut guard = cordon_softtee::launch(&self.guard, root, guards_end)?;
        let to_guard = Arc::new(Mutex::new(host.try_clone()?));
        {
            let mut to_guard = to_guard.lock().unwrap_or_else(PoisonError::into_inner);
            let start = ToGuard::Start {
                agreement: Box::new(self.agreement.envelope().clone()),
                request: Box::new(request.envelope().clone()),
                engine_size: self.engine.len() as u64,
            };
            frame::write_message(&mut *to_guard, &start)?;
            for part in self.engine.chunks(1024 * 1024) {
                frame::write_bytes(&mut *to_guard, part)?;
            }
        }
        let (mut seen, mut current, mut since) = (Vec::new(), START, begin);
        let code = loop {
            match frame::read_message::<FromGuard>(&mut host, MAX_FRAME_BYTES)? {
                FromGuard::ToBroker { party, id, body } => {
                    let (world, to_guard) = (self.world.clone(), to_guard.clone());
                    runtime.spawn(async move {
                        let Some(answer) = world.direct.send(&party, *body).await else { return };
                        let message = ToGuard::FromBroker { party, id, body: Box::new(answer) };
                        let mut to_guard = to_guard.lock().unwrap_or_else(PoisonError::into_inner);
                        // A guard that has ended takes nothing any more.
                        let _ = frame::write_message(&mut *to_guard, &message);
                    });
                }
                FromGuard::Read { object, offset, length } => {
                    let bytes = self.objects.get(&object).context("an object")?;
                    let range = range(bytes, offset, length)?;
                    let mut to_guard = to_guard.lock().unwrap_or_else(PoisonError::into_inner);
                    frame::write_message(&mut *to_guard, &ToGuard::Range)?;
                    frame::write_bytes(&mut *to_guard, range)?;
                }
                FromGuard::Progress { stage, .. } => {
                    let name = STAGES.iter().find(|(known, _)| *known == stage);
                    let name = name.map_or("another stage", |(_, name)| name);
                    if name != current {
                        seen.push((current, since.elapsed().as_secs_f64() * 1e3));
                        (current, since) = (name, Instant::now());
                    }
                }
                FromGuard::Store { .. } => {}
                FromGuard::Finished { code, .. } => break code,
            }
        };
        seen.push((current, since.elapsed().as_secs_f64() * 1e3));
        guard.wait()?;
        ensure!(code == "ok", "the run failed: {code}");
        Ok(seen)
    }

    /// Runs the engine alone: no sandbox, no guard, no grants.
    fn bare(&self, request: &RunRequest, engine: &Path) -> Result<()> {
        let (mut job, mut keys, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for holder in &self.world.holders {
            job.push(self.source(holder, &mut keys, &mut files)?);
        }
        let agreement = self.agreement.value();
        let table = agreement.program.tables.keys().next().context("a table")?;
        let job = Job {
            mode: Mode::Run,
            query: agreement.program.query.clone(),
            parameters: request.parameters.clone(),
            tables: BTreeMap::from([(table.clone(), job)]),
            holders: agreement.holders.iter().map(|holder| holder.party.clone()).collect(),
            limits: JobLimits {
                memory_bytes: agreement.limits.memory_bytes / 2,
                max_rows: agreement.output.max_rows,
                max_output_bytes: 1 << 20,
            },
        };
        let (mut here, there) = UnixStream::pair()?;
        // An engine finds its guard at descriptor 3.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" 3<&0 0</dev/null"])
            .arg(engine)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(there)))
            .spawn()?;
        frame::write_message(&mut here, &ToWorker::Job(Box::new(job)))?;
        frame::write_bytes(&mut here, &JobKeys::new(keys).to_frame())?;
        loop {
            match frame::read_message::<FromWorker>(&mut here, MAX_FRAME_BYTES)? {
                FromWorker::Read { file, offset, length } => {
                    let object = files.get(file as usize).context("a file")?;
                    let bytes = self.objects.get(object).context("an object")?;
                    frame::write_message(&mut here, &ToWorker::Range)?;
                    frame::write_bytes(&mut here, range(bytes, offset, length)?)?;
                }
                FromWorker::Output(_) => break,
                other => bail!("expected a table, found {other:?}"),
            }
        }
        drop(here);
        child.wait()?;
        Ok(())
    }

    /// One holder's table, as a worker gets it.
    fn source(
        &self,
        holder: &Holder,
        keys: &mut Vec<JobKey>,
        files: &mut Vec<Sha256Digest>,
    ) -> Result<JobSource> {
        let manifest = holder.manifest.value();
        let schema = manifest.schema().tables.into_iter().next().context("a table")?;
        let table = manifest.tables.first().context("a table")?;
        let columns = self.agreement.value().program.touched.get(&table.name);
        let columns = columns.context("columns")?.clone();
        let mut listed = Vec::new();
        for file in &table.files {
            let id = u32::try_from(files.len())?;
            let (dataset, version) = (&manifest.dataset, manifest.version);
            let aad_prefix = aad_prefix(&manifest.holder, dataset, version, &file.path);
            listed.push(JobFile { id, size_bytes: file.size_bytes, rows: file.rows, aad_prefix });
            files.push(file.sha256);
            let mut add = |column, key| {
                keys.push(JobKey { file: id, column, key: file_key(&key, &file.path) });
            };
            add(None, footer_key(&holder.version_key, &table.name));
            for column in &columns {
                let index = schema.columns.iter().position(|known| known.name == *column);
                let index = u16::try_from(index.context("a column")?)?;
                add(Some(index), column_key(&holder.version_key, &table.name, column));
            }
        }
        Ok(JobSource { holder: holder.party.clone(), schema, columns, files: listed })
    }
}

fn range(bytes: &[u8], offset: u64, length: u32) -> Result<&[u8]> {
    let start = usize::try_from(offset)?;
    bytes.get(start..start + length as usize).context("a range of the object")
}
