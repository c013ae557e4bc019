//! Failures have the code, the details and the text of the contract.

use std::sync::Arc;

use super::*;
use crate::socket::packet::{Parts, parts};

fn json(packet: &Bytes) -> serde_json::Value {
    match parts(packet) {
        Parts::Event(_, json) | Parts::Ack(_, json) => serde_json::from_str(json).unwrap(),
        Parts::Disconnect => panic!("a disconnect has no JSON"),
    }
}

#[test]
fn a_failure_is_an_event_followed_by_an_acknowledgement() {
    let request = Request {
        event: Some("sendMessage".into()),
        room_id: RoomId::new(7).ok(),
        client_message_id: ClientMessageId::new("c0ffee-1").ok(),
        ack: Some(3),
    };
    let failure = Failure::from(SendMessageError::from(AccessDenied::NotInRoom));
    let packets: Vec<_> = request.failure(&failure).collect();
    assert!(matches!(parts(&packets[0]), Parts::Event("error", _)));
    assert_eq!(
        json(&packets[0]),
        serde_json::json!({
            "message": "join the room first", "code": "not_in_room",
            "event": "sendMessage", "roomId": 7, "clientMessageId": "c0ffee-1",
            "retryable": false
        })
    );
    assert!(matches!(parts(&packets[1]), Parts::Ack(3, _)));
    assert_eq!(
        json(&packets[1]),
        serde_json::json!({"ok": false, "error": {
            "code": "not_in_room", "message": "join the room first",
            "retryable": false
        }})
    );
    let silent = Request::default();
    assert_eq!(silent.failure(&failure).count(), 1);
    assert!(silent.success(&serde_json::json!({})).is_none());
}

/// Returns the `error` of the acknowledgement, which the event repeats.
fn refused(failure: impl Into<Failure>) -> serde_json::Value {
    let request = Request {
        ack: Some(3),
        ..Request::default()
    };
    let packets: Vec<_> = request.failure(&failure.into()).collect();
    let error = json(&packets[1])["error"].clone();
    assert_eq!(json(&packets[0]), error);
    error
}

#[test]
fn what_is_forbidden_has_a_reason_and_may_have_an_end() {
    let until = Timestamp::from_unix_millis(1_769_860_800_000);
    for (forbidden, details) in [
        (Forbidden::Role, serde_json::json!({"reason": "role"})),
        (Forbidden::Frozen, serde_json::json!({"reason": "frozen"})),
        (
            Forbidden::Muted(Until::Lifted),
            serde_json::json!({"reason": "muted"}),
        ),
        (
            Forbidden::Muted(Until::Time(until)),
            serde_json::json!({"reason": "muted", "until": "2026-01-31T12:00:00.000Z"}),
        ),
    ] {
        let mut expected = details;
        expected["code"] = "forbidden".into();
        expected["message"] = forbidden.to_string().into();
        expected["retryable"] = false.into();
        let denied = AccessDenied::from(forbidden);
        assert_eq!(refused(SendMessageError::from(denied)), expected);
        assert_eq!(refused(ChangeRulesError::from(denied)), expected);
    }
}

#[test]
fn in_slow_mode_the_client_learns_how_long_to_wait() {
    let retry_after_ms = 1500;
    assert_eq!(
        refused(SendMessageError::SlowMode { retry_after_ms }),
        serde_json::json!({
            "code": "rate_limited", "retryable": true, "retryAfterMs": 1500,
            "message": "slow mode: wait before you send another message"
        })
    );
}

#[test]
fn errors_of_rules_have_the_codes_of_the_contract() {
    let unavailable = || StorageError::unavailable("x");
    for (failure, code) in [
        (
            Failure::from(ChangeRulesError::from(AccessDenied::NotFound)),
            Code::NotFound,
        ),
        (ChangeRulesError::LastOwner.into(), Code::Conflict),
        (ChangeRulesError::Banned.into(), Code::Conflict),
        (
            ChangeRulesError::Storage(unavailable()).into(),
            Code::Unavailable,
        ),
        (
            ChangeRulesError::Storage(StorageError::outcome_unknown("x")).into(),
            Code::OutcomeUnknown,
        ),
        (
            GetRoomError::from(AccessDenied::NotFound).into(),
            Code::NotFound,
        ),
        (
            GetRoomError::Storage(unavailable()).into(),
            Code::Unavailable,
        ),
        (
            ListMembersError::from(AccessDenied::NotFound).into(),
            Code::NotFound,
        ),
        (
            ListMembersError::Storage(unavailable()).into(),
            Code::Unavailable,
        ),
        (
            SendMessageError::Outdated { has_turn: true }.into(),
            Code::Unavailable,
        ),
        (
            ListRoomsError::Storage(unavailable()).into(),
            Code::Unavailable,
        ),
        (
            SetNotifyError::from(AccessDenied::NotFound).into(),
            Code::NotFound,
        ),
        (
            SetNotifyError::from(AccessDenied::from(Forbidden::Role)).into(),
            Code::Forbidden,
        ),
        (
            SetNotifyError::Storage(unavailable()).into(),
            Code::Unavailable,
        ),
        (
            SetNotifyError::Storage(StorageError::outcome_unknown("x")).into(),
            Code::OutcomeUnknown,
        ),
    ] {
        assert_eq!(failure.code, code, "{}", failure.message);
        assert!(!failure.message.contains("may be stored"));
    }
}

#[test]
fn storage_errors_state_whether_the_message_may_be_stored() {
    let of = |error| Failure::from(SendMessageError::Storage(error)).code;
    assert_eq!(of(StorageError::unavailable("x")), Code::Unavailable);
    assert_eq!(of(StorageError::outcome_unknown("x")), Code::OutcomeUnknown);
    assert!(Code::Unavailable.is_retryable() && Code::OutcomeUnknown.is_retryable());
}

#[test]
fn the_cause_of_a_storage_error_is_not_sent() {
    for secret in [
        StorageError::unavailable("password=hunter2"),
        StorageError::outcome_unknown("password=hunter2"),
        StorageError::corrupt("password=hunter2"),
    ] {
        let failure = Failure::from(SendMessageError::Storage(secret));
        assert!(!failure.message.contains("hunter2"));
    }
}

#[test]
fn an_internal_error_is_logged_with_its_cause_under_the_id_that_the_client_receives() {
    let causes = [
        "stored data is not valid: no content",
        "a handler panicked: a text",
        "a handler panicked: a formatted text",
        "a handler panicked: without a text",
    ];
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    let failures = tracing::subscriber::with_default(subscriber, || {
        [
            MarkReadError::Storage(StorageError::corrupt("no content")).into(),
            Failure::panicked(&"a text"),
            Failure::panicked(&"a formatted text".to_owned()),
            Failure::panicked(&7),
        ]
    });
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert_eq!(log.lines().count(), failures.len());
    for ((line, failure), cause) in log.lines().zip(failures).zip(causes) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = line["id"].as_str().unwrap();
        assert_eq!(
            (&line["level"], &line["error"]),
            (&"ERROR".into(), &cause.into())
        );
        assert_eq!(failure.code, Code::Internal);
        assert_eq!(
            failure.message,
            format!("internal server error, logged as {id}")
        );
    }
}
