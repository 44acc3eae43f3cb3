//! Whether a genuine platform of AMD's is one that the data holder accepts.

use cordon_protocol::platform::{AmdFeature, AmdPolicy};

use super::claims::{Claims, Versions};
use crate::rejection::{Rejection, RejectionCode};

/// Judges what a report says. What can be looked into or moved is refused whatever the policy.
pub(crate) fn appraise(claims: &Claims, policy: &AmdPolicy) -> Result<(), Rejection> {
    require_closed(claims)?;
    require_chip(claims, policy)?;
    require_versions(claims, policy)?;
    require_configuration(claims, policy)?;
    require_launch(claims, policy)
}

fn require_closed(claims: &Claims) -> Result<(), Rejection> {
    if claims.debug {
        let (code, wanted) = (RejectionCode::DebugEnabled, "a policy without debugging");
        return Err(Rejection::new(code, "report.policy.debug", "allowed", wanted));
    }
    if claims.migration {
        let (code, wanted) = (RejectionCode::MigrationEnabled, "no agent that could move it");
        return Err(Rejection::new(code, "report.policy.migrate_ma", "allowed", wanted));
    }
    Ok(())
}

fn require_chip(claims: &Claims, policy: &AmdPolicy) -> Result<(), Rejection> {
    let denied = policy.denied_chips.iter().any(|denied| {
        let tcb = denied.tcb.as_ref();
        denied.chip_id == claims.chip_id && tcb.is_none_or(|tcb| *tcb == claims.raw_reported_tcb)
    });
    let accepted = policy.accepted_chips.as_ref();
    let accepted = accepted.is_none_or(|chips| chips.contains(&claims.chip_id));
    if denied || !accepted {
        let wanted = if denied { "a chip that is not denied" } else { "an accepted chip" };
        let (code, found) = (RejectionCode::ChipRefused, &claims.chip_id);
        return Err(Rejection::new(code, "report.chip_id", found, wanted));
    }
    Ok(())
}

fn require_versions(claims: &Claims, policy: &AmdPolicy) -> Result<(), Rejection> {
    let floor = policy.floors.iter().find(|floor| floor.product == claims.product);
    let floor = floor.ok_or_else(|| {
        let named: Vec<_> = policy.floors.iter().map(|floor| floor.product.as_str()).collect();
        let (code, wanted) = (RejectionCode::TcbTooOld, named.join(" or "));
        Rejection::new(code, "report.product", claims.product, format_args!("one of: {wanted}"))
            .with_remedy(format_args!(
                "No floor is set for {}: have the security officer set one, or use another machine.",
                claims.product
            ))
    })?;
    // A part that the product does not have cannot be reached, and a floor for it says so.
    for (tcb, field) in
        [(&claims.reported_tcb, "report.reported_tcb"), (&claims.launch_tcb, "report.launch_tcb")]
    {
        for (part, least) in &floor.versions {
            let found = tcb.get(part.as_str()).copied();
            if found.is_none_or(|found| found < *least) {
                return Err(too_old(claims, field, part, found, *least));
            }
        }
    }
    // Firmware that is not committed can be replaced by an older one behind the guest's back.
    below(&claims.reported_tcb, &claims.committed_tcb, "report.committed_tcb")?;
    below(&claims.committed_tcb, &claims.current_tcb, "report.current_tcb")
}

fn too_old(
    claims: &Claims,
    field: &'static str,
    part: &str,
    found: Option<u8>,
    least: u8,
) -> Rejection {
    let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
    let what = match part {
        "microcode" => "microcode",
        "boot_loader" => "boot loader of the security processor",
        "tee" => "operating system of the security processor",
        "snp" => "SNP firmware",
        other => other,
    };
    let again = if field == "report.launch_tcb" { ", and launch the guest again" } else { "" };
    let wanted = format_args!("`{part}` at least {least}, on {}", claims.product);
    Rejection::new(RejectionCode::TcbTooOld, field, format_args!("`{part}` {found}"), wanted)
        .with_remedy(format_args!(
            "The {what} has security version {found}, needs {least}: update it{again}."
        ))
}

/// No part of `low` may be above the same part of `high`.
fn below(low: &Versions, high: &Versions, field: &'static str) -> Result<(), Rejection> {
    let mut parts = low.iter().filter_map(|(part, low)| Some((part, *low, *high.get(part)?)));
    match parts.find(|(_, low, high)| low > high) {
        None => Ok(()),
        Some((part, low, high)) => {
            let (code, found) = (RejectionCode::TcbProvisional, format_args!("`{part}` {high}"));
            Err(Rejection::new(code, field, found, format_args!("at least {low}")))
        }
    }
}

fn require_configuration(claims: &Claims, policy: &AmdPolicy) -> Result<(), Rejection> {
    let refuse = |field, found: &dyn std::fmt::Display, wanted: &dyn std::fmt::Display| {
        Err(Rejection::new(RejectionCode::ConfigurationRefused, field, found, wanted))
    };
    if claims.vmpl > u32::from(policy.highest_vmpl) {
        let wanted = format_args!("at most {}", policy.highest_vmpl);
        let code = RejectionCode::PrivilegeRefused;
        return Err(Rejection::new(code, "report.vmpl", claims.vmpl, wanted));
    }
    if !policy.allow_smt && claims.smt_on {
        return refuse("report.platform_info.smt", &"on", &"off");
    }
    // Allowed and off today is on after the next boot.
    if !policy.allow_smt && claims.smt_allowed {
        return refuse("report.policy.smt", &"allowed", &"not allowed");
    }
    for feature in &policy.required {
        let (field, has) = match feature {
            AmdFeature::AliasCheck => ("report.platform_info.alias_check", claims.alias_check),
            AmdFeature::CiphertextHiding => {
                ("report.platform_info.ciphertext_hiding", claims.ciphertext_hiding)
            }
            AmdFeature::RaplOff => ("report.platform_info.rapl_off", claims.rapl_off),
            AmdFeature::MemoryEncryption => ("report.platform_info.tsme", claims.memory_encryption),
            AmdFeature::SingleSocket => ("report.policy.single_socket", claims.single_socket),
            AmdFeature::Aes256Xts => ("report.policy.aes_256_xts", claims.aes_256_xts),
        };
        if !has {
            return refuse(field, &"off", &"on");
        }
    }
    Ok(())
}

fn require_launch(claims: &Claims, policy: &AmdPolicy) -> Result<(), Rejection> {
    if let Some(wanted) = &policy.host_data
        && *wanted != claims.host_data
    {
        let (code, found) = (RejectionCode::WrongLaunchData, &claims.host_data);
        return Err(Rejection::new(code, "report.host_data", found, wanted));
    }
    if let Some(accepted) = &policy.author_keys {
        let found = claims.author_key_digest.as_ref();
        if !found.is_some_and(|found| accepted.contains(found)) {
            let found = found.map_or("none", String::as_str);
            let (code, field) = (RejectionCode::WrongSigner, "report.author_key_digest");
            return Err(Rejection::new(code, field, found, accepted.join(" or ")));
        }
    }
    Ok(())
}
