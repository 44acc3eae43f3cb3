//! Step 5: the worker runs. The guard hands it ciphertext and keeps counting leases.
//!
//! The host answers reads of the objects that the manifests name. Ranges of an object cannot be
//! checked against the digest of the whole; they need not be: each page of a sealed file is
//! AES-GCM under a key of that file, with its place as additional data, so that another object's
//! bytes, or the same at another place, do not open in the worker (`data_invalid`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cordon_protocol::dataset::ManifestFile;
use cordon_protocol::message::{FromGuard, Stage};
use cordon_protocol::table::RawTable;
use cordon_protocol::worker::{FromWorker, MAX_RANGE_BYTES, ToWorker};
use cordon_types::Milliseconds;
use zeroize::Zeroizing;

use crate::failure::{Code, Failure};
use crate::jobs::RunJob;
use crate::lines::Body;
use crate::talk::{Heard, Talk};
use crate::worker::{Confined, Workshop};

/// What a run cost, also one that failed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Costs {
    /// Wall time of the worker.
    worker: Duration,
    /// Ciphertext bytes that it read.
    pub bytes_read: u64,
}

impl Costs {
    /// Rounded up to 100 ms: finer times would say something of the data.
    pub fn worker_ms(&self) -> Milliseconds {
        let millis = u64::try_from(self.worker.as_millis()).unwrap_or(u64::MAX);
        Milliseconds::new(millis.div_ceil(100).saturating_mul(100))
    }
}

/// Runs the job in a worker until it gives its table. When this returns, the worker is gone and
/// its keys are wiped.
pub(crate) fn run(
    talk: &mut Talk<'_>,
    workshop: &Workshop,
    job: RunJob<'_>,
    costs: &mut Costs,
) -> Result<RawTable, Failure> {
    let begun = Instant::now();
    let mut reads = Reads::new(&job.files);
    let table = serve(talk, workshop, job.job, job.keys, &mut reads, begun);
    costs.worker = begun.elapsed();
    costs.bytes_read = reads.bytes_read;
    table
}

fn serve(
    talk: &mut Talk<'_>,
    workshop: &Workshop,
    job: cordon_protocol::worker::Job,
    keys: cordon_protocol::worker::JobKeys,
    reads: &mut Reads<'_>,
    begun: Instant,
) -> Result<RawTable, Failure> {
    let agreement = &talk.order.agreement;
    let wall = agreement.limits.deadline_ms.to_duration();
    let worker = workshop.start(&mut talk.lines, agreement, wall)?;
    worker.tell(&ToWorker::Job(Box::new(job)))?;
    worker.send(Body::Secret(Zeroizing::new(keys.to_frame())), 0)?;
    drop(keys);
    let mut shown = begun;
    loop {
        match talk.hear(begun + wall)? {
            Heard::Worker(number, message) if worker.is(number) => match message {
                FromWorker::Read { file, offset, length } => {
                    reads.want(file, offset, length)?;
                    reads.ask(talk)?;
                }
                FromWorker::Output(table) => return Ok(*table),
                FromWorker::Failed(failure) => return Err(Code::Worker(failure.code).into()),
                FromWorker::Planned(_) => return Err(Code::WorkerMisbehaved.into()),
            },
            Heard::WorkerTook(number, bytes) if worker.is(number) => {
                reads.in_flight = reads.in_flight.saturating_sub(bytes);
                reads.ask(talk)?;
            }
            Heard::WorkerGone(number, gone) if worker.is(number) => {
                return Err(worker.why(gone).into());
            }
            Heard::Range(range) => {
                reads.pass_on(range, &worker)?;
                reads.ask(talk)?;
                if shown.elapsed() >= SHOW_EVERY {
                    shown = Instant::now();
                    talk.show(Stage::Running, reads.bytes_read)?;
                }
            }
            Heard::Nothing => return Err(Code::Deadline.into()),
            Heard::Broker(..)
            | Heard::Worker(..)
            | Heard::WorkerTook(..)
            | Heard::WorkerGone(..) => {}
        }
    }
}

/// Reads of ciphertext, answered in the order in which the worker asked.
struct Reads<'a> {
    files: &'a [&'a ManifestFile],
    /// Asked for by the worker, not yet by the guard.
    wanted: VecDeque<FromGuard>,
    wanted_lengths: VecDeque<usize>,
    /// Lengths that the host has been asked for.
    asked: VecDeque<usize>,
    /// Bytes that the host has been asked for and the worker has not taken.
    in_flight: usize,
    bytes_read: u64,
}

