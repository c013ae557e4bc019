//! A user that has done everything of which a row remains.

use std::time::Duration;

use chat_domain::ports::{LastSeen, LeaseRequest, OutboxKind};
use chat_domain::{
    DisplayName, Generation, MessageEdit, MessageExtras, MessageMetadata, NewMember, NewMessage,
    Role, RulesNumber, Timestamp, UserId,
};

use super::{ID, NAME, Store, ada, change, impose, rules};
use crate::change_repository::{edit, react};
use crate::message_extras::{mentions, with};
use crate::outbox::{ONE, found, lease, record_all, request};
use crate::room_directory::{ban, mute, set};
use crate::{append, by, room, seq, under, with_id};

/// Lets the user do everything of which a row remains, the webhooks included.
pub(crate) async fn live(store: &impl Store) {
    record_all(store);
    for n in 0..3 {
        append(store, by("7", "Grace", room(1), "of another"))
            .await
            .unwrap();
        let own = with_id(by(ID, NAME, room(1), "own"), &format!("c-{n}"));
        append(store, own).await.unwrap();
        append(store, by(ID, NAME, room(1), "without an id"))
            .await
            .unwrap();
    }
    let position = seq;
    change(store, room(1), position(2), edit("edited"), ID).await;
    change(store, room(1), position(1), react(ID, "+", true), ID).await;
    change(store, room(1), position(1), react("7", "+", true), "7").await;
    change(store, room(1), position(1), react(ID, "only", true), ID).await;
    change(store, room(1), position(2), react("7", "-", true), "7").await;
    change(store, room(1), position(4), MessageEdit::Delete, ID).await;
    change(store, room(1), position(5), MessageEdit::Delete, ID).await;
    // As the only owner.
    impose(store, room(3), set(ID, Role::Owner)).await;
    impose(store, room(3), set("7", Role::Member)).await;
    impose(store, room(4), ban(ID, 60)).await;
    impose(store, room(5), mute(ID, None)).await;
    store.take_turn(room(6), &ada(), 60, None).await.unwrap();
    append(store, by("7", "Grace", room(7), "read"))
        .await
        .unwrap();
    store
        .mark_read(room(7), Generation::FIRST, &ada(), position(1))
        .await
        .unwrap();
    // A room that is being deleted.
    append(store, by(ID, NAME, room(8), "x")).await.unwrap();
    change(store, room(8), position(1), react(ID, "+", true), ID).await;
    impose(store, room(8), set(ID, Role::Member)).await;
    store.close(room(8)).await.unwrap();
    let member = NewMember {
        user_id: ada(),
        role: Role::Reader,
        name: Some(DisplayName::from_text(NAME)),
    };
    store
        .set_members(room(9), RulesNumber::NONE, &[member])
        .await
        .unwrap();
    mention(
        store,
        by("7", "Grace", room(10), "first"),
        None,
        &["7", ID, "8"],
    )
    .await;
    mention(store, by("7", "Grace", room(10), "only"), None, &[ID]).await;
    mention(store, by(ID, NAME, room(10), "own"), Some(2), &[ID, ODD]).await;
    let now = Timestamp::from_unix_millis(1_769_860_800_000);
    note_seen(store, now).await;
    store.revoke(&ada(), now).await.unwrap();
    // What the user has not read: in one room others have not read it either.
    impose(store, room(3), set("8", Role::Member)).await;
    impose(store, room(11), set(ID, Role::Member)).await;
    for number in [3, 11] {
        let rules = rules(store, room(number)).await;
        let unread = under(rules.get(), by("7", "Grace", room(number), "unread"));
        append(store, unread).await.unwrap();
    }
    // Nothing of it was delivered: the rooms are held by a node that has died.
    let due = LeaseRequest {
        notify_after: Duration::ZERO,
        ..request(ONE)
    };
    lease(store, due).await;
    let waiting = found(store, room(11)).await;
    let is_about_user = |(kind, _, _, user): &(OutboxKind, u64, u64, String)| {
        *kind == OutboxKind::MessagesUnread && user == ID
    };
    assert!(waiting.iter().any(is_about_user), "{waiting:?}");
}

/// An id that JSON escapes.
pub(super) const ODD: &str = "it's \"1\" \\ {é}";
/// Metadata that PostgreSQL does not decode, and that looks like mentions.
pub(super) const METADATA: &str = r#"{"a":"\u0000","mentions":["7"]}"#;

async fn mention(store: &impl Store, message: NewMessage, reply_to: Option<u64>, users: &[&str]) {
    let extras = MessageExtras {
        reply_to: reply_to.map(seq),
        metadata: (users.len() > 1).then(|| MessageMetadata::new(METADATA).unwrap()),
        ..mentions(users.iter().map(|id| UserId::new(*id).unwrap()))
    };
    append(store, with(message, extras)).await.unwrap();
}

/// Notes that the user was last seen at this time.
pub(super) async fn note_seen(store: &impl Store, at: Timestamp) {
    let seen = LastSeen {
        user_id: ada(),
        name: Some(DisplayName::from_text(NAME)),
        at: Some(at),
    };
    store.note_seen(&[seen]).await.unwrap();
}
