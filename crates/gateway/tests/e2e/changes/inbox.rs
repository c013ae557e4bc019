//! What a watching connection is told of changes in rooms that it has not joined.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout};

use crate::inbox::create;
use crate::nodes::group::Group;
use crate::support::client::Client;
use crate::support::{Database, Gateway};
use crate::watching::{TOLD_WITHIN, updated, watch};

crate::on_each_database!(
    a_change_is_news_in_the_summary,
    many_changes_are_told_once_a_second_and_the_last_one_arrives,
);

/// Between two arrivals, which the network may bring closer together.
const MIN_PAUSE: Duration = Duration::from_millis(900);
const CHANGES: u64 = 600;

async fn change(client: &mut Client, event: &str, mut payload: Value) -> Value {
    payload["roomId"] = json!(1);
    let answer = client.call(event, &payload).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer["message"].clone()
}

/// A user with unread messages, and another that has sent them.
async fn watched(database: &Database, of_ada: &Gateway, of_bob: &Gateway) -> (Client, Client) {
    create(database, 1, "private", &["ada", "bob"]);
    let (mut ada, mut bob) = (of_ada.connect("ada").await, of_bob.connect("bob").await);
    watch(&mut ada).await;
    bob.join(1).await;
    for text in ["one", "two"] {
        assert_eq!(bob.send(1, text).await["ok"], true);
    }
    let summary = updated(&mut ada, 1, "seq", json!(2)).await;
    assert_eq!(
        (&summary["rev"], &summary["unread"]),
        (&json!(0), &json!(2))
    );
    (ada, bob)
}

async fn a_change_is_news_in_the_summary(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut bob) = watched(database, &gateway, &gateway).await;
    let edit = json!({"seq": 2, "content": "new"});
    let edited = change(&mut bob, "editMessage", edit).await;
    let summary = updated(&mut ada, 1, "rev", json!(1)).await;
    assert_eq!(summary["lastMessage"], edited);
    // Also one of an earlier message, which the summary does not show.
    let reaction = json!({"seq": 1, "key": "+", "on": true});
    change(&mut bob, "setReaction", reaction).await;
    let summary = updated(&mut ada, 1, "rev", json!(2)).await;
    assert_eq!(summary["lastMessage"], edited);
    // A summary is the same for all users of the room.
    let reaction = json!({"seq": 2, "key": "+", "on": true});
    change(&mut bob, "setReaction", reaction).await;
    let summary = updated(&mut ada, 1, "rev", json!(3)).await;
    let reactions = json!([{"key": "+", "count": 1}]);
    assert_eq!(summary["lastMessage"]["reactions"], reactions);
    let deleted = change(&mut bob, "deleteMessage", json!({"seq": 2})).await;
    let summary = updated(&mut ada, 1, "rev", json!(4)).await;
    assert_eq!(summary["lastMessage"], deleted);
    // A change makes nothing unread, and moves nothing to the front.
    assert_eq!(
        (&summary["seq"], &summary["unread"]),
        (&json!(2), &json!(2))
    );
    let listed = ada.call("listRooms", &json!({})).await;
    assert_eq!(listed["rooms"][0], summary);
}

async fn many_changes_are_told_once_a_second_and_the_last_one_arrives(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut bob) = watched(database, &gateway, &gateway).await;
    let reading = tokio::spawn(async move {
        let mut arrivals = Vec::new();
        loop {
            let event = timeout(2 * TOLD_WITHIN, ada.any_event()).await;
            let (name, summary) = event.expect("the last summary arrives");
            assert_eq!(name, "roomUpdated", "{summary}");
            arrivals.push(Instant::now());
            if summary["rev"] == CHANGES {
                return arrivals;
            }
        }
    });
    // For about two seconds.
    let began = Instant::now();
    for n in 0..CHANGES {
        let on = n.is_multiple_of(2);
        change(
            &mut bob,
            "setReaction",
            json!({"seq": 1, "key": "+", "on": on}),
        )
        .await;
        let due = Duration::from_millis(2 * n);
        tokio::time::sleep_until(began + due).await;
    }
    let changed_for = began.elapsed();
    let arrivals = reading.await.unwrap();
    let pauses = arrivals.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.min() >= Some(MIN_PAUSE), "{arrivals:?}");
    let allowed = changed_for.as_secs() as usize + 4;
    assert!((2..=allowed).contains(&arrivals.len()), "{arrivals:?}");
}

/// On another node, and while the nodes exchange no hints.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_another_node_is_told_without_redis() {
    let group = Group::start_on("redis://127.0.0.1:1", 2);
    let (of_ada, of_bob) = (&group.nodes[0], &group.nodes[1]);
    let (mut ada, mut bob) = watched(&group.database, of_ada, of_bob).await;
    let deleted = change(&mut bob, "deleteMessage", json!({"seq": 2})).await;
    let summary = updated(&mut ada, 1, "rev", json!(1)).await;
    assert_eq!(summary["lastMessage"], deleted);
}
