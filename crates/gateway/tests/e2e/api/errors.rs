//! Requests that are refused.

use serde_json::json;

use super::{Api, KEY, start};
use crate::support::{Database, Gateway};

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_the_api_does_not_exist() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    for path in ["/rooms/7", "/openapi.json", ""] {
        assert_eq!(Api::of(&gateway).get(path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_an_object_with_a_code() {
    let database = Database::sqlite();
    let gateway = start(&database);
    let api = Api::of(&gateway);
    let invalid = || (400, "invalid_payload".to_owned());
    let not_found = || (404, "not_found".to_owned());
    for (path, field) in [
        ("/rooms/0", "roomId"),
        ("/rooms/x", "roomId"),
        ("/rooms/01", "roomId"),
        ("/rooms/+1", "roomId"),
        ("/rooms/-1", "roomId"),
        ("/rooms/1.0", "roomId"),
        ("/rooms/9007199254740992", "roomId"),
        ("/rooms/%31x", "roomId"),
        ("/rooms/%ff", ""),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.error(), invalid(), "{path}");
        assert_eq!(answer.field(), field, "{path}");
    }
    for path in [
        "",
        "/",
        "/rooms/7/",
        "/rooms//",
        "/nothing",
        "/rooms/7/nothing/8/9/10",
    ] {
        assert_eq!(api.get(path).await.error(), not_found(), "{path}");
    }
    let outside = format!(
        "GET /api HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    );
    assert_eq!(api.raw(&outside).await.error(), not_found());

    let other = api.with_body("PATCH", "/rooms/7", "{}").await;
    assert_eq!(other.error(), (405, "not_found".to_owned()));
    assert_eq!(other.header("allow"), Some("get,head,put,delete"));
    let options = api.with_body("OPTIONS", "/rooms/7", "").await;
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("get,head,put,delete"))
    );

    for (body, field) in [
        ("", ""),
        ("[]", ""),
        ("{", ""),
        ("{} {}", ""),
        (r#"{"name":"a","name":"b"}"#, ""),
        (r#"{"x":1,"x":2}"#, ""),
        (r#"{"name":1}"#, "name"),
        (r#"{"name":""}"#, "name"),
        (r#"{"name":"\ud800"}"#, "name"),
        (r#"{"kind":"closed"}"#, "kind"),
        (r#"{"frozen":1}"#, "frozen"),
        (r#"{"slowModeSeconds":86401}"#, "slowModeSeconds"),
        (r#"{"slowModeSeconds":1.5}"#, "slowModeSeconds"),
        (r#"{"metadata":[]}"#, "metadata"),
        (r#"{"metadata":{"a":1,"a":2}}"#, "metadata"),
        (r#"{"metadata":{"a":1e999}}"#, "metadata"),
    ] {
        let answer = api.with_body("PUT", "/rooms/7", body).await;
        assert_eq!(answer.error(), invalid(), "{body}");
        assert_eq!(answer.field(), field, "{body}");
    }
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(1024 * 1024));
    let answer = api.with_body("PUT", "/rooms/7", &large).await;
    assert_eq!(answer.error(), (413, "invalid_payload".to_owned()));
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/json-patch+json"),
    ] {
        let answer = api.send("PUT", "/rooms/7", KEY, content_type, "{}").await;
        assert_eq!(answer.error(), (415, "invalid_payload".to_owned()));
    }
    let with_charset = Some("Application/JSON; charset=utf-8");
    let answer = api.send("PUT", "/rooms/7", KEY, with_charset, "{}").await;
    assert_eq!(answer.status, 201);
    // None of the others had an effect.
    assert_eq!(answer.json()["name"], json!(null));
    let head = api.send("HEAD", "/rooms/7", KEY, None, "").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert!(
        head.header("content-length")
            .is_some_and(|length| length != "0")
    );
}
