//! Repeats, history, catching up, read pointers, and members that read slowly.

use std::time::{Duration, Instant};

use chat_test_support::wait_until;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway, SOON, token};

async fn user(gateway: &Gateway, id: &str) -> Client {
    Client::connect(gateway.address, &token(id, "x")).await
}

fn seqs(messages: &Value) -> Vec<u64> {
    let messages = messages.as_array().unwrap();
    messages
        .iter()
        .map(|message| message["seq"].as_u64().unwrap())
        .collect()
}

crate::on_each_database!(
    a_repeat_is_answered_with_the_stored_message_and_shown_once,
    twenty_repeats_at_once_are_stored_once,
    history_is_paged_in_both_directions,
    who_comes_back_sees_exactly_what_was_missed,
    a_seam_holds_while_others_write,
    too_much_missed_is_paged,
    pointers_move_forward_and_are_told,
    a_crash_between_commit_and_broadcast_loses_nothing,
);

async fn a_repeat_is_answered_with_the_stored_message_and_shown_once(database: &Database) {
    let mut gateway = Gateway::start(database);
    let mut ada = user(&gateway, "1").await;
    let mut grace = user(&gateway, "2").await;
    ada.join(1).await;
    grace.join(1).await;
    let sent = json!({"roomId": 1, "content": "once", "clientMessageId": "c0ffee-1"});
    let first = ada.call("sendMessage", &sent).await;
    assert_eq!(first["message"]["clientMessageId"], "c0ffee-1");
    assert_eq!(grace.event("newMessage").await, first["message"]);
    for _ in 0..3 {
        assert_eq!(ada.call("sendMessage", &sent).await, first);
    }
    // From another connection of the same user, too.
    let mut other = user(&gateway, "1").await;
    other.join(1).await;
    assert_eq!(other.call("sendMessage", &sent).await, first);
    // Another user's same id is another message.
    assert_eq!(grace.call("sendMessage", &sent).await["message"]["seq"], 2);
    // Another content under the same id is a conflict.
    let other = json!({"roomId": 1, "content": "twice", "clientMessageId": "c0ffee-1"});
    let refused = ada.call("sendMessage", &other).await;
    assert_eq!(refused["error"]["code"], "conflict");
    assert_eq!(refused["error"]["retryable"], false);
    let error = ada.event("error").await;
    assert_eq!(error["clientMessageId"], "c0ffee-1");
    assert_eq!(
        (&error["roomId"], &error["event"]),
        (&json!(1), &json!("sendMessage"))
    );
    // Nothing of all that was shown: the next message that Grace sees is her own.
    assert_eq!(grace.event("newMessage").await["seq"], 2);

    gateway.signal("KILL");
    gateway.wait();
    let gateway = Gateway::start(database);
    let mut ada = user(&gateway, "1").await;
    ada.join(1).await;
    assert_eq!(ada.call("sendMessage", &sent).await, first);
    assert_eq!(ada.send(1, "next").await["message"]["seq"], 3);
    assert_eq!(database.sql("SELECT count(*) FROM messages"), "3");
}

async fn twenty_repeats_at_once_are_stored_once(database: &Database) {
    let gateway = Gateway::start(database);
    let mut reader = user(&gateway, "2").await;
    reader.join(1).await;
    let mut senders = Vec::new();
    for _ in 0..20 {
        let mut sender = user(&gateway, "1").await;
        sender.join(1).await;
        senders.push(tokio::spawn(async move {
            let sent = json!({"roomId": 1, "content": "once", "clientMessageId": "same"});
            sender.call("sendMessage", &sent).await
        }));
    }
    for sender in senders {
        let answer = sender.await.unwrap();
        assert_eq!(
            (&answer["ok"], &answer["message"]["seq"]),
            (&json!(true), &json!(1))
        );
    }
    reader.send(1, "barrier").await;
    assert_eq!(reader.event("newMessage").await["content"], "once");
    assert_eq!(reader.event("newMessage").await["content"], "barrier");
    assert_eq!(
        database.sql("SELECT count(*), max(seq) FROM messages"),
        "2|2"
    );
}

