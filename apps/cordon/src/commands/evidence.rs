//! `cordon evidence`: what a TEE said, looked at without asking anybody.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use cordon_types::{UnixSeconds, hex};
use cordon_verifier::{Collateral, Rejection, TrustRoots, snp};
use serde_json::json;

use crate::clock::{now, parse_rfc3339, rfc3339};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::output::{Output, table};

pub const EXAMPLE: &str = "Example:\n  \
    cordon evidence verify --kind snp --evidence report.bin --collateral vcek.der \
    --collateral cert_chain.pem";

/// What is done with evidence.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Check that evidence is genuine, and show what it says. Exits 4 if it is not.
    #[command(after_help = EXAMPLE)]
    Verify(VerifyArguments),
}

/// Which evidence, and what it must be.
#[derive(Args, Debug)]
pub struct VerifyArguments {
    /// The kind of TEE.
    #[arg(long, value_enum)]
    kind: EvidenceKind,
    /// The evidence as the TEE made it: for SEV-SNP a report of 1184 bytes.
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// Certificates, DER or PEM, in any order; may be given several times.
    #[arg(long, value_name = "FILE")]
    collateral: Vec<PathBuf>,
    /// The 64 bytes that the report must be bound to, in hex.
    #[arg(long, value_name = "HEX")]
    report_data: Option<String>,
    /// The moment at which it must hold, for example 2026-01-31T08:05:00Z [default: now].
    #[arg(long, value_name = "RFC3339", value_parser = parse_rfc3339)]
    at: Option<UnixSeconds>,
}

/// Kinds whose evidence can be read.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EvidenceKind {
    /// AMD SEV-SNP.
    Snp,
}

/// Does it.
pub fn run(command: Command, output: Output) -> Outcome {
    let Command::Verify(arguments) = command;
    let EvidenceKind::Snp = arguments.kind;
    let at = arguments.at.unwrap_or_else(now);
    let evidence = files::read(&arguments.evidence)?;
    let mut collateral = Collateral::none();
    for path in &arguments.collateral {
        collateral.add(&files::read(path)?).map_err(rejected)?;
    }
    let roots = TrustRoots::production();
    let examined = snp::examine(&evidence, &collateral, &roots, at).map_err(rejected)?;
    let claims = examined.claims();
    let is_bound = match &arguments.report_data {
        None => false,
        Some(text) => {
            let wanted = hex::decode_array::<64>(&text.to_lowercase());
            let wanted = wanted.context("--report-data: expected 128 hex digits");
            let wanted = wanted.map_err(Failure::usage)?;
            if wanted != examined.report().report_data() {
                let found = &claims.report_data;
                let error = anyhow::anyhow!("not_bound: the report is bound to {found}");
                return Err(Failure::verification(error));
            }
            true
        }
    };
    // What was not looked at is said: no key is ever released for evidence that is marked so.
    let mut not_checked = Vec::new();
    if !examined.is_revocation_checked() {
        not_checked.push("revocation_not_checked");
    }
    if !is_bound {
        not_checked.push("unbound");
    }
    if claims.debug {
        output.note("The policy lets the host read the guest's memory: nothing is confidential.");
    }
    let answer = json!({
        "kind": "snp", "genuine": true, "at": rfc3339(at), "marks": not_checked, "claims": claims,
    });
    output.show(&answer, || {
        let mut rows = table(["genuine SEV-SNP report", ""]);
        let claims = serde_json::to_value(&claims).unwrap_or_default();
        for (name, value) in claims.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            rows.add_row([name.clone(), value]);
        }
        rows.add_row(["marks".to_owned(), not_checked.join(", ")]);
        rows.to_string()
    })
}

/// The reason in words, and what to do about it.
fn rejected(rejection: Rejection) -> Failure {
    let Rejection { code, field, found, wanted, sentence, remedy, .. } = rejection;
    let words =
        format!("{code}: {sentence} At `{field}`: found {found}, wanted {wanted}. {remedy}");
    Failure::verification(anyhow::Error::msg(words))
}
