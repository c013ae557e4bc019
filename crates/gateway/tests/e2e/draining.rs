//! How clients part with a gateway that drains.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use serde_json::json;

use crate::support::client::Client;
use crate::support::{Database, Gateway, SOON, token};

/// A client without work is closed at once, however stuck another one is.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_does_not_wait_for_a_stuck_one() {
    let database = Database::sqlite();
    let mut gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "1")]);
    let mut stuck = Client::connect(gateway.address, &token("1", "Ada")).await;
    stuck.join(1).await;
    assert_eq!(stuck.send(1, "x").await["ok"], true);
    let mut idle = Client::connect(gateway.address, &token("2", "Grace")).await;
    idle.join(1).await;
    // The only writer of the database waits for this lock.
    let path = database.path();
    let mut locker = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    locker.batch_execute("BEGIN IMMEDIATE").unwrap();
    stuck
        .emit("sendMessage", &json!({"roomId": 1, "content": "y"}))
        .await;
    // The message is in progress once another event is refused.
    let refused = stuck.call("joinRoom", &json!({"roomId": 2})).await;
    assert_eq!(refused["error"]["code"], "rate_limited");
    let asked = Instant::now();
    gateway.signal("TERM");
    gateway.wait_for_log(|log| log.contains("draining").then_some(()));
    idle.read_to_end(SOON).await;
    let idle_after = asked.elapsed();
    assert!(idle_after < Duration::from_secs(2), "{idle_after:?}");
    drop(locker);
    let packets = stuck.read_to_end(SOON).await;
    assert!(
        packets.iter().any(|p| p.starts_with(r#"42["newMessage""#)),
        "{packets:?}"
    );
    assert_eq!(gateway.wait().code(), Some(0));
}
