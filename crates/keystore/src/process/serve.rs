use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use cordon_crypto::Random;
use cordon_protocol::frame::{FrameError, read_bytes, read_message, write_bytes, write_message};
use zeroize::Zeroizing;

use crate::process::{
    MAX_PASSPHRASE_FRAME_BYTES, MAX_REQUEST_BYTES, Request, Response, SERVICE_SEED_BYTES, Status,
    Unlock,
};
use crate::refusal::{Refusal, chain};
use crate::root::Credential;
use crate::store::{Keystore, KeystoreError};

/// Why the key process ends early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What came is no request. The broker is of another version, or no longer itself.
    #[error("cannot read a request")]
    Request(#[source] FrameError),
    /// The answer cannot be written.
    #[error("cannot write an answer")]
    Response(#[source] FrameError),
}

/// Answers requests until the broker closes `input`, which it also does by dying.
///
/// # Errors
/// If something else than requests comes, or answers cannot be written. Refused requests are
/// answers, not errors.
pub fn serve(
    folder: &Path,
    input: impl Read,
    output: impl Write,
    random: &mut dyn Random,
) -> Result<(), ServeError> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, output);
    let mut store = None;
    loop {
        let request = match read_message(&mut input, MAX_REQUEST_BYTES) {
            Ok(request) => request,
            Err(FrameError::Closed) => return Ok(()),
            Err(error) => return Err(ServeError::Request(error)),
        };
        let response = match request {
            Request::Unlock(how) => {
                // Read in any case: the frame belongs to the request.
                let credential = read_credential(how, &mut input).map_err(ServeError::Request)?;
                unlock(&mut store, folder, &credential)
            }
            request => match &mut store {
                None => Response::Refused(Refusal::Locked),
                Some(store) => answer(store, request, random).unwrap_or_else(to_response),
            },
        };
        write_message(&mut output, &response).map_err(ServeError::Response)?;
        if let (Response::Unlocked(_), Some(store)) = (&response, &store) {
            write_bytes(&mut output, &service_seeds(store)).map_err(ServeError::Response)?;
            // The buffer still holds the seeds: push them out under harmless bytes.
            output.flush().map_err(|error| ServeError::Response(FrameError::Io(error)))?;
        }
    }
}

fn read_credential(how: Unlock, input: &mut impl Read) -> Result<Credential, FrameError> {
    Ok(match how {
        Unlock::Passphrase => {
            let text = read_bytes(input, MAX_PASSPHRASE_FRAME_BYTES)?;
            Credential::Passphrase(Zeroizing::new(text))
        }
        Unlock::KeyFile(path) => Credential::KeyFile(path),
    })
}

fn unlock(store: &mut Option<Keystore>, folder: &Path, credential: &Credential) -> Response {
    if store.is_some() {
        return Response::Refused(Refusal::AlreadyUnlocked);
    }
    match Keystore::open(folder, credential) {
        Ok(opened) => {
            let public = opened.public().clone();
            *store = Some(opened);
            Response::Unlocked(Box::new(public))
        }
        Err(error) => Response::Failed { reason: chain(&error) },
    }
}

fn answer(
    store: &mut Keystore,
    request: Request,
    random: &mut dyn Random,
) -> Result<Response, KeystoreError> {
    Ok(match request {
        Request::Unlock(_) => Response::Refused(Refusal::AlreadyUnlocked),
        Request::Enrol { card, enrolment } => {
            store.enrol(&card, &enrolment)?;
            Response::Enrolled
        }
        Request::Deposit(request) => Response::Version(store.deposit(&request, random)?),
        Request::Grant(request) => Response::Granted(Box::new(store.grant(&request, random)?)),
        Request::Release(request) => Response::Released(store.release(&request, random)?),
        Request::Change { dataset, version, transition, time } => {
            Response::Version(store.change(&dataset, version, transition, time)?)
        }
        Request::Rewrap { dataset, version } => {
            Response::Version(store.rewrap(&dataset, version, random)?)
        }
        Request::Destroy { dataset, version, time } => {
            Response::Version(store.destroy(&dataset, version, time)?)
        }
        Request::Status => {
            Response::Status(Status { versions: store.status(), enrolled: store.enrolled() })
        }
    })
}

fn to_response(error: KeystoreError) -> Response {
    match error {
        KeystoreError::Refused(refusal) => Response::Refused(refusal),
        KeystoreError::Store(error) => Response::Failed { reason: chain(&error) },
    }
}

fn service_seeds(store: &Keystore) -> Zeroizing<Vec<u8>> {
    let keys = store.services();
    let mut seeds = Zeroizing::new(Vec::with_capacity(SERVICE_SEED_BYTES));
    for key in [&keys.broker, &keys.log, &keys.witness] {
        seeds.extend_from_slice(key.seed().expose());
    }
    seeds
}

/// A request of a grant fits.
const BUFFER_BYTES: usize = 64 * 1024;

impl From<ServeError> for io::Error {
    fn from(error: ServeError) -> Self {
        Self::other(error)
    }
}
