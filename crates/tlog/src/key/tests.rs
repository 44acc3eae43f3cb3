use proptest::prelude::*;

use super::*;
use crate::testing::{name, signing_key};

/// Verifier keys that other implementations publish: of the examples of signed-note and of Go,
/// and of public logs and witnesses.
const LOG_VKEYS: [&str; 4] = [
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop",
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f",
];
const WITNESS_VKEYS: [&str; 3] = [
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
];

#[test]
fn published_vkeys_parse_and_are_written_alike() {
    for vkey in LOG_VKEYS {
        assert_eq!(vkey.parse::<LogKey>().map(|key| key.to_string()), Ok(vkey.to_owned()));
        let refused = VkeyError::Type { expected: 4, found: 1 };
        assert_eq!(vkey.parse::<WitnessKey>(), Err(refused));
    }
    for vkey in WITNESS_VKEYS {
        assert_eq!(vkey.parse::<WitnessKey>().map(|key| key.to_string()), Ok(vkey.to_owned()));
        assert_eq!(vkey.parse::<LogKey>(), Err(VkeyError::Type { expected: 1, found: 4 }));
    }
}

#[test]
fn every_part_of_a_vkey_is_refused_where_it_shows() {
    let vkey = LOG_VKEYS[0];
    let mut prefix = vkey.to_owned();
    while prefix.pop().is_some() {
        assert!(prefix.parse::<LogKey>().is_err(), "{prefix}");
    }
    for at in 0..vkey.len() {
        let mut changed = vkey.as_bytes().to_vec();
        changed[at] ^= 1;
        let changed = String::from_utf8(changed).expect("ascii");
        assert!(changed.parse::<LogKey>().is_err(), "{changed}");
    }
    assert_eq!(vkey.replace("d903", "D903").parse::<LogKey>(), Err(VkeyError::Form));
    assert_eq!(format!(" {vkey}").parse::<LogKey>(), Err(VkeyError::Form));
    assert_eq!("x".repeat(5000).parse::<LogKey>(), Err(VkeyError::Form));
    let wrong_id = vkey.replace("530d903a", "530d903b").parse::<LogKey>();
    assert!(matches!(wrong_id, Err(VkeyError::KeyId { .. })), "{wrong_id:?}");
}

#[test]
fn keys_of_other_lengths_and_algorithms_are_refused() {
    let vkey = |bytes: &[u8]| format!("x+00000000+{}", STANDARD.encode(bytes)).parse::<LogKey>();
    assert_eq!(vkey(&[1; 32]), Err(VkeyError::Length { found: 31 }));
    assert_eq!(vkey(&[1; 34]), Err(VkeyError::Length { found: 33 }));
    assert_eq!(vkey(&[1]), Err(VkeyError::Length { found: 0 }));
    assert_eq!(vkey(&[]), Err(VkeyError::Form));
    for kind in [0, 2, 4, 5, 0xff] {
        assert_eq!(vkey(&[kind; 33]), Err(VkeyError::Type { expected: 1, found: kind }));
    }
    let ml_dsa_44 = [6; 1313];
    assert_eq!(vkey(&ml_dsa_44), Err(VkeyError::Type { expected: 1, found: 6 }));
}

#[test]
fn one_key_pair_has_different_ids_as_log_and_as_witness() {
    let public = signing_key(1).verifying_key();
    let log = LogKey::new(name("x"), public);
    let witness = WitnessKey::new(name("x"), public);
    assert_ne!(log.id(), witness.id());
}

proptest! {
    #![proptest_config(crate::testing::seeded())]

    #[test]
    fn vkeys_round_trip(text in "[a-zé./-]{1,30}", public in any::<[u8; 32]>()) {
        let key = WitnessKey::new(name(&text), VerifyingKey::from_bytes(public));
        prop_assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(.|\\+){0,60}") {
        let _ = text.parse::<LogKey>();
    }
}
