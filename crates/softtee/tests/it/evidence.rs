//! What the launcher signs is what the verifier accepts, and of no other program.

use cordon_crypto::{RecipientSecret, SigningKey, sha256};
use cordon_protocol::evidence::{PartyNonce, RuntimeData, SandboxLevel, TeeKind};
use cordon_protocol::{RunId, V1};
use cordon_softtee::{SoftwareTee, measurement_of};
use cordon_types::{Nonce, PartyId, Secret, UnixSeconds};
use cordon_verifier::{
    AppraisalPolicy, AttestationResult, Collateral, Expected, ReferenceValues, Rejection,
    TrustRoots, appraise, verify,
};
use libtest_mimic::Failed;

fn appraised(guard: &[u8]) -> Result<AttestationResult, Rejection> {
    let party: PartyId = "hospital-a".parse().expect("a party");
    let nonce = Nonce::from_bytes([2; 32]);
    let digest = sha256(&[b"something"]);
    let runtime_data = RuntimeData {
        v: V1,
        run: RunId(digest),
        agreement: digest,
        nonces: vec![PartyNonce { party: party.clone(), nonce }],
        guard_signing_key: SigningKey::from_seed(Secret::from_bytes([3; 32])).verifying_key(),
        guard_box_key: RecipientSecret::from_seed(Secret::from_bytes([4; 32])).public_key(),
        engine: digest,
        sandbox: SandboxLevel::Seccomp,
    };
    let root = SigningKey::from_seed(Secret::from_bytes([5; 32]));
    let roots = TrustRoots::dangerous_development(root.verifying_key());
    let tee = SoftwareTee::new(root, measurement_of(guard));
    let evidence = tee.evidence(&runtime_data).expect("signs");
    let expected = Expected {
        party: &party,
        nonce: &nonce,
        holders: std::slice::from_ref(&party),
        run: RunId(digest),
        agreement: digest,
        engine: digest,
        weakest_sandbox: SandboxLevel::Seccomp,
    };
    let now = UnixSeconds::new(1_700_000_000);
    let verified = verify(&evidence, &Collateral::none(), &roots, now, &expected)?;
    let reference = ReferenceValues::new([(TeeKind::Software, measurement_of(b"guard"))]);
    appraise(&verified, &reference, &AppraisalPolicy::dangerous_development(), now)
}

pub fn verifies() -> Result<(), Failed> {
    assert_eq!(appraised(b"guard")?.measurement(), measurement_of(b"guard"));
    Ok(())
}

pub fn one_byte_more() -> Result<(), Failed> {
    let rejection = appraised(b"guard ").expect_err("another program");
    assert_eq!(rejection.code.as_str(), "wrong_measurement");
    Ok(())
}
