//! A hook that gives no answer.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{OPEN, SECRET, grants, join, send, start};
use crate::operations::run;
use crate::rules::create;
use crate::support::hook::{Answer, Hook};
use crate::support::{Database, Gateway, command, metric};

/// A join in this time has met the deadline of two seconds, on a busy machine too.
const ABOUT_THE_DEADLINE: Duration = Duration::from_secs(6);

async fn calls(gateway: &Gateway, outcome: &str) -> u64 {
    let name = format!("chat_access_hook_calls_total{{outcome=\"{outcome}\"}}");
    metric(gateway, &name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_delays_only_the_join_that_needs_it() {
    let database = Database::sqlite();
    let hook = Hook::start(Answer::Silence).await;
    let gateway = start(&database, &hook, &[]);
    create(
        &database,
        "private",
        &[("ada", "member"), ("bob", "member")],
    );
    let mut ada = gateway.connect("ada").await;
    ada.join(super::ROOM).await;
    for (calls, answer) in [(1, Answer::Silence), (2, Answer::HeadOnly)] {
        hook.answer(answer);
        let mut eve = gateway.connect("eve").await;
        let began = Instant::now();
        let waiting = eve.start("joinRoom", &json!({ "roomId": OPEN })).await;
        hook.arrived(calls).await;
        let mut bob = gateway.connect("bob").await;
        bob.join(super::ROOM).await;
        assert_eq!(send(&mut bob, super::ROOM).await, "ok");
        ada.event("newMessage").await;
        let gone_on = began.elapsed();
        let refused = eve.ack(waiting).await;
        let took = began.elapsed();
        assert_eq!(refused["error"]["code"], "unavailable", "{refused}");
        assert_eq!(refused["error"]["retryable"], true);
        assert!(gone_on < took, "{gone_on:?} {took:?}");
        assert!(took >= Duration::from_secs(2), "{took:?}");
        assert!(took < ABOUT_THE_DEADLINE, "{took:?}");
    }
    assert_eq!(calls(&gateway, "timeout").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_failures_joins_fail_at_once_until_the_hook_answers_again() {
    let database = Database::sqlite();
    let hook = Hook::start(Answer::Status(500)).await;
    let gateway = start(&database, &hook, &[]);
    let mut ada = gateway.connect("ada").await;
    let valid = r#"{"allow":true}"#;
    for (failures, (answer, outcome)) in [
        (Answer::Status(500), "status"),
        (Answer::Status(307), "status"),
        (Answer::Status(404), "status"),
        (Answer::Text(valid.to_owned() + &" ".repeat(20_000)), "body"),
        (Answer::Text("<html>".into()), "body"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = calls(&gateway, outcome).await;
        hook.answer(answer);
        assert_eq!(join(&mut ada, OPEN).await, "unavailable");
        assert_eq!(calls(&gateway, outcome).await, before + 1);
        // A redirect is not followed, and nothing is repeated.
        assert_eq!(hook.calls().len(), failures + 1);
    }
    hook.answer(grants("member"));
    assert_eq!(join(&mut ada, OPEN).await, "unavailable");
    assert_eq!(hook.calls().len(), 5);
    assert_eq!(metric(&gateway, "chat_access_hook_breaker_open").await, 1);
    let refused = "chat_access_hook_joins_total{answered_by=\"breaker\"}";
    assert_eq!(metric(&gateway, refused).await, 1);
    gateway.wait_for_log(|log| log.find("the access hook does not answer"));

    let began = Instant::now();
    while join(&mut ada, OPEN).await != "ok" {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{}",
            gateway.log()
        );
    }
    assert_eq!(hook.calls().len(), 6);
    assert_eq!(metric(&gateway, "chat_access_hook_breaker_open").await, 0);
    gateway.wait_for_log(|log| log.find("the access hook answers again"));
    assert!(!gateway.log().contains("hunter2"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_cannot_be_reached_is_no_answer() {
    let database = Database::sqlite();
    let hook = Hook::start(grants("member")).await;
    let gateway = start(&database, &hook, &[]);
    drop(hook);
    let mut ada = gateway.connect("ada").await;
    while calls(&gateway, "connection").await == 0 {
        assert_eq!(join(&mut ada, OPEN).await, "unavailable");
    }
}

#[test]
fn the_gateway_does_not_start_without_a_secret_that_signs_calls() {
    let settings = [
        ("ACCESS_URL", "http://127.0.0.1:9/access?key=hunter2"),
        ("JWT_SECRET", crate::support::SECRET),
        ("DATABASE_URL", "sqlite://:memory:"),
        ("PORT", "0"),
    ];
    let (code, _, error) = run(command("serve").envs(settings));
    assert_eq!((code, error.lines().count()), (1, 1), "{error}");
    assert!(
        error.contains("WEBHOOK_SECRET is not set, but signs the calls of ACCESS_URL"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("chat.db").display());
    let settings = settings
        .into_iter()
        .chain([("DATABASE_URL", database.as_str())]);
    let (code, out, _) = run(command("check-config").envs(settings.clone()));
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("error: is not set, but signs"), "{out}");
    let settings = settings.chain([("WEBHOOK_SECRET", SECRET)]);
    let (code, out, _) = run(command("check-config").envs(settings));
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("http://127.0.0.1:9/access?***"), "{out}");
    assert!(!out.contains(&SECRET[6..]), "{out}");
}
