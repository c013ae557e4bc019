//! Pages of history, and the replay of missed messages to a client that joins.

use serde_json::{Value, json};

use crate::support::{Database, Gateway};

crate::on_each_database!(
    history_is_paged_in_both_directions,
    a_join_with_after_seq_replays_exactly_the_missed_messages,
    a_replay_during_writes_has_no_gap_and_no_duplicate,
    more_missed_messages_than_the_replay_limit_are_left_to_paging,
);

fn seqs(messages: &Value) -> Vec<u64> {
    let messages = messages.as_array().unwrap();
    messages
        .iter()
        .map(|message| message["seq"].as_u64().unwrap())
        .collect()
}

async fn history_is_paged_in_both_directions(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("1").await;
    let outside = ada.call("listMessages", &json!({"roomId": 1})).await;
    assert_eq!(outside["error"]["code"], "not_in_room");
    ada.join(1).await;
    let empty = ada.call("listMessages", &json!({"roomId": 1})).await;
    assert_eq!(empty, json!({"ok": true, "messages": [], "hasMore": false}));
    for n in 1..=60 {
        ada.send(1, &n.to_string()).await;
    }
    let last = ada.send(1, "61").await;
    let mut page = async |payload: Value| {
        let mut payload = payload;
        payload["roomId"] = json!(1);
        let page = ada.call("listMessages", &payload).await;
        assert_eq!(page["ok"], true, "{page}");
        (
            seqs(&page["messages"]),
            page["hasMore"].as_bool().unwrap(),
            page,
        )
    };
    let (newest, more, whole) = page(json!({})).await;
    assert_eq!((newest, more), ((12..=61).collect(), true));
    assert_eq!(
        whole["messages"][49], last["message"],
        "a page shows a message as it was broadcast"
    );
    let (older, more, _) = page(json!({"beforeSeq": 12})).await;
    assert_eq!((older, more), ((1..=11).collect(), false));
    let (middle, more, _) = page(json!({"beforeSeq": 12, "limit": 5})).await;
    assert_eq!((middle, more), ((7..=11).collect(), true));
    let (first, more, _) = page(json!({"afterSeq": 0, "limit": 10})).await;
    assert_eq!((first, more), ((1..=10).collect(), true));
    let (rest, more, _) = page(json!({"afterSeq": 55, "limit": 200})).await;
    assert_eq!((rest, more), ((56..=61).collect(), false));
    assert_eq!(page(json!({"afterSeq": 61})).await.0, [0; 0]);
    assert_eq!(page(json!({"beforeSeq": 1})).await.0, [0; 0]);
}

