//! Revoking tokens and disconnecting users: on one node and several, with and without Redis.
//!
//! The command runs in a process of its own, so a gateway without Redis learns of everything
//! from the database.

mod nodes;
mod outage;

use std::collections::VecDeque;
use std::process::Output;
use std::time::{Duration, Instant};

use chat_test_support::run;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::on_each_database;
use crate::support::client::{Client, Ended, Polling};
use crate::support::{DEADLINE, Database, Gateway, command, metric, now, sign};

on_each_database!(
    revoked_tokens_are_refused_and_their_connections_end,
    tokens_of_the_second_of_the_revocation_are_refused_and_later_ones_are_not,
    a_gateway_that_has_just_started_refuses_revoked_tokens,
    a_renewal_with_a_revoked_token_changes_nothing,
    a_disconnected_user_may_connect_again,
);

/// Within what time a node acts that Redis does not reach.
const WITHOUT_REDIS: Duration = Duration::from_secs(10);

/// Returns a token of a user that was issued so many seconds ago, if it says so.
pub(crate) fn issued(user: &str, seconds_ago: Option<i64>) -> String {
    let mut claims = json!({"sub": user, "name": "x", "exp": now() + 3600});
    if let Some(ago) = seconds_ago {
        claims["iat"] = json!(now().cast_signed() - ago);
    }
    sign(&claims)
}

