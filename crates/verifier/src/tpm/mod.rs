//! TPM 2.0: what a quote says, and whether a TPM said it (TPM 2.0 Library, parts 1 and 2, rev 1.59).
//!
//! A quote alone proves little: any program can write one, and any key can sign it. It is believed
//! for these reasons together, and no step can be left out:
//!
//! 1. [`PublicArea`] tells of a key that is restricted to what its TPM has seen, that was made there
//!    and cannot leave it. The magic number at the start of a [`Quote`] then says that the TPM wrote it.
//! 2. [`Quote::verify`] takes the signature, the challenge in full length, and the values of the
//!    registers that were quoted.
//! 3. [`Enrolled`] says that the key is one that lives in a known TPM, whose counters did not go
//!    back. That it lives there is found out once, at enrolment: [`make_credential`] hides a secret
//!    which only the TPM with that endorsement key *and* that attestation key can uncover.
//!
//! Where hardware vouches for the key in another way (Azure's report of the hypervisor names it), the
//! first and the third reason are replaced: [`Quote::verify_by`].

mod claims;
mod credential;
mod enrolment;
mod key;
mod quote;
mod registers;
mod wire;

pub use claims::Claims;
pub use credential::{Credential, make_credential};
pub use enrolment::{Enrolled, admit};
pub use key::{Attributes, Name, PublicArea, SigningKey};
pub use quote::{Examined, Quote};
pub use registers::{Bank, PcrValues};
