//! `cordon dataset seal` with input as it comes: half-written, wrongly encoded, without patients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::place::new_holder;
use crate::programs::{CORDON, cordon, fails, text};

/// A holder with a folder for input and output.
struct Holder(TempDir);

impl Holder {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        new_holder(place.path(), "hospital-a");
        Self(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).display().to_string()
    }

    fn seal(&self, out: &str, source: &[&str]) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let mut command = vec!["dataset".to_owned(), "seal".to_owned()];
        for (option, value) in [
            ("--card", path("broker/card.json")),
            ("--manifest-key", path("broker.manifest.key")),
            ("--subject-key", path("broker.subject.key")),
            ("--dataset", "registry".to_owned()),
            ("--version", "1".to_owned()),
            ("--out", path(out)),
        ] {
            command.extend([option.to_owned(), value]);
        }
        command.extend(source.iter().map(|word| (*word).to_owned()));
        command
    }

    #[track_caller]
    fn refused(&self, source: &[&str]) -> String {
        let command = self.seal("out", source);
        let (code, said) = fails(&command.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, 3, "{said}");
        assert!(!self.path("out").exists() && self.leftovers().is_empty(), "{said}");
        said
    }

    /// The answer, and what was said beside it.
    #[track_caller]
    fn sealed(&self, out: &str, source: &[&str]) -> String {
        let output = Command::new(CORDON).args(self.seal(out, source)).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        said
    }

    fn leftovers(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("partial")).collect()
    }
}

fn patients(count: usize) -> String {
    let line = |n| format!("{{\"resourceType\":\"Patient\",\"id\":\"p{n}\"}}\n");
    (0..count).map(line).collect()
}

#[test]
fn refused_records_are_named_and_too_many_are_too_many() {
    let holder = Holder::new();
    let view = ["--view", "patient", "--input"];
    // One of two hundred.
    let input = holder.write("few.ndjson", patients(200) + "{\"resourceType\":\"Patient\",\n");
    let said = holder.sealed("few", &[&view[..], &[&input]].concat());
    assert!(said.contains("1 refused of 201 records") && said.contains("line 201"), "{said}");
    // One of ten.
    let input = holder.write("many.ndjson", patients(9) + "{\"resourceType\":\"Pat\n");
    let said = holder.refused(&[&view[..], &[&input]].concat());
    assert!(said.contains("over 1 %") && said.contains("line 10"), "{said}");
    holder.sealed("many", &[&view[..], &[&input, "--max-rejected", "10"]].concat());
    let strict = holder.refused(&[&view[..], &[&input, "--strict"]].concat());
    assert!(strict.contains("line 10"), "{strict}");
}

/// However few records are refused: more may be missing.
#[test]
fn a_file_that_was_cut_is_refused() {
    let holder = Holder::new();
    let input = holder.write("cut.ndjson", patients(1_000) + "{\"resourceType\":\"Pat");
    let source = ["--view", "patient", "--input", &input, "--max-rejected", "100"];
    let said = holder.refused(&source);
    assert!(said.contains("line 1001: it was cut"), "{said}");
    // Nothing is missing where only the end of the last line is.
    let whole = holder.write("whole.ndjson", patients(10).trim_end());
    holder.sealed("whole", &["--view", "patient", "--input", &whole]);
}

