//! Logs of events, written by hand and replayed.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use cordon_vendors::tpm::{Event, log, log_header};
use cordon_verifier::eventlog::{EventLog, MAX_EVENTS, MAX_LOG_BYTES, Registers};
use cordon_verifier::tpm::Bank;
use cordon_verifier::{Rejection, RejectionCode};

const EV_NO_ACTION: u32 = 3;
const EV_SEPARATOR: u32 = 4;
const EV_IPL: u32 = 0x0d;

fn events() -> Vec<Event> {
    vec![
        Event::new(0, 8, b"firmware 1.0"),
        Event::new(7, 0x8000_0001, b"SecureBoot"),
        Event::new(0, EV_SEPARATOR, &[0; 4]),
        Event::new(7, EV_SEPARATOR, &[0; 4]),
        Event::new(4, EV_IPL, b"kernel"),
    ]
}

/// What a machine's registers hold after these events, computed another way.
fn measured(events: &[Event], bank: Bank) -> BTreeMap<u32, Vec<u8>> {
    let mut registers = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind != EV_NO_ACTION) {
        let (_, new) = &event.digests[usize::from(bank == Bank::Sha384)];
        let value = registers.entry(event.register).or_insert_with(|| vec![0; new.len()]);
        value.extend(new);
        let algorithm = if bank == Bank::Sha384 { &SHA384 } else { &SHA256 };
        *value = digest(algorithm, value).as_ref().to_vec();
    }
    registers
}

#[track_caller]
fn refused<T>(result: Result<T, Rejection>, code: RejectionCode, field: &str) {
    let rejection = result.err().expect("must be refused");
    assert_eq!((rejection.code, rejection.field), (code, field), "{rejection}");
}

fn parse(bytes: &[u8]) -> Result<(), Rejection> {
    EventLog::parse(bytes, Registers::Pcr).map(drop)
}

fn require(events: &[Event], registers: &BTreeMap<u32, Vec<u8>>) -> Result<(), Rejection> {
    let bytes = log(events);
    EventLog::parse(&bytes, Registers::Pcr)?.require(Bank::Sha256, registers).map(drop)
}

#[test]
fn a_log_leads_to_the_registers_of_both_banks() {
    let bytes = log(&events());
    let log = EventLog::parse(&bytes, Registers::Pcr).expect("a log");
    for bank in [Bank::Sha256, Bank::Sha384] {
        let registers = measured(&events(), bank);
        assert_eq!(log.replay(bank).as_ref(), Ok(&registers));
        let replayed = log.clone().require(bank, &registers).expect("leads there");
        assert_eq!(replayed.events().len(), 5);
        assert!(replayed.events().iter().all(|event| event.measures_data(bank)));
    }
    // A register that nothing was extended into may be quoted, too.
    let mut registers = measured(&events(), Bank::Sha256);
    registers.insert(16, vec![0; 32]);
    require(&events(), &registers).expect("leads there");
}

/// The first extension by hand: `SHA-256(32 zeros || SHA-256("kernel"))`, by Python's hashlib.
#[test]
fn one_register_has_a_known_value() {
    let bytes = log(&events());
    let registers = EventLog::parse(&bytes, Registers::Pcr).expect("a log").replay(Bank::Sha256);
    let value = cordon_types::hex::encode(&registers.expect("registers")[&4]);
    assert_eq!(value, "457040d352c9be3893642229b99cb41ab79c24f00c00bfc2dbfbac0f8cf207fe");
}