/// Runs `kick` with these arguments, on this database.
fn kick(user: &str, arguments: &[&str], database: &Database, more: &[(&str, &str)]) -> String {
    let output = try_kick(user, arguments, &database.url(), more);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn try_kick(user: &str, arguments: &[&str], url: &str, more: &[(&str, &str)]) -> Output {
    let mut kick = command("kick");
    kick.args(["--user", user])
        .args(arguments)
        .env("DATABASE_URL", url)
        .envs(more.iter().copied());
    run(&mut kick, DEADLINE).unwrap()
}

/// Returns a time as the command takes it.
fn ago(seconds: i64) -> String {
    let millis = (now().cast_signed() - seconds) * 1000;
    chat_domain::Timestamp::from_unix_millis(millis).to_string()
}

/// Asks to connect. Returns the answer.
async fn handshake(gateway: &Gateway, token: &str) -> String {
    let mut client = Client::open(gateway.address).await;
    let auth = json!({ "token": token });
    client.send_packet(&format!("40{auth}")).await;
    client.packet().await.unwrap()
}

const REVOKED: &str = r#"44{"message":"token_revoked"}"#;

async fn assert_refused(gateway: &Gateway, token: &str) {
    assert_eq!(handshake(gateway, token).await, REVOKED);
}

/// Waits until a token is accepted or refused.
async fn until_answered(gateway: &Gateway, token: &str, expected: &str) {
    let began = Instant::now();
    while !handshake(gateway, token).await.starts_with(expected) {
        assert!(began.elapsed() < WITHOUT_REDIS, "{expected}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn assert_is_token_revoked(packet: &str) {
    let event: Value = serde_json::from_str(packet.strip_prefix("42").expect(packet)).unwrap();
    let message = &event[1]["message"];
    let error = json!({"message": message, "code": "token_revoked", "retryable": false});
    assert_eq!(event, json!(["error", error]));
}

/// Requires the connection to end as one whose token is revoked.
async fn assert_ends(client: &mut Client, within: Duration) {
    let packets = client.read_to_end(within).await;
    let [error, disconnect] = &packets[..] else {
        panic!("{packets:?}")
    };
    assert_is_token_revoked(error);
    assert_eq!(disconnect, "41");
}

async fn assert_serves(client: &mut Client) {
    let sent = client.send(1, "still here").await;
    assert_eq!(sent["ok"], true, "{sent}");
}

async fn revoked_tokens_are_refused_and_their_connections_end(database: &Database) {
    let gateway = Gateway::start(database);
    let address = gateway.address;
    let [old, without, new] = [Some(200), None, Some(50)].map(|ago| issued("42", ago));
    let mut ending = Vec::new();
    for token in [&old, &without] {
        let mut client = Client::connect(address, token).await;
        client.join(1).await;
        client.take_events();
        ending.push(client);
    }
    let polling = Polling::connect(address, &old).await;
    let mut staying = Vec::new();
    for token in [&new, &issued("4", Some(200)), &issued("420", None)] {
        let mut client = Client::connect(address, token).await;
        client.join(1).await;
        staying.push(client);
    }

    let said = kick(
        "42",
        &["--revoke", "--issued-before", &ago(100)],
        database,
        &[],
    );
    assert!(said.contains("are revoked\nstored: "), "{said}");
    for client in &mut ending {
        assert_ends(client, WITHOUT_REDIS).await;
    }
    let mut packets = polling.packets().await;
    if packets.len() == 1 {
        packets.extend(polling.packets().await);
    }
    assert_is_token_revoked(&packets[0]);
    assert_eq!(packets[1..], ["41"]);
    assert_eq!(polling.get().await.0, 400, "the session has ended");
    for token in [&old, &without] {
        assert_refused(&gateway, token).await;
    }
    assert!(handshake(&gateway, &new).await.starts_with("40{"));
    let name = r#"chat_forced_disconnects_total{reason="token_revoked"}"#;
    assert_eq!(metric(&gateway, name).await, 3);
    let name = r#"chat_handshakes_total{outcome="token_revoked"}"#;
    assert_eq!(metric(&gateway, name).await, 2);

    // An earlier revocation takes nothing back, and a later one refuses more.
    kick(
        "42",
        &["--revoke", "--issued-before", &ago(1000)],
        database,
        &[],
    );
    kick(
        "42",
        &["--revoke", "--issued-before", &ago(20)],
        database,
        &[],
    );
    assert_ends(&mut staying[0], WITHOUT_REDIS).await;
    assert_refused(&gateway, &old).await;
    assert_refused(&gateway, &new).await;
    assert_eq!(
        kick("42", &["--lift"], database, &[]),
        "the revocation is lifted\nstored: gateways find it within seconds\n"
    );
    until_answered(&gateway, &old, "40{").await;
    for token in [&without, &new] {
        assert!(handshake(&gateway, token).await.starts_with("40{"));
    }
    assert_eq!(
        kick("42", &["--lift"], database, &[]),
        "nothing was revoked\n"
    );
    for client in &mut staying[1..] {
        assert_serves(client).await;
    }
    // The log names the user, and no token.
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("tokens are revoked"));
    let line: Value = serde_json::from_str(line.unwrap()).unwrap();
    assert_eq!(
        (&line["user"], &line["level"]),
        (&json!("42"), &json!("INFO"))
    );
    for token in [&old, &without, &new] {
        assert!(!log.contains(&token[token.len() - 20..]), "{log}");
    }
}

async fn tokens_of_the_second_of_the_revocation_are_refused_and_later_ones_are_not(
    database: &Database,
) {
    let gateway = Gateway::start(database);
    let before = issued("42", Some(0));
    let mut client = Client::connect(gateway.address, &before).await;
    kick("42", &["--revoke"], database, &[]);
    assert_ends(&mut client, WITHOUT_REDIS).await;
    assert_refused(&gateway, &before).await;
    // The issuer's clock is ahead of the gateway's, within the leeway.
    let after = issued("42", Some(-3));
    assert!(handshake(&gateway, &after).await.starts_with("40{"));
    // Beyond it, the time is not credible. So is one that is not a number.
    for iat in [json!(now() + 60), json!(now() * 1000), json!("9999999999")] {
        let token = sign(&json!({"sub": "42", "exp": now() + 3600, "iat": iat}));
        assert_refused(&gateway, &token).await;
        let other = sign(&json!({"sub": "43", "exp": now() + 3600, "iat": iat}));
        assert!(handshake(&gateway, &other).await.starts_with("40{"));
    }
    // A token of the gateway's own command says when it was issued.
    let mut mint = command("token");
    mint.args(["--user", "42", "--name", "Ada"])
        .env("JWT_SECRET", crate::support::SECRET);
    let minted = run(&mut mint, DEADLINE).unwrap().stdout;
    let minted = String::from_utf8(minted).unwrap();
    kick("42", &["--lift"], database, &[]);
    kick(
        "42",
        &["--revoke", "--issued-before", &ago(100)],
        database,
        &[],
    );
    until_answered(&gateway, minted.trim(), "40{").await;
}

async fn a_gateway_that_has_just_started_refuses_revoked_tokens(database: &Database) {
    let (revoked, other) = (issued("42", Some(1)), issued("43", None));
    {
        // Creates the tables.
        let gateway = Gateway::start(database);
        kick("42", &["--revoke"], database, &[]);
        until_answered(&gateway, &revoked, REVOKED).await;
    }
    for _ in 0..3 {
        let gateway = Gateway::start(database);
        let (first, second) =
            tokio::join!(handshake(&gateway, &revoked), handshake(&gateway, &other),);
        assert_eq!(first, REVOKED);
        assert!(second.starts_with("40{"), "{second}");
    }
}

async fn a_renewal_with_a_revoked_token_changes_nothing(database: &Database) {
    let gateway = Gateway::start(database);
    let (old, new) = (issued("42", Some(200)), issued("42", Some(50)));
    kick(
        "42",
        &["--revoke", "--issued-before", &ago(100)],
        database,
        &[],
    );
    until_answered(&gateway, &old, REVOKED).await;
    let mut client = Client::connect(gateway.address, &new).await;
    client.join(1).await;
    let renewed = client.call("renewToken", &json!({"token": old})).await;
    assert_eq!(renewed["error"]["code"], "token_revoked", "{renewed}");
    assert_eq!(renewed["error"]["retryable"], false, "{renewed}");
    assert_serves(&mut client).await;
    // With a newer token, a connection outlives the revocation of its first one.
    let newest = json!({"token": issued("42", Some(5))});
    assert_eq!(client.call("renewToken", &newest).await["ok"], true);
    let mut other = Client::connect(gateway.address, &new).await;
    kick(
        "42",
        &["--revoke", "--issued-before", &ago(20)],
        database,
        &[],
    );
    assert_ends(&mut other, WITHOUT_REDIS).await;
    assert_serves(&mut client).await;
}

async fn a_disconnected_user_may_connect_again(database: &Database) {
    let gateway = Gateway::start(database);
    let mut disconnected = gateway.connect("42").await;
    let mut other = gateway.connect("4").await;
    other.join(1).await;
    let polling = Polling::connect(gateway.address, &issued("42", None)).await;
    // A connection is as old as the gateway says, and a disconnection as the database says.
    sleep(Duration::from_millis(50)).await;
    kick("42", &[], database, &[]);
    // The gateway may not have learned of it yet.
    let mut again = gateway.connect("42").await;
    again.join(1).await;
    assert_eq!(disconnected.read_to_end(WITHOUT_REDIS).await, ["41"]);
    assert_eq!(polling.packets().await, ["41"]);
    // What is found later shows that the disconnection was read again meanwhile.
    for user in ["5", "6"] {
        let mut later = gateway.connect(user).await;
        kick(user, &[], database, &[]);
        assert_eq!(later.read_to_end(WITHOUT_REDIS).await, ["41"]);
    }
    assert_serves(&mut again).await;
    assert_serves(&mut other).await;
    kick("42", &[], database, &[]);
    let packets = again.read_to_end(WITHOUT_REDIS).await;
    assert_eq!(packets.last().unwrap(), "41", "{packets:?}");
    let name = r#"chat_forced_disconnects_total{reason="kicked"}"#;
    assert_eq!(metric(&gateway, name).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_very_many_connections_is_disconnected_and_revoked() {
    const CONNECTIONS: usize = 300;
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_CONNECTIONS_PER_USER", "0")]);
    for (arguments, expected) in [(&[][..], 1), (&["--revoke"][..], 2)] {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(Client::connect(gateway.address, &issued("42", Some(9))).await);
        }
        sleep(Duration::from_millis(50)).await;
        kick("42", arguments, &database, &[]);
        let began = Instant::now();
        let mut without = 0;
        for client in &mut clients {
            match &client.read_to_end(WITHOUT_REDIS).await[..] {
                // On a machine that is overloaded, the transport does not wait for them.
                [] => without += 1,
                [packets @ .., last] => assert_eq!((packets.len() + 1, &**last), (expected, "41")),
            }
        }
        assert!(without <= CONNECTIONS / 10, "{without} without packets");
        assert!(began.elapsed() < WITHOUT_REDIS, "{:?}", began.elapsed());
    }
}

/// Connections that begin while the revocation takes effect: none of them stays.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_slips_through_that_begins_while_its_token_is_revoked() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_CONNECTIONS_PER_USER", "0")]);
    let address = gateway.address;
    let token = issued("42", Some(9));
    let mut storm = tokio::task::JoinSet::new();
    let (began, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..8 {
        let (token, began) = (token.clone(), began.clone());
        storm.spawn(async move {
            let mut connected = VecDeque::new();
            loop {
                // Those that began last matter.
                if connected.len() == 10 {
                    connected.pop_front();
                }
                let mut client = Client::open(address).await;
                let auth = json!({ "token": token });
                client.send_packet(&format!("40{auth}")).await;
                match client.packet().await {
                    Ok(answer) if answer == REVOKED => return connected,
                    Ok(answer) => assert!(answer.starts_with("40{"), "{answer}"),
                    Err(Ended::Closed) => continue,
                }
                connected.push_back(client);
                began.send(()).unwrap();
            }
        });
    }
    for _ in 0..8 {
        has_begun.recv().await.unwrap();
    }
    kick("42", &["--revoke"], &database, &[]);
    let connected = timeout(DEADLINE, storm.join_all()).await.unwrap();
    let mut connected: Vec<Client> = connected.into_iter().flatten().collect();
    assert!(!connected.is_empty());
    for client in &mut connected {
        assert_ends(client, Duration::from_secs(2)).await;
    }
    assert_refused(&gateway, &token).await;
}

#[test]
fn kick_says_what_is_wrong_with_its_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/chat.db", folder.path().display());
    let later = ago(-3600);
    for (arguments, says) in [
        (
            &["--revoke", "--issued-before", "yesterday"][..],
            "RFC 3339",
        ),
        (
            &["--revoke", "--issued-before", &later],
            "issuedBefore must",
        ),
        (&["--lift"], "storage unavailable"),
        (&["--issued-before", "2026-01-31T12:00:00Z"], "--revoke"),
        (&["--revoke", "--lift"], "--lift"),
    ] {
        let output = try_kick("42", arguments, &url, &[]);
        let line = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(line.contains(says), "{arguments:?}: {line}");
    }
}
