//! `renewToken`: what a new token changes, and which tokens are refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_domain::Timestamp;
use serde_json::{Value, json};

use crate::on_each_database;
use crate::support::client::{Client, Polling};
use crate::support::{Database, Gateway, now, sign, sign_with, token};

on_each_database!(
    a_connection_outlives_its_first_token,
    rooms_that_the_new_token_does_not_allow_are_left,
);

/// Returns a token of user 1 with these further claims.
fn token_with(claims: Value) -> String {
    let mut all = json!({"sub": "1", "name": "Ada", "exp": now() + 3600});
    all.as_object_mut()
        .unwrap()
        .extend(claims.as_object().unwrap().clone());
    sign(&all)
}

async fn renew(client: &mut Client, token: &str) -> Value {
    client.call("renewToken", &json!({ "token": token })).await
}

/// Waits until this time of the clock, which the contract names.
async fn sleep_until(at: SystemTime) {
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left).await;
}

async fn a_connection_outlives_its_first_token(database: &Database) {
    let gateway = Gateway::start_with(database, &[("JWT_LEEWAY", "0")]);
    let exp = now() + 2;
    let mut client = Client::connect(gateway.address, &token_with(json!({"exp": exp}))).await;
    let mut other = Client::connect(gateway.address, &token_with(json!({"exp": exp}))).await;
    client.join(1).await;
    let later = now() + 600;
    for scheme in ["", "Bearer ", "bearer "] {
        let token = format!("{scheme}{}", token_with(json!({"exp": later})));
        let renewed = renew(&mut client, &token).await;
        let millis = i64::try_from(later * 1000).unwrap();
        let expires_at = Timestamp::from_unix_millis(millis).to_string();
        assert_eq!(renewed, json!({"ok": true, "expiresAt": expires_at}));
    }
    // The same user's other connection ends, and so shows that the time has come.
    assert_eq!(other.event("error").await["code"], "token_expired");
    let sent = client.send(1, "still here").await;
    assert_eq!(sent["message"]["content"], "still here", "{sent}");
    let events = client.take_events();
    assert!(events.iter().all(|(name, _)| name != "error"), "{events:?}");
}

