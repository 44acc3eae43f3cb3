//! What a broker that was taken over may send: bytes that are no requests, and requests for keys
//! that are not quite those that its log tells of.

use std::io::Cursor;

use cordon_protocol::frame::{read_bytes, read_message, write_bytes, write_message};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use super::*;
use crate::testing::{Fixture, Seeded, agreement, clearance_draft, grant_draft, run, sealed_share};

/// Changes of each request.
const CHANGES: u32 = 600;

/// A number below `end`, always the same in the same place of a test.
fn pick(runner: &mut TestRunner, end: usize) -> usize {
    use proptest::strategy::ValueTree as _;
    (0..end).new_tree(runner).expect("a number").current()
}

/// The context, its entry, the proof, the agreement, the guard's key, the share: no byte of them
/// can be another, or no key leaves.
#[test]
fn no_byte_of_a_request_for_keys_can_be_changed() {
    let fixture = Fixture::ready();
    let terms = agreement(fixture.store.public());
    let grant = grant_draft(&fixture.store, terms.clone()).request(&fixture.store);
    let share = sealed_share(fixture.store.public(), run(), &[9; 32]);
    let release = clearance_draft(&fixture.store, terms, &share).request(&fixture.store, share);
    let good = [Request::Grant(Box::new(grant)), Request::Release(Box::new(release))];
    let folder = fixture.close();

    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    });
    let mut input = Vec::new();
    let key_file = folder.path().join("root.key");
    write_message(&mut input, &Request::Unlock(Unlock::KeyFile(key_file))).unwrap();
    let mut changed = 0;
    for request in &good {
        let text = serde_json::to_vec(request).unwrap();
        for _ in 0..CHANGES {
            let mut bytes = text.clone();
            let place = pick(&mut runner, bytes.len());
            // Mostly of the same kind, or hardly any would be read at all.
            bytes[place] = match bytes[place] {
                b'0'..=b'9' => b'0' + pick(&mut runner, 10) as u8,
                b'a'..=b'z' => b'a' + pick(&mut runner, 26) as u8,
                _ => b'A' + pick(&mut runner, 26) as u8,
            };
            if bytes != text && serde_json::from_slice::<Request>(&bytes).is_ok() {
                write_bytes(&mut input, &bytes).unwrap();
                changed += 1;
            }
        }
    }
    assert!(changed > CHANGES, "{changed} changed requests can be read");
    for request in &good {
        write_message(&mut input, request).unwrap();
    }

    let mut output = Vec::new();
    serve(&folder.path().join("keys"), Cursor::new(input), &mut output, &mut Seeded::new(5))
        .unwrap();
    let mut output = Cursor::new(output);
    assert!(matches!(next(&mut output), Response::Unlocked(_)));
    read_bytes(&mut output, SERVICE_SEED_BYTES).unwrap();
    for _ in 0..changed {
        let answer = next(&mut output);
        assert!(matches!(answer, Response::Refused(_)), "{answer:?}");
    }
    // What was not changed is served.
    assert!(matches!(next(&mut output), Response::Granted(_)));
    assert!(matches!(next(&mut output), Response::Released(_)));
}

fn next(output: &mut Cursor<Vec<u8>>) -> Response {
    read_message(output, 1 << 20).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn bytes_that_are_no_requests_end_the_process_without_a_panic(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4),
        rest in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let folder = Fixture::empty().close();
        let mut input = Vec::new();
        for frame in frames {
            write_bytes(&mut input, &frame).unwrap();
        }
        input.extend(rest);
        let is_empty = input.is_empty();
        let keys = folder.path().join("keys");
        let mut output = Vec::new();
        let served = serve(&keys, Cursor::new(input), &mut output, &mut Seeded::new(5));
        prop_assert_eq!(served.is_ok(), is_empty);
        prop_assert!(output.is_empty());
    }
}
