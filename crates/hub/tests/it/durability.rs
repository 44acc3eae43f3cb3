//! What the hub has taken in outlives it.

use std::time::Duration;

use cordon_hub::client::Inbox;
use cordon_protocol::message::Mail;
use cordon_types::Nonce;

use crate::fixture::{BROKER, RESEARCHER, agreement, party, register, sign};
use crate::support::{Hub, key};

#[tokio::test]
async fn cards_documents_and_mail_outlive_a_restart() {
    let hub = Hub::start().await;
    register(&hub.client(BROKER)).await;
    let signed = sign(agreement(), RESEARCHER);
    hub.client(RESEARCHER).put_document(signed.envelope()).await.expect("stored");
    let mail = Mail { id: Nonce::from_bytes([1; 32]), reply_to: None, body: "kept".to_owned() };
    hub.anonymous().post(&party().into(), &mail).await.expect("posted");

    let (folder, clock) = hub.stop().await;
    let hub = Hub::resume(folder, clock, |_| {}).await;
    let found = hub.anonymous().document(&signed.digest(), None).await.expect("kept");
    assert_eq!(&found, signed.envelope());
    let mut inbox = Inbox::<String>::new(hub.client(BROKER), party().into(), key(BROKER));
    let kept = inbox.receive(Duration::ZERO).await.expect("a batch");
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].mail.as_ref().expect("well formed").body, "kept");
}
