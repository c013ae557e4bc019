//! Messages are encoded as in the contract.

use chat_domain::{Content, DisplayName, MessageId, NewMessage, User};

use super::*;

#[test]
fn a_message_is_encoded_as_in_the_contract() {
    let message = NewMessage {
        extras: None,
        room_id: RoomId::new(1).unwrap(),
        author: User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::new("hello").unwrap(),
        client_message_id: ClientMessageId::new("c0ffee-1").ok(),
        created_at: Timestamp::from_unix_millis(1_769_860_800_000),
        rules: chat_domain::RulesNumber::NONE,
    }
    .stored(MessageId::new(812), Seq::new(57).unwrap());
    assert_eq!(
        serde_json::to_value(WireMessage::new(&message, &[])).unwrap(),
        serde_json::json!({
            "id": 812, "roomId": 1, "seq": 57, "content": "hello",
            "createdAt": "2026-01-31T12:00:00.000Z",
            "userId": "42", "user": { "id": "42", "name": "Ada" },
            "clientMessageId": "c0ffee-1"
        })
    );
}

#[test]
fn a_message_states_what_it_carries() {
    let extras = chat_domain::MessageExtras {
        reply_to: Seq::new(5).ok(),
        mentions: ["7", "a\"b"].map(|id| UserId::new(id).unwrap()).into(),
        metadata: chat_domain::MessageMetadata::new(r#"{"a":1.0}"#).ok(),
    };
    let message = Message {
        id: MessageId::new(812),
        room_id: RoomId::new(1).unwrap(),
        seq: Seq::new(57).unwrap(),
        author: User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::new("hello").unwrap(),
        extras: extras.boxed(),
        client_message_id: ClientMessageId::new("c0ffee-1").ok(),
        created_at: Timestamp::from_unix_millis(0),
        changes: None,
    };
    let json = message_json(&message);
    let end = r#","clientMessageId":"c0ffee-1","replyTo":5,"mentions":["7","a\"b"],"metadata":{"a":1.0}}"#;
    assert!(json.ends_with(end), "{json}");
}

#[test]
fn a_changed_message_states_what_has_become_of_it() {
    let key = |key: &str| ReactionKey::new(key).unwrap();
    let changes = MessageChanges {
        rev: chat_domain::Rev::new(12).unwrap(),
        edited_at: Some(Timestamp::from_unix_millis(0)),
        deleted_at: None,
        erased_at: None,
        reactions: ["a", "b"]
            .map(|name| chat_domain::ReactionCount {
                key: key(name),
                count: 2,
            })
            .into(),
    };
    let message = Message {
        id: MessageId::new(812),
        room_id: RoomId::new(1).unwrap(),
        seq: Seq::new(57).unwrap(),
        author: User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::deleted(),
        extras: None,
        client_message_id: None,
        created_at: Timestamp::from_unix_millis(0),
        changes: Some(Box::new(changes)),
    };
    for (own, first) in [
        (vec![], serde_json::json!({"key": "a", "count": 2})),
        (
            vec![key("a")],
            serde_json::json!({"key": "a", "count": 2, "mine": true}),
        ),
    ] {
        let json = message_json_for(&message, &own);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let time = "1970-01-01T00:00:00.000Z";
        let expected = serde_json::json!({
            "id": 812, "roomId": 1, "seq": 57, "content": "", "createdAt": time,
            "userId": "42", "user": { "id": "42", "name": "Ada" },
            "rev": 12, "editedAt": time,
            "reactions": [first, { "key": "b", "count": 2 }]
        });
        assert_eq!(json, expected);
    }
}
