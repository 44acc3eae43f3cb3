use crate::fixture::study::{HOSPITALS, Study, name, sign, signing_key, since, table};
use cordon_crypto::dsse::Envelope;
use cordon_protocol::Agreement;
use cordon_protocol::agreement::ParameterBound;
use cordon_protocol::run::ParameterValue;
use cordon_types::Milliseconds;

use super::*;
use crate::testing::{self, ENGINE};

/// The order of a study in which one thing was changed before everything was signed again.
fn order_of(change: impl FnOnce(&mut Study)) -> Result<Order, Code> {
    let mut study = testing::study();
    change(&mut study);
    let (agreement, request) = study.order();
    check(&agreement, &request)
}

fn refused(change: impl FnOnce(&mut Study)) -> Code {
    order_of(change).err().expect("must be refused")
}

fn refused_agreement(change: impl FnOnce(&mut Agreement)) -> Code {
    refused(|study| change(&mut study.agreement))
}

/// The frames of a host that starts a run.
fn started(agreement: &Envelope, request: &Envelope, size: u64, frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = ToGuard::Start {
        agreement: Box::new(agreement.clone()),
        request: Box::new(request.clone()),
        engine_size: size,
    };
    frame::write_message(&mut bytes, &start).expect("a frame");
    frames.iter().for_each(|part| frame::write_bytes(&mut bytes, part).expect("a frame"));
    bytes
}

fn receive_engine_in(size: u64, frames: &[&[u8]]) -> Result<(), Code> {
    let (agreement, request) = testing::study().order();
    let bytes = started(&agreement, &request, size, frames);
    receive(&mut bytes.as_slice()).map(drop)
}

#[test]
fn a_valid_order_names_its_run_by_the_request() {
    let study = testing::study();
    let (agreement, request) = study.order();
    let order = check(&agreement, &request).expect("an order");
    assert_eq!(order.digest, agreement.payload_digest());
    assert_eq!(order.run.0, request.payload_digest());
    assert_eq!(order.agreement, study.agreement);
}

#[test]
fn an_agreement_is_signed_by_the_requester_that_it_names() {
    let study = testing::study();
    let (_, request) = study.order();
    let stranger = sign(study.agreement.clone(), &signing_key(99));
    assert_eq!(check(&stranger, &request).err(), Some(Code::AgreementSignature));
    // A request in the place of an agreement.
    assert_eq!(check(&request, &request).err(), Some(Code::AgreementSignature));
}

#[test]
fn a_request_is_signed_by_the_requester() {
    let study = testing::study();
    let (agreement, _) = study.order();
    let request = RunRequest { agreement: agreement.payload_digest(), ..study.request.clone() };
    let stranger = sign(request, &signing_key(99));
    assert_eq!(check(&agreement, &stranger).err(), Some(Code::RequestSignature));
}

#[test]
fn a_request_is_for_this_agreement_and_all_of_its_holders() {
    let study = testing::study();
    let (agreement, _) = study.order();
    let other = study.sign(study.request.clone());
    assert_eq!(check(&agreement, &other).err(), Some(Code::RequestInvalid));

    let audiences = [vec![], vec![HOSPITALS[0], HOSPITALS[1]], vec![HOSPITALS[0]; 3], {
        let mut reversed = HOSPITALS.to_vec();
        reversed.reverse();
        reversed
    }];
    for audience in audiences {
        let audience = audience.into_iter().map(name).collect();
        assert_eq!(refused(|study| study.request.audience = audience), Code::RequestInvalid);
    }
}

#[test]
fn parameters_are_the_agreed_ones_with_agreed_values() {
    order_of(|study| drop(study.request.parameters.insert(name("since"), since("2019-01-01"))))
        .expect("the other agreed value");
    type Change = fn(&mut Study);
    let changes: [(&str, Change); 4] = [
        ("another value", |study| {
            study.request.parameters.insert(name("since"), since("2020-01-02"));
        }),
        ("another type", |study| {
            let text = ParameterValue::Text("2020-01-01".to_owned());
            study.request.parameters.insert(name("since"), text);
        }),
        ("missing", |study| study.request.parameters.clear()),
        ("unknown", |study| {
            study.request.parameters.insert(name("until"), since("2020-01-01"));
        }),
    ];
    for (what, change) in changes {
        assert_eq!(refused(change), Code::ParameterOutOfBounds, "{what}");
    }
    let empty = refused(|study| {
        let bound = ParameterBound { one_of: Vec::new() };
        study.agreement.program.parameters.insert(name("since"), bound);
    });
    assert_eq!(empty, Code::ParameterOutOfBounds);
}

#[test]
fn holders_are_sorted_and_share_no_key() {
    type Change = fn(&mut Agreement);
    let changes: [(&str, Change); 6] = [
        ("unsorted", |agreement| agreement.holders.swap(0, 1)),
        ("twice", |agreement| agreement.holders[1].party = agreement.holders[0].party.clone()),
        ("none", |agreement| agreement.holders.clear()),
        ("one broker key for two", |agreement| {
            agreement.holders[1].broker_key = agreement.holders[0].broker_key;
        }),
        ("a log that witnesses itself", |agreement| {
            agreement.holders[0].witness_key = agreement.holders[0].log_key;
        }),
        ("a broker that witnesses for another", |agreement| {
            agreement.holders[1].witness_key = agreement.holders[0].witness_key;
        }),
    ];
    for (what, change) in changes {
        let code = refused(|study| {
            change(&mut study.agreement);
            let holders = study.agreement.holders.iter();
            study.request.audience = holders.map(|holder| holder.party.clone()).collect();
        });
        assert_eq!(code, Code::AgreementInvalid, "{what}");
    }
}

