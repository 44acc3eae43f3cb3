//! Frames from a peer that lies: about lengths, about messages, or by stopping half way.

use std::io::{self, Read};

use cordon_protocol::frame::{FrameError, MAX_FRAME_BYTES, read_bytes, read_message};
use cordon_protocol::message::ToGuard;
use cordon_protocol::worker::{JobKeys, MAX_JOB_KEYS};
use proptest::prelude::*;

use crate::format::framed;
use crate::hostile::seeded;
use crate::samples;

/// A peer that announces a length and never sends what it announced; it fails a reader that asks.
struct Announces(Option<[u8; 4]>);

impl Read for Announces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.0.take().expect("nothing is read after a length that is refused");
        out[..4].copy_from_slice(&length);
        Ok(4)
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_anything_is_read_or_allocated() {
    let over = u32::try_from(MAX_FRAME_BYTES).expect("a u32") + 1;
    for (announced, limit) in
        [(u32::MAX, usize::MAX), (over, usize::MAX), (u32::MAX, 16), (17, 16), (1, 0)]
    {
        let mut peer = Announces(Some(announced.to_be_bytes()));
        let expected = (announced as usize, limit.min(MAX_FRAME_BYTES));
        assert!(matches!(
            read_bytes(&mut peer, limit),
            Err(FrameError::TooLarge { size, limit }) if (size, limit) == expected
        ));
        let mut peer = Announces(Some(announced.to_be_bytes()));
        assert!(matches!(
            read_message::<ToGuard>(&mut peer, limit),
            Err(FrameError::TooLarge { .. })
        ));
    }
}

#[test]
fn a_truncated_frame_is_an_error_and_an_end_between_frames_is_closed() {
    for format in samples::all() {
        let frame = framed(&format.bytes);
        for at in 1..frame.len() {
            assert!(matches!((format.read)(&frame[..at]), Err(FrameError::Io(_))), "{at}");
        }
        assert!(matches!((format.read)(&[]), Err(FrameError::Closed)));
        assert!((format.read)(&frame).is_ok(), "{}", format.name);
        // A message does not reach beyond its frame.
        let longer = [frame.as_slice(), b" garbage"].concat();
        assert!((format.read)(&longer).is_ok());
        let empty = framed(b"");
        assert!(matches!((format.read)(&empty), Err(FrameError::Malformed(_))));
        let padded = framed(&[format.bytes.as_slice(), b"\0"].concat());
        assert!(matches!((format.read)(&padded), Err(FrameError::Malformed(_))));
    }
}

#[test]
fn an_error_of_a_frame_does_not_repeat_its_content() {
    let frame = framed(br#"{"diagnosis-of-jane-doe":1}"#);
    let error = read_message::<ToGuard>(&mut frame.as_slice(), 64).expect_err("no message");
    assert!(!error.to_string().contains("jane"));
}

proptest! {
    #![proptest_config(seeded(1_000))]

    #[test]
    fn random_streams_make_no_reader_panic(stream: Vec<u8>, limit in 0..300_usize) {
        let mut rest = stream.as_slice();
        while let Ok(frame) = read_bytes(&mut rest, limit) {
            prop_assert!(frame.len() <= limit);
        }
    }

    #[test]
    fn a_key_frame_is_whole_records_and_round_trips(
        mut frame in proptest::collection::vec(any::<u8>(), 0..400),
        whole: bool,
    ) {
        if whole {
            frame.truncate(frame.len() / 38 * 38);
        }
        match JobKeys::from_frame(&frame) {
            Ok(keys) => prop_assert_eq!(keys.to_frame(), frame),
            Err(_) => prop_assert!(frame.len() % 38 != 0),
        }
    }
}

#[test]
fn more_keys_than_a_job_may_have_are_refused() {
    let most = vec![0; MAX_JOB_KEYS * 38];
    assert_eq!(JobKeys::from_frame(&most).expect("keys").into_keys().len(), MAX_JOB_KEYS);
    assert!(JobKeys::from_frame(&[most.as_slice(), &[0; 38]].concat()).is_err());
}
