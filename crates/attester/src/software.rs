use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cordon_protocol::evidence::{MAX_EVIDENCE_BYTES, TeeKind};
use cordon_protocol::frame::{self, FrameError};

use crate::{AttestError, Attester, Report};

/// The software TEE: its launcher, `cordon-softtee`, answers on a socket that the guard inherits
/// as standard output. One frame of 64 bytes asks, one frame with the signed report answers.
pub struct SoftwareTee(UnixStream);

impl SoftwareTee {
    /// Talks to a launcher over this socket.
    ///
    /// # Errors
    /// If no time limit can be set.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// The launcher's socket, if standard output is one.
    pub(crate) fn inherited() -> Result<Option<Self>, AttestError> {
        let open = |source| AttestError::Open { tee: TeeKind::Software, source };
        let copy = io::stdout().as_fd().try_clone_to_owned().map_err(open)?;
        let file = File::from(copy);
        if !file.metadata().map_err(open)?.file_type().is_socket() {
            return Ok(None);
        }
        Self::new(UnixStream::from(OwnedFd::from(file))).map(Some).map_err(open)
    }
}

impl Attester for SoftwareTee {
    fn kind(&self) -> TeeKind {
        TeeKind::Software
    }

    fn report(&mut self, report_data: &[u8; 64]) -> Result<Report, AttestError> {
        let report = |source: FrameError| AttestError::Report { tee: TeeKind::Software, source };
        frame::write_bytes(&mut self.0, report_data).map_err(report)?;
        let evidence = frame::read_bytes(&mut self.0, MAX_EVIDENCE_BYTES).map_err(report)?;
        Ok(Report { tee: TeeKind::Software, evidence, collateral: None })
    }
}

/// A launcher signs in microseconds; this one hangs.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(answer: impl FnOnce(UnixStream) + Send + 'static) -> Result<Report, AttestError> {
        let (guard, launcher) = UnixStream::pair().expect("a pair");
        let launcher = std::thread::spawn(move || answer(launcher));
        let report = SoftwareTee::new(guard).expect("a tee").report(&[1; 64]);
        launcher.join().expect("launcher");
        report
    }

    #[test]
    fn the_launcher_is_asked_with_exactly_64_bytes() {
        let report = ask(|mut launcher| {
            let asked = frame::read_bytes(&mut launcher, 1000).expect("request");
            assert_eq!(asked, [1; 64]);
            frame::write_bytes(&mut launcher, b"report").expect("answer");
        });
        assert_eq!(report.expect("a report").evidence, b"report");
    }

    #[test]
    fn a_launcher_that_ends_or_answers_too_much_gives_no_report() {
        assert!(matches!(ask(drop), Err(AttestError::Report { .. })));
        let too_much = ask(|mut launcher| {
            frame::write_bytes(&mut launcher, &vec![0; MAX_EVIDENCE_BYTES + 1]).unwrap_or(());
        });
        assert!(matches!(
            too_much,
            Err(AttestError::Report { source: FrameError::TooLarge { .. }, .. })
        ));
    }
}
