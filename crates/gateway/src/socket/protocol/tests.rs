//! Valid payloads are parsed, and every invalid one is refused with a message that names the
//! problem.

use chat_domain::use_cases::{PageLimit, PageStart, SentMessage};
use chat_domain::{Content, Rev, Seq};

use super::*;
use crate::socket::Event;

fn read(packet: &str) -> Received<Event> {
    super::read(packet, Event::parse)
}

fn read_event(event: &str, payload: &str) -> Result<Event, String> {
    let received = read(&format!(r#"["{event}",{payload}]"#));
    assert_eq!(received.event.as_deref(), Some(event));
    received.outcome.map_err(|error| error.to_string())
}

fn room(number: u64) -> RoomId {
    RoomId::new(number).unwrap()
}

mod extras;
mod inbox;
mod rules;

#[test]
fn valid_events_are_parsed() {
    let join = read_event("joinRoom", r#"{"roomId":7}"#);
    assert_eq!(
        join,
        Ok(Event::JoinRoom {
            room_id: room(7),
            after: None,
            after_rev: None,
        })
    );
    let leave = read_event("leaveRoom", r#"{"roomId":9007199254740991,"x":{"x":[1]}}"#);
    assert_eq!(
        leave,
        Ok(Event::LeaveRoom {
            room_id: room(chat_domain::MAX_NUMBER)
        })
    );
    let send = read_event("sendMessage", r#"{"content":"\u0068i \"é\"","roomId":1}"#);
    let sent = SentMessage {
        extras: None,
        room_id: room(1),
        content: Content::new("hi \"é\"").unwrap(),
        client_message_id: None,
    };
    assert_eq!(send, Ok(Event::SendMessage(sent)));
    let bounds = read_event("joinRoom", r#"{"roomId":1,"afterSeq":0,"seq":"x"}"#);
    let after = Some(Seq::START);
    assert_eq!(
        bounds,
        Ok(Event::JoinRoom {
            room_id: room(1),
            after,
            after_rev: None,
        })
    );
    let changes = read_event("joinRoom", r#"{"roomId":1,"afterSeq":0,"afterRev":3}"#);
    assert_eq!(
        changes,
        Ok(Event::JoinRoom {
            room_id: room(1),
            after,
            after_rev: Rev::new(3),
        })
    );
    let read = read_event("markRead", r#"{"roomId":1,"seq":5}"#);
    let seq = Seq::new(5).unwrap();
    assert_eq!(
        read,
        Ok(Event::MarkRead {
            room_id: room(1),
            seq
        })
    );
}

#[test]
fn a_token_is_a_string_and_is_not_shown() {
    let renewal = read_event("renewToken", r#"{"token":"hunter2"}"#).unwrap();
    assert!(matches!(&renewal, Event::RenewToken { token } if token.as_str() == "hunter2"));
    assert!(!format!("{renewal:?}").contains("hunter2"));
    for wrong in ["7", "true", "[]", "{}", r#""\ud800""#] {
        let received = read(&format!(r#"["renewToken",{{"token":{wrong}}}]"#));
        assert_eq!(received.outcome, Err(Malformed::Token), "{wrong}");
    }
    let twice = read_event("renewToken", r#"{"token":"a","token":"b"}"#);
    assert_eq!(twice.unwrap_err(), "the payload contains a duplicate key");
    for absent in ["{}", r#"{"token":null}"#] {
        let missing = read_event("renewToken", absent);
        assert_eq!(missing.unwrap_err(), "token is missing");
    }
}

#[test]
fn a_room_number_is_an_integer_in_range() {
    for ok in ["1", "1.0", "1e0", "10e-1", "9007199254740991"] {
        let read = read_event("joinRoom", &format!(r#"{{"roomId":{ok}}}"#));
        assert!(read.is_ok(), "{ok}: {read:?}");
    }
    for wrong in [
        "0",
        "-1",
        "-0",
        "1.5",
        "9007199254740992",
        "9223372036854775808",
        "18446744073709551616",
        "1e300",
        "-1e300",
        "1e999",
        "\"1\"",
        "true",
        "[1]",
        "{}",
        "\"\"",
    ] {
        let read = read_event("joinRoom", &format!(r#"{{"roomId":{wrong}}}"#));
        let error = read.expect_err(wrong);
        assert_eq!(
            error, "roomId must be an integer from 1 to 9007199254740991",
            "{wrong}"
        );
    }
    for absent in ["{}", r#"{"roomId":null}"#, r#"{"room_id":1}"#] {
        assert_eq!(
            read_event("joinRoom", absent).unwrap_err(),
            "roomId is missing"
        );
    }
}

#[test]
fn content_is_text_within_its_limits() {
    let with = |json: &str| {
        read_event(
            "sendMessage",
            &format!(r#"{{"roomId":1,"content":{json}}}"#),
        )
    };
    assert!(with(&format!("\"{}\"", "🦀".repeat(4000))).is_ok());
    for (json, error) in [
        ("null".to_owned(), "content is missing"),
        ("1".to_owned(), "content must be a string of Unicode text"),
        ("[]".to_owned(), "content must be a string of Unicode text"),
        (
            r#"{"_placeholder":true,"num":0}"#.to_owned(),
            "content must be a string of Unicode text",
        ),
        (
            r#""\ud800""#.to_owned(),
            "content must be a string of Unicode text",
        ),
        (
            r#""""#.to_owned(),
            "content must not be empty or only whitespace",
        ),
        (
            r#""\n\u3000""#.to_owned(),
            "content must not be empty or only whitespace",
        ),
        (r#""a\u0000""#.to_owned(), "content must not contain NUL"),
        (
            format!("\"{}\"", "a".repeat(4001)),
            "content must have at most 4000 characters",
        ),
    ] {
        assert_eq!(with(&json).unwrap_err(), error);
    }
    let without = read_event("sendMessage", r#"{"roomId":1}"#);
    assert_eq!(without.unwrap_err(), "content is missing");
}

#[test]
fn a_payload_is_one_object() {
    for wrong in ["null", "1", "\"x\"", "[]", "true", "[{\"roomId\":1}]"] {
        let read = read_event("joinRoom", wrong);
        assert_eq!(
            read.unwrap_err(),
            "the payload must be an object",
            "{wrong}"
        );
    }
    let absent = read(r#"["joinRoom"]"#).outcome.unwrap_err().to_string();
    assert_eq!(absent, "the payload is missing");
    let two = read(r#"["joinRoom",{"roomId":1},{"roomId":1}]"#);
    assert_eq!(
        two.outcome.unwrap_err().to_string(),
        "there must be one payload, not several arguments"
    );
    assert_eq!(two.room_id, Some(room(1)));
}

#[test]
fn duplicate_keys_are_malformed() {
    for payload in [
        r#"{"roomId":1,"roomId":1}"#,
        r#"{"roomId":1,"room\u0049d":2}"#,
        r#"{"roomId":1,"x":1,"x":2}"#,
    ] {
        let read = read_event("joinRoom", payload);
        assert_eq!(
            read.unwrap_err(),
            "the payload contains a duplicate key",
            "{payload}"
        );
    }
}

#[test]
fn an_unknown_event_is_reported_with_its_name() {
    for (packet, name) in [
        (r#"["shout",{"roomId":1}]"#, "shout"),
        (r#"["joinroom"]"#, "joinroom"),
        (r#"["a\"b",1,2,3]"#, "a\"b"),
    ] {
        let received = read(packet);
        assert_eq!(received.event.as_deref(), Some(name));
        assert_eq!(received.outcome, Err(Malformed::UnknownEvent));
    }
}

#[test]
fn a_packet_that_is_not_an_event_is_malformed() {
    for packet in [
        "",
        "[]",
        "{}",
        "[1]",
        "[null,{}]",
        "[\"joinRoom\",{]",
        "[\"joinRoom\",{}",
    ] {
        let received = read(packet);
        assert_eq!(received.event, None, "{packet}");
        assert!(
            matches!(received.outcome, Err(Malformed::Payload(_))),
            "{packet}"
        );
    }
}

#[test]
fn pages_have_one_bound_and_a_limit() {
    let list = |payload: &str| read_event("listMessages", &format!(r#"{{"roomId":1{payload}}}"#));
    let at = |n| Seq::new(n).unwrap();
    for (payload, start, limit) in [
        ("", PageStart::Newest, 50),
        (r#","beforeSeq":null,"limit":null"#, PageStart::Newest, 50),
        (r#","beforeSeq":7,"limit":1"#, PageStart::Before(at(7)), 1),
        (r#","afterSeq":0,"limit":200"#, PageStart::After(at(0)), 200),
    ] {
        let limit = PageLimit::new(limit).unwrap();
        let expected = Event::ListMessages {
            room_id: room(1),
            start,
            limit,
        };
        assert_eq!(list(payload), Ok(expected), "{payload}");
    }
    for (payload, error) in [
        (
            r#","beforeSeq":7,"afterSeq":1"#,
            "beforeSeq and afterSeq are mutually exclusive",
        ),
        (
            r#","beforeSeq":0"#,
            "beforeSeq must be an integer from 1 to 9007199254740991",
        ),
        (
            r#","afterSeq":-1"#,
            "afterSeq must be an integer from 0 to 9007199254740991",
        ),
        (
            r#","afterSeq":"1""#,
            "afterSeq must be an integer from 0 to 9007199254740991",
        ),
        (r#","limit":0"#, "limit must be an integer from 1 to 200"),
        (r#","limit":201"#, "limit must be an integer from 1 to 200"),
        (r#","limit":1.5"#, "limit must be an integer from 1 to 200"),
    ] {
        assert_eq!(list(payload).unwrap_err(), error);
    }
}

#[test]
fn mark_read_requires_a_position_and_client_message_ids_are_plain_text() {
    let mark = |payload: &str| read_event("markRead", payload).unwrap_err();
    assert_eq!(mark(r#"{"roomId":1}"#), "seq is missing");
    assert_eq!(mark(r#"{"roomId":1,"seq":null}"#), "seq is missing");
    for wrong in ["0", "-1", "1.5", "\"1\"", "9007199254740992"] {
        let error = mark(&format!(r#"{{"roomId":1,"seq":{wrong}}}"#));
        assert_eq!(error, "seq must be an integer from 1 to 9007199254740991");
    }

    let send = |id: &str| {
        let packet =
            format!(r#"["sendMessage",{{"roomId":1,"content":"x","clientMessageId":{id}}}]"#);
        let received = read(&packet);
        (received.client_message_id, received.outcome)
    };
    let (known, outcome) = send("\"c0ffee-1\"");
    assert_eq!(known, ClientMessageId::new("c0ffee-1").ok());
    assert!(outcome.is_ok());
    assert!(send("null").1.is_ok_and(|event| matches!(event,
        Event::SendMessage(sent) if sent.client_message_id.is_none())));
    for wrong in [
        "\"\"",
        "\"a b\"",
        "7",
        "[]",
        &format!("\"{}\"", "x".repeat(65)),
    ] {
        let (known, outcome) = send(wrong);
        assert_eq!(known, None);
        assert!(
            outcome
                .unwrap_err()
                .to_string()
                .starts_with("clientMessageId must"),
            "{wrong}"
        );
    }
}
