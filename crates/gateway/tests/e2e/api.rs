//! The server API, as the product's backend sees it.

mod changes;
mod erasure;
mod errors;
mod import;
mod keys;
mod members;
mod messages;
mod rooms;
mod scope;
mod stats;
mod users;

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::client::http;
use crate::support::{Database, Gateway};

/// A key that every gateway of these tests accepts.
pub(super) const KEY: &str = "key-of-the-tests-0123456789abcdef0";
/// The setting that states it.
pub(super) const KEYS: (&str, &str) = ("API_KEYS", "tests:key-of-the-tests-0123456789abcdef0");

/// Starts a gateway that serves the API to the key of the tests.
pub(super) fn start(database: &Database) -> Gateway {
    Gateway::start_with(database, &[KEYS])
}

/// The API of one gateway.
#[derive(Clone, Copy)]
pub(super) struct Api(pub(super) SocketAddr);

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) text: String,
}

impl Answer {
    fn of((status, response): (u16, String)) -> Self {
        let (head, text) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
        Self {
            status,
            head: head.to_lowercase(),
            text: text.to_owned(),
        }
    }

    /// Returns the body, which must be JSON and declared as JSON.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_str(&self.text).unwrap()
    }

    /// Returns the body of a success with this status.
    #[track_caller]
    pub(super) fn body(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// Returns the status and the code of an error, whose body is checked.
    #[track_caller]
    pub(super) fn error(&self) -> (u16, String) {
        let error = self.json()["error"].clone();
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{self:?}"
        );
        assert!(error["retryable"].is_boolean(), "{self:?}");
        (self.status, error["code"].as_str().unwrap().to_owned())
    }

    /// Returns the field that an error names.
    #[track_caller]
    pub(super) fn field(&self) -> String {
        let field = self.json()["error"]["field"].clone();
        field.as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| *key == name);
        found.next().map(|(_, value)| value)
    }
}

impl Api {
    pub(super) fn of(gateway: &Gateway) -> Self {
        Self(gateway.address)
    }

    pub(super) async fn get(self, path: &str) -> Answer {
        self.send("GET", path, KEY, None, "").await
    }

    pub(super) async fn delete(self, path: &str) -> Answer {
        self.send("DELETE", path, KEY, None, "").await
    }

    pub(super) async fn put(self, path: &str, body: &Value) -> Answer {
        self.with_body("PUT", path, &body.to_string()).await
    }

    pub(super) async fn post(self, path: &str, body: &Value) -> Answer {
        self.with_body("POST", path, &body.to_string()).await
    }

    pub(super) async fn with_body(self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, KEY, Some("application/json"), body)
            .await
    }

    /// Sends a request below `/api/v1`.
    pub(super) async fn send(
        self,
        method: &str,
        path: &str,
        key: &str,
        content_type: Option<&str>,
        body: &str,
    ) -> Answer {
        let content_type = content_type.map_or(String::new(), |t| format!("Content-Type: {t}\r\n"));
        let length = match body.is_empty() && content_type.is_empty() {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {key}\r\n{content_type}{length}\r\n{body}"
        );
        self.raw(&request).await
    }

    pub(super) async fn raw(self, request: &str) -> Answer {
        Answer::of(http(self.0, request).await)
    }
}