/// Case 65.
#[test]
fn a_log_of_anything_else_is_refused() {
    const MISMATCH: RejectionCode = RejectionCode::EventLogMismatch;
    const FIELD: &str = "eventlog.register";
    let registers = measured(&events(), Bank::Sha256);
    let changed = |change: &dyn Fn(&mut Vec<Event>)| {
        let mut events = events();
        change(&mut events);
        require(&events, &registers)
    };
    changed(&|_| ()).expect("unchanged");
    // One event changed, left out, exchanged, or more at the end of what was measured.
    refused(changed(&|all| all[1].digests[0].1[0] ^= 1), MISMATCH, FIELD);
    refused(changed(&|all| drop(all.remove(1))), MISMATCH, FIELD);
    refused(changed(&|all| all.swap(1, 3)), MISMATCH, FIELD);
    refused(changed(&|all| all.push(Event::new(7, EV_IPL, b"more"))), MISMATCH, FIELD);
    refused(changed(&|all| all[4].register = 5), MISMATCH, FIELD);
    // In a register that nobody has quoted.
    refused(changed(&|all| all.push(Event::new(9, EV_IPL, b"more"))), MISMATCH, FIELD);
    // What is not extended is no measurement: a kernel that only says that it was loaded.
    refused(changed(&|all| all[4].kind = EV_NO_ACTION), MISMATCH, FIELD);
    refused(changed(&|all| (all[4].kind, all[4].register) = (EV_NO_ACTION, 0)), MISMATCH, FIELD);
    // The registers say more than the log.
    let mut more = registers.clone();
    more.insert(8, vec![1; 32]);
    refused(require(&events(), &more), MISMATCH, FIELD);
    let mut shorter = registers.clone();
    shorter.entry(7).and_modify(|value| value.truncate(31));
    refused(require(&events(), &shorter), MISMATCH, FIELD);
    // Data without its digest stays, but is known for it.
    let mut other = events();
    other[4].data = b"another".to_vec();
    let bytes = log(&other);
    let log = EventLog::parse(&bytes, Registers::Pcr).expect("a log");
    let replayed = log.require(Bank::Sha256, &registers).expect("the digests lead there");
    assert!(!replayed.events()[4].measures_data(Bank::Sha256));
    assert!(replayed.events()[3].measures_data(Bank::Sha256));
}

#[test]
fn a_bank_that_the_log_does_not_have_cannot_be_replayed() {
    let mut event = Event::new(0, EV_IPL, b"kernel");
    event.digests.pop();
    let bytes = [log_header(&[(0x000b, 32)]), event.encode()].concat();
    let log = EventLog::parse(&bytes, Registers::Pcr).expect("a log");
    assert!(log.replay(Bank::Sha256).is_ok());
    refused(log.replay(Bank::Sha384), RejectionCode::EventLogMismatch, "eventlog.digests");
}

#[test]
fn register_0_starts_where_the_tpm_was_started_from() {
    let locality =
        |value: &[u8]| Event::new(0, EV_NO_ACTION, &[b"StartupLocality\0", value].concat());
    let replay = |events: &[Event]| {
        let bytes = log(events);
        EventLog::parse(&bytes, Registers::Pcr)?.replay(Bank::Sha256)
    };
    let mut initial = [0; 32];
    initial[31] = 3;
    assert_eq!(replay(&[locality(&[3])]).expect("registers")[&0], initial);
    let event = Event::new(0, EV_IPL, b"firmware");
    let registers = replay(&[locality(&[3]), event.clone()]).expect("registers");
    let extended = [initial.as_slice(), &event.digests[0].1].concat();
    assert_eq!(registers[&0], digest(&SHA256, &extended).as_ref());
    // After other events of the register, twice, or of an impossible locality.
    for wrong in [
        vec![event, locality(&[3])],
        vec![locality(&[3]), locality(&[3])],
        vec![locality(&[1])],
        vec![locality(&[])],
        vec![locality(&[3, 0])],
    ] {
        refused(replay(&wrong), RejectionCode::Malformed, "eventlog.locality");
    }
}

