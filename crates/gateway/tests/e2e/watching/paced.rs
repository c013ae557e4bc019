//! The pace of summaries: at most one per second and room, and the last always arrives.

use serde_json::json;
use tokio::time::{Duration, Instant, timeout};

use super::{TOLD_WITHIN, watch};
use crate::inbox::create;
use crate::support::{Database, Gateway};

crate::on_each_database!(a_thousand_changes_are_told_once_a_second_and_the_last_one_arrives);

const CHANGES: u64 = 1000;
/// Between two arrivals, which the network may bring closer together.
const MIN_PAUSE: Duration = Duration::from_millis(900);

async fn a_thousand_changes_are_told_once_a_second_and_the_last_one_arrives(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, 1, "private", &["ada", "bob"]);
    let (mut ada, mut bob) = (gateway.connect("ada").await, gateway.connect("bob").await);
    watch(&mut ada).await;
    bob.join(1).await;
    let reading = tokio::spawn(async move {
        let mut arrivals = Vec::new();
        loop {
            let event = timeout(2 * TOLD_WITHIN, ada.any_event()).await;
            let (name, summary) = event.expect("the last summary arrives");
            assert_eq!(name, "roomUpdated", "{summary}");
            arrivals.push(Instant::now());
            if summary["seq"] == CHANGES {
                return arrivals;
            }
        }
    });
    // For about two seconds.
    let began = Instant::now();
    for n in 0..CHANGES {
        bob.send(1, "x").await;
        let due = Duration::from_millis(2 * n);
        tokio::time::sleep_until(began + due).await;
    }
    let sent_for = began.elapsed();
    let arrivals = reading.await.unwrap();
    let pauses = arrivals.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.min() >= Some(MIN_PAUSE), "{arrivals:?}");
    let allowed = sent_for.as_secs() as usize + 4;
    assert!((2..=allowed).contains(&arrivals.len()), "{arrivals:?}");
    let answer = bob.call("leaveRoom", &json!({"roomId": 1})).await;
    assert_eq!(answer["ok"], true);
}
