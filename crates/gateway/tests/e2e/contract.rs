//! `docs/asyncapi.yaml` and `docs/protocol.md` describe the same events, and the gateway knows them.
//! The clients of all tests check every packet against the former.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use crate::support::client::Client;
use crate::support::{Database, Gateway, contract, token};

/// Returns the events in the first column of the table of this section.
fn documented(heading: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once(&format!("\n{heading}\n")).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(1);
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

/// Returns the events that the gateway receives or sends, by the machine-readable description.
fn described(action: &str) -> BTreeSet<String> {
    let description = contract::read();
    let operations = description["operations"].as_object().unwrap();
    let matching = operations
        .iter()
        .filter(|(_, operation)| operation["action"] == action);
    matching.map(|(name, _)| name.clone()).collect()
}

#[test]
fn both_descriptions_have_the_same_events() {
    assert_eq!(described("receive"), documented("## Client to server"));
    assert_eq!(described("send"), documented("## Server to client"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_knows_every_event_that_is_described() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    for event in described("receive") {
        let answer = client.call(&event, &json!(null)).await;
        assert_eq!(answer["error"]["code"], "invalid_payload", "{event}");
    }
}
