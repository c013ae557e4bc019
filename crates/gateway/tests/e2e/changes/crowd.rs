//! A thousand users react to one message at once.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::{Database, Gateway};

crate::on_each_database!(a_thousand_users_react_and_each_receives_few_packets);

const USERS: usize = 1000;
/// Each user sets one of these.
const KEYS: [&str; 4] = ["👍", "👎", "🎉", "👀"];
/// How many clients connect at the same time.
const AT_ONCE: usize = 50;
/// The time between two packets about one message to a connection, as the gateway paces them.
const PACE: Duration = Duration::from_millis(200);

async fn a_thousand_users_react_and_each_receives_few_packets(database: &Database) {
    let gateway = Gateway::start(database);
    let mut author = gateway.connect("author").await;
    author.join(1).await;
    author.send(1, "hello").await;
    let users: Vec<_> = (0..USERS).collect();
    let mut clients = Vec::new();
    for users in users.chunks(AT_ONCE) {
        let connecting = users.iter().map(async |user| {
            let mut client = gateway.connect(&user.to_string()).await;
            client.join(1).await;
            client.take_events();
            client
        });
        clients.extend(join_all(connecting).await);
    }
    let began = Instant::now();
    for (client, key) in clients.iter_mut().zip(KEYS.iter().cycle()) {
        react(client, key).await;
    }
    let tasks = clients.into_iter().zip(KEYS.iter().cycle());
    let tasks: Vec<_> = tasks
        .map(|(client, key)| tokio::spawn(check(client, key, began)))
        .collect();
    let mut most = 0;
    for task in tasks {
        most = task.await.unwrap().max(most);
    }
    println!("{:?}, at most {most} packets", began.elapsed());
}

async fn react(client: &mut Client, key: &str) {
    let reaction = json!({"roomId": 1, "seq": 1, "key": key, "on": true});
    client.emit("setReaction", &reaction).await;
}

/// Checks what one user receives until all have reacted, and what it reads then. Returns the
/// number of packets.
async fn check(mut client: Client, own: &'static str, began: Instant) -> usize {
    let (mut packets, mut rev) = (0, 0);
    let last = loop {
        let (event, changed) = client.any_event().await;
        assert_eq!(event, "messageChanged", "{changed}");
        let next = changed["rev"].as_u64().unwrap();
        assert!(next > rev, "{next} after {rev}");
        (packets, rev) = (packets + 1, next);
        if rev == USERS as u64 {
            break changed["message"].clone();
        }
    };
    // The first arrives at once, and the pace begins with it.
    let paces = began.elapsed().as_millis() / PACE.as_millis();
    let allowed = paces as usize + 2;
    assert!(packets <= allowed, "{packets} packets in {paces} paces");
    assert_eq!(counts(&last, None), each(USERS / KEYS.len()));
    let page = client.call("listMessages", &json!({"roomId": 1})).await;
    let message = &page["messages"][0];
    assert_eq!(counts(message, Some(own)), each(USERS / KEYS.len()));
    packets
}

fn each(count: usize) -> BTreeMap<String, u64> {
    let counts = KEYS.map(|key| (key.to_owned(), count as u64));
    counts.into()
}

/// Returns the count of each reaction; exactly the user's own one must be marked.
fn counts(message: &Value, own: Option<&str>) -> BTreeMap<String, u64> {
    let reactions = message["reactions"].as_array().unwrap().iter();
    let counts = reactions.map(|reaction| {
        let key = reaction["key"].as_str().unwrap();
        let expected = (Some(key) == own).then_some(&Value::Bool(true));
        assert_eq!(reaction.get("mine"), expected, "{message}");
        (key.to_owned(), reaction["count"].as_u64().unwrap())
    });
    counts.collect()
}
