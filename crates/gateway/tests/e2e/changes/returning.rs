//! What a connection receives that returns with `afterRev`: its user's own reactions are marked,
//! and what is too much to replay is named.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway};

crate::on_each_database!(
    own_reactions_are_marked_in_a_replay_and_not_in_what_is_live,
    up_to_a_thousand_changed_messages_are_replayed,
);

/// The maximum number of changed messages in a replay.
const REPLAY_LIMIT: u64 = 1000;
/// How many events of a connection are in progress at most.
const IN_FLIGHT: usize = 200;

async fn react(client: &mut Client, seq: u64, key: &str) {
    let reaction = json!({"roomId": 1, "seq": seq, "key": key, "on": true});
    assert_eq!(client.call("setReaction", &reaction).await["ok"], true);
}

/// Joins the room again, and returns the answer and the events that preceded `joinedRoom`.
async fn rejoin(client: &mut Client, after_seq: u64, after_rev: u64) -> (Value, Vec<Value>) {
    client.take_events();
    let join = json!({"roomId": 1, "afterSeq": after_seq, "afterRev": after_rev});
    let joined = client.call("joinRoom", &join).await;
    assert_eq!(joined["ok"], true, "{joined}");
    let events = client.take_events().into_iter();
    let before = events.take_while(|(name, _)| name != "joinedRoom");
    let before = before.map(|(name, payload)| match name.as_str() {
        "messageChanged" => payload["message"].clone(),
        "newMessage" => payload,
        _ => panic!("{name}: {payload}"),
    });
    (joined, before.collect())
}

async fn own_reactions_are_marked_in_a_replay_and_not_in_what_is_live(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    ada.join(1).await;
    bob.join(1).await;
    for text in ["one", "two", "three", "four"] {
        ada.send(1, text).await;
    }
    react(&mut ada, 1, "+").await;
    react(&mut bob, 1, "+").await;
    let edit = json!({"roomId": 1, "seq": 2, "content": "new"});
    assert_eq!(ada.call("editMessage", &edit).await["ok"], true);
    react(&mut ada, 3, "+").await;
    react(&mut bob, 3, "-").await;
    // Bob has the first two messages.
    let (_, replayed) = rejoin(&mut bob, 2, 0).await;
    let mine = |key: &str, count: u64| json!({"key": key, "count": count, "mine": true});
    let other = |key: &str, count: u64| json!({"key": key, "count": count});
    let reactions: Vec<_> = replayed
        .iter()
        .map(|message| {
            (
                message["seq"].as_u64().unwrap(),
                message["reactions"].clone(),
            )
        })
        .collect();
    let expected = [
        (1, json!([mine("+", 2)])),
        (2, json!([])),
        (3, json!([other("+", 1), mine("-", 1)])),
        (4, Value::Null),
    ];
    assert_eq!(reactions, expected);
    // Ada's are marked in hers.
    let (_, replayed) = rejoin(&mut ada, 2, 0).await;
    assert_eq!(replayed[0]["reactions"], json!([mine("+", 2)]));
    let both = json!([mine("+", 1), other("-", 1)]);
    assert_eq!(replayed[2]["reactions"], both);
    // What is live is the same for all.
    react(&mut bob, 4, "+").await;
    for client in [&mut ada, &mut bob] {
        let live = loop {
            let live = client.event("messageChanged").await["message"].clone();
            if live["seq"] == 4 {
                break live;
            }
        };
        assert_eq!(live["reactions"], json!([other("+", 1)]));
    }
}

/// Calls an event for each payload, many of them at once.
async fn call_all(client: &mut Client, event: &str, payloads: &[Value]) {
    for part in payloads.chunks(IN_FLIGHT) {
        let mut started = Vec::new();
        for payload in part {
            started.push(client.start(event, payload).await);
        }
        for id in started {
            let answer = client.ack(id).await;
            assert_eq!(answer["ok"], true, "{answer}");
        }
        client.take_events();
    }
}

async fn up_to_a_thousand_changed_messages_are_replayed(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    let count = REPLAY_LIMIT + 1;
    let message = json!({"roomId": 1, "content": "x"});
    call_all(&mut ada, "sendMessage", &vec![message; count as usize]).await;
    let reaction = |seq| json!({"roomId": 1, "seq": seq, "key": "+", "on": true});
    let reactions: Vec<_> = (1..=count).map(reaction).collect();
    call_all(&mut ada, "setReaction", &reactions).await;

    let mut bob = gateway.connect("bob").await;
    // One more than may be replayed: none is.
    let (joined, replayed) = rejoin(&mut bob, count, 0).await;
    assert_eq!(joined["changesMissed"], json!({"from": 1, "to": count}));
    assert_eq!((&joined["rev"], replayed.len()), (&json!(count), 0));
    // They are listed in pages, from the number before `from` on.
    let (mut revs, mut after) = (Vec::new(), 0);
    loop {
        let list = json!({"roomId": 1, "afterRev": after, "limit": 200});
        let page = bob.call("listChanges", &list).await;
        let messages = page["messages"].as_array().unwrap().iter();
        revs.extend(messages.map(|message| message["rev"].as_u64().unwrap()));
        after = *revs.last().unwrap();
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!(revs, (1..=count).collect::<Vec<_>>());
    // As many as may be replayed.
    let (joined, replayed) = rejoin(&mut bob, count, 1).await;
    assert_eq!(joined.get("changesMissed"), None, "{joined}");
    let revs: Vec<_> = replayed
        .iter()
        .map(|message| message["rev"].as_u64())
        .collect();
    assert_eq!(revs, (2..=count).map(Some).collect::<Vec<_>>());
    // However many changes there are, those of messages that the client does not have are not
    // counted: it receives these messages as they are now.
    let (joined, replayed) = rejoin(&mut bob, 1, 0).await;
    assert_eq!(joined.get("changesMissed"), None, "{joined}");
    assert_eq!(joined.get("missed"), None, "{joined}");
    let all: Vec<_> = replayed
        .iter()
        .map(|message| message["rev"].as_u64())
        .collect();
    assert_eq!(all, (1..=count).map(Some).collect::<Vec<_>>());
    // A number beyond the newest is not one that the room has.
    let (joined, replayed) = rejoin(&mut bob, count, count + 5).await;
    assert_eq!((&joined["rev"], replayed.len()), (&json!(count), 0));
}
