//! The host of one guard: starts it, carries messages and ciphertext, and notes what it sees.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use cordon_crypto::dsse::Envelope;
use cordon_crypto::{SigningKey, VerifyingKey, sha256};
use cordon_protocol::RunId;
use cordon_protocol::evidence::Evidence;
use cordon_protocol::frame::{self, FrameError, MAX_FRAME_BYTES};
use cordon_protocol::message::{FromBroker, FromGuard, Stage, ToGuard};
use cordon_types::{Nonce, PartyId, Sha256Digest};

use crate::brokers::{Brokers, Conduct};
use crate::fixture::study::{Study, signing_key};

/// The guard's program.
pub static GUARD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    std::fs::read(env!("CARGO_BIN_EXE_cordon-enclave")).expect("the guard is built with the tests")
});

/// The engine's program: this one.
pub static ENGINE: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read("/proc/self/exe").expect("this program"));

/// Longer than any step takes on a busy machine; a guard that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the host does with reads of ciphertext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ranges {
    /// Serves them.
    #[default]
    Serve,
    /// Says that it cannot.
    Fail,
    /// Serves one byte fewer.
    Shorten,
    /// Serves one that nobody asked for as well.
    Repeat,
}

/// One run in the making: everything as it should be, until a test changes it.
pub struct Scene {
    /// Who agreed on what.
    pub study: Study,
    /// The brokers.
    pub conduct: Conduct,
    /// The ciphertext.
    pub ranges: Ranges,
    /// The engine, if it is not the agreed one.
    pub engine: Option<Vec<u8>>,
    /// Whether each answer of a broker is delivered twice.
    pub repeats_answers: bool,
    /// Raw bytes that the host sends when the worker runs.
    pub interjects: Option<Vec<u8>>,
    /// Raw bytes that the host sends instead of a start.
    pub starts_with: Option<Vec<u8>>,
}

/// What became of a run.
pub struct Told {
    /// The run.
    pub run: RunId,
    /// The agreement's digest.
    pub agreement: Sha256Digest,
    /// The last code; absent if the guard ended without a word.
    pub code: Option<String>,
    /// The receipt.
    pub receipt: Option<Envelope>,
    /// The evidence.
    pub evidence: Option<Evidence>,
    /// A broker's refusal.
    pub refusal: Option<Envelope>,
    /// The sealed result.
    pub stored: Option<Vec<u8>>,
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// Reads that were asked for.
    pub reads: usize,
    /// Whether the guard ended well.
    pub success: bool,
    /// What was measured.
    pub measurement: String,
    /// Receipts that the brokers got.
    pub receipts: std::collections::BTreeMap<PartyId, Envelope>,
    /// Shares that the brokers got.
    pub shares: std::collections::BTreeMap<PartyId, cordon_crypto::SealedBox>,
    /// Heartbeats that the brokers got.
    pub heartbeats: usize,
    /// From a broker's stop to the guard's last word.
    pub stop_to_end: Option<Duration>,
    /// From the worker's start to the guard's last word.
    pub running: Option<Duration>,
}

impl Scene {
    /// Everything as it should be.
    pub fn new() -> Self {
        Self {
            study: Study::new(&ENGINE),
            conduct: Conduct::default(),
            ranges: Ranges::Serve,
            engine: None,
            repeats_answers: false,
            interjects: None,
            starts_with: None,
        }
    }

    /// A scene whose engine does this.
    pub fn with_query(query: &str) -> Self {
        let mut scene = Self::new();
        scene.study.agreement.program.query = query.to_owned();
        scene
    }

    /// Runs the guard to its end.
    pub fn play(&self) -> Told {
        let (agreement, request) = self.study.order();
        let (host, guards_end) = UnixStream::pair().expect("a pair");
        host.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut guard = cordon_softtee::launch(&GUARD, tee_root(), guards_end).expect("a guard");
        let told = Told {
            run: RunId(request.payload_digest()),
            agreement: agreement.payload_digest(),
            code: None,
            receipt: None,
            evidence: None,
            refusal: None,
            stored: None,
            stages: Vec::new(),
            reads: 0,
            success: false,
            measurement: guard.measurement().to_owned(),
            receipts: std::collections::BTreeMap::new(),
            shares: std::collections::BTreeMap::new(),
            heartbeats: 0,
            stop_to_end: None,
            running: None,
        };
        let brokers = Brokers::new(&self.study, &self.conduct, told.run);
        let mut play = Play { scene: self, host, brokers, told, begun: None };
        play.start(agreement, request);
        play.carry();
        let Play { brokers, mut told, .. } = play;
        told.success = guard.wait().expect("an end").success();
        told.receipts = brokers.receipts;
        told.shares = brokers.shares;
        told.heartbeats = brokers.heartbeats;
        told
    }
}