#[test]
fn the_same_form_leads_to_run_time_measurements_of_tdx() {
    let events: Vec<_> = (1..=4)
        .map(|index| Event::new(index, EV_IPL, &[u8::try_from(index).expect("small")]))
        .collect();
    // The table is longer than the log.
    let bytes = [log(&events), vec![0xff; 500]].concat();
    let log = EventLog::parse(&bytes, Registers::Rtmr).expect("a log");
    let registers = log.replay(Bank::Sha384).expect("registers");
    assert_eq!(registers.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    let expected = measured(&events, Bank::Sha384);
    assert!(registers.iter().all(|(index, value)| expected[&(index + 1)] == *value));
    for index in [0, 5, 16] {
        let bytes = cordon_vendors::tpm::log(&[Event::new(index, EV_IPL, b"")]);
        let parsed = EventLog::parse(&bytes, Registers::Rtmr);
        refused(parsed, RejectionCode::Malformed, "eventlog.register");
    }
}

#[test]
fn a_log_that_is_cut_or_longer_is_refused() {
    let whole = log(&events());
    // Between two events it is a shorter log, which leads elsewhere.
    let ends: Vec<_> = (0..=5).map(|count| log(&events()[..count]).len()).collect();
    for size in 0..whole.len() {
        assert_eq!(parse(&whole[..size]).is_ok(), ends.contains(&size), "{size} bytes");
    }
    for more in [&[0][..], &[0xff, 0], &[0; 8]] {
        assert!(parse(&[whole.as_slice(), more].concat()).is_err());
    }
}

#[test]
fn sizes_and_counts_are_bounded_before_anything_is_kept() {
    const MALFORMED: RejectionCode = RejectionCode::Malformed;
    let whole = log(&events());
    let first = log(&[]).len();
    for (place, field) in [
        // The header's length, and its number of hashes; then the first event's.
        (28, "eventlog.header"),
        (56, "eventlog.header"),
        (first, "eventlog.register"),
        (first + 8, "eventlog.digests"),
        (first + 12 + 2 + 32 + 2 + 48, "eventlog.data"),
    ] {
        for number in [u32::MAX, u32::MAX - 1, 0x7fff_ffff, 0x0100_0000] {
            let mut huge = whole.clone();
            huge[place..place + 4].copy_from_slice(&number.to_le_bytes());
            refused(parse(&huge), MALFORMED, field);
        }
    }
    refused(parse(&vec![0; MAX_LOG_BYTES + 1]), RejectionCode::TooLarge, "eventlog");
    let mut event = Event::new(0, EV_IPL, b"");
    event.digests.truncate(1);
    let many = |count| [log_header(&[(0x000b, 32)]), event.encode().repeat(count)].concat();
    assert!(parse(&many(MAX_EVENTS)).is_ok());
    refused(parse(&many(MAX_EVENTS + 1)), RejectionCode::TooLarge, "eventlog");
}

#[test]
fn hashes_are_those_of_the_header_each_once_with_its_length() {
    const MALFORMED: RejectionCode = RejectionCode::Malformed;
    for hashes in [
        &[][..],
        &[(0x000b, 31)],
        &[(0x000b, 48)],
        &[(0x0999, 32)],
        &[(0x000b, 32), (0x000b, 32)],
        &[(0x000b, 32); 17],
    ] {
        refused(parse(&log_header(hashes)), MALFORMED, "eventlog.header");
    }
    parse(&log_header(&[(0x0004, 20), (0x000b, 32), (0x000c, 48), (0x000d, 64)])).expect("a log");
    let changed = |change: &dyn Fn(&mut Event)| {
        let mut event = Event::new(0, EV_IPL, b"kernel");
        change(&mut event);
        parse(&log(&[event]))
    };
    refused(changed(&|event| drop(event.digests.pop())), MALFORMED, "eventlog.digests");
    refused(changed(&|event| event.digests.clear()), MALFORMED, "eventlog.digests");
    refused(
        changed(&|event| event.digests[1] = event.digests[0].clone()),
        MALFORMED,
        "eventlog.digest",
    );
    refused(
        changed(&|event| event.digests[0] = (0x0004, vec![0; 20])),
        MALFORMED,
        "eventlog.digest",
    );
    // A digest of another length moves all that follows.
    assert!(changed(&|event| event.digests[0].1.push(0)).is_err());
    assert!(changed(&|event| event.digests[1].1.truncate(47)).is_err());
    for register in [17, 22, 24, u32::MAX - 1] {
        refused(changed(&|event| event.register = register), MALFORMED, "eventlog.register");
    }
    changed(&|event| event.register = 23).expect("a log");
}

#[test]
fn a_log_starts_with_exactly_one_header() {
    let good = log_header(&[(0x000b, 32)]);
    parse(&good).expect("a log");
    for place in 0..good.len() {
        // The platform's class, the errata, the size of numbers and the vendor's part are free.
        let free = matches!(place, 48 | 54 | 55) || place == good.len() - 1;
        let mut changed = good.clone();
        changed[place] ^= 0x10;
        assert!(parse(&changed).is_err() || free, "byte {place}");
    }
    let vendor = |count: u8, bytes: &[u8]| {
        let mut log = good.clone();
        *log.last_mut().expect("a byte") = count;
        log.extend(bytes);
        let size = u32::try_from(log.len() - 32).expect("small");
        log[28..32].copy_from_slice(&size.to_le_bytes());
        parse(&log)
    };
    vendor(3, b"abc").expect("a log");
    refused(vendor(2, b"abc"), RejectionCode::Malformed, "eventlog.header");
    refused(vendor(4, b"abc"), RejectionCode::Malformed, "eventlog.header");
}
