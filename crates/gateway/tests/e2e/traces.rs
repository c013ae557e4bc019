//! Traces, as a collector receives them.

mod collector;

use chat_test_support::Certificates;
use serde_json::json;

use self::collector::{Collector, attribute};
use crate::on_each_database;
use crate::support::client::{Client, Polling, http};
use crate::support::{Database, Gateway, token};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

on_each_database!(an_event_has_a_span_in_the_trace_of_its_handshake_linked_with_its_batch);

/// Starts a gateway that exports at once.
fn start(database: &Database, collector: &Collector) -> Gateway {
    start_with(database, collector, &[])
}

fn start_with(database: &Database, collector: &Collector, more: &[(&str, &str)]) -> Gateway {
    let endpoint = collector.endpoint();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    Gateway::start_with(database, &[&settings, more].concat())
}

/// Starts a gateway that trusts the authority of these certificates, and no other.
fn start_trusting(database: &Database, collector: &Collector, trusted: &Certificates) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let authority = trusted.write_to(folder.path()).unwrap().authority;
    let authority = authority.to_str().unwrap();
    start_with(database, collector, &[("SSL_CERT_FILE", authority)])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn traceparent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

async fn an_event_has_a_span_in_the_trace_of_its_handshake_linked_with_its_batch(
    database: &Database,
) {
    let collector = Collector::start(200).await;
    let gateway = start(database, &collector);
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        gateway.address
    );
    let headers = [("traceparent", &*traceparent())];
    let mut client = Client::open_with(&url, &headers).await.unwrap();
    client.enter(&token("42", "Ada")).await;
    client.join(7).await;
    assert_eq!(client.send(7, "hello").await["ok"], true);
    client
        .call("markRead", &json!({ "roomId": 8, "seq": 1 }))
        .await;

    let send = collector.span("sendMessage").await;
    assert_eq!(hex(&send.trace_id), TRACE);
    assert_eq!(hex(&send.parent_span_id), PARENT);
    assert_eq!(attribute(&send, "chat.outcome").as_deref(), Some("ok"));
    assert_eq!(attribute(&send, "chat.room_id").as_deref(), Some("7"));
    let batch = collector.span("batch").await;
    assert_eq!(attribute(&batch, "chat.messages").as_deref(), Some("1"));
    let [link] = &send.links[..] else {
        panic!("{send:?}");
    };
    assert_eq!(
        (&link.trace_id, &link.span_id),
        (&batch.trace_id, &batch.span_id)
    );
    let (arrival, handoff) = (send.start_time_unix_nano, send.end_time_unix_nano);
    assert!(arrival <= batch.start_time_unix_nano && batch.start_time_unix_nano <= handoff);

    let join = collector.span("joinRoom").await;
    assert_eq!(
        (hex(&join.trace_id), join.links.len()),
        (TRACE.to_owned(), 0)
    );
    let mark = collector.span("markRead").await;
    assert_eq!(
        attribute(&mark, "chat.outcome").as_deref(),
        Some("not_in_room")
    );
    assert_eq!(collector.services()[0], "chat-gateway");
    // Spans carry neither users nor contents, and are not part of the log.
    let all = format!("{send:?} {join:?} {mark:?} {batch:?}");
    assert!(!all.contains("hello") && !all.contains("Ada"), "{all}");
    let log = gateway.log();
    assert!(
        !log.contains("sendMessage") && !log.contains("\"span"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_polling_names_its_trace_and_one_without_has_its_own() {
    let collector = Collector::start(200).await;
    let database = Database::sqlite();
    let gateway = start(&database, &collector);
    let request = format!(
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         traceparent: {}\r\n\r\n",
        traceparent()
    );
    let (status, response) = http(gateway.address, &request).await;
    assert_eq!(status, 200, "{response}");
    let sid = response.split("\"sid\":\"").nth(1).unwrap();
    let sid = sid.split('"').next().unwrap().to_owned();
    let poller = Polling {
        address: gateway.address,
        sid,
    };
    poller
        .post(&format!("40{}", json!({ "token": token("1", "x") })))
        .await;
    poller.packets().await;
    poller.post(r#"42["joinRoom",{"roomId":1}]"#).await;
    let join = collector.span("joinRoom").await;
    assert_eq!(hex(&join.trace_id), TRACE);

    // What is malformed is ignored.
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        gateway.address
    );
    let headers = [("traceparent", "00-zz-1-1")];
    let mut client = Client::open_with(&url, &headers).await.unwrap();
    client.enter(&token("2", "x")).await;
    client.call("leaveRoom", &json!({ "roomId": 1 })).await;
    let leave = collector.span("leaveRoom").await;
    assert!(leave.parent_span_id.is_empty());
    assert_ne!(hex(&leave.trace_id), TRACE);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_stored_together_are_linked_with_one_batch() {
    const MESSAGES: usize = 40;
    let collector = Collector::start(200).await;
    let database = Database::sqlite();
    let gateway = start(&database, &collector);
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    let mut answers = Vec::new();
    for n in 0..MESSAGES {
        let message = json!({ "roomId": 1, "content": n.to_string() });
        answers.push(client.start("sendMessage", &message).await);
    }
    for answer in answers {
        client.ack(answer).await;
    }
    let mut gateway = gateway;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let sends = collector.spans("sendMessage");
    assert_eq!(sends.len(), MESSAGES);
    let batches = collector.spans("batch");
    let messages: usize = batches
        .iter()
        .map(|batch| {
            attribute(batch, "chat.messages")
                .unwrap()
                .parse::<usize>()
                .unwrap()
        })
        .sum();
    assert_eq!(messages, MESSAGES);
    for send in &sends {
        let linked = |id: &[u8]| send.links.iter().filter(|link| link.span_id == id).count();
        let links: usize = batches.iter().map(|batch| linked(&batch.span_id)).sum();
        assert_eq!((send.links.len(), links), (1, 1), "{send:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_exports_the_last_spans() {
    let collector = Collector::start(200).await;
    let database = Database::sqlite();
    let endpoint = collector.endpoint();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ];
    let mut gateway = Gateway::start_with(&database, &settings);
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!(collector.spans("joinRoom").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_fails_is_logged_once_and_disturbs_no_client() {
    let collector = Collector::start(503).await;
    let database = Database::sqlite();
    let gateway = start(&database, &collector);
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    let log = gateway.wait_for_log(|log| {
        let is_logged = log.contains("traces cannot be exported");
        is_logged.then(|| log.to_owned())
    });
    assert!(log.contains("503"), "{log}");
    for n in 1..=20 {
        assert_eq!(client.send(1, "x").await["message"]["seq"], n);
    }
    collector.until_requests(4).await;
    assert_eq!(
        gateway.log().matches("traces cannot be exported").count(),
        1
    );
    collector.answer_with(200);
    client.send(1, "x").await;
    gateway.wait_for_log(|log| log.contains("traces are exported again").then_some(()));

    // One that fails now and then does not fill the log either.
    for status in [503, 200, 503, 200] {
        collector.answer_with(status);
        let requests = collector.requests();
        for more in 1..=2 {
            client.send(1, "x").await;
            collector.until_requests(requests + more).await;
        }
    }
    let log = gateway.log();
    assert_eq!(log.matches("traces cannot be exported").count(), 1, "{log}");
    assert_eq!(log.matches("traces are exported again").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_over_tls_with_a_trusted_certificate_receives_spans() {
    let certificates = Certificates::generate().unwrap();
    let collector = Collector::start_tls(&certificates.server).await;
    let database = Database::sqlite();
    let gateway = start_trusting(&database, &collector, &certificates);
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    collector.span("joinRoom").await;
    assert_eq!(client.send(1, "x").await["ok"], true);
    collector.span("sendMessage").await;
    let log = gateway.log();
    assert!(!log.contains("traces cannot be exported"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_whose_certificate_is_not_trusted_is_logged_once_and_disturbs_no_client() {
    let certificates = Certificates::generate().unwrap();
    let other = Certificates::generate().unwrap();
    let collector = Collector::start_tls(&certificates.server).await;
    let database = Database::sqlite();
    let mut gateway = start_trusting(&database, &collector, &other);
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    for n in 1..=4 {
        assert_eq!(client.send(1, "x").await["message"]["seq"], n);
        collector.until_refused(usize::try_from(n).unwrap()).await;
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let log = gateway.log();
    let about_traces: Vec<_> = log
        .lines()
        .filter(|line| line.contains("traces cannot be exported"))
        .collect();
    let [line] = about_traces[..] else {
        panic!("{log}");
    };
    assert!(line.contains("\"WARN\""), "{line}");
    assert!(
        line.contains("\"error\":\"invalid peer certificate: "),
        "{line}"
    );
    assert_eq!(collector.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_delays_neither_clients_nor_the_stop() {
    let collector = Collector::start(0).await;
    let database = Database::sqlite();
    let mut gateway = start(&database, &collector);
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    collector.until_requests(1).await;
    for n in 1..=20 {
        assert_eq!(client.send(1, "x").await["message"]["seq"], n);
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!(collector.spans("sendMessage").len(), 0);
}
