//! An agreement in plain words, for the people who approve it.

use std::fmt::{self, Display, Write as _};

use cordon_crypto::dsse::Signed;
use cordon_protocol::Agreement;
use cordon_protocol::agreement::{Gate, Holder, Person, Review, ZeroPolicy};
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use cordon_protocol::run::ParameterValue;

use crate::clock::rfc3339;

/// Everything in an agreement that a person decides about. What machines compare (keys) is named
/// by fingerprint.
pub fn plain(signed: &Signed<Agreement>) -> String {
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = write(&mut text, signed);
    text
}

/// A parameter's value as people type it.
pub fn value(value: &ParameterValue) -> String {
    match value {
        ParameterValue::Integer(number) => number.to_string(),
        ParameterValue::Text(text) | ParameterValue::Date(text) => text.clone(),
        ParameterValue::Boolean(truth) => truth.to_string(),
    }
}

fn write(out: &mut String, signed: &Signed<Agreement>) -> fmt::Result {
    let agreement = signed.value();
    writeln!(out, "{}", agreement.title)?;
    line(out, "study", &agreement.study)?;
    line(out, "agreement", format_args!("{}  {}", agreement.name, signed.digest()))?;
    line(out, "profile", agreement.profile)?;
    line(out, "asked by", person(&agreement.requester))?;
    for recipient in &agreement.recipients {
        line(out, "result goes to", person(recipient))?;
    }
    let from = rfc3339(agreement.not_before);
    line(out, "valid", format_args!("{from} to {}", rfc3339(agreement.not_after)))?;
    write_purpose(out, agreement)?;
    write_program(out, agreement)?;
    agreement.holders.iter().try_for_each(|holder| write_holder(out, holder))?;
    write_platform(out, agreement)?;
    write_output(out, agreement)?;
    write_limits(out, agreement)
}

fn write_purpose(out: &mut String, agreement: &Agreement) -> fmt::Result {
    let purpose = &agreement.purpose;
    writeln!(out, "\nWhy")?;
    indented(out, &purpose.statement)?;
    line(out, "legal basis", &purpose.legal_basis)?;
    for term in &purpose.duo {
        line(out, "data use", term)?;
    }
    for reference in &purpose.references {
        line(out, "reference", reference)?;
    }
    Ok(())
}

fn write_program(out: &mut String, agreement: &Agreement) -> fmt::Result {
    let program = &agreement.program;
    writeln!(out, "\nWhat runs")?;
    indented(out, &program.query)?;
    for (name, bound) in &program.parameters {
        let values: Vec<_> = bound.one_of.iter().map(value).collect();
        line(out, "parameter", format_args!("${name}, one of: {}", values.join(", ")))?;
    }
    for (name, sources) in &program.tables {
        for source in sources {
            let (holder, dataset, table) = (&source.holder, &source.dataset, &source.table);
            line(
                out,
                "table",
                format_args!("{name} from {holder}, dataset {dataset}, table {table}"),
            )?;
        }
    }
    let columns: Vec<_> = program.result.iter().map(|column| column.name.as_str()).collect();
    line(out, "result", columns.join(", "))?;
    line(out, "engine", format_args!("{}  {}", program.name, program.engine))
}

fn write_holder(out: &mut String, holder: &Holder) -> fmt::Result {
    writeln!(out, "\n{}", holder.party)?;
    line(out, "broker", holder.broker_key.fingerprint())?;
    for terms in &holder.datasets {
        for (table, columns) in &terms.columns {
            let columns: Vec<_> = columns.iter().map(|column| column.as_str()).collect();
            let columns = columns.join(", ");
            line(out, "keys for", format_args!("{}, table {table}: {columns}", terms.dataset))?;
        }
    }
    let rule = &holder.approvals;
    let roles: Vec<_> = rule.roles.iter().map(ToString::to_string).collect();
    let persons = rule.persons;
    line(out, "approved by", format_args!("{persons} persons, among them: {}", roles.join(", ")))?;
    holder.reviewers.iter().try_for_each(|reviewer| line(out, "reviewed by", person(reviewer)))
}

fn write_platform(out: &mut String, agreement: &Agreement) -> fmt::Result {
    let platform = &agreement.platform;
    writeln!(out, "\nWhere it runs")?;
    for tee in &platform.tees {
        let words = match tee {
            TeeKind::Software => {
                "software: FOR DEVELOPMENT ONLY, the operator of the machine can read everything"
            }
            TeeKind::SevSnp => "AMD SEV-SNP: memory is encrypted against the machine's operator",
            TeeKind::Tdx => "Intel TDX: memory is encrypted against the machine's operator",
            TeeKind::Sgx => "Intel SGX: memory is encrypted against the machine's operator",
            TeeKind::Nitro => "AWS Nitro Enclaves: AWS's hypervisor keeps the operator out",
            TeeKind::AzureSnp => {
                "Azure on AMD SEV-SNP: memory is encrypted; Azure's firmware is inside"
            }
            TeeKind::AzureTdx => {
                "Azure on Intel TDX: memory is encrypted; Azure's firmware is inside"
            }
            TeeKind::Tpm => "TPM: what was started is measured; the operator can read memory",
        };
        line(out, "tee", words)?;
    }
    for measurement in &platform.measurements {
        line(out, "guard", measurement)?;
    }
    let sandbox = match platform.sandbox {
        SandboxLevel::Seccomp => "a system call filter at least",
        SandboxLevel::Namespaces => "a system call filter and namespaces at least",
        SandboxLevel::NamespacesLandlock => "a system call filter, namespaces and landlock",
    };
    line(out, "worker", sandbox)
}

fn write_output(out: &mut String, agreement: &Agreement) -> fmt::Result {
    let output = &agreement.output;
    writeln!(out, "\nWhat leaves")?;
    let Gate::Table(gate) = &output.gate;
    line(out, "smallest cell", format_args!("{} patients", gate.min_cell))?;
    let zeros = match gate.zeros {
        ZeroPolicy::Show => "shown",
        ZeroPolicy::Suppress => {
            "withheld like small cells; a group that nobody is in has no row either way"
        }
    };
    line(out, "empty cells", zeros)?;
    if gate.round_to > 1 {
        line(out, "rounded", format_args!("counts to multiples of {}", gate.round_to))?;
    }
    let review = match output.review {
        Review::EachHolder => "a reviewer of each holder looks before it leaves",
        Review::GateSuffices => "NOBODY LOOKS before it leaves",
    };
    line(out, "review", review)?;
    let (rows, bytes) = (output.max_rows, output.max_bytes);
    line(out, "size", format_args!("at most {rows} rows and {bytes} bytes"))
}

fn write_limits(out: &mut String, agreement: &Agreement) -> fmt::Result {
    let limits = &agreement.limits;
    writeln!(out, "\nLimits")?;
    line(out, "runs", limits.max_runs)?;
    line(out, "longest run", limits.deadline_ms)?;
    line(out, "stop within", limits.lease_ms)?;
    line(out, "heartbeat", limits.heartbeat_ms)?;
    line(out, "memory", format_args!("{} MiB", limits.memory_bytes >> 20))?;
    line(out, "witnesses", format_args!("{} other brokers cosign", agreement.witness_quorum))
}

fn line(out: &mut String, name: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "  {name:<15}{value}")
}

fn indented(out: &mut String, text: &str) -> fmt::Result {
    text.lines().try_for_each(|line| writeln!(out, "  | {line}"))
}

fn person(person: &Person) -> String {
    format!("{}/{}  {}", person.party, person.person, person.signing_key.fingerprint())
}