async fn rooms_that_the_new_token_does_not_allow_are_left(database: &Database) {
    let gateway = Gateway::start(database);
    let mut client = Client::connect(gateway.address, &token_with(json!({}))).await;
    let mut other = gateway.connect("2").await;
    for room in 1..=3 {
        client.join(room).await;
        other.join(room).await;
    }
    client.take_events();
    let renewed = renew(&mut client, &token_with(json!({"rooms": [2, 9]}))).await;
    assert_eq!(renewed["ok"], true, "{renewed}");
    // The events precede the acknowledgement.
    let left = |room| {
        let payload = json!({"roomId": room, "reason": "removed"});
        ("leftRoom".to_owned(), payload)
    };
    assert_eq!(client.take_events(), [left(1), left(3)]);
    for room in [1, 3, 2] {
        assert_eq!(other.send(room, "hello").await["ok"], true);
    }
    // Nothing from the other rooms came before.
    let (name, message) = client.any_event().await;
    assert_eq!(
        (name.as_str(), &message["roomId"]),
        ("newMessage", &json!(2))
    );
    let refused = client.call("joinRoom", &json!({"roomId": 1})).await;
    assert_eq!(refused["error"]["code"], "not_found");
    client.join(9).await;

    // A wider claim restores nothing, but allows to join again.
    assert_eq!(renew(&mut client, &token_with(json!({}))).await["ok"], true);
    let refused = client.send(1, "x").await;
    assert_eq!(refused["error"]["code"], "not_in_room");
    client.join(1).await;
    assert_eq!(client.send(2, "in it all the time").await["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_keep_their_order_with_a_renewal_among_them() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = Client::connect(gateway.address, &token_with(json!({}))).await;
    client.join(1).await;
    let renamed = token_with(json!({"name": "Ada L.", "rooms": [2]}));
    let message = json!({"roomId": 1, "content": "x"});
    let mut answers = Vec::new();
    for (event, payload) in [
        ("sendMessage", message.clone()),
        ("renewToken", json!({ "token": renamed })),
        ("sendMessage", message),
        ("joinRoom", json!({"roomId": 2})),
        ("sendMessage", json!({"roomId": 2, "content": "y"})),
    ] {
        answers.push(client.start(event, &payload).await);
    }
    let [before, renewed, after, joined, sent] = answers[..] else {
        unreachable!("five events")
    };
    assert_eq!(client.ack(before).await["message"]["user"]["name"], "Ada");
    assert_eq!(client.ack(renewed).await["ok"], true);
    assert_eq!(client.ack(after).await["ok"], false);
    assert_eq!(client.ack(joined).await["ok"], true);
    assert_eq!(client.ack(sent).await["message"]["user"]["name"], "Ada L.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_leaves_the_old_one_in_force() {
    let database = Database::sqlite();
    let settings = [("JWT_LEEWAY", "0"), ("MAX_CONNECTIONS_PER_USER", "0")];
    let gateway = Gateway::start_with(&database, &settings);
    let exp = now() + 3;
    let old = token_with(json!({"exp": exp, "rooms": [1]}));
    let mut client = Client::connect(gateway.address, &old).await;
    client.join(1).await;
    client.take_events();
    let foreign = sign_with(
        "a secret that was never configured here",
        &json!({"sub": "1", "exp": now() + 60}),
    );
    for (payload, code) in [
        (json!({ "token": token("2", "Eve") }), "token_invalid"),
        (json!({ "token": foreign }), "token_invalid"),
        (
            json!({ "token": token_with(json!({"exp": now() - 60})) }),
            "token_expired",
        ),
        (
            json!({ "token": token_with(json!({"sub": "01"})) }),
            "token_invalid",
        ),
        (json!({"token": ""}), "token_invalid"),
        (json!({"token": "Bearer "}), "token_invalid"),
        (json!({"token": 7}), "token_invalid"),
        (json!({"token": ["x"]}), "token_invalid"),
        (json!({"token": "x".repeat(20_000)}), "token_invalid"),
        (json!({"token": null}), "invalid_payload"),
        (json!({}), "invalid_payload"),
        (json!([]), "invalid_payload"),
    ] {
        let answer = client.call("renewToken", &payload).await;
        assert_eq!(answer["ok"], false, "{payload}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{payload}: {answer}");
        assert_eq!(answer["error"]["retryable"], false);
        let (name, error) = client.take_events().remove(0);
        assert_eq!((name.as_str(), &error["code"]), ("error", &json!(code)));
        assert_eq!(error["event"], "renewToken");
    }
    assert_eq!(client.send(1, "x").await["ok"], true);
    let refused = client.call("joinRoom", &json!({"roomId": 2})).await;
    assert_eq!(
        refused["error"]["code"], "not_found",
        "the old token's rooms"
    );
    client.take_events();
    loop {
        let (name, error) = client.any_event().await;
        if name == "error" {
            assert_eq!(error["code"], "token_expired");
            break;
        }
    }
    let ends_at = UNIX_EPOCH + Duration::from_secs(exp);
    assert!(SystemTime::now() >= ends_at, "the old token's end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_sooner_ends_the_connection_sooner() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("JWT_LEEWAY", "0")]);
    let mut client = Client::connect(gateway.address, &token_with(json!({}))).await;
    let exp = now() + 2;
    assert_eq!(
        renew(&mut client, &token_with(json!({ "exp": exp }))).await["ok"],
        true
    );
    assert_eq!(client.event("error").await["code"], "token_expired");
    let late = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(exp + 1));
    assert!(late.is_err(), "{late:?} too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_over_long_polling() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let polling = Polling::connect(gateway.address, &token_with(json!({}))).await;
    let event = json!(["renewToken", { "token": token_with(json!({})) }]);
    assert_eq!(polling.post(&format!("420{event}")).await.0, 200);
    let packets = polling.packets().await;
    assert!(
        packets[0].starts_with("430[{\"ok\":true,\"expiresAt\":\""),
        "{packets:?}"
    );
}

/// At the instant of the expiry, either the renewal is acknowledged and the connection lives
/// on, or it ends as one whose token has expired. Many connections renew around it.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_at_the_instant_of_the_expiry_succeeds_or_the_connection_ends() {
    const CLIENTS: u64 = 60;
    let database = Database::sqlite();
    let settings = [("JWT_LEEWAY", "0"), ("MAX_CONNECTIONS_PER_USER", "0")];
    let gateway = Gateway::start_with(&database, &settings);
    let exp = now() + 3;
    let old = token_with(json!({ "exp": exp }));
    let new = token_with(json!({}));
    let expiry = UNIX_EPOCH + Duration::from_secs(exp);
    let mut renewing = tokio::task::JoinSet::new();
    for n in 0..CLIENTS {
        let mut client = Client::connect(gateway.address, &old).await;
        client.join(1).await;
        let new = new.clone();
        renewing.spawn(async move {
            // From 60 ms before the expiry to 180 ms after it: expired tokens are looked for
            // every 100 ms.
            let offset = Duration::from_millis(4 * n);
            sleep_until(expiry - Duration::from_millis(60) + offset).await;
            let renewal = format!("420{}", json!(["renewToken", { "token": new }]));
            // The connection may have ended.
            if futures_util::SinkExt::send(
                &mut client.socket,
                tokio_tungstenite::tungstenite::Message::text(renewal),
            )
            .await
            .is_err()
            {
                return None;
            }
            let (mut is_renewed, mut has_expired) = (false, false);
            // An acknowledged renewal is followed by an answer to another event.
            while let Ok(packet) = client.packet().await {
                if packet.starts_with("430[{\"ok\":true") {
                    assert!(!has_expired, "a renewal after the end: {packet}");
                    is_renewed = true;
                    client.emit("leaveRoom", &json!({"roomId": 7})).await;
                }
                has_expired |= packet.contains("token_expired") || packet == "41";
                if packet.contains("leftRoom") {
                    break;
                }
            }
            assert!(is_renewed != has_expired, "renewed: {is_renewed}");
            is_renewed.then_some(client)
        });
    }
    let renewed = renewing.join_all().await;
    let renewed: Vec<Client> = renewed.into_iter().flatten().collect();
    assert!(!renewed.is_empty(), "those before the expiry are renewed");

    // After further looks for expired tokens, one of which finds this one, they still live.
    let mut witness =
        Client::connect(gateway.address, &token_with(json!({"exp": now() + 1}))).await;
    assert_eq!(witness.event("error").await["code"], "token_expired");
    for mut client in renewed {
        assert_eq!(client.send(1, "alive").await["ok"], true);
    }
}