impl<'a> Reads<'a> {
    fn new(files: &'a [&'a ManifestFile]) -> Self {
        Self {
            files,
            wanted: VecDeque::new(),
            wanted_lengths: VecDeque::new(),
            asked: VecDeque::new(),
            in_flight: 0,
            bytes_read: 0,
        }
    }

    /// The worker wants a range: of a file of its job, within that file, not too much at once.
    fn want(&mut self, file: u32, offset: u64, length: u32) -> Result<(), Code> {
        let file = usize::try_from(file).ok().and_then(|file| self.files.get(file));
        let file = file.ok_or(Code::WorkerMisbehaved)?;
        let end = offset.checked_add(u64::from(length));
        let within = (1..=MAX_RANGE_BYTES).contains(&length)
            && end.is_some_and(|end| end <= file.size_bytes)
            && self.wanted.len() < MAX_WANTED;
        if !within {
            return Err(Code::WorkerMisbehaved);
        }
        self.wanted.push_back(FromGuard::Read { object: file.sha256, offset, length });
        self.wanted_lengths.push_back(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Asks the host for as much as fits the window; for one range in any case.
    fn ask(&mut self, talk: &Talk<'_>) -> Result<(), Code> {
        while let Some(length) = self.wanted_lengths.front().copied()
            && (self.in_flight == 0 || self.in_flight + length <= WINDOW_BYTES)
            && let Some(read) = self.wanted.pop_front()
        {
            self.wanted_lengths.pop_front();
            talk.lines.tell_host(&read)?;
            self.asked.push_back(length);
            self.in_flight += length;
        }
        Ok(())
    }

    /// The host's answer to the oldest read: exactly what was asked for, or a failure.
    fn pass_on(&mut self, range: Option<Vec<u8>>, worker: &Confined) -> Result<(), Code> {
        let length = self.asked.pop_front().ok_or(Code::HostMisbehaved)?;
        match range {
            Some(bytes) if bytes.len() == length => {
                self.bytes_read += u64::try_from(length).unwrap_or(0);
                worker.tell(&ToWorker::Range)?;
                worker.send(Body::Open(bytes), length)
            }
            Some(_) => Err(Code::HostMisbehaved),
            None => {
                self.in_flight = self.in_flight.saturating_sub(length);
                worker.tell(&ToWorker::RangeFailed)
            }
        }
    }
}

/// Eight of the largest ranges on their way keep host and worker busy.
const WINDOW_BYTES: usize = 8 * MAX_RANGE_BYTES as usize;
/// A worker that wants more at once is not reading.
const MAX_WANTED: usize = 4096;
/// People do not look more often.
const SHOW_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use cordon_crypto::sha256;

    use super::*;

    fn file(size_bytes: u64) -> ManifestFile {
        ManifestFile { path: "t/p".to_owned(), size_bytes, sha256: sha256(&[b"file"]), rows: 1 }
    }

    #[test]
    fn a_worker_reads_within_its_files_only() {
        let file = file(100);
        let files = [&file];
        let allowed =
            |number, offset, length| Reads::new(&files).want(number, offset, length).is_ok();
        assert!(allowed(0, 0, 100) && allowed(0, 99, 1));
        assert!(!allowed(1, 0, 1), "of another file");
        assert!(!allowed(0, 100, 1), "behind the end");
        assert!(!allowed(0, 1, 100), "beyond the end");
        assert!(!allowed(0, u64::MAX, 1), "around the end of numbers");
        assert!(!allowed(0, 0, 0), "nothing");
    }

    #[test]
    fn one_range_is_bounded_and_so_are_all() {
        let file = file(u64::MAX);
        let files = [&file];
        let mut reads = Reads::new(&files);
        reads.want(0, 0, MAX_RANGE_BYTES).expect("the largest");
        assert_eq!(reads.want(0, 0, MAX_RANGE_BYTES + 1), Err(Code::WorkerMisbehaved));
        for _ in 1..MAX_WANTED {
            reads.want(0, 0, 1).expect("room");
        }
        assert_eq!(reads.want(0, 0, 1), Err(Code::WorkerMisbehaved));
    }

    #[test]
    fn times_are_rounded_up() {
        let costs = |millis| Costs { worker: Duration::from_millis(millis), bytes_read: 0 };
        assert_eq!(costs(0).worker_ms().get(), 0);
        assert_eq!(costs(1).worker_ms().get(), 100);
        assert_eq!(costs(100).worker_ms().get(), 100);
        assert_eq!(costs(101).worker_ms().get(), 200);
    }
}
