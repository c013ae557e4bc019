//! The payloads of the events about the inbox.

use chat_domain::Notify;
use chat_domain::ports::InboxPosition;
use chat_domain::use_cases::InboxLimit;

use super::{read_event, room};
use crate::socket::Event;

fn list(after: Option<InboxPosition>, limit: usize) -> Event {
    let limit = InboxLimit::new(limit).unwrap();
    Event::ListRooms { after, limit }
}

#[test]
fn a_page_of_the_inbox_begins_after_the_next_of_another() {
    let position = InboxPosition {
        activity: 1_769_860_800_000,
        room_id: room(7),
    };
    for (payload, after, limit) in [
        ("{}", None, 50),
        (r#"{"after":null,"limit":null,"roomId":"x"}"#, None, 50),
        (
            r#"{"after":"1769860800000-7","limit":100}"#,
            Some(position),
            100,
        ),
        (r#"{"limit":1.0}"#, None, 1),
    ] {
        let read = read_event("listRooms", payload);
        assert_eq!(read, Ok(list(after, limit)), "{payload}");
    }
    let says = "after must be the next of a page";
    for wrong in [
        "7",
        "\"\"",
        "\"7\"",
        "\"x-7\"",
        "\"1-0\"",
        "true",
        "[]",
        "{}",
        r#""\ud800""#,
    ] {
        let read = read_event("listRooms", &format!(r#"{{"after":{wrong}}}"#));
        assert_eq!(read.unwrap_err(), says, "{wrong}");
    }
    for wrong in ["0", "101", "-1", "1.5", "\"1\"", "true"] {
        let read = read_event("listRooms", &format!(r#"{{"limit":{wrong}}}"#));
        let says = "limit must be an integer from 1 to 100";
        assert_eq!(read.unwrap_err(), says, "{wrong}");
    }
    let twice = read_event("listRooms", r#"{"limit":1,"limit":1}"#);
    assert_eq!(twice.unwrap_err(), "the payload contains a duplicate key");
}

#[test]
fn notify_is_one_of_three_names() {
    for notify in Notify::ALL {
        let payload = format!(r#"{{"roomId":7,"notify":"{}"}}"#, notify.as_str());
        let room_id = room(7);
        let expected = Event::SetNotify { room_id, notify };
        assert_eq!(read_event("setNotify", &payload), Ok(expected));
    }
    for wrong in ["\"ALL\"", "\"\"", "1", "true", "[]", r#""\ud800""#] {
        let read = read_event("setNotify", &format!(r#"{{"roomId":7,"notify":{wrong}}}"#));
        let says = "notify must be all, mentions or none";
        assert_eq!(read.unwrap_err(), says, "{wrong}");
    }
    for absent in ["", r#","notify":null"#] {
        let read = read_event("setNotify", &format!(r#"{{"roomId":7{absent}}}"#));
        assert_eq!(read.unwrap_err(), "notify is missing");
    }
    let read = read_event("setNotify", r#"{"notify":"all"}"#);
    assert_eq!(read.unwrap_err(), "roomId is missing");
}

#[test]
fn events_about_the_inbox_count_against_the_rate() {
    for (event, payload) in [
        ("listRooms", "{}"),
        ("setNotify", r#"{"roomId":7,"notify":"none"}"#),
    ] {
        assert!(read_event(event, payload).unwrap().counts_against_rate());
    }
}
