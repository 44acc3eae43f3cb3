//! Mailboxes: anybody posts, the owner reads, and nothing is lost before it is acknowledged.

use std::time::{Duration, Instant};

use cordon_crypto::SystemRandom;
use cordon_hub::MailboxName;
use cordon_hub::client::{Client, ClientError, Inbox, Mailbox};
use cordon_protocol::message::Mail;
use cordon_types::Nonce;
use reqwest::Method;

use crate::fixture::{BROKER, RESEARCHER, STRANGER, name, party, person, public, register};
use crate::support::{Hub, code, key, refusal};

const NO_WAIT: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(20);

fn mail(number: u8, body: &str) -> Mail<String> {
    Mail { id: Nonce::from_bytes([number; 32]), reply_to: None, body: body.to_owned() }
}

fn hospital() -> MailboxName {
    party().into()
}

fn inbox(client: &Client) -> Inbox<String> {
    Inbox::new(client.clone(), hospital(), key(BROKER))
}

async fn hub() -> (Hub, Client) {
    let hub = Hub::start().await;
    let client = hub.client(BROKER);
    register(&client).await;
    (hub, client)
}

/// The messages of a batch, and the last cursor.
async fn receive(inbox: &mut Inbox<String>, wait: Duration) -> (Vec<String>, u64) {
    let deliveries = inbox.receive(wait).await.expect("a batch");
    let last = deliveries.last().map_or(0, |delivery| delivery.cursor);
    let bodies = deliveries.into_iter().map(|d| d.mail.expect("well formed").body);
    (bodies.collect(), last)
}

#[tokio::test]
async fn messages_come_in_order_and_again_until_they_are_acknowledged() {
    let (hub, client) = hub().await;
    let anybody = hub.anonymous();
    for (number, body) in [(1, "one"), (2, "two"), (3, "three")] {
        anybody.post(&hospital(), &mail(number, body)).await.expect("posted");
    }
    let mut first = inbox(&client);
    let (bodies, _) = receive(&mut first, NO_WAIT).await;
    assert_eq!(bodies, ["one", "two", "three"]);
    assert!(receive(&mut first, NO_WAIT).await.0.is_empty(), "each once to one reader");

    // A reader that restarts gets all of them again.
    let mut second = inbox(&client);
    let deliveries = second.receive(NO_WAIT).await.expect("a batch");
    assert_eq!(deliveries.len(), 3);
    second.acknowledge(deliveries[1].cursor).await.expect("acknowledged");
    let (bodies, last) = receive(&mut inbox(&client), NO_WAIT).await;
    assert_eq!(bodies, ["three"]);
    second.acknowledge(last).await.expect("acknowledged");
    second.acknowledge(last).await.expect("twice is once");
    assert!(receive(&mut inbox(&client), NO_WAIT).await.0.is_empty());
}

