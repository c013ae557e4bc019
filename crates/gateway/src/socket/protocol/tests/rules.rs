//! The events of rooms with rules.

use chat_domain::ports::SettingsPatch;
use chat_domain::use_cases::{RulesChange, RulesRequest};
use chat_domain::{Metadata, Role, RoomKind, RoomName, Sanction, UserId};

use super::*;

/// Reads an event that names room 7, with these further fields.
fn read_in_room(event: &str, fields: &str) -> Result<Event, String> {
    read_event(event, &format!(r#"{{"roomId":7{fields}}}"#))
}

fn error(event: &str, fields: &str) -> String {
    let read = read_in_room(event, fields);
    read.expect_err(fields)
}

fn change_of(user_id: &str, change: RulesChange) -> Event {
    Event::ChangeRules {
        room_id: room(7),
        request: RulesRequest::User {
            user_id: UserId::new(user_id).unwrap(),
            change,
        },
    }
}

fn patch(fields: &str) -> Result<SettingsPatch, String> {
    match read_in_room("setRoom", fields)? {
        Event::ChangeRules {
            room_id,
            request: RulesRequest::Settings(patch),
        } if room_id == room(7) => Ok(patch),
        other => panic!("{other:?} sets no room"),
    }
}

#[test]
fn each_event_about_a_user_is_one_change() {
    for (event, fields, change) in [
        (
            "setMember",
            r#","role":"reader""#,
            RulesChange::Role(Role::Reader),
        ),
        (
            "setMember",
            r#","role":"owner""#,
            RulesChange::Role(Role::Owner),
        ),
        (
            "removeMember",
            r#","seconds":"ignored""#,
            RulesChange::Remove,
        ),
        ("banMember", "", RulesChange::Ban(Sanction::lasting(None))),
        (
            "banMember",
            r#","seconds":null"#,
            RulesChange::Ban(Sanction::lasting(None)),
        ),
        (
            "banMember",
            r#","seconds":1"#,
            RulesChange::Ban(Sanction::lasting(Some(1))),
        ),
        ("unbanMember", "", RulesChange::Unban),
        (
            "muteMember",
            r#","seconds":315360000"#,
            RulesChange::Mute(Sanction::lasting(Some(315_360_000))),
        ),
        ("muteMember", "", RulesChange::Mute(Sanction::lasting(None))),
        ("unmuteMember", "", RulesChange::Unmute),
    ] {
        let fields = format!(r#","userId":"42"{fields}"#);
        assert_eq!(
            read_in_room(event, &fields),
            Ok(change_of("42", change)),
            "{event}"
        );
        let missing = read_event(event, r#"{"userId":"42"}"#);
        assert_eq!(missing.unwrap_err(), "roomId is missing");
        assert_eq!(error(event, ""), "userId is missing");
    }
}

#[test]
fn a_user_id_is_a_string_or_an_integer() {
    let of = |json: &str| read_in_room("removeMember", &format!(r#","userId":{json}"#));
    for (json, id) in [
        (r#""é""#, "é"),
        ("42", "42"),
        ("-7", "-7"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(of(json), Ok(change_of(id, RulesChange::Remove)), "{json}");
    }
    for wrong in [
        "1.0",
        "1e3",
        "-0",
        "18446744073709551616",
        "true",
        "[1]",
        "{}",
        r#""\ud800""#,
    ] {
        let error = of(wrong).expect_err(wrong);
        assert_eq!(error, "userId must be a string or an integer", "{wrong}");
    }
    for wrong in ["\"\"", r#""a\u0000""#, &format!("\"{}\"", "x".repeat(256))] {
        let error = of(wrong).expect_err(wrong);
        assert_eq!(
            error, "userId must have 1 to 255 bytes and must not contain NUL",
            "{wrong}"
        );
    }
    assert_eq!(of("null").unwrap_err(), "userId is missing");
}

#[test]
fn roles_and_times_are_those_of_the_contract() {
    for absent in ["", r#","role":null"#] {
        let fields = format!(r#","userId":"42"{absent}"#);
        assert_eq!(error("setMember", &fields), "role is missing");
    }
    for wrong in ["\"admin\"", "\"Owner\"", "\"\"", "1", "[]"] {
        assert_eq!(
            error("setMember", &format!(r#","userId":"42","role":{wrong}"#)),
            "role must be reader, member, moderator or owner",
            "{wrong}"
        );
    }
    for event in ["banMember", "muteMember"] {
        for wrong in ["0", "-1", "1.5", "315360001", "4294967297", "\"1\""] {
            assert_eq!(
                error(event, &format!(r#","userId":"42","seconds":{wrong}"#)),
                "seconds must be an integer from 1 to 315360000",
                "{wrong}"
            );
        }
    }
}

#[test]
fn a_room_gets_the_settings_that_are_given() {
    assert_eq!(patch(""), Ok(SettingsPatch::default()));
    let nothing =
        r#","name":null,"kind":null,"frozen":null,"slowModeSeconds":null,"metadata":null"#;
    assert_eq!(patch(nothing), Ok(SettingsPatch::default()));
    let all = r#","name":"a \u0062","kind":"private","frozen":false,"slowModeSeconds":86400,"metadata":{}"#;
    let expected = SettingsPatch {
        kind: Some(RoomKind::Private),
        name: RoomName::new("a b").ok(),
        frozen: Some(false),
        slow_mode_seconds: Some(86_400),
        metadata: Some(Metadata::default()),
    };
    assert_eq!(patch(all), Ok(expected));
    let least = patch(r#","frozen":true,"slowModeSeconds":0"#).unwrap();
    assert_eq!(
        (least.frozen, least.slow_mode_seconds),
        (Some(true), Some(0))
    );
}

#[test]
fn settings_outside_their_limits_are_refused() {
    const NAME: &str = "name must have 1 to 255 characters and must not contain NUL";
    const SECONDS: &str = "slowModeSeconds must be an integer from 0 to 86400";
    for (fields, says) in [
        (r#","name":7"#, "name must be a string of Unicode text"),
        (
            r#","name":"\ud800""#,
            "name must be a string of Unicode text",
        ),
        (r#","name":"""#, NAME),
        (r#","name":"a\u0000""#, NAME),
        (&format!(r#","name":"{}""#, "é".repeat(256)), NAME),
        (r#","kind":"Open""#, "kind must be open or private"),
        (r#","kind":1"#, "kind must be open or private"),
        (r#","frozen":1"#, "frozen must be true or false"),
        (r#","frozen":"true""#, "frozen must be true or false"),
        (r#","slowModeSeconds":-1"#, SECONDS),
        (r#","slowModeSeconds":86401"#, SECONDS),
        (r#","slowModeSeconds":true"#, SECONDS),
        (
            r#","kind":"open","kind":"open""#,
            "the payload contains a duplicate key",
        ),
    ] {
        assert_eq!(patch(fields).expect_err(fields), says, "{fields}");
    }
}

#[test]
fn metadata_is_an_object_that_is_kept_as_it_was_sent() {
    let of = |json: &str| patch(&format!(r#","metadata":{json}"#));
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"a":{open}{close}}}"#)
    };
    let of_bytes = |count: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(count - 8));
    for json in [
        r#"{ "b" : 1.50,"a":[null,true,-7,"\u00e9\u0000"],"é":{"x":1,"x":2} }"#,
        &deep(126),
        &of_bytes(4096),
    ] {
        let kept = of(json).unwrap().metadata.unwrap();
        assert_eq!(kept.as_str(), json);
    }
    const SHAPE: &str = "metadata must be an object of Unicode text, without deep nesting";
    const KEYS: &str = "metadata contains a duplicate key";
    for (json, says) in [
        ("[]", SHAPE),
        ("\"{}\"", SHAPE),
        ("1", SHAPE),
        (r#"{"a":"\ud800"}"#, SHAPE),
        (r#"{"\ud800":1}"#, SHAPE),
        (r#"{"a":[{"b":1e999}]}"#, SHAPE),
        (&deep(127), SHAPE),
        (r#"{"a":1,"b":2,"\u0061":1}"#, KEYS),
        (&of_bytes(4097), "metadata must have at most 4096 bytes"),
        (&deep(2100), "metadata must have at most 4096 bytes"),
    ] {
        assert_eq!(of(json).expect_err(json), says, "{json}");
    }
}

#[test]
fn a_room_and_its_members_are_read() {
    assert_eq!(
        read_in_room("getRoom", ""),
        Ok(Event::GetRoom { room_id: room(7) })
    );
    for (fields, after, limit) in [
        ("", None, 50),
        (r#","after":null,"limit":200"#, None, 200),
        (r#","after":"42","limit":1"#, Some("42"), 1),
    ] {
        let expected = Event::ListMembers {
            room_id: room(7),
            after: after.map(|after| UserId::new(after).unwrap()),
            limit: PageLimit::new(limit).unwrap(),
        };
        assert_eq!(
            read_in_room("listMembers", fields),
            Ok(expected),
            "{fields}"
        );
    }
    for (fields, says) in [
        (r#","after":42"#, "after must be a string of Unicode text"),
        (
            r#","after":"""#,
            "after must have 1 to 255 bytes and must not contain NUL",
        ),
        (r#","limit":201"#, "limit must be an integer from 1 to 200"),
    ] {
        assert_eq!(error("listMembers", fields), says);
    }
}

#[test]
fn changes_and_reads_of_a_room_count_against_the_rate() {
    let counts = |event: &str, fields: &str| {
        let event = read_in_room(event, fields).unwrap();
        event.counts_against_rate()
    };
    assert!(counts("setRoom", ""));
    assert!(counts("removeMember", r#","userId":"42""#));
    assert!(counts("getRoom", ""));
    assert!(!counts("listMembers", ""));
}
