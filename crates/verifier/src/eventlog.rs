//! Logs of what firmware started: read, and replayed until they lead to measured registers
//! (TCG PC Client Platform Firmware Profile 1.06, §10). The same form serves TPMs and, as CCEL, TDX.
//!
//! Nothing signs a log. It is believed when its events, extended one after the other, lead to the
//! registers that a quote holds: [`EventLog::require`]. A [`Replayed`] log holds no event that was not
//! measured. An event's *data* counts only as far as its digest says so: see [`Event::measures_data`].

use std::collections::BTreeMap;

use cordon_types::hex;

use crate::rejection::{Rejection, RejectionCode};
use crate::tpm::Bank;

/// Far larger than a log of a machine with Secure Boot; firmware gives it 64 KiB or a little more.
pub const MAX_LOG_BYTES: usize = 1024 * 1024;
/// Firmware and boot loader log a few hundred.
pub const MAX_EVENTS: usize = 10_000;

/// Whose registers a log tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registers {
    /// A TPM's, by their own indices: 0 to 16, and 23. Those of a dynamic launch are in no such log.
    Pcr,
    /// TDX's run-time measurements 0 to 3, which the log numbers 1 to 4 (Virtual Firmware for TDX,
    /// §8.1). They are of SHA-384.
    Rtmr,
}

/// A log whose every byte has been looked at. Nothing in it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog<'a> {
    registers: Registers,
    /// The hashes of each event, and their lengths.
    algorithms: BTreeMap<u16, usize>,
    events: Vec<Event<'a>>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The register that it was extended into, in the numbers of [`Registers`].
    pub register: u32,
    /// What kind of event it is: `EV_…` of the profile, §10.4.1.
    pub kind: u32,
    digests: BTreeMap<u16, &'a [u8]>,
    /// What the firmware says that it measured, or wrote beside it.
    pub data: &'a [u8],
}

/// A log that leads to measured registers.
#[derive(Clone, Debug)]
pub struct Replayed<'a>(EventLog<'a>);

impl<'a> EventLog<'a> {
    /// Reads a log: the event that names its hashes, then all others. A table of the firmware may be
    /// larger than its log; what it is filled up with, bytes 0xff, may stand at the end.
    ///
    /// # Errors
    /// If it is too large, is cut, does not start as a log with several hashes, or has an event with
    /// other hashes or of another register than there are.
    pub fn parse(bytes: &'a [u8], registers: Registers) -> Result<Self, Rejection> {
        if bytes.len() > MAX_LOG_BYTES {
            let found = format_args!("{} bytes", bytes.len());
            return Err(too_large(found, format_args!("at most {MAX_LOG_BYTES} bytes")));
        }
        let mut reader = Reader(bytes);
        let mut log = Self { registers, algorithms: header(&mut reader)?, events: Vec::new() };
        while !reader.is_at_end() {
            if log.events.len() == MAX_EVENTS {
                let found = format_args!("more than {MAX_EVENTS} events");
                return Err(too_large(found, format_args!("at most {MAX_EVENTS}")));
            }
            let event = log.event(&mut reader)?;
            log.events.push(event);
        }
        Ok(log)
    }

