//! `cordon-softtee`: runs a guard in the development TEE.
#![expect(clippy::disallowed_methods, reason = "a program reads files")]

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use cordon_crypto::SystemRandom;
use cordon_softtee::{BANNER, create_root_key, launch_file, measurement_of, read_root_key};

const USAGE: &str = "\
The development TEE: measures the guard, runs exactly those bytes, signs reports. Not confidential.

Usage:
  cordon-softtee init    --root-key FILE                       make a root key
  cordon-softtee show    --root-key FILE                       print its public key
  cordon-softtee measure --guard FILE                          print a guard's measurement
  cordon-softtee run     --root-key FILE --guard FILE --host SOCKET

Example:
  cordon-softtee init --root-key root.key
  cordon-softtee run --root-key root.key --guard target/debug/cordon-enclave --host host.sock
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return print(USAGE);
    }
    let Some(command) = Command::parse(&arguments) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match command.execute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("  because: {inner}");
                cause = inner.source();
            }
            ExitCode::from(1)
        }
    }
}

enum Command {
    Init { root_key: PathBuf },
    Show { root_key: PathBuf },
    Measure { guard: PathBuf },
    Run { root_key: PathBuf, guard: PathBuf, host: PathBuf },
}

impl Command {
    fn parse(arguments: &[String]) -> Option<Self> {
        let (name, options) = arguments.split_first()?;
        let (pairs, []) = options.as_chunks::<2>() else { return None };
        let wanted: &[&str] = match name.as_str() {
            "init" | "show" => &["--root-key"],
            "measure" => &["--guard"],
            "run" => &["--root-key", "--guard", "--host"],
            _ => return None,
        };
        let value = |option: &str| {
            let found = pairs.iter().find(|[name, _]| name == option);
            found.map(|[_, value]| PathBuf::from(value))
        };
        if pairs.len() != wanted.len() {
            return None;
        }
        let mut values = wanted.iter().map(|option| value(option));
        let mut next = || values.next().flatten();
        Some(match name.as_str() {
            "init" => Self::Init { root_key: next()? },
            "show" => Self::Show { root_key: next()? },
            "measure" => Self::Measure { guard: next()? },
            _ => Self::Run { root_key: next()?, guard: next()?, host: next()? },
        })
    }

    fn execute(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        match self {
            Self::Init { root_key } => {
                let key = create_root_key(&root_key, &mut SystemRandom::new())?;
                Ok(print(&format!("{}\n", key.verifying_key())))
            }
            Self::Show { root_key } => {
                Ok(print(&format!("{}\n", read_root_key(&root_key)?.verifying_key())))
            }
            Self::Measure { guard } => {
                Ok(print(&format!("{}\n", measurement_of(&std::fs::read(guard)?))))
            }
            Self::Run { root_key, guard, host } => {
                let root = read_root_key(&root_key)?;
                eprintln!("{BANNER}");
                let host = UnixStream::connect(host)?;
                let status = launch_file(&guard, root, host)?.wait()?;
                Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(1) })
            }
        }
    }
}

/// A closed pipe is no error of ours.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}
