//! Which requests exist: what a later version may add is neither served nor described.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{Api, start};
use crate::support::Database;

/// Requests that one may expect, and which this version does not have.
const ABSENT: [(&str, &str); 2] = [
    ("GET", "/users/{userId}/messages"),
    ("GET", "/rooms/{roomId}/export"),
];

/// Returns the methods and paths of the description, with `{}` for every parameter.
fn described(description: &Value) -> Vec<(String, String)> {
    let paths = description["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys();
        methods.map(|method| (method.to_uppercase(), anonymous(path)))
    });
    operations.collect()
}

/// Replaces the names of a path's parameters.
fn anonymous(path: &str) -> String {
    let segments = path.split('/');
    let segments = segments.map(|segment| match segment.starts_with('{') {
        true => "{}",
        false => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Returns the methods and paths in the table of `docs/server-api.md`.
fn documented() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/server-api.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## Operations\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut operations = Vec::new();
    for row in rows {
        let (cell, _) = row.split_once(" | ").unwrap();
        let (method, paths) = cell.split_once(' ').unwrap();
        for path in paths.split("`, `") {
            // What begins with an ellipsis is below the same room.
            let path = path.trim_end_matches('`').replace('…', "/rooms/{roomId}");
            operations.push((method.to_owned(), anonymous(&path)));
        }
    }
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_documented_and_no_other() {
    let database = Database::sqlite();
    let gateway = start(&database);
    let description = Api::of(&gateway).get("/openapi.json").await.body(200);
    let [described, documented] = [described(&description), documented()]
        .map(|operations| operations.into_iter().collect::<BTreeSet<_>>());
    assert_eq!(
        described, documented,
        "left: the code, right: docs/server-api.md"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_version_does_not_have_is_neither_served_nor_described() {
    let database = Database::sqlite();
    let gateway = start(&database);
    let api = Api::of(&gateway);
    let described = described(&api.get("/openapi.json").await.body(200));
    assert!(
        described.contains(&("GET".into(), "/rooms/{}".into())),
        "{described:?}"
    );
    // A room in which the requests would find something.
    api.put("/rooms/7", &serde_json::json!({})).await.body(201);
    for (method, path) in ABSENT {
        let template = anonymous(path);
        let operation = (method.to_owned(), template);
        assert!(!described.contains(&operation), "{operation:?}");
        let requested = path
            .replace("{roomId}", "7")
            .replace("{seq}", "1")
            .replace("{userId}", "42");
        let answer = api.with_body(method, &requested, "{}").await;
        assert_eq!(
            answer.error(),
            (404, "not_found".to_owned()),
            "{operation:?}"
        );
    }
}
