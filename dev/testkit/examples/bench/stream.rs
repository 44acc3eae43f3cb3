//! The sealed stream of `cordon-crypto` against AES-256-GCM of the library below it, on the same
//! bytes in memory. The first peer encrypts in place, in one call: it moves no byte. The second
//! moves them, as whatever reads here and writes there must, with one copy of each chunk.

use std::hint::black_box;
use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cordon_crypto::SystemRandom;
use cordon_crypto::stream::{CHUNK_BYTES, StreamOpener, StreamSealer};
use cordon_testkit::measure::{Cost, Report, Target, measure};
use cordon_types::Secret;

/// More than caches hold, less than a laptop has.
const BYTES: usize = 64 << 20;
const REPETITIONS: usize = 15;
const MEGABYTE: f64 = 1e6;

pub fn run() -> Result<Report> {
    let key = Secret::from_bytes([7; 32]);
    let plain: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8).collect();
    let mut sealed = Vec::with_capacity(BYTES + BYTES / 1_000);
    let mut raw = Vec::with_capacity(BYTES + 64);
    let mut opened = vec![0; CHUNK_BYTES];
    let mut moved = Vec::with_capacity(BYTES + BYTES / 1_000);
    let mut figures: [Vec<f64>; 8] = Default::default();
    // The first round only touches the memory.
    for round in 0..=REPETITIONS {
        raw.clear();
        raw.extend_from_slice(&plain);
        let raw_seal = measure(|| raw_seal(&key, &mut raw));
        let raw_open = measure(|| raw_open(&key, &mut raw));
        ensure!(raw_open.0? == plain.len(), "the peer opens something else");
        raw_seal.0?;

        moved.clear();
        let moving = measure(|| moving_seal(&key, &plain, &mut moved));
        moving.0?;

        sealed.clear();
        let seal = measure(|| -> Result<()> {
            let mut sealer =
                StreamSealer::new(&mut sealed, &key, b"bench", &mut SystemRandom::new())?;
            sealer.write_all(&plain)?;
            sealer.finish()?;
            Ok(())
        });
        seal.0?;
        let open = measure(|| -> Result<usize> {
            let mut opener = StreamOpener::new(sealed.as_slice(), &key, b"bench")?;
            let mut total = 0;
            loop {
                let found = opener.read(&mut opened)?;
                if found == 0 {
                    return Ok(total);
                }
                black_box(&opened);
                total += found;
            }
        });
        ensure!(open.0? == plain.len(), "the stream opens something else");
        if round > 0 {
            let rate = |cost: Cost| BYTES as f64 / MEGABYTE / cost.seconds();
            let (rs, ro, s, o) = (rate(raw_seal.1), rate(raw_open.1), rate(seal.1), rate(open.1));
            let m = rate(moving.1);
            let found = [rs, ro, m, s, o, s / rs, o / ro, s / m];
            figures.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
    }
    let mut report = Report::new("stream");
    let target = Target::AtLeast(0.8);
    for (what, unit, figures, target) in [
        ("peer: AES-256-GCM in place, seal", "MB/s", &figures[0], Target::None),
        ("peer: AES-256-GCM in place, open", "MB/s", &figures[1], Target::None),
        ("peer: a copy of each chunk, then in place, seal", "MB/s", &figures[2], Target::None),
        ("sealed stream, seal", "MB/s", &figures[3], Target::None),
        ("sealed stream, open", "MB/s", &figures[4], Target::None),
        ("seal ÷ in place", "×", &figures[5], target),
        ("open ÷ in place", "×", &figures[6], target),
        ("seal ÷ a copy, then in place", "×", &figures[7], Target::None),
    ] {
        report.add(what, unit, figures, target);
    }
    report.note(format!("{} MiB in memory, one core, {REPETITIONS} repetitions", BYTES >> 20));
    report
        .note("ratios are taken within each repetition; the peer copies nothing, the stream does");
    Ok(report)
}

fn cipher(key: &Secret<32>) -> Result<LessSafeKey> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).ok().context("a key")?))
}

fn raw_seal(key: &Secret<32>, buffer: &mut Vec<u8>) -> Result<()> {
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let sealed = cipher(key)?.seal_in_place_append_tag(nonce, Aad::empty(), buffer);
    sealed.ok().context("sealing")
}

fn moving_seal(key: &Secret<32>, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let cipher = cipher(key)?;
    for (index, chunk) in (0_u32..).zip(plain.chunks(CHUNK_BYTES)) {
        let start = out.len();
        out.extend_from_slice(chunk);
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&index.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = cipher.seal_in_place_separate_tag(nonce, Aad::empty(), &mut out[start..]);
        out.extend_from_slice(tag.ok().context("sealing")?.as_ref());
    }
    Ok(())
}

fn raw_open(key: &Secret<32>, buffer: &mut [u8]) -> Result<usize> {
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let opened = cipher(key)?.open_in_place(nonce, Aad::empty(), buffer);
    Ok(opened.ok().context("opening")?.len())
}
