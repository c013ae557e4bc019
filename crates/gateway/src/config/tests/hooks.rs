//! The settings of calls to the product's backend.

use std::time::Duration;

use chat_domain::ports::{OutboxKind, OutboxKinds};

use super::{problem, read};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn the_access_hook_has_an_address_and_a_secret_that_signs_its_calls() {
    const URL: (&str, &str) = ("ACCESS_URL", "https://backend.example/access");
    let hook = |settings: &[(&str, &str)]| read(settings).unwrap().access_hook;
    assert!(hook(&[]).is_none());
    assert!(hook(&[("WEBHOOK_SECRET", SECRET)]).is_none());
    let settings = [
        URL,
        ("WEBHOOK_SECRET", SECRET),
        ("WEBHOOK_SECRET_PREVIOUS", SECRET),
    ];
    let both = hook(&settings).unwrap();
    assert_eq!(both.url.to_string(), URL.1);
    assert!(both.signer.previous.is_some());
    assert!(hook(&settings[..2]).unwrap().signer.previous.is_none());
    for (settings, expected) in [
        (
            &[URL][..],
            "WEBHOOK_SECRET is not set, but signs the calls of ACCESS_URL: generate",
        ),
        (
            &[URL, ("WEBHOOK_SECRET", "hunter2")],
            "WEBHOOK_SECRET must be whsec_ followed by base64: generate",
        ),
        (
            &[("WEBHOOK_SECRET", "whsec_aHVudGVyMg==")],
            "WEBHOOK_SECRET must have 24 to 64 bytes after base64 is decoded, not 7",
        ),
        (
            &[("WEBHOOK_SECRET_PREVIOUS", SECRET)],
            "WEBHOOK_SECRET_PREVIOUS has no effect, because WEBHOOK_SECRET is not set",
        ),
        (
            &[URL, ("WEBHOOK_SECRET_FILE", "/nowhere/secret")],
            "WEBHOOK_SECRET cannot be read from /nowhere/secret",
        ),
        (
            &[("ACCESS_URL", "ftp://h/"), ("WEBHOOK_SECRET", SECRET)],
            "ACCESS_URL must start with https:// or http://",
        ),
        (
            &[
                ("ACCESS_URL", "https://u:hunter2@h/"),
                ("WEBHOOK_SECRET", SECRET),
            ],
            "ACCESS_URL must not contain a user or a password",
        ),
    ] {
        let reported = problem(settings);
        assert!(reported.starts_with(expected), "{reported}");
        assert!(!reported.contains("hunter2"), "{reported}");
        assert!(!reported.contains("; "), "{reported}");
    }
}

#[test]
fn webhooks_have_a_receiver_a_secret_and_types() {
    const URL: (&str, &str) = ("WEBHOOK_URL", "https://backend.example/hook");
    const SECRET: (&str, &str) = ("WEBHOOK_SECRET", self::SECRET);
    let webhooks = |settings: &[(&str, &str)]| read(settings).unwrap().webhooks;
    assert!(webhooks(&[]).is_none());
    assert!(webhooks(&[SECRET]).is_none());
    let all = webhooks(&[URL, SECRET]).unwrap();
    assert_eq!(all.url.to_string(), URL.1);
    assert_eq!(all.kinds, OutboxKinds::from_iter(OutboxKind::REPORTED));
    assert_eq!(all.notify_after, Duration::from_secs(30));
    let after = ("NOTIFY_AFTER", "86400");
    let late = webhooks(&[URL, SECRET, after]).unwrap();
    assert_eq!(late.notify_after, Duration::from_secs(86_400));
    let events = ("WEBHOOK_EVENTS", "room.changed, room.deleted");
    let previous = ("WEBHOOK_SECRET_PREVIOUS", self::SECRET);
    let some = webhooks(&[URL, SECRET, previous, events]).unwrap();
    assert!(some.signer.previous.is_some());
    let kinds = [OutboxKind::RoomChanged, OutboxKind::RoomDeleted];
    assert_eq!(some.kinds, OutboxKinds::from_iter(kinds));
    for (settings, expected) in [
        (
            &[URL][..],
            "WEBHOOK_SECRET is not set, but signs the calls of WEBHOOK_URL: generate",
        ),
        (
            &[events],
            "WEBHOOK_EVENTS has no effect, because WEBHOOK_URL",
        ),
        (
            &[after],
            "NOTIFY_AFTER has no effect, because WEBHOOK_URL is not set: unset it",
        ),
        (
            &[URL, SECRET, ("NOTIFY_AFTER", "0")],
            "NOTIFY_AFTER must be a whole number of seconds from 1 to 86400, not \"0\"",
        ),
        (
            &[URL, SECRET, ("NOTIFY_AFTER", "30s")],
            "NOTIFY_AFTER must be a whole number of seconds from 1 to 86400, not \"30s\"",
        ),
        (
            &[("WEBHOOK_URL", "ftp://h/"), SECRET],
            "WEBHOOK_URL must start with https:// or http://",
        ),
        (
            &[URL, SECRET, ("WEBHOOK_EVENTS", "room.created")],
            "WEBHOOK_EVENTS must be a list of message.created",
        ),
    ] {
        let reported = problem(settings);
        assert!(reported.starts_with(expected), "{reported}");
        assert!(!reported.contains("; "), "{reported}");
    }
}
