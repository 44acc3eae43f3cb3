//! Arguments whose text forms are the command line's own.

use cordon_protocol::RunId;
use cordon_protocol::party::Role;
use cordon_types::{IdError, Sha256Digest};

/// A role, as documents write it.
pub fn role(text: &str) -> Result<Role, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|_| {
        "expected steward, data_protection_officer, security_officer, reviewer, researcher, \
         auditor or administrator"
            .to_owned()
    })
}

/// A run's name.
pub fn run_id(text: &str) -> Result<RunId, IdError> {
    text.parse::<Sha256Digest>().map(RunId)
}

/// `name=value`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected `name=value`")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_pairs_have_one_spelling() {
        assert_eq!(role("data_protection_officer"), Ok(Role::DataProtectionOfficer));
        assert!(role("Steward").unwrap_err().contains("steward"));
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("a").is_err());
        let digest = Sha256Digest::from_bytes([1; 32]);
        assert_eq!(run_id(&digest.to_string()), Ok(RunId(digest)));
    }
}