    /// TCG_PCR_EVENT2.
    fn event(&self, reader: &mut Reader<'a>) -> Result<Event<'a>, Rejection> {
        let index = reader.u32("eventlog.register")?;
        let kind = reader.u32("eventlog.kind")?;
        let register = self.register(index, kind)?;
        let count = reader.u32("eventlog.digests")?;
        if usize::try_from(count).ok() != Some(self.algorithms.len()) {
            let wanted = format_args!("{}, as the log's header says", self.algorithms.len());
            return Err(malformed("eventlog.digests", count, wanted));
        }
        let mut digests = BTreeMap::new();
        for _ in 0..count {
            let algorithm = reader.u16("eventlog.digest")?;
            let Some(size) = self.algorithms.get(&algorithm) else {
                let found = format_args!("hash {algorithm:#06x}");
                return Err(malformed("eventlog.digest", found, "one of the log's header"));
            };
            if digests.insert(algorithm, reader.bytes("eventlog.digest", *size)?).is_some() {
                let found = format_args!("hash {algorithm:#06x} twice");
                return Err(malformed("eventlog.digest", found, "once"));
            }
        }
        let size = reader.u32("eventlog.data")?;
        let data = reader.counted("eventlog.data", size)?;
        Ok(Event { register, kind, digests, data })
    }

    /// The register in its own numbers.
    fn register(&self, index: u32, kind: u32) -> Result<u32, Rejection> {
        match (self.registers, index) {
            // Extends nothing, whatever it names.
            (_, 0) if kind == NO_ACTION => Ok(0),
            (Registers::Pcr, 0..=16 | 23) => Ok(index),
            (Registers::Rtmr, 1..=4) => Ok(index - 1),
            (Registers::Pcr, _) => Err(malformed("eventlog.register", index, "0 to 16, or 23")),
            (Registers::Rtmr, _) => Err(malformed("eventlog.register", index, "1 to 4")),
        }
    }

    /// What the registers of one bank hold after all events, as far as an event names them.
    ///
    /// # Errors
    /// [`RejectionCode::EventLogMismatch`] if the log has no digests for this bank;
    /// [`RejectionCode::Malformed`] if it says twice, or too late, where the TPM was started from.
    pub fn replay(&self, bank: Bank) -> Result<BTreeMap<u32, Vec<u8>>, Rejection> {
        let mut registers: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for event in &self.events {
            if event.kind == NO_ACTION {
                if let (Registers::Pcr, Some(locality)) = (self.registers, event.locality()?) {
                    let mut initial = vec![0; bank.size_bytes()];
                    initial.last_mut().into_iter().for_each(|last| *last = locality);
                    if registers.insert(0, initial).is_some() {
                        let found = "the TPM's start after other events of register 0";
                        return Err(malformed("eventlog.locality", found, "before all others"));
                    }
                }
                continue;
            }
            let digest = event.digest(bank).ok_or_else(|| {
                let found = format_args!("no digests of {}", bank.as_str());
                mismatch("eventlog.digests", found, "the hash of the quoted registers")
            })?;
            let value =
                registers.entry(event.register).or_insert_with(|| vec![0; bank.size_bytes()]);
            *value = bank.hash(&[value, digest]);
        }
        Ok(registers)
    }

    /// Whether the log leads to exactly these registers, which a quote proves: every register that an
    /// event names is among them, and those that no event names were never extended.
    ///
    /// # Errors
    /// [`RejectionCode::EventLogMismatch`] with the first register that differs, and what
    /// [`Self::replay`] refuses.
    pub fn require(
        self,
        bank: Bank,
        measured: &BTreeMap<u32, Vec<u8>>,
    ) -> Result<Replayed<'a>, Rejection> {
        const FIELD: &str = "eventlog.register";
        let replayed = self.replay(bank)?;
        // Else events would be taken as measured that nothing vouches for.
        if let Some(index) = replayed.keys().find(|index| !measured.contains_key(index)) {
            let found = format_args!("events of register {index}");
            return Err(mismatch(FIELD, found, "events of measured registers only"));
        }
        let untouched = vec![0; bank.size_bytes()];
        for (index, measured) in measured {
            // Public values: no care for the time that comparing takes.
            let value = replayed.get(index).unwrap_or(&untouched);
            if value != measured {
                let found = format_args!("register {index} = {}", hex::encode(value));
                return Err(mismatch(FIELD, found, hex::encode(measured)));
            }
        }
        Ok(Replayed(self))
    }
}

impl<'a> Replayed<'a> {
    /// The events, in their order.
    pub fn events(&self) -> &[Event<'a>] {
        &self.0.events
    }
}

impl Event<'_> {
    /// What was extended into the register of this bank.
    pub fn digest(&self, bank: Bank) -> Option<&[u8]> {
        self.digests.get(&bank.algorithm()).copied()
    }

    /// Whether the event extended its register. Those that did not are comments by anybody.
    pub const fn is_measured(&self) -> bool {
        self.kind != NO_ACTION
    }

    /// Whether its digest is that of its data: only then the register vouches for the data, too. Of
    /// programs the digest is of the program, and the data names it.
    pub fn measures_data(&self, bank: Bank) -> bool {
        self.is_measured() && self.digest(bank) == Some(bank.hash(&[self.data]).as_slice())
    }

    /// The locality that the TPM was started from, which is where register 0 starts
    /// (profile, §10.4.5.3).
    fn locality(&self) -> Result<Option<u8>, Rejection> {
        match self.data.strip_prefix(STARTUP_LOCALITY) {
            None => Ok(None),
            Some([locality @ (0 | 3 | 4)]) => Ok(Some(*locality)),
            Some(other) => {
                Err(malformed("eventlog.locality", hex::encode(other), "locality 0, 3 or 4"))
            }
        }
    }
}

