//! A database that is killed.

use std::time::{Duration, Instant};

use chat_test_support::{Cluster, ClusterOptions};
use serde_json::json;

use crate::support::receiver::{Behaviour, Receiver, WEBHOOK_SECRET};
use crate::support::{DEADLINE, Gateway, SECRET, command};

const ROOMS: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_loses_nothing_and_repetitions_have_the_same_id() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::After(Duration::from_millis(20)));
    let mut serve = command("serve");
    serve
        .env("DATABASE_URL", server.url("chat"))
        .env("JWT_SECRET", SECRET)
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("MESSAGE_RATE", "0")
        .env("WEBHOOK_URL", receiver.url())
        .env("WEBHOOK_SECRET", WEBHOOK_SECRET);
    let gateway = Gateway::spawn(serve);
    let mut ada = gateway.connect("ada").await;
    for room in 1..=ROOMS {
        ada.join(room).await;
    }
    for _ in 0..2 {
        let before = receiver.taken().len();
        let mut sent = Vec::new();
        for at in 0..60 {
            let message = json!({ "roomId": at % ROOMS + 1, "content": "x" });
            sent.push(ada.start("sendMessage", &message).await);
        }
        receiver
            .until(DEADLINE, |receiver| receiver.taken().len() > before + 5)
            .await;
        server.kill_all().unwrap();
        // Its last processes may hold the memory that it shares for a moment.
        let began = Instant::now();
        while let Err(error) = server.start_again() {
            assert!(began.elapsed() < DEADLINE, "{error}");
        }
        for id in sent {
            ada.ack(id).await;
        }
        let message = json!({ "roomId": 1, "content": "x" });
        while ada.call("sendMessage", &message).await["ok"] != true {
            assert!(began.elapsed() < 2 * DEADLINE, "{}", gateway.log());
        }
    }
    let stored = |room: u64| -> u64 {
        let count = format!("SELECT count(*) FROM messages WHERE room_id = {room}");
        server.psql("chat", &count).unwrap().parse().unwrap()
    };
    let stored: Vec<u64> = (1..=ROOMS).map(stored).collect();
    let all: u64 = stored.iter().sum();
    receiver.until_taken(usize::try_from(all).unwrap()).await;
    for (room, stored) in (1..).zip(stored) {
        let taken = receiver.taken();
        let taken = taken.iter().filter(|call| call.room() == room);
        let positions: Vec<u64> = taken
            .map(|call| call.body["data"]["message"]["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(positions, (1..=stored).collect::<Vec<_>>(), "room {room}");
    }
}