async fn history_is_paged_in_both_directions(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = user(&gateway, "1").await;
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
        "as in a live message"
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

async fn who_comes_back_sees_exactly_what_was_missed(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = user(&gateway, "1").await;
    ada.join(1).await;
    for n in 1..=150 {
        ada.send(1, &n.to_string()).await;
    }
    let mut grace = user(&gateway, "2").await;
    for (after, replayed) in [(0, 1..=150), (149, 150..=150), (20, 21..=150)] {
        let joined = grace
            .call("joinRoom", &json!({"roomId": 1, "afterSeq": after}))
            .await;
        assert_eq!(
            joined,
            json!({"ok": true, "roomId": 1, "seq": 150, "readSeq": 0, "unread": 150})
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

/// Somebody comes and goes while others write at full speed: what it sees is
/// everything, once, in order.
async fn a_seam_holds_while_others_write(database: &Database) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 150;
    let gateway = Gateway::start(database);
    let mut writing = Vec::new();
    for writer in 0..WRITERS {
        let mut client = user(&gateway, &writer.to_string()).await;
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
        let mut visitor = user(&gateway, "visitor").await;
        let id = visitor
            .start("joinRoom", &json!({"roomId": 1, "afterSeq": seen}))
            .await;
        let mut seam = None;
        let stop = seen + 40;
        while seen < WRITERS * EACH && (seen < stop || seam.is_none()) {
            let (name, payload) = visitor.any_event().await;
            match name.as_str() {
                "newMessage" => {
                    seen += 1;
                    assert_eq!(payload["seq"], seen);
                }
                "joinedRoom" => {
                    assert!(payload.get("missed").is_none());
                    assert_eq!(payload["seq"], seen, "the seam is where the replay ends");
                    seam = Some(seen);
                }
                other => panic!("{other}: {payload}"),
            }
        }
        if seam.is_none() {
            assert_eq!(visitor.ack(id).await["seq"], seen);
        }
    }
    for writing in writing {
        writing.await.unwrap();
    }
}

async fn too_much_missed_is_paged(database: &Database) {
    let gateway = Gateway::start_with(database, &[("MAX_IN_FLIGHT", "0")]);
    let mut ada = user(&gateway, "1").await;
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
    let mut grace = user(&gateway, "2").await;
    let joined = grace
        .call("joinRoom", &json!({"roomId": 1, "afterSeq": 0}))
        .await;
    assert_eq!(joined["missed"], json!({"from": 1, "to": 1001}));
    assert_eq!(
        (&joined["seq"], grace.take_events().len()),
        (&json!(1001), 1)
    );
    // The limit itself is still replayed.
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

async fn pointers_move_forward_and_are_told(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (user(&gateway, "1").await, user(&gateway, "2").await);
    let outside = ada.call("markRead", &json!({"roomId": 1, "seq": 1})).await;
    assert_eq!(outside["error"]["code"], "not_in_room");
    ada.join(1).await;
    grace.join(1).await;
    for _ in 0..5 {
        ada.send(1, "x").await;
    }
    let marked = grace
        .call("markRead", &json!({"roomId": 1, "seq": 3}))
        .await;
    assert_eq!(
        marked,
        json!({"ok": true, "roomId": 1, "seq": 3, "unread": 2})
    );
    for client in [&mut ada, &mut grace] {
        let told = client.event("markedRead").await;
        assert_eq!(told, json!({"roomId": 1, "userId": "2", "seq": 3}));
    }
    // Not back, not beyond the newest; and what moves nothing is told to nobody.
    let back = grace
        .call("markRead", &json!({"roomId": 1, "seq": 1}))
        .await;
    assert_eq!((&back["seq"], &back["unread"]), (&json!(3), &json!(2)));
    let since = Instant::now();
    for seq in [4, 5, 9_007_199_254_740_991_u64] {
        let marked = grace
            .call("markRead", &json!({"roomId": 1, "seq": seq}))
            .await;
        assert_eq!(marked["seq"], seq.min(5));
    }
    // At most one a second, and the newest wins.
    assert_eq!(ada.event("markedRead").await["seq"], 5);
    assert!(
        since.elapsed() >= Duration::from_millis(500),
        "{:?}",
        since.elapsed()
    );

    let joined = grace.call("joinRoom", &json!({"roomId": 1})).await;
    assert_eq!(
        (&joined["readSeq"], &joined["unread"]),
        (&json!(5), &json!(0))
    );
    // Sending moves the sender's own pointer.
    grace.send(1, "y").await;
    let joined = grace.call("joinRoom", &json!({"roomId": 1})).await;
    assert_eq!(
        (&joined["readSeq"], &joined["unread"]),
        (&json!(6), &json!(0))
    );
    let mut third = user(&gateway, "3").await;
    let joined = third.call("joinRoom", &json!({"roomId": 1})).await;
    assert_eq!(
        (&joined["readSeq"], &joined["unread"]),
        (&json!(0), &json!(6))
    );
    assert_eq!(
        database.sql("SELECT user_id, seq FROM read_pointers ORDER BY user_id"),
        "1|5\n2|6"
    );
}

/// A message that is committed, and whose process dies before it tells anybody.
async fn a_crash_between_commit_and_broadcast_loses_nothing(database: &Database) {
    let mut gateway = Gateway::start(database);
    let mut ada = user(&gateway, "1").await;
    let mut grace = user(&gateway, "2").await;
    ada.join(1).await;
    grace.join(1).await;
    ada.send(1, "one").await;
    assert_eq!(grace.event("newMessage").await["seq"], 1);
    gateway.signal("KILL");
    gateway.wait();
    // As the process would have left it.
    database.sql(
        "INSERT INTO messages (room_id, seq, user_id, content, client_message_id, created_at) \
         VALUES (1, 2, '1', 'two', 'c0ffee-2', '2026-01-31T12:00:00.000Z')",
    );
    database.sql("UPDATE rooms SET last_seq = 2");
    let gateway = Gateway::start(database);
    let mut grace = user(&gateway, "2").await;
    grace
        .call("joinRoom", &json!({"roomId": 1, "afterSeq": 1}))
        .await;
    assert_eq!(grace.event("newMessage").await["content"], "two");
    // The sender, who had no answer, sends it again.
    let mut ada = user(&gateway, "1").await;
    ada.join(1).await;
    let again = json!({"roomId": 1, "content": "two", "clientMessageId": "c0ffee-2"});
    assert_eq!(ada.call("sendMessage", &again).await["message"]["seq"], 2);
}

/// A member that reads slowly misses nothing, and one that reads is never cut off,
/// whatever the size of a burst.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_everything_from_the_log() {
    const MESSAGES: u64 = 600;
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "0")]);
    let mut slow = user(&gateway, "1").await;
    slow.join(1).await;
    let mut fast = user(&gateway, "2").await;
    fast.join(1).await;
    let mut writer = user(&gateway, "3").await;
    writer.join(1).await;
    let content = "🦀".repeat(4000);
    let mut slowly = 0;
    for n in 1..=MESSAGES {
        assert_eq!(writer.send(1, &content).await["message"]["seq"], n);
        // Nobody else waits for the slow one.
        assert_eq!(fast.event("newMessage").await["seq"], n);
        if n % 4 == 0 {
            slowly += 1;
            assert_eq!(slow.event("newMessage").await["seq"], slowly);
        }
    }
    // It is behind by more than its buffers hold.
    for n in slowly + 1..=MESSAGES {
        assert_eq!(slow.event("newMessage").await["seq"], n);
    }
    writer.send(1, "live again").await;
    assert_eq!(slow.event("newMessage").await["content"], "live again");
}

