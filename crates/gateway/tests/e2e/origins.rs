//! Which web pages may use the gateway.

use crate::support::client::{Client, Polling, http};
use crate::support::{Database, Gateway, token};

const POLL: &str = "/socket.io/?EIO=4&transport=polling";

fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = response.split_once("\r\n\r\n")?;
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

async fn send(gateway: &Gateway, method: &str, path: &str, headers: &str) -> (u16, String) {
    let host = gateway.address;
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    http(gateway.address, &request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_polling_response_allows_its_origin_with_credentials() {
    let database = Database::sqlite();
    let origins = "http://localhost:3000, https://app.example.com";
    let gateway = Gateway::start_with(&database, &[("FRONTEND_URL", origins)]);
    let own = format!("http://{}", gateway.address);
    for origin in ["http://localhost:3000", "https://app.example.com", &own] {
        let with = format!("Origin: {origin}\r\n");
        let unknown = format!("{POLL}&sid=AAAAAAAAAAAAAAAA");
        let preflight = format!(
            "{with}Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,content-type\r\n"
        );
        for (method, path, headers, status) in [
            ("GET", POLL, &with, 200),
            ("GET", &unknown, &with, 400),
            ("POST", &unknown, &with, 400),
            ("GET", "/socket.io/?EIO=9&transport=polling", &with, 400),
            ("OPTIONS", POLL, &preflight, 200),
        ] {
            let (actual, response) = send(&gateway, method, path, headers).await;
            assert_eq!(actual, status, "{response}");
            let allowed = header(&response, "access-control-allow-origin");
            assert_eq!(allowed, Some(origin), "{method} {path}: {response}");
            let credentials = header(&response, "access-control-allow-credentials");
            assert_eq!(credentials, Some("true"));
            if method == "OPTIONS" {
                let methods = header(&response, "access-control-allow-methods").unwrap();
                assert!(methods.contains("GET") && methods.contains("POST"));
                let headers = header(&response, "access-control-allow-headers").unwrap();
                assert!(headers.contains("authorization") && headers.contains("content-type"));
            }
        }
    }
    let session = Polling::connect(gateway.address, &token("1", "Ada")).await;
    for origin in ["https://evil.example.com", "null", "http://localhost:3001"] {
        let with = format!("Origin: {origin}\r\n");
        let (status, response) = send(&gateway, "GET", POLL, &with).await;
        assert_eq!(status, 403, "{response}");
        let existing = format!("{POLL}&sid={}", session.sid);
        assert_eq!(send(&gateway, "GET", &existing, &with).await.0, 403);
        assert_eq!(send(&gateway, "POST", &existing, &with).await.0, 403);
        assert_eq!(
            header(&response, "access-control-allow-origin"),
            None,
            "{response}"
        );
    }
    // They had no effect on the session.
    assert_eq!(session.post(r#"420["joinRoom",{"roomId":1}]"#).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_opened_for_allowed_origins_only() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        gateway.address
    );
    let own = format!("http://{}", gateway.address);
    for origin in ["http://localhost:3000", &own] {
        let opened = Client::open_with(&url, &[("origin", origin)]).await;
        assert!(opened.is_ok(), "{origin}");
    }
    assert!(
        Client::open_with(&url, &[]).await.is_ok(),
        "a client that sends no origin"
    );
    // Behind a proxy, the gateway's own origin has the host name that the client used.
    let proxied = [
        ("host", "chat.example.com"),
        ("origin", "https://chat.example.com"),
    ];
    assert!(Client::open_with(&url, &proxied).await.is_ok());
    for origin in [
        "https://evil.example.com",
        "null",
        "http://localhost",
        "http://localhost:3001",
    ] {
        let refused = Client::open_with(&url, &[("origin", origin)]).await;
        assert!(
            refused.is_err_and(|error| error.contains("403")),
            "{origin}"
        );
    }
    Client::connect(gateway.address, &token("1", "Ada")).await;
}
