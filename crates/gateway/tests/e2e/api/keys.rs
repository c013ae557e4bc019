//! Keys: who may call, and where.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Answer, Api, KEY, KEYS, start};
use crate::support::client::get;
use crate::support::{Database, Gateway, command, metric};

const OTHER: &str = "other-key-of-the-tests-0123456789ab";

fn unauthorized() -> (u16, String) {
    (401, "unauthorized".to_owned())
}

async fn with_key(api: Api, key: &str) -> Answer {
    api.send("GET", "/rooms", key, None, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_needs_a_valid_key_and_refusals_are_throttled() {
    let database = Database::sqlite();
    let gateway = start(&database);
    let api = Api::of(&gateway);
    for head in [
        String::new(),
        format!("Authorization: {KEY}\r\n"),
        format!("Authorization: Basic {KEY}\r\n"),
        format!("Authorization: Bearer {KEY}x\r\n"),
        format!("Authorization: Bearer {}\r\n", &KEY[1..]),
        format!("Authorization: Bearer {KEY}\r\nAuthorization: Bearer {KEY}\r\n"),
    ] {
        // Without a key, nothing shows what exists.
        for path in ["/rooms", "/nothing", "/openapi.json"] {
            let request =
                format!("GET /api/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
            let answer = api.raw(&request).await;
            assert_eq!(answer.error(), unauthorized(), "{head}");
            assert_eq!(answer.header("www-authenticate"), Some("bearer"));
        }
    }
    // The burst is 20. A valid key passes nevertheless.
    let mut throttled = None;
    for _ in 0..20 {
        let answer = with_key(api, OTHER).await;
        if answer.status == 429 {
            throttled = Some(answer);
        }
    }
    let throttled = throttled.expect("a refusal is throttled");
    assert_eq!(throttled.error(), (429, "rate_limited".to_owned()));
    assert_eq!(throttled.header("retry-after"), Some("1"));
    assert_eq!(with_key(api, KEY).await.status, 200);
    let refused = metric(&gateway, "chat_refusals_total{limit=\"refused_keys\"}").await;
    assert!(refused > 0);
    let counted = "chat_api_requests_total{operation=\"listRooms\",status=\"200\"}";
    assert_eq!(metric(&gateway, counted).await, 1);
    assert!(metric(&gateway, "chat_api_request_seconds_count").await > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_reread_on_sighup() {
    let database = Database::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, format!("old:{KEY}\n")).unwrap();
    let path = file.to_str().unwrap();
    let settings = [("API_KEYS_FILE", path), ("RUST_LOG", "debug")];
    let gateway = Gateway::start_with(&database, &settings);
    let api = Api::of(&gateway);
    let reread = |times: usize| {
        gateway.signal("HUP");
        gateway.wait_for_log(|log| (log.matches("reread").count() >= times).then_some(()));
    };
    assert_eq!(with_key(api, KEY).await.status, 200);
    assert_eq!(with_key(api, OTHER).await.error(), unauthorized());
    std::fs::write(&file, format!("old:{KEY}\nnew:{OTHER}\n")).unwrap();
    reread(1);
    assert_eq!(with_key(api, KEY).await.status, 200);
    assert_eq!(with_key(api, OTHER).await.status, 200);
    std::fs::write(&file, format!("new:{OTHER}\n")).unwrap();
    reread(2);
    assert_eq!(with_key(api, KEY).await.error(), unauthorized());
    // A file that cannot be used leaves the keys as they are.
    std::fs::write(&file, "new:short\n").unwrap();
    reread(3);
    assert_eq!(with_key(api, OTHER).await.status, 200);
    let log = gateway.log();
    assert!(log.contains("cannot be reread"), "{log}");
    for (name, key) in [("old", KEY), ("new", OTHER)] {
        assert!(log.contains(&format!("\"key\":\"{name}\"")), "{log}");
        assert!(!log.contains(key), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_may_have_a_port_of_its_own() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[KEYS, ("API_PORT", "0")]);
    let address: SocketAddr = gateway.wait_for_log(|log| {
        let line = log
            .lines()
            .find(|line| line.contains("listening for the server API"))?;
        let line: Value = serde_json::from_str(line).ok()?;
        line["address"].as_str()?.parse().ok()
    });
    assert_eq!(with_key(Api(address), KEY).await.status, 200);
    assert_eq!(with_key(Api::of(&gateway), KEY).await.status, 404);
    for path in [
        "/healthz",
        "/metrics",
        "/readyz",
        "/socket.io/?EIO=4&transport=polling",
    ] {
        assert_eq!(get(gateway.address, path).await.0, 200, "{path}");
        assert_eq!(get(address, path).await.0, 401, "{path}");
        let authorized = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        );
        let answer = Api(address).raw(&authorized).await;
        assert_eq!(answer.error(), (404, "not_found".to_owned()), "{path}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_named_without_the_key() {
    for (settings, expected) in [
        (
            &[("API_KEYS", "short:key")][..],
            "API_KEYS line 1: the key must have 32",
        ),
        (&[("API_KEYS", KEY)], "API_KEYS line 1: has no name"),
        (&[("API_PORT", "4000")], "API_PORT has no effect"),
        (&[KEYS, ("API_PORT", "x")], "API_PORT must be a port"),
        (
            &[("API_KEYS_FILE", "/nonexistent")],
            "API_KEYS cannot be read from",
        ),
    ] {
        let mut serve = command("serve");
        serve
            .env("JWT_SECRET", "x".repeat(32))
            .envs(settings.iter().copied());
        let done = serve.output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains(KEY), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_finishes_requests_in_progress_and_refuses_others() {
    let database = Database::postgres();
    let mut gateway = Gateway::start_with(&database, &[KEYS, ("RUST_LOG", "trace")]);
    let api = Api::of(&gateway);
    let lock = database.lock_writes();
    let sending = tokio::spawn(async move {
        let message = json!({ "userId": "1", "name": "Ada", "content": "hello" });
        api.post("/rooms/7/messages", &message).await
    });
    lock.wait_for_waiting_write();
    gateway.signal("TERM");
    gateway.wait_for_log(|log| log.contains("draining").then_some(()));
    let refused = with_key(api, KEY).await;
    assert_eq!(refused.error(), (503, "unavailable".to_owned()));
    lock.release();
    assert_eq!(sending.await.unwrap().body(201)["seq"], 1);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_leaves_is_carried_out_and_announced() {
    let database = Database::postgres();
    let gateway = start(&database);
    let mut ada = gateway.connect("ada").await;
    ada.join(7).await;
    let lock = database.lock_writes();
    let api = Api::of(&gateway);
    let sending = tokio::spawn(async move {
        let message = json!({ "userId": "1", "name": "Ada", "content": "hello" });
        api.post("/rooms/7/messages", &message).await
    });
    lock.wait_for_waiting_write();
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    lock.release();
    assert_eq!(ada.event("newMessage").await["content"], "hello");
}
