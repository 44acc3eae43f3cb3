//! Measures views over synthetic records: MB of NDJSON per second on one core.
//!
//! `cargo run --release -p cordon-clinical --example throughput [patients]`

use std::collections::BTreeMap;
use std::time::Instant;

use cordon_clinical::json::Arena;
use cordon_clinical::keys::KeyPolicy;
use cordon_clinical::synth::{DEFAULT_SITES, Generator};
use cordon_clinical::table::ViewRunner;
use cordon_clinical::view::CompiledView;
use cordon_clinical::views;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let patients = std::env::args().nth(1).map_or(Ok(5_000), |n| n.parse())?;
    let start = Instant::now();
    let generator = Generator::new(1, patients, DEFAULT_SITES)?;
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    generator.write(|_, kind, line| {
        files.entry(kind.name()).or_default().extend_from_slice(line);
        Ok(())
    })?;
    let bytes: usize = files.values().map(Vec::len).sum();
    report("synth", bytes, start);

    let mut arena = Arena::new();
    for (name, file) in &files {
        let start = Instant::now();
        for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            arena.parse(line)?;
        }
        report(&format!("parse {name}"), file.len(), start);
    }
    let pseudonym = |_: &str, id: &str| {
        let mut key = [0; 16];
        key.iter_mut().zip(id.bytes()).for_each(|(to, from)| *to = from);
        key
    };
    for packed in views::pack() {
        let view = CompiledView::parse(packed.json.as_bytes())?;
        let file = &files[packed.resource];
        let mut runner = ViewRunner::new(&view, KeyPolicy::Keyed(&pseudonym));
        let start = Instant::now();
        let mut rows = 0;
        for line in file.split(|byte| *byte == b'\n') {
            runner.push_line(line)?;
            rows += runner.take_batch(8 << 20).map_or(0, |batch| batch.num_rows());
        }
        rows += runner.finish_batch().map_or(0, |batch| batch.num_rows());
        report(&format!("view {} ({rows} rows)", packed.name), file.len(), start);
    }
    let view = CompiledView::parse(views::find("patient").ok_or("no view")?.json.as_bytes())?;
    let file = &files["ExplanationOfBenefit"];
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    let start = Instant::now();
    for line in file.split(|byte| *byte == b'\n') {
        runner.push_line(line)?;
    }
    report("skip other types", file.len(), start);
    Ok(())
}

fn report(what: &str, bytes: usize, start: Instant) {
    let megabytes = bytes as f64 / 1e6;
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:40} {megabytes:8.1} MB {seconds:7.3} s {:8.1} MB/s", megabytes / seconds);
}
