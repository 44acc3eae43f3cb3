//! Workers and hosts that do not do what they should: a code, and never a result.

use cordon_protocol::frame;

use crate::Test;
use crate::engine::act;
use crate::host::{Ranges, Scene};

pub fn tests() -> Vec<Test> {
    vec![
        ("a_worker_that_fails_is_a_failed_run_with_its_code", failures),
        ("a_worker_that_misbehaves_is_ended", misbehaviour),
        ("an_output_that_was_not_agreed_does_not_leave", outputs),
        ("ciphertext_that_does_not_come_fails_the_run", ranges),
        ("frames_that_nobody_asked_for_end_the_guard_without_a_word", frames),
    ]
}

/// Each act ends with its code: no result, no share, but a receipt for everybody.
fn ended_with(cases: &[(&str, &str)]) {
    for (act, code) in cases {
        let told = Scene::with_query(act).play();
        told.assert_failed(code);
        assert_eq!(told.receipts.len(), 3, "{act}");
    }
}

fn failures() {
    ended_with(&[
        (act::ABORT, "worker_crashed"),
        (act::EXIT, "worker_ended"),
        (act::FORBIDDEN, "worker_forbidden_call"),
        (act::FAIL, "memory_exceeded"),
        // Answers to its reads come when it is gone, and while the receipt is delivered.
        (act::ABORT_WHILE_READING, "worker_crashed"),
    ]);
}

fn misbehaviour() {
    ended_with(&[
        (act::BABBLE, "worker_misbehaved"),
        (act::UNKNOWN_MESSAGE, "worker_misbehaved"),
        (act::HUGE_FRAME, "worker_misbehaved"),
        (act::READ_OUTSIDE, "worker_misbehaved"),
        (act::READ_OTHER_FILE, "worker_misbehaved"),
        (act::PLAN_AGAIN, "worker_misbehaved"),
    ]);
}

fn outputs() {
    ended_with(&[
        (act::TOO_MANY_ROWS, "output_too_large"),
        (act::OTHER_COLUMNS, "output_malformed"),
        (act::MISSING_SUPPORT, "output_malformed"),
        (act::SMALL_CELLS, "gate_small_cells"),
    ]);
    let mut scene = Scene::new();
    scene.study.agreement.output.max_bytes = 64;
    scene.play().assert_failed("output_too_large");
}

fn ranges() {
    for (ranges, code) in [
        (Ranges::Fail, "read_failed"),
        (Ranges::Shorten, "host_misbehaved"),
        (Ranges::Repeat, "host_misbehaved"),
    ] {
        let told = Scene { ranges, ..Scene::new() }.play();
        told.assert_failed(code);
        assert!(told.reads > 0);
    }
}

/// Nobody is left to whom the guard could say why: a host that does not speak the protocol is
/// gone.
fn frames() {
    let framed = |bytes: &[u8]| {
        let mut out = Vec::new();
        frame::write_bytes(&mut out, bytes).expect("a frame");
        out
    };
    let too_large = u32::MAX.to_be_bytes().to_vec();
    for bytes in [framed(br#"{"surprise":{}}"#), framed(b"not json"), too_large] {
        let scene = Scene { interjects: Some(bytes), ..Scene::with_query(act::SLEEP) };
        let told = scene.play();
        assert!(!told.success && told.stored.is_none() && told.code.is_none());
    }
}
