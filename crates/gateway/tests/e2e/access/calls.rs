//! Which joins cause a call, and what it contains.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{OPEN, ROOM, SECRET, code, connect, grants, join, send, start};
use crate::rules::{create, operate};
use crate::support::hook::{Answer, Hook};
use crate::support::{Database, metric, now};

crate::on_each_database!(the_hook_decides_only_where_the_user_has_no_membership);

async fn the_hook_decides_only_where_the_user_has_no_membership(database: &Database) {
    let hook = Hook::start(Answer::Json(json!({ "allow": false }))).await;
    let gateway = start(database, &hook, &[]);
    create(database, "private", &[("ada", "owner"), ("rita", "reader")]);
    let room = ROOM.to_string();
    operate(database, &["ban", "--room", &room, "--user", "eve"]);
    for (user, expected) in [("ada", "ok"), ("rita", "forbidden")] {
        let mut member = gateway.connect(user).await;
        assert_eq!(join(&mut member, ROOM).await, "ok");
        assert_eq!(send(&mut member, ROOM).await, expected);
    }
    let mut eve = gateway.connect("eve").await;
    assert_eq!(join(&mut eve, ROOM).await, "not_found");
    let mut limited = connect(&gateway, &json!({ "sub": "bob", "rooms": [2] })).await;
    assert_eq!(join(&mut limited, OPEN).await, "not_found");
    assert_eq!(hook.calls().len(), 0);

    let mut bob = gateway.connect("bob").await;
    let denied = bob.call("joinRoom", &json!({ "roomId": OPEN })).await;
    let hidden = limited.call("joinRoom", &json!({ "roomId": OPEN })).await;
    assert_eq!(denied, hidden);
    assert_eq!(join(&mut bob, ROOM).await, "not_found");
    assert_eq!(hook.calls().len(), 2);
    // Whatever does not need a join: the hook has not let the user in.
    for room in [OPEN, ROOM] {
        for event in ["getRoom", "listMembers"] {
            let answer = code(&mut bob, event, json!({ "roomId": room })).await;
            assert_eq!(answer, "not_found", "{event}");
        }
        let member = json!({ "roomId": room, "userId": "bob", "role": "member" });
        assert_eq!(code(&mut bob, "setMember", member).await, "not_found");
    }
    hook.answer(Answer::Json(json!({ "allow": true })));
    let mut carl = gateway.connect("carl").await;
    for room in [OPEN, ROOM] {
        assert_eq!(join(&mut carl, room).await, "ok");
        // Without a role, that of a member.
        assert_eq!(send(&mut carl, room).await, "ok");
        assert_eq!(
            code(&mut carl, "getRoom", json!({ "roomId": room })).await,
            "ok"
        );
        let moderation = json!({ "roomId": room, "userId": "eve" });
        assert_eq!(code(&mut carl, "muteMember", moderation).await, "forbidden");
    }
    assert_eq!(hook.calls().len(), 4);
}

/// Returns the signature of a call with a secret of 24 zero bytes or that of the tests.
fn sign(secret: &str, content: &str) -> String {
    let secret = STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap())
        .unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    format!(
        "v1,{}",
        STANDARD.encode(hmac::sign(&key, content.as_bytes()))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_states_user_room_and_all_claims_and_is_signed() {
    const PREVIOUS: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let database = Database::sqlite();
    let hook = Hook::start(grants("reader")).await;
    let gateway = start(&database, &hook, &[("WEBHOOK_SECRET_PREVIOUS", PREVIOUS)]);
    let claims = json!({
        "sub": 42, "name": "Ada", "exp": now() + 600, "tenant": { "plan": ["a", null] }
    });
    let mut ada = connect(&gateway, &claims).await;
    assert_eq!(join(&mut ada, OPEN).await, "ok");
    assert_eq!(send(&mut ada, OPEN).await, "forbidden");
    let [call] = &hook.calls()[..] else {
        panic!("one call");
    };
    assert_eq!(call.method, "POST");
    assert_eq!(call.target, "/access?key=hunter2");
    assert_eq!(call.header("content-type"), "application/json");
    let expected = json!({ "userId": "42", "roomId": OPEN, "claims": claims });
    assert_eq!(call.json(), expected);
    let timestamp = call.header("webhook-timestamp");
    let age = now().abs_diff(timestamp.parse().unwrap());
    assert!(age < 20, "{timestamp}");
    let id = call.header("webhook-id");
    let content = format!("{id}.{timestamp}.{}", call.text);
    let signatures = [SECRET, PREVIOUS].map(|secret| sign(secret, &content));
    assert_eq!(call.header("webhook-signature"), signatures.join(" "));
    assert_eq!(join(&mut ada, 2).await, "ok");
    assert_ne!(hook.calls()[1].header("webhook-id"), id);
    for secret in ["hunter2", "MfKQ9r8GKYqr", "AAAAAAAA"] {
        assert!(!gateway.log().contains(secret), "{}", gateway.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_for_as_long_as_it_says() {
    let database = Database::sqlite();
    let hook = Hook::start(Answer::Json(json!({ "allow": true }))).await;
    let gateway = start(&database, &hook, &[]);
    // Another token of the same user: it expires later.
    for lifetime in [600, 700] {
        let claims = json!({ "sub": "ada", "exp": now() + lifetime });
        let mut ada = connect(&gateway, &claims).await;
        assert_eq!(join(&mut ada, OPEN).await, "ok");
    }
    assert_eq!(hook.calls().len(), 1);
    for (claims, room, calls) in [
        (json!({ "sub": "ada", "plan": "b" }), OPEN, 2),
        (json!({ "sub": "ada" }), 2, 3),
        (json!({ "sub": "bob" }), OPEN, 4),
    ] {
        let mut other = connect(&gateway, &claims).await;
        assert_eq!(join(&mut other, room).await, "ok");
        assert_eq!(hook.calls().len(), calls, "{claims}");
    }
    let cached = metric(
        &gateway,
        "chat_access_hook_joins_total{answered_by=\"cache\"}",
    )
    .await;
    assert_eq!(cached, 1);
    hook.answer(grants("member"));
    let mut eve = gateway.connect("eve").await;
    for calls in [5, 6] {
        assert_eq!(join(&mut eve, OPEN).await, "ok");
        assert_eq!(hook.calls().len(), calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_at_the_same_time_is_one_call() {
    const CONNECTIONS: usize = 100;
    let database = Database::sqlite();
    let hook = Hook::start(grants("member")).await;
    let gateway = start(&database, &hook, &[]);
    hook.hold(true);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let claims = json!({ "sub": "ada", "exp": 9_999_999_999_u64 });
        clients.push(connect(&gateway, &claims).await);
    }
    let mut first = clients.pop().unwrap();
    first.start("joinRoom", &json!({ "roomId": OPEN })).await;
    hook.arrived(1).await;
    // The one that asked first is gone before there is an answer.
    drop(first);
    let mut joins = Vec::new();
    for client in &mut clients {
        joins.push(client.start("joinRoom", &json!({ "roomId": OPEN })).await);
    }
    while metric(&gateway, "chat_access_hook_joins_total").await < CONNECTIONS as u64 {
        tokio::task::yield_now().await;
    }
    hook.hold(false);
    for (client, join) in clients.iter_mut().zip(joins) {
        assert_eq!(client.ack(join).await["ok"], true);
    }
    assert_eq!(hook.calls().len(), 1);
    assert_eq!(metric(&gateway, "chat_access_hook_calls_total").await, 1);
}