/// EV_NO_ACTION.
const NO_ACTION: u32 = 3;
const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";
const SPEC_ID: &[u8; 16] = b"Spec ID Event03\0";
/// No TPM has more banks.
const MAX_ALGORITHMS: u32 = 16;
/// Lengths of the hashes that the TCG registered: SHA-1, SHA-256, SHA-384, SHA-512, SM3, SHA3.
const SIZES: &[(u16, usize)] = &[
    (0x0004, 20),
    (0x000b, 32),
    (0x000c, 48),
    (0x000d, 64),
    (0x0012, 32),
    (0x0027, 32),
    (0x0028, 48),
    (0x0029, 64),
];

/// The first event, in the form of older logs, which names the hashes of all others
/// (profile, §10.4.5.1: TCG_EfiSpecIDEvent).
fn header(reader: &mut Reader<'_>) -> Result<BTreeMap<u16, usize>, Rejection> {
    const FIELD: &str = "eventlog.header";
    let (register, kind) = (reader.u32(FIELD)?, reader.u32(FIELD)?);
    let digest = reader.bytes(FIELD, 20)?;
    if register != 0 || kind != NO_ACTION || digest.iter().any(|byte| *byte != 0) {
        let found = format_args!("register {register}, kind {kind}");
        return Err(malformed(FIELD, found, "register 0, kind 3, a digest of zeros"));
    }
    let size = reader.u32(FIELD)?;
    let mut event = Reader(reader.counted(FIELD, size)?);
    if event.bytes(FIELD, SPEC_ID.len())? != SPEC_ID {
        return Err(malformed(FIELD, "another signature", "`Spec ID Event03`"));
    }
    let platform = event.u32(FIELD)?;
    let version = event.bytes(FIELD, 4)?;
    // Client or server; version 2.0 and any errata; numbers of 32 or 64 bits.
    if platform > 1 || !matches!(version, [0, 2, _, 1 | 2]) {
        let found = format_args!("class {platform}, version {}", hex::encode(version));
        return Err(malformed(FIELD, found, "class 0 or 1, version 2.0"));
    }
    let count = event.u32(FIELD)?;
    if count == 0 || count > MAX_ALGORITHMS {
        let wanted = format_args!("1 to {MAX_ALGORITHMS}");
        return Err(malformed(FIELD, format_args!("{count} hashes"), wanted));
    }
    let mut algorithms = BTreeMap::new();
    for _ in 0..count {
        let (algorithm, size) = (event.u16(FIELD)?, usize::from(event.u16(FIELD)?));
        let found = format_args!("hash {algorithm:#06x} of {size} bytes");
        if !SIZES.contains(&(algorithm, size)) {
            return Err(malformed(FIELD, found, "a registered hash, and its length"));
        }
        if algorithms.insert(algorithm, size).is_some() {
            return Err(malformed(FIELD, format_args!("hash {algorithm:#06x} twice"), "once"));
        }
    }
    let [vendor_bytes] = *event.array(FIELD)?;
    event.bytes(FIELD, usize::from(vendor_bytes))?;
    match event.0.len() {
        0 => Ok(algorithms),
        more => Err(malformed(FIELD, format_args!("{more} more bytes"), "nothing after it")),
    }
}

/// What is left to read, little-endian.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, field: &'static str, size: usize) -> Result<&'a [u8], Rejection> {
        let Some((taken, rest)) = self.0.split_at_checked(size) else {
            let found = format_args!("{} bytes", self.0.len());
            return Err(malformed(field, found, format_args!("{size} bytes")));
        };
        self.0 = rest;
        Ok(taken)
    }

    /// As many bytes as a number in the log says.
    fn counted(&mut self, field: &'static str, size: u32) -> Result<&'a [u8], Rejection> {
        self.bytes(field, usize::try_from(size).unwrap_or(usize::MAX))
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N], Rejection> {
        let Some((taken, rest)) = self.0.split_first_chunk() else {
            let found = format_args!("{} bytes", self.0.len());
            return Err(malformed(field, found, format_args!("{N} bytes")));
        };
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, Rejection> {
        self.array(field).map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, Rejection> {
        self.array(field).map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// No event starts with 0xff, since there is no such register. Seen from the end of the log this
    /// would be a guess: its last data may end so.
    fn is_at_end(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0xff)
    }
}

fn malformed(
    field: &'static str,
    found: impl std::fmt::Display,
    wanted: impl std::fmt::Display,
) -> Rejection {
    Rejection::new(RejectionCode::Malformed, field, found, wanted)
}

fn mismatch(
    field: &'static str,
    found: impl std::fmt::Display,
    wanted: impl std::fmt::Display,
) -> Rejection {
    Rejection::new(RejectionCode::EventLogMismatch, field, found, wanted)
}

fn too_large(found: impl std::fmt::Display, wanted: impl std::fmt::Display) -> Rejection {
    Rejection::new(RejectionCode::TooLarge, "eventlog", found, wanted)
}
