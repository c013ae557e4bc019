//! How a storage outage appears in the log.

use std::time::Instant;

use chat_test_support::{Cluster, ClusterOptions};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{DEADLINE, Gateway, SECRET, command, token};

/// The number of sends in progress at the same time.
const IN_PROGRESS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_under_a_stream_of_sends_logs_its_beginning_its_end_and_few_lines_between() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let mut serve = command("serve");
    serve
        .env("DATABASE_URL", server.url("chat"))
        .env("JWT_SECRET", SECRET)
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("MESSAGE_RATE", "0");
    let gateway = Gateway::spawn(serve);
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    client.join(1).await;
    assert_eq!(send_many(&mut client).await, 0);

    server.stop_immediate().unwrap();
    let began = Instant::now();
    let mut unavailable = 0;
    while count(&gateway, "storage outage continues") < 3 {
        unavailable += send_many(&mut client).await;
        assert!(began.elapsed() < DEADLINE, "{}", gateway.log());
    }
    server.start_again().unwrap();
    while count(&gateway, "storage outage ended") < count(&gateway, "storage outage began") {
        unavailable += send_many(&mut client).await;
        assert!(began.elapsed() < 2 * DEADLINE, "{}", gateway.log());
    }

    let seconds = began.elapsed().as_secs() as usize + 1;
    let lines = lines(&gateway);
    let kinds = [
        "reads unavailable",
        "writes unavailable",
        "outcome of writes unknown",
    ];
    let warnings = lines.iter().filter(|line| line["level"] != "INFO").count();
    assert!(
        warnings <= kinds.len() * seconds,
        "{warnings} lines in {seconds} s"
    );
    assert!(unavailable > 2 * warnings, "{unavailable} failed sends");

    let writes: Vec<&Value> = lines
        .iter()
        .filter(|line| line["kind"] == "writes unavailable")
        .collect();
    let (first, last) = (writes.first().unwrap(), writes.last().unwrap());
    assert_eq!(first["message"], "storage outage began");
    let error = first["error"].as_str().unwrap();
    let cause = error.strip_prefix("storage unavailable: ");
    assert!(cause.is_some_and(|cause| !cause.is_empty()), "{error}");
    assert_eq!(last["message"], "storage outage ended");
    assert_eq!(last["failures"], unavailable);
}

/// Sends messages concurrently and returns how many were refused as `unavailable`.
async fn send_many(client: &mut Client) -> usize {
    let mut ids = Vec::new();
    for _ in 0..IN_PROGRESS {
        let message = json!({"roomId": 1, "content": "x"});
        ids.push(client.start("sendMessage", &message).await);
    }
    let mut unavailable = 0;
    for id in ids {
        let answer = client.ack(id).await;
        match answer["error"]["code"].as_str() {
            Some("unavailable") => unavailable += 1,
            // The database stopped during the commit.
            Some("outcome_unknown") | None => {}
            Some(other) => panic!("{other}"),
        }
    }
    client.take_events();
    unavailable
}

fn count(gateway: &Gateway, message: &str) -> usize {
    gateway.log().matches(message).count()
}

fn lines(gateway: &Gateway) -> Vec<Value> {
    let log = gateway.log();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