/// A full replay of long messages, to somebody who reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_replay_of_long_messages_arrives() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "0")]);
    let mut writer = user(&gateway, "1").await;
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
    let mut reader = user(&gateway, "2").await;
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
        assert!(page.to_string().len() < 300 * 1024, "a page is bounded");
        let seqs = seqs(&page["messages"]);
        assert!(seqs.len() > 1 && page["hasMore"] == (seqs[0] > 1));
        before = seqs[0];
        found.splice(..0, seqs);
    }
    assert_eq!(found, (1..=1000).collect::<Vec<_>>());
}

/// A commit whose answer does not come in time is carried out later all the same:
/// the sender is told that nobody knows, nothing overtakes it, members see it, and
/// sending it again finds it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_after_an_unknown_outcome_is_numbered_after_it() {
    let database = Database::postgres();
    let gateway = Gateway::start(&database);
    let (mut ada, mut grace) = (user(&gateway, "1").await, user(&gateway, "2").await);
    ada.join(1).await;
    grace.join(1).await;
    // The commit takes longer than anybody waits for it.
    database.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN PERFORM pg_sleep(7); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW WHEN (NEW.content = 'slow') EXECUTE FUNCTION slow()",
    );
    let slow = json!({"roomId": 1, "content": "slow", "clientMessageId": "slow-1"});
    let slowly = ada.start("sendMessage", &slow).await;
    // What comes before is committed with it, and as unknown.
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until(SOON, "the commit runs", || {
        Ok((database.sql(sleeping) == "1").then_some(()))
    })
    .unwrap();
    let after = ada
        .start("sendMessage", &json!({"roomId": 1, "content": "after"}))
        .await;
    let unknown = ada.ack(slowly).await;
    assert_eq!(unknown["error"]["code"], "outcome_unknown", "{unknown}");
    assert_eq!(unknown["error"]["retryable"], true);
    assert_eq!(ada.ack(after).await["message"]["seq"], 2);
    for seen in ["slow", "after"] {
        assert_eq!(grace.event("newMessage").await["content"], *seen);
    }
    let again = ada.call("sendMessage", &slow).await;
    assert_eq!(again["message"]["seq"], 1);
    assert_eq!(database.sql("SELECT count(*) FROM messages"), "2");
}

/// Whoever takes nothing for ten seconds is cut off, on either transport, and leaves
/// the room; without Socket.IO's disconnect, so that the standard client reconnects.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_for_ten_seconds_is_cut_off() {
    use crate::support::client::{Polling, http};

    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut stuck = user(&gateway, "1").await;
    stuck.join(1).await;
    let poller = Polling::connect(gateway.address, &token("2", "x")).await;
    poller.post(r#"42["joinRoom",{"roomId":1}]"#).await;
    assert!(poller.packets().await[0].contains("joinedRoom"));
    let mut writer = user(&gateway, "3").await;
    writer.join(1).await;
    let content = "🦀".repeat(4000);
    let metrics = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let since = Instant::now();
    while !http(gateway.address, metrics)
        .await
        .1
        .contains("chat_connections 1\n")
    {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "it is still a member"
        );
        assert_eq!(writer.send(1, &content).await["ok"], true);
    }
    assert!(
        since.elapsed() >= Duration::from_secs(9),
        "{:?}",
        since.elapsed()
    );
    let rest = stuck.read_to_end(Duration::from_secs(10)).await;
    assert!(!rest.iter().any(|packet| packet.starts_with("41")));
    assert_eq!(poller.get().await.0, 400);
}
