//! `markRead`: where read pointers move, and which changes members are notified of.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Database, Gateway};

crate::on_each_database!(read_pointers_only_move_forward_and_members_are_notified);

async fn read_pointers_only_move_forward_and_members_are_notified(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (gateway.connect("1").await, gateway.connect("2").await);
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
        let notified = client.event("markedRead").await;
        assert_eq!(notified, json!({"roomId": 1, "userId": "2", "seq": 3}));
    }
    // A pointer moves neither back nor beyond the newest message. Members are not notified
    // of a `markRead` that moves nothing.
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
    // Members are notified at most once per second, of the newest position.
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
    // A send moves the sender's own pointer.
    grace.send(1, "y").await;
    let joined = grace.call("joinRoom", &json!({"roomId": 1})).await;
    assert_eq!(
        (&joined["readSeq"], &joined["unread"]),
        (&json!(6), &json!(0))
    );
    let mut third = gateway.connect("3").await;
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