#[test]
fn a_majority_of_the_others_are_witnesses_and_in_development_perhaps_none() {
    for quorum in [1, 3] {
        let code = refused_agreement(|agreement| agreement.witness_quorum = quorum);
        assert_eq!(code, Code::AgreementInvalid, "{quorum} of 2");
    }
    order_of(|study| study.agreement.witness_quorum = 0).expect("in development");
    let none = refused_agreement(|agreement| {
        agreement.witness_quorum = 0;
        agreement.profile = Profile::Production;
    });
    assert_eq!(none, Code::AgreementInvalid);
}

#[test]
fn tables_and_touched_columns_are_agreed() {
    type Change = fn(&mut Agreement);
    let changes: [(&str, Change); 10] = [
        ("no table", |agreement| {
            agreement.program.tables.clear();
            agreement.program.touched.clear();
        }),
        ("a table without a source", |agreement| {
            agreement.program.tables.insert(table(), Vec::new());
        }),
        ("a source twice", |agreement| {
            let sources = agreement.program.tables.get_mut(&table()).expect("sources");
            sources.push(sources[0].clone());
        }),
        ("a source of no holder", |agreement| {
            let sources = agreement.program.tables.get_mut(&table()).expect("sources");
            sources[0].holder = name("hospital-x");
        }),
        ("a source of another dataset", |agreement| {
            let sources = agreement.program.tables.get_mut(&table()).expect("sources");
            sources[0].dataset = name("claims");
        }),
        ("a source of another table", |agreement| {
            let sources = agreement.program.tables.get_mut(&table()).expect("sources");
            sources[0].table = name("observation");
        }),
        ("a sealed table under two names", |agreement| {
            let sources = agreement.program.tables[&table()].clone();
            agreement.program.tables.insert(name("again"), sources);
            agreement.program.touched.insert(name("again"), Vec::new());
        }),
        ("nothing touched", |agreement| agreement.program.touched.clear()),
        ("an unknown table touched", |agreement| {
            agreement.program.touched.insert(name("observation"), Vec::new());
        }),
        ("a column touched that one holder did not agree to", |agreement| {
            let holder = agreement.holders.last_mut().expect("a holder");
            let columns = holder.datasets[0].columns.get_mut(&table()).expect("columns");
            columns.retain(|column| column.as_str() != "sex");
        }),
    ];
    for (what, change) in changes {
        assert_eq!(refused_agreement(change), Code::AgreementInvalid, "{what}");
    }
}

#[test]
fn limits_are_in_their_ranges() {
    type Change = fn(&mut Agreement);
    let changes: [(&str, Change); 6] = [
        ("no time", |agreement| agreement.limits.deadline_ms = Milliseconds::new(0)),
        ("more than a week", |agreement| {
            agreement.limits.deadline_ms = Milliseconds::new(MAX_DEADLINE_MS + 1);
        }),
        ("no heartbeat", |agreement| agreement.limits.heartbeat_ms = Milliseconds::new(0)),
        ("a heartbeat after the lease", |agreement| {
            agreement.limits.heartbeat_ms = agreement.limits.lease_ms;
        }),
        ("a lease that makes a stop slow", |agreement| {
            agreement.limits.lease_ms = Milliseconds::new(MAX_LEASE_MS + 1);
        }),
        ("a result that no document holds", |agreement| agreement.output.max_bytes = u32::MAX),
    ];
    for (what, change) in changes {
        assert_eq!(refused_agreement(change), Code::AgreementInvalid, "{what}");
    }
}

#[test]
fn the_engine_comes_in_frames_and_has_the_agreed_digest() {
    let size = ENGINE.len() as u64;
    let (head, tail) = ENGINE.split_at(5);
    receive_engine_in(size, &[ENGINE]).expect("whole");
    receive_engine_in(size, &[head, tail]).expect("in parts");
    assert_eq!(receive_engine_in(size, &[tail, head]), Err(Code::WrongEngine));
    let mut other = ENGINE.to_vec();
    other[7] ^= 1;
    assert_eq!(receive_engine_in(size, &[&other]), Err(Code::WrongEngine));
    assert_eq!(receive_engine_in(size - 1, &[&ENGINE[1..]]), Err(Code::WrongEngine));
}

#[test]
fn an_engine_that_does_not_come_is_a_bad_start() {
    let size = ENGINE.len() as u64;
    assert_eq!(receive_engine_in(size, &[]), Err(Code::BadStart), "nothing");
    assert_eq!(receive_engine_in(size, &[&ENGINE[1..]]), Err(Code::BadStart), "too little");
    assert_eq!(receive_engine_in(size, &[b""]), Err(Code::BadStart), "an empty part");
    let more = [ENGINE, b"!"].concat();
    assert_eq!(receive_engine_in(size, &[&more]), Err(Code::BadStart), "too much");
}

#[test]
fn an_announced_size_takes_no_memory() {
    assert_eq!(receive_engine_in(u64::MAX, &[]), Err(Code::WrongEngine));
    let largest = MAX_ENGINE_BYTES as u64;
    assert_eq!(receive_engine_in(largest + 1, &[]), Err(Code::WrongEngine));
    assert_eq!(receive_engine_in(largest, &[]), Err(Code::BadStart));
}

#[test]
fn the_first_frame_is_a_start() {
    let mut bytes = Vec::new();
    frame::write_message(&mut bytes, &ToGuard::RangeFailed).expect("a frame");
    assert_eq!(receive(&mut bytes.as_slice()).err(), Some(Code::BadStart));
    assert_eq!(receive(&mut [].as_slice()).err(), Some(Code::BadStart));
    let announced = (MAX_START_BYTES as u32 + 1).to_be_bytes();
    assert_eq!(receive(&mut announced.as_slice()).err(), Some(Code::BadStart));
}