impl Told {
    /// Asserts that the run failed with this code and that nothing was sealed.
    #[track_caller]
    pub fn assert_failed(&self, code: &str) {
        assert_eq!(self.code.as_deref(), Some(code));
        assert!(self.stored.is_none() && self.shares.is_empty() && !self.success);
    }

    /// Asserts that no worker got a key or a byte.
    #[track_caller]
    pub fn assert_nothing_ran(&self) {
        assert!(!self.stages.contains(&Stage::Running), "{:?}", self.stages);
        assert_eq!(self.reads, 0);
    }
}

/// Root of the development TEE.
pub fn tee_root() -> SigningKey {
    signing_key(90)
}

/// Its public half.
pub fn tee_root_key() -> VerifyingKey {
    tee_root().verifying_key()
}

struct Play<'a> {
    scene: &'a Scene,
    host: UnixStream,
    brokers: Brokers<'a>,
    told: Told,
    begun: Option<Instant>,
}

impl Play<'_> {
    // A guard that has ended takes nothing any more: errors of writing are told by reading.
    fn start(&mut self, agreement: Envelope, request: Envelope) {
        if let Some(bytes) = &self.scene.starts_with {
            drop(self.host.write_all(bytes));
            return;
        }
        let engine = self.scene.engine.as_deref().unwrap_or(&ENGINE);
        self.tell(&ToGuard::Start {
            agreement: Box::new(agreement),
            request: Box::new(request),
            engine_size: engine.len() as u64,
        });
        for part in engine.chunks(MAX_FRAME_BYTES) {
            drop(frame::write_bytes(&mut self.host, part));
        }
    }

    fn tell(&mut self, message: &ToGuard) {
        drop(frame::write_message(&mut self.host, message));
    }

    /// Serves the guard until it has ended.
    fn carry(&mut self) {
        loop {
            match frame::read_message::<FromGuard>(&mut self.host, MAX_FRAME_BYTES) {
                Ok(message) => self.act(message),
                Err(FrameError::Closed) => return,
                Err(FrameError::Io(error))
                    if error.kind() == std::io::ErrorKind::ConnectionReset =>
                {
                    return;
                }
                Err(error) => panic!("a guard says whole frames, in time: {error:?}"),
            }
        }
    }

    fn act(&mut self, message: FromGuard) {
        match message {
            FromGuard::ToBroker { party, id, body } => {
                if let Some(answer) = self.brokers.answer(&party, *body) {
                    self.deliver(party, id, answer);
                }
            }
            FromGuard::Read { object, offset, length } => self.serve(&object, offset, length),
            FromGuard::Progress { stage, .. } => {
                if self.told.stages.last() != Some(&stage) {
                    self.told.stages.push(stage);
                }
                if stage == Stage::Running && self.begun.is_none() {
                    self.begun = Some(Instant::now());
                    self.brokers.worker_runs = true;
                    if let Some(bytes) = &self.scene.interjects {
                        drop(self.host.write_all(bytes));
                    }
                }
            }
            FromGuard::Store { sealed } => self.told.stored = Some(sealed.into_vec()),
            FromGuard::Finished { receipt, evidence, code, refusal, .. } => {
                self.told.stop_to_end = self.brokers.stopped.map(|then| then.elapsed());
                self.told.running = self.begun.map(|then| then.elapsed());
                self.told.code = Some(code);
                self.told.receipt = receipt;
                self.told.evidence = evidence;
                self.told.refusal = refusal;
            }
        }
    }

    fn deliver(&mut self, party: PartyId, id: Nonce, answer: FromBroker) {
        let message = ToGuard::FromBroker { party, id, body: Box::new(answer) };
        self.tell(&message);
        if self.scene.repeats_answers {
            self.tell(&message);
        }
    }

    fn serve(&mut self, object: &Sha256Digest, offset: u64, length: u32) {
        self.told.reads += 1;
        let mut hospitals = self.scene.study.hospitals.iter();
        let hospital = hospitals
            .find(|hospital| sha256(&[&hospital.ciphertext]) == *object)
            .expect("an object that a manifest names");
        let start = usize::try_from(offset).expect("small");
        let bytes = &hospital.ciphertext[start..start + usize::try_from(length).expect("small")];
        let (count, bytes) = match self.scene.ranges {
            Ranges::Fail => return self.tell(&ToGuard::RangeFailed),
            Ranges::Serve => (1, bytes),
            Ranges::Repeat => (2, bytes),
            Ranges::Shorten => (1, &bytes[1..]),
        };
        for _ in 0..count {
            self.tell(&ToGuard::Range);
            drop(frame::write_bytes(&mut self.host, bytes));
        }
    }
}