#[tokio::test]
async fn a_long_poll_wakes_when_a_message_arrives() {
    let (hub, client) = hub().await;
    let begun = Instant::now();
    let reader = tokio::spawn(async move { receive(&mut inbox(&client), LONG).await.0 });
    tokio::task::yield_now().await;
    hub.anonymous().post(&hospital(), &mail(1, "wake up")).await.expect("posted");
    assert_eq!(reader.await.expect("a reader"), ["wake up"]);
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn a_long_poll_ends_empty_and_takes_its_time() {
    let (_hub, client) = hub().await;
    let begun = Instant::now();
    let wait = Duration::from_millis(200);
    assert!(receive(&mut inbox(&client), wait).await.0.is_empty());
    assert!(begun.elapsed() >= wait);
}

#[tokio::test]
async fn only_the_owner_reads_and_acknowledges() {
    let (hub, client) = hub().await;
    hub.anonymous().post(&hospital(), &mail(1, "secret")).await.expect("posted");
    for (number, target) in [
        (STRANGER, "/v1/mailboxes/hospital-a"),
        (RESEARCHER, "/v1/mailboxes/hospital-a"),
        (BROKER, "/v1/mailboxes/hospital-a/riley"),
    ] {
        for (method, query) in [(Method::GET, ""), (Method::DELETE, "?upto=18446744073709551615")] {
            let request = hub.signed(number, method, &format!("{target}{query}"), "");
            let refused = refusal(request.send().await.expect("an answer")).await;
            assert_eq!(refused, (403, "not_yours".to_owned()), "{number} {target}{query}");
        }
    }
    assert_eq!(receive(&mut inbox(&client), NO_WAIT).await.0, ["secret"]);

    let mut person = Inbox::<String>::new(
        hub.client(RESEARCHER),
        MailboxName::Person(party(), person()),
        key(RESEARCHER),
    );
    assert!(receive(&mut person, NO_WAIT).await.0.is_empty());
}

#[tokio::test]
async fn a_mailbox_without_a_card_does_not_exist() {
    let (hub, client) = hub().await;
    for to in ["hospital-b", "hospital-a/alex", &format!("reply-{}", "ab".repeat(32))] {
        let posted = client.post(&to.parse().expect("a mailbox"), &mail(1, "hello")).await;
        assert_eq!(code(posted), "not_found", "{to}");
    }
    let read = hub.signed(BROKER, Method::GET, "/v1/mailboxes/hospital-b", "");
    let refused = refusal(read.send().await.expect("an answer")).await;
    assert_eq!(refused, (404, "not_found".to_owned()));
}

#[tokio::test]
async fn the_same_bytes_twice_are_one_message_while_they_wait() {
    let (_hub, client) = hub().await;
    for _ in 0..2 {
        client.post(&hospital(), &mail(1, "hello")).await.expect("posted");
    }
    let mut reader = inbox(&client);
    let (bodies, last) = receive(&mut reader, NO_WAIT).await;
    assert_eq!(bodies, ["hello"]);
    reader.acknowledge(last).await.expect("acknowledged");
    client.post(&hospital(), &mail(1, "hello")).await.expect("posted");
    assert_eq!(receive(&mut reader, NO_WAIT).await.0, ["hello"]);
}

#[tokio::test]
async fn what_is_no_message_is_told_and_can_be_acknowledged() {
    let (hub, client) = hub().await;
    let junk = hub.request(Method::POST, "/v1/mailboxes/hospital-a").body("junk").send().await;
    assert_eq!(junk.expect("an answer").status().as_u16(), 201);
    let mut reader = inbox(&client);
    let deliveries = reader.receive(NO_WAIT).await.expect("a batch");
    assert!(deliveries[0].mail.is_err());
    reader.acknowledge(deliveries[0].cursor).await.expect("acknowledged");
    assert!(receive(&mut inbox(&client), NO_WAIT).await.0.is_empty());
}

#[tokio::test]
async fn strangers_fill_half_of_a_mailbox_and_known_senders_all_of_it() {
    let hub = Hub::start_with(|config| config.limits.mailbox_messages = 4).await;
    let client = hub.client(BROKER);
    register(&client).await;
    let strangers = hub.anonymous();
    for number in [1, 2] {
        strangers.post(&hospital(), &mail(number, "hello")).await.expect("room");
    }
    assert_eq!(code(strangers.post(&hospital(), &mail(3, "hello")).await), "mailbox_full");
    for number in [3, 4] {
        client.post(&hospital(), &mail(number, "hello")).await.expect("room for the known");
    }
    assert_eq!(code(client.post(&hospital(), &mail(5, "hello")).await), "mailbox_full");

    let small = Hub::start_with(|config| config.limits.mail_bytes = 10).await;
    register(&small.client(BROKER)).await;
    let posted = small.client(BROKER).post(&hospital(), &mail(1, "hello")).await;
    assert_eq!(code(posted), "storage_full");
}

#[tokio::test]
async fn a_question_gets_its_answer_in_a_mailbox_of_its_own() {
    let (hub, client) = hub().await;
    let asker = Mailbox::open(hub.anonymous(), Box::new(SystemRandom::new())).await;
    let asker = asker.expect("a mailbox");
    let broker = async {
        let mut reader = inbox(&client);
        let deliveries = reader.receive(LONG).await.expect("a batch");
        let question = deliveries[0].mail.as_ref().expect("a question");
        let reply_to = question.reply_to.as_ref().expect("wants an answer");
        // Noise first: another id is nobody's answer.
        let other = Nonce::from_bytes([9; 32]);
        client.answer(reply_to, other, &"noise").await.expect("posted");
        client.answer(reply_to, question.id, &format!("re: {}", question.body)).await
    };
    let to = hospital();
    let question = "how many?".to_owned();
    let (answer, answered) =
        tokio::join!(asker.ask::<String, String>(&to, &question, LONG), broker);
    answered.expect("posted");
    assert_eq!(answer.expect("an answer"), "re: how many?");

    let wait = Duration::from_millis(100);
    let nobody = asker.ask::<String, String>(&to, &question, wait).await;
    assert!(matches!(nobody, Err(ClientError::NoAnswer { .. })));
    asker.close().await.expect("closed");
}

#[tokio::test]
async fn a_reply_mailbox_is_its_keys_alone() {
    let (hub, _) = hub().await;
    let own = MailboxName::reply(&public(STRANGER));
    let target = format!("/v1/mailboxes/{own}");
    for method in [Method::PUT, Method::GET, Method::DELETE] {
        let request = hub.signed(BROKER, method, &target, "");
        let refused = refusal(request.send().await.expect("an answer")).await;
        assert_eq!(refused, (403, "not_yours".to_owned()));
    }
    let opened = hub.signed(STRANGER, Method::PUT, &target, "").send().await;
    assert_eq!(opened.expect("an answer").status().as_u16(), 204);
    hub.anonymous().post(&own, &mail(1, "hello")).await.expect("posted");
}

#[tokio::test]
async fn a_reply_mailbox_that_nobody_reads_makes_room() {
    let hub = Hub::start_with(|config| config.limits.reply_mailboxes = 1).await;
    let open = |number: u8| {
        let target = format!("/v1/mailboxes/{}", MailboxName::reply(&public(number)));
        hub.signed(number, Method::PUT, &target, "")
    };
    assert_eq!(open(1).send().await.expect("an answer").status().as_u16(), 204);
    let second = refusal(open(2).send().await.expect("an answer")).await;
    assert_eq!(second, (429, "too_many".to_owned()));
    hub.clock.advance(Duration::from_secs(60 * 60 + 1));
    assert_eq!(open(2).send().await.expect("an answer").status().as_u16(), 204);
    let gone = hub.anonymous().post(&MailboxName::reply(&public(1)), &mail(1, "hello")).await;
    assert_eq!(code(gone), "not_found");
}

#[tokio::test]
async fn names_that_are_no_mailboxes_are_refused() {
    let (hub, _) = hub().await;
    for target in ["Hospital", "..%2fx", "a/b%2fc"] {
        let response = hub.request(Method::POST, &format!("/v1/mailboxes/{target}"));
        let refused = refusal(response.body("hello").send().await.expect("an answer")).await;
        assert_eq!(refused, (400, "bad_request".to_owned()), "{target}");
    }
    assert!(name::<MailboxName>("hospital-a") == hospital());
}
