//! Cards: the first under a name stays, and only its own key replaces it.

use std::collections::BTreeSet;

use cordon_hub::server::Registration;
use cordon_protocol::party::{PartyCard, PersonCard};
use cordon_types::UnixSeconds;
use reqwest::Method;

use crate::fixture::{
    BROKER, NOW, OTHER, RESEARCHER, STRANGER, name, party, party_card, person, person_card, public,
    register, sign,
};
use crate::support::{Hub, code, refusal};

const LATER: UnixSeconds = UnixSeconds::new(NOW.get() + 1);

#[tokio::test]
async fn cards_come_back_signed_by_their_own_key() {
    let hub = Hub::start().await;
    register(&hub.client(BROKER)).await;
    let anybody = hub.anonymous();
    let card = anybody.party(&party()).await.expect("a card");
    let card = card.open::<PartyCard>(&public(BROKER)).expect("holds");
    assert_eq!(card.into_value(), party_card());
    let card = anybody.person(&party(), &person()).await.expect("a card");
    let card = card.open::<PersonCard>(&public(RESEARCHER)).expect("holds");
    assert_eq!(card.into_value(), person_card());
    assert_eq!(code(anybody.party(&name("hospital-b")).await), "not_found");
    assert_eq!(code(anybody.person(&party(), &name("alex")).await), "not_found");
}

#[tokio::test]
async fn a_newer_card_of_the_same_key_replaces_and_no_other_does() {
    let hub = Hub::start().await;
    let client = hub.client(BROKER);
    register(&client).await;
    // The same again is no change.
    client.register_party(&sign(party_card(), BROKER)).await.expect("the same");

    let newer = PartyCard { manifest_keys: Vec::new(), issued: LATER, ..party_card() };
    client.register_party(&sign(newer.clone(), BROKER)).await.expect("newer");
    let stored = client.party(&party()).await.expect("a card");
    assert_eq!(stored.open::<PartyCard>(&public(BROKER)).expect("holds").into_value(), newer);

    // The old card would bring a withdrawn manifest key back.
    let old = client.register_party(&sign(party_card(), BROKER)).await;
    assert_eq!(code(old), "already_registered");
    let squatter = PartyCard { broker_key: public(STRANGER), issued: LATER, ..party_card() };
    let squatted = hub.client(STRANGER).register_party(&sign(squatter, STRANGER)).await;
    assert_eq!(code(squatted), "already_registered");
    let squatter = PersonCard { signing_key: public(STRANGER), issued: LATER, ..person_card() };
    let squatted = hub.client(STRANGER).register_person(&sign(squatter, STRANGER)).await;
    assert_eq!(code(squatted), "already_registered");
}

#[tokio::test]
async fn a_card_is_signed_by_the_key_in_it_and_stored_under_its_name() {
    let hub = Hub::start().await;
    let signed_by_another = sign(party_card(), STRANGER).envelope().to_json();
    let of_another = PartyCard { party: name("hospital-b"), ..party_card() };
    let of_another = sign(of_another, BROKER).envelope().to_json();
    let person_by_another = sign(person_card(), STRANGER).envelope().to_json();
    let person_of_another = PersonCard { person: name("alex"), ..person_card() };
    let person_of_another = sign(person_of_another, RESEARCHER).envelope().to_json();
    for (path, body) in [
        ("/v1/parties/hospital-a", signed_by_another),
        ("/v1/parties/hospital-a", of_another),
        ("/v1/parties/hospital-a", sign(person_card(), RESEARCHER).envelope().to_json()),
        ("/v1/parties/hospital-a", b"{}".to_vec()),
        ("/v1/persons/hospital-a/riley", person_by_another),
        ("/v1/persons/hospital-a/riley", person_of_another),
    ] {
        let response = hub.request(Method::PUT, path).body(body).send().await;
        let refused = refusal(response.expect("an answer")).await;
        assert_eq!(refused, (422, "document_refused".to_owned()), "{path}");
    }
    let no_name = hub.request(Method::PUT, "/v1/parties/Hospital").body("{}").send().await;
    assert_eq!(refusal(no_name.expect("an answer")).await, (400, "bad_request".to_owned()));
}

#[tokio::test]
async fn a_closed_hub_registers_listed_parties_and_their_persons() {
    let hub = Hub::start_with(|config| {
        config.registration = Registration::Listed(BTreeSet::from([public(BROKER)]));
    })
    .await;
    let stranger =
        PartyCard { party: name("hospital-x"), broker_key: public(STRANGER), ..party_card() };
    let refused = hub.client(STRANGER).register_party(&sign(stranger, STRANGER)).await;
    assert_eq!(code(refused), "registration_closed");

    let card = sign(person_card(), RESEARCHER);
    // The party's broker vouches for a person, and the party comes first.
    let early = hub.client(BROKER).register_person(&card).await;
    assert_eq!(code(early), "registration_closed");
    hub.client(BROKER).register_party(&sign(party_card(), BROKER)).await.expect("listed");
    let alone = hub.client(RESEARCHER).register_person(&card).await;
    assert_eq!(code(alone), "registration_closed");
    let unsigned = hub.anonymous().register_person(&card).await;
    assert_eq!(code(unsigned), "signature_missing");
    hub.client(BROKER).register_person(&card).await.expect("vouched for");
}

#[tokio::test]
async fn a_closed_hub_lets_a_broker_vouch_for_parties_without_one_only() {
    let hub = Hub::start_with(|config| {
        config.registration = Registration::Listed(BTreeSet::from([public(BROKER), public(OTHER)]));
    })
    .await;
    let other = PartyCard { party: name("hospital-b"), broker_key: public(OTHER), ..party_card() };
    hub.client(BROKER).register_party(&sign(party_card(), BROKER)).await.expect("listed");
    hub.client(OTHER).register_party(&sign(other, OTHER)).await.expect("listed");

    let away = sign(PersonCard { party: name("university"), ..person_card() }, RESEARCHER);
    assert_eq!(code(hub.client(STRANGER).register_person(&away).await), "registration_closed");
    hub.client(OTHER).register_person(&away).await.expect("the university has no broker");

    let own = sign(PersonCard { person: name("alex"), ..person_card() }, RESEARCHER);
    assert_eq!(code(hub.client(OTHER).register_person(&own).await), "registration_closed");
    hub.client(BROKER).register_person(&own).await.expect("its own broker");
}

#[tokio::test]
async fn a_hub_that_is_full_of_cards_says_so() {
    let hub = Hub::start_with(|config| config.limits.cards = 1).await;
    let client = hub.client(BROKER);
    client.register_party(&sign(party_card(), BROKER)).await.expect("room for one");
    let second = client.register_person(&sign(person_card(), RESEARCHER)).await;
    assert_eq!(code(second), "too_many");
    let newer = PartyCard { issued: LATER, ..party_card() };
    client.register_party(&sign(newer, BROKER)).await.expect("a newer card takes no room");
}
