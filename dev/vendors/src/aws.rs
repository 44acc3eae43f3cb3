//! A look-alike AWS: Nitro Enclaves with their four authorities, and the documents of their security
//! module.

use crate::cbor;
use crate::pki::{self, Certificate, Extension, Key};

/// Place of the root among keys and certificates.
pub const ROOT: usize = 0;
/// Of the region.
pub const REGION: usize = 1;
/// Of the zone.
pub const ZONE: usize = 2;
/// Of the instance.
pub const INSTANCE: usize = 3;
/// Of the enclave.
pub const LEAF: usize = 4;

/// `{1: -35}`: ES384.
pub const ES384: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// An enclave, with everybody who vouches for it.
pub struct Aws {
    /// From root to leaf.
    pub keys: [Key; 5],
    /// From root to leaf; each is signed by the key before its own, the first by itself.
    pub certificates: [Certificate; 5],
}

impl Aws {
    /// All as AWS has it: each certificate began an hour before `now`, and ends in the same order
    /// in which AWS's do.
    pub fn new(now: u64) -> Self {
        let keys = [(); 5].map(|()| Key::p384());
        let names = [
            "aws.nitro-enclaves",
            "0123456789abcdef.eu-central-1.aws.nitro-enclaves",
            "fedcba9876543210.zonal.eu-central-1.aws.nitro-enclaves",
            "i-0123456789abcdef0.eu-central-1.aws.nitro-enclaves",
            "i-0123456789abcdef0-enc0123456789abcdef.eu-central-1.aws",
        ];
        let names = names.map(|common_name| {
            let organisation = [("2.5.4.6", "US"), ("2.5.4.10", "Amazon"), ("2.5.4.11", "AWS")];
            pki::name(&[&organisation[..], &[("2.5.4.3", common_name)]].concat())
        });
        // 24 years, 20 days, 5 days, a day, 3 hours.
        let hours = [24 * 365 * 24, 20 * 24, 5 * 24, 24, 3];
        let certificates = [ROOT, REGION, ZONE, INSTANCE, LEAF].map(|place| {
            let authority = |path_length, usage| {
                vec![Extension::authority(path_length), Extension::key_usage(usage)]
            };
            let extensions = match place {
                ROOT => authority(None, 0x86),
                REGION => authority(Some(2), 0x86),
                ZONE => authority(Some(1), 0x86),
                INSTANCE => authority(Some(0), 0x04),
                _ => {
                    let usage = Extension { critical: false, ..Extension::key_usage(0xc0) };
                    vec![Extension::end_entity(), usage]
                }
            };
            Certificate {
                serial: vec![1, u8::try_from(place).expect("small")],
                issuer: names[place.saturating_sub(1)].clone(),
                subject: names[place].clone(),
                not_before: now - 3_600,
                not_after: now - 3_600 + hours[place] * 3_600,
                key: keys[place].info(),
                extensions,
            }
        });
        Self { keys, certificates }
    }

    /// The certificates, signed. DER, from root to leaf.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        let places = self.certificates.iter().enumerate();
        let signed = places.map(|(place, one)| one.sign(&self.keys[place.saturating_sub(1)]));
        signed.collect()
    }

    /// The document of a production enclave that gives no key, no data and no challenge.
    pub fn document(&self, timestamp_ms: u64) -> Document {
        Document::new(&self.chain(), timestamp_ms)
    }

    /// What the security module hands out: the payload, signed with the leaf's key.
    pub fn seal(&self, payload: Vec<u8>) -> Envelope {
        let mut envelope = Envelope {
            tag: None,
            protected: ES384.to_vec(),
            unprotected: cbor::map(&[]),
            payload,
            signature: Vec::new(),
        };
        envelope.sign(&self.keys[LEAF]);
        envelope
    }
}

/// A payload that is not encoded yet.
#[derive(Clone, Debug)]
pub struct Document {
    /// Names and values, each encoded, in their order.
    pub members: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Document {
    /// The document of a production enclave with these certificates, from root to leaf.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(chain: &[Vec<u8>], timestamp_ms: u64) -> Self {
        let (leaf, bundle) = chain.split_last().expect("a leaf");
        let pcr = |index: u8| {
            // Registers that nothing was ever written to are zero.
            let value = if index < 5 { [0x10 + index; 48] } else { [0; 48] };
            (cbor::unsigned(index.into()), cbor::bytes(&value))
        };
        let pcrs: Vec<_> = (0..16).map(pcr).collect();
        let bundle: Vec<_> = bundle.iter().map(|der| cbor::bytes(der)).collect();
        let members = [
            ("module_id", cbor::text("i-0123456789abcdef0-enc0123456789abcdef")),
            ("digest", cbor::text("SHA384")),
            ("timestamp", cbor::unsigned(timestamp_ms)),
            ("pcrs", cbor::map(&pcrs)),
            ("certificate", cbor::bytes(leaf)),
            ("cabundle", cbor::array(&bundle)),
            ("public_key", cbor::null()),
            ("user_data", cbor::null()),
            ("nonce", cbor::null()),
        ];
        Self { members: members.map(|(name, value)| (cbor::text(name), value)).to_vec() }
    }

    /// Replaces a member, or adds one.
    pub fn set(&mut self, name: &str, value: Vec<u8>) {
        let name = cbor::text(name);
        match self.members.iter_mut().find(|(found, _)| *found == name) {
            Some((_, old)) => *old = value,
            None => self.members.push((name, value)),
        }
    }

    /// Leaves a member out.
    pub fn remove(&mut self, name: &str) {
        let name = cbor::text(name);
        self.members.retain(|(found, _)| *found != name);
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        cbor::map(&self.members)
    }
}

/// A COSE_Sign1 (RFC 9052 §4.2). AWS writes it without its tag.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The tag before it, if any.
    pub tag: Option<u64>,
    /// The protected header, encoded.
    pub protected: Vec<u8>,
    /// The other header, encoded. It is not signed.
    pub unprotected: Vec<u8>,
    /// What is signed.
    pub payload: Vec<u8>,
    /// r, then s.
    pub signature: Vec<u8>,
}

impl Envelope {
    /// Signs what it holds now.
    pub fn sign(&mut self, by: &Key) {
        let parts = [
            cbor::text("Signature1"),
            cbor::bytes(&self.protected),
            cbor::bytes(&[]),
            cbor::bytes(&self.payload),
        ];
        self.signature = by.sign_raw(&cbor::array(&parts));
    }

    /// The document as it is handed out.
    pub fn encode(&self) -> Vec<u8> {
        let envelope = cbor::array(&self.parts());
        self.tag.map_or(envelope.clone(), |tag| cbor::tag(tag, &envelope))
    }

    /// Its four parts, encoded.
    pub fn parts(&self) -> [Vec<u8>; 4] {
        let (payload, signature) = (cbor::bytes(&self.payload), cbor::bytes(&self.signature));
        [cbor::bytes(&self.protected), self.unprotected.clone(), payload, signature]
    }
}
