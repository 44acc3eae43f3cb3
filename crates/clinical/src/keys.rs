//! Keys that join tables: `getResourceKey()` and `getReferenceKey()`.

use std::fmt;

/// How a resource's type and id become the key that rows carry.
#[derive(Clone, Copy)]
pub enum KeyPolicy<'k> {
    /// The id itself, for a person's own clear tables.
    Plain,
    /// A pseudonym of 128 bits from the caller, written as 32 hexadecimal digits:
    /// at sealing, a keyed hash of type and id under a key of the holder.
    Keyed(&'k (dyn Fn(&str, &str) -> [u8; 16] + Sync)),
}

impl fmt::Debug for KeyPolicy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyPolicy::Plain => "Plain",
            KeyPolicy::Keyed(_) => "Keyed",
        })
    }
}

impl KeyPolicy<'_> {
    /// The key of a resource, or `None` if `id` is not one that a reference could name.
    pub fn key(&self, resource: &str, id: &str) -> Option<String> {
        if !is_id(id) {
            return None;
        }
        match self {
            KeyPolicy::Plain => Some(id.to_owned()),
            KeyPolicy::Keyed(pseudonym) => {
                let mut key = String::with_capacity(32);
                for byte in pseudonym(resource, id) {
                    for digit in [byte >> 4, byte & 15] {
                        key.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
                    }
                }
                Some(key)
            }
        }
    }
}

/// The policy of a run and the servers whose absolute references count as its own.
#[derive(Debug, Clone)]
pub(crate) struct Keys<'k> {
    pub policy: KeyPolicy<'k>,
    pub bases: Vec<String>,
}

impl Keys<'_> {
    pub fn of_resource(&self, resource: &str, id: &str) -> Option<String> {
        self.policy.key(resource, id)
    }

    /// The key of what a literal reference names: `Type/id`, with or without a
    /// version, relative or below a declared base. Anything else has no key.
    pub fn of_reference(&self, reference: &str, wanted: Option<&str>) -> Option<String> {
        let relative = self.bases.iter().find_map(|base| {
            let below = reference.strip_prefix(base.trim_end_matches('/'))?;
            below.strip_prefix('/')
        });
        let mut parts = relative.unwrap_or(reference).split('/');
        let (resource, id) = (parts.next()?, parts.next()?);
        match (parts.next(), parts.next(), parts.next()) {
            (None, None, None) => {}
            (Some("_history"), Some(_), None) => {}
            _ => return None,
        }
        let is_type = resource.starts_with(|c: char| c.is_ascii_uppercase())
            && resource.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_type || wanted.is_some_and(|wanted| wanted != resource) {
            return None;
        }
        self.policy.key(resource, id)
    }
}

/// Longer ids than FHIR's 64 characters exist; the limit only bounds work.
const MAX_ID_BYTES: usize = 256;

fn is_id(id: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'#' | b'?' | b'|');
    !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(reference: &str, wanted: Option<&str>) -> Option<String> {
        let keys = Keys {
            policy: KeyPolicy::Plain,
            bases: vec!["https://fhir.example.org/r4/".to_owned()],
        };
        keys.of_reference(reference, wanted)
    }

    #[test]
    fn a_relative_reference_names_a_key() {
        assert_eq!(plain("Patient/p1", None).as_deref(), Some("p1"));
        assert_eq!(plain("Patient/p1", Some("Patient")).as_deref(), Some("p1"));
        assert_eq!(plain("Patient/p1/_history/3", None).as_deref(), Some("p1"));
        assert_eq!(plain("Patient/-10000000000059", None).as_deref(), Some("-10000000000059"));
    }

    #[test]
    fn an_absolute_reference_counts_only_below_a_declared_base() {
        assert_eq!(plain("https://fhir.example.org/r4/Patient/p1", None).as_deref(), Some("p1"));
        assert_eq!(plain("https://fhir.example.org/r4evil/Patient/p1", None), None);
        assert_eq!(plain("https://other.example.org/r4/Patient/p1", None), None);
    }

    #[test]
    fn what_cannot_be_resolved_has_no_key() {
        for reference in [
            "",
            "#contained",
            "p1",
            "Patient/",
            "/p1",
            "patient/p1",
            "Patient/p1/x",
            "Patient/p1/_history",
            "Patient/p1/_history/1/2",
            "Patient/p 1",
            "Patient/p1#frag",
            "Patient?identifier=1",
            "urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7",
            "a/b/Patient/p1",
        ] {
            assert_eq!(plain(reference, None), None, "{reference}");
        }
        assert_eq!(plain("Patient/p1", Some("Group")), None);
    }

    #[test]
    fn a_keyed_policy_writes_32_hexadecimal_digits_of_type_and_id() {
        let pseudonym = |resource: &str, id: &str| {
            let mut bytes = [0xA0; 16];
            bytes[15] = (resource.len() * 16 + id.len()) as u8;
            bytes
        };
        let policy = KeyPolicy::Keyed(&pseudonym);
        assert_eq!(
            policy.key("Patient", "p1").as_deref(),
            Some("a0a0a0a0a0a0a0a0a0a0a0a0a0a0a072")
        );
        assert_eq!(policy.key("Patient", ""), None);
        assert_eq!(format!("{policy:?}"), "Keyed");
    }
}