/// Ten times the records take no more memory.
#[test]
fn sealing_takes_memory_that_does_not_grow_with_the_records() {
    let holder = Holder::new();
    let peak = |name: &str, patients: &str| {
        let folder = holder.path(name);
        let out = folder.display().to_string();
        cordon(&["synth", "--seed", "1", "--patients", patients, "--sites", "one", "--out", &out]);
        let input = folder.join("one").display().to_string();
        let views = ["patient", "encounter", "condition", "observation", "medication"];
        let mut source: Vec<&str> = views.iter().flat_map(|view| ["--view", *view]).collect();
        source.extend(["--input", &input]);
        let mut seal = Command::new(CORDON)
            .args(holder.seal(&format!("sealed-{name}"), &source))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut peak = 0;
        while seal.try_wait().unwrap().is_none() {
            peak = peak_memory(seal.id()).unwrap_or(0).max(peak);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(seal.wait().unwrap().success());
        peak >> 20
    };
    let (few, many) = (peak("few", "2000"), peak("many", "20000"));
    assert!(few > 0 && many < few * 2 && many < 300, "{few} MiB, then {many} MiB");
}

#[test]
fn input_in_a_wrong_encoding_is_refused_with_its_reason() {
    let holder = Holder::new();
    let utf16 = |text: &str| -> Vec<u8> {
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let input = holder.write("utf16.ndjson", utf16(&patients(3)));
    let said = holder.refused(&["--view", "patient", "--input", &input]);
    assert!(said.contains("utf8") || said.contains("utf-8"), "{said}");
    let input = holder.write("utf16.csv", utf16("subject,x\np1,1\n"));
    let said = holder.refused(&["--csv", &input]);
    assert!(said.contains("utf-8"), "{said}");
}

#[test]
fn a_table_without_rows_is_for_those_who_ask_for_one() {
    let holder = Holder::new();
    let input = holder.write("Patient.ndjson", patients(3));
    let said = holder.refused(&["--view", "condition", "--input", &input]);
    assert!(said.contains("no rows") && said.contains("--allow-empty"), "{said}");
    holder.sealed("none", &["--view", "condition", "--input", &input, "--allow-empty"]);
    let input = holder.write("header.csv", "subject,x\n");
    holder.refused(&["--csv", &input]);
}

#[test]
fn rows_without_a_patient_are_refused_by_their_line() {
    let holder = Holder::new();
    let condition =
        |n: usize, of: &str| format!("{{\"resourceType\":\"Condition\",\"id\":\"c{n}\"{of}}}\n");
    let of = ",\"subject\":{\"reference\":\"Patient/p1\"}";
    let lines: String = (0..150).map(|n| condition(n, if n == 41 { "" } else { of })).collect();
    let input = holder.write("c.ndjson", lines);
    let source = ["--view", "condition", "--input", &input];
    let said = holder.sealed("lenient", &source);
    assert!(said.contains("line 42: without_subject"), "{said}");
    let said = holder.refused(&[&source[..], &["--strict"]].concat());
    assert!(said.contains("line 42: without_subject"), "{said}");
    // The same in CSV.
    let rows: String =
        (0..150).map(|n| if n == 41 { ",1\n".to_owned() } else { format!("p{n},1\n") }).collect();
    let input = holder.write("c.csv", format!("subject,x\n{rows}"));
    let said = holder.sealed("lenient-csv", &["--csv", &input]);
    assert!(said.contains("line 43: empty_value"), "{said}");
    let said = holder.refused(&["--csv", &input, "--strict"]);
    assert!(said.contains("line 43"), "{said}");
}

#[test]
fn a_csv_that_ends_within_quotes_is_refused() {
    let holder = Holder::new();
    let input = holder.write("cut.csv", "subject,note\np1,ok\np2,\"cut\n");
    let said = holder.refused(&["--csv", &input]);
    assert!(said.contains("line 3: quote is never closed"), "{said}");
}

#[test]
fn columns_that_cannot_keep_their_names_are_told() {
    let holder = Holder::new();
    let input = holder.write("names.csv", "subject,Patient Age\np1,7\n");
    let said = holder.sealed("names", &["--csv", &input]);
    assert!(said.contains("column `Patient Age` is called `Patient_Age`"), "{said}");
}

#[test]
fn what_is_asked_twice_or_does_not_exist_is_named() {
    let holder = Holder::new();
    let input = holder.write("Patient.ndjson", patients(3));
    let run = |source: &[&str]| {
        let command = holder.seal("out", source);
        fails(&command.iter().map(String::as_str).collect::<Vec<_>>()).1
    };
    let twice = run(&["--view", "patient", "--view", "patient", "--input", &input]);
    assert!(twice.contains("two tables would be called `patient`"), "{twice}");
    let unknown = run(&["--view", "patients", "--input", &input]);
    assert!(
        unknown.contains("no view of that name") && unknown.contains("claim_line"),
        "{unknown}"
    );
}

/// Nothing but what it made itself is ever removed.
#[test]
fn folders_beside_the_new_one_are_left_alone() {
    let holder = Holder::new();
    let input = holder.write("Patient.ndjson", patients(3));
    for name in ["out.partial", "out.v1"] {
        fs::create_dir(holder.path(name)).unwrap();
        holder.write(&format!("{name}/mine"), "x");
    }
    holder.sealed("out", &["--view", "patient", "--input", &input]);
    holder.sealed("out.v2", &["--view", "patient", "--input", &input]);
    for name in ["out.partial/mine", "out.v1/mine", "out/manifest.json", "out.v2/manifest.json"] {
        assert!(holder.path(name).exists(), "{name}");
    }
    // A version is sealed once.
    let again = holder.seal("out", &["--view", "patient", "--input", &input]);
    let (code, said) = fails(&again.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(code == 1 && said.contains("is there already"), "{said}");
}

#[test]
fn somebody_who_interrupts_finds_nothing_half_made() {
    let holder = Holder::new();
    cordon(&[
        "synth",
        "--patients",
        "3000",
        "--seed",
        "1",
        "--out",
        &holder.path("s").display().to_string(),
    ]);
    let export = holder.path("s/northside").display().to_string();
    let mut source = vec!["--input", &export];
    let views = ["patient", "encounter", "condition", "observation", "medication", "claim_line"];
    views.iter().for_each(|view| source.extend(["--view", view]));
    let child = Command::new(CORDON)
        .args(holder.seal("out", &source))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while holder.leftovers().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert!(holder.leftovers().is_empty() && !Path::new(&holder.path("out")).exists());
}

/// Highest resident memory of a process so far, in bytes.
fn peak_memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