async fn a_join_with_after_seq_replays_exactly_the_missed_messages(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("1").await;
    ada.join(1).await;
    for n in 1..=150 {
        ada.send(1, &n.to_string()).await;
    }
    let mut grace = gateway.connect("2").await;
    for (after, replayed) in [(0, 1..=150), (149, 150..=150), (20, 21..=150)] {
        let joined = grace
            .call("joinRoom", &json!({"roomId": 1, "afterSeq": after}))
            .await;
        assert_eq!(
            joined,
            json!({"ok": true, "roomId": 1, "seq": 150, "readSeq": 0, "unread": 150, "rev": 0})
        );
        let events = grace.take_events();
        let (last, before) = events.split_last().unwrap();
        assert_eq!(last.0, "joinedRoom");
        let seen: Vec<_> = before
            .iter()
            .map(|(_, m)| m["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(seen, replayed.collect::<Vec<_>>());
        assert!(before.iter().all(|(name, _)| name == "newMessage"));
    }
    for beyond in [150, 151, 9_007_199_254_740_991_u64] {
        let joined = grace
            .call("joinRoom", &json!({"roomId": 1, "afterSeq": beyond}))
            .await;
        assert_eq!(joined["seq"], 150);
        assert_eq!(grace.take_events().len(), 1, "nothing is replayed");
    }
    ada.send(1, "live").await;
    assert_eq!(grace.event("newMessage").await["seq"], 151);
}

/// A client that connects and disconnects repeatedly while others write at full speed
/// receives every message once, in order.
async fn a_replay_during_writes_has_no_gap_and_no_duplicate(database: &Database) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 150;
    let gateway = Gateway::start(database);
    let mut writing = Vec::new();
    for writer in 0..WRITERS {
        let mut client = gateway.connect(&writer.to_string()).await;
        client.join(1).await;
        writing.push(tokio::spawn(async move {
            for n in 0..EACH {
                let sent = client.send(1, &format!("{writer} {n}")).await;
                assert_eq!(sent["ok"], true);
            }
        }));
    }
    let mut seen = 0;
    while seen < WRITERS * EACH {
        let mut visitor = gateway.connect("visitor").await;
        let id = visitor
            .start("joinRoom", &json!({"roomId": 1, "afterSeq": seen}))
            .await;
        let mut resume_point = None;
        let stop = seen + 40;
        while seen < WRITERS * EACH && (seen < stop || resume_point.is_none()) {
            let (name, payload) = visitor.any_event().await;
            match name.as_str() {
                "newMessage" => {
                    seen += 1;
                    assert_eq!(payload["seq"], seen);
                }
                "joinedRoom" => {
                    assert!(payload.get("missed").is_none());
                    assert_eq!(payload["seq"], seen, "the replay ends at the resume point");
                    resume_point = Some(seen);
                }
                other => panic!("{other}: {payload}"),
            }
        }
        if resume_point.is_none() {
            assert_eq!(visitor.ack(id).await["seq"], seen);
        }
    }
    for writing in writing {
        writing.await.unwrap();
    }
}

async fn more_missed_messages_than_the_replay_limit_are_left_to_paging(database: &Database) {
    let gateway = Gateway::start_with(database, &[("MAX_IN_FLIGHT", "0")]);
    let mut ada = gateway.connect("1").await;
    ada.join(1).await;
    let mut last = 0;
    for n in 1..=1001 {
        last = ada
            .start(
                "sendMessage",
                &json!({"roomId": 1, "content": n.to_string()}),
            )
            .await;
    }
    assert_eq!(ada.ack(last).await["message"]["seq"], 1001);
    let mut grace = gateway.connect("2").await;
    let joined = grace
        .call("joinRoom", &json!({"roomId": 1, "afterSeq": 0}))
        .await;
    assert_eq!(joined["missed"], json!({"from": 1, "to": 1001}));
    assert_eq!(
        (&joined["seq"], grace.take_events().len()),
        (&json!(1001), 1)
    );
    // As many messages as the limit are replayed.
    let joined = grace
        .call("joinRoom", &json!({"roomId": 1, "afterSeq": 1}))
        .await;
    assert_eq!(joined.get("missed"), None);
    let seen = grace.take_events();
    let seen: Vec<_> = seen
        .iter()
        .filter(|(name, _)| name == "newMessage")
        .collect();
    assert_eq!(seen.len(), 1000);
    assert_eq!(
        (&seen[0].1["seq"], &seen[999].1["seq"]),
        (&json!(2), &json!(1001))
    );
}

/// The longest replay, of long messages, to a client that reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_replay_of_long_messages_is_complete() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "0")]);
    let mut writer = gateway.connect("1").await;
    writer.join(1).await;
    let content = "\u{1}é".repeat(2000);
    let sent = json!({"roomId": 1, "content": content});
    for round in 1..=20 {
        let mut last = 0;
        for _ in 0..50 {
            last = writer.start("sendMessage", &sent).await;
        }
        assert_eq!(writer.ack(last).await["message"]["seq"], round * 50);
    }
    let mut reader = gateway.connect("2").await;
    let joined = reader
        .call("joinRoom", &json!({"roomId": 1, "afterSeq": 0}))
        .await;
    assert_eq!(joined["seq"], 1000);
    let seen = reader.take_events();
    assert_eq!(seen.len(), 1001);
    assert!(
        seen[..1000]
            .iter()
            .zip(1..)
            .all(|((_, m), n)| m["seq"] == n && m["content"] == content)
    );
    let mut found = Vec::new();
    let mut before = 1001;
    while before > 1 {
        let page = json!({"roomId": 1, "limit": 200, "beforeSeq": before});
        let page = reader.call("listMessages", &page).await;
        assert!(
            page.to_string().len() < 300 * 1024,
            "a page is bounded in bytes"
        );
        let seqs = seqs(&page["messages"]);
        assert!(seqs.len() > 1 && page["hasMore"] == (seqs[0] > 1));
        before = seqs[0];
        found.splice(..0, seqs);
    }
    assert_eq!(found, (1..=1000).collect::<Vec<_>>());
}
