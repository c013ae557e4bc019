//! What clients that stop reading cost.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::support::client::{Client, http};
use crate::support::{Database, Gateway, SOON, token};

/// Clients per way of stopping.
const CLIENTS: u64 = 20;
/// A text that JSON escapes sixfold.
const CHARACTERS: usize = 4000;

/// A client whose kernel takes little before it has read.
async fn narrow(gateway: &Gateway, user: &str) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(gateway.address).await.unwrap();
    Client::connect_through(stream, gateway.address, &token(user, "Ada")).await
}

/// The process's largest resident size since the last reset, in KiB.
fn peak_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

fn reset_peak(gateway: &Gateway) {
    std::fs::write(format!("/proc/{}/clear_refs", gateway.pid()), "5").unwrap();
}

async fn connections(gateway: &Gateway) -> u64 {
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (_, metrics) = http(gateway.address, request).await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("chat_connections "));
    line.unwrap().parse().unwrap()
}

/// In catch-up, replay and pages alike, the gateway holds at most 1 MiB for a client that
/// stops reading, and disconnects it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_costs_at_most_a_mebibyte() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "0")]);
    let mut writer = Client::connect(gateway.address, &token("w", "Writer")).await;
    let content = "\u{1}".repeat(CHARACTERS);
    for room in [1, 2] {
        writer.join(room).await;
    }
    let mut write = async |room: u64, count: usize| {
        let mut last = 0;
        let message = json!({"roomId": room, "content": content});
        for _ in 0..count {
            last = writer.start("sendMessage", &message).await;
        }
        assert_eq!(writer.ack(last).await["ok"], true);
        writer.take_events();
    };
    for _ in 0..20 {
        write(1, 50).await;
    }
    reset_peak(&gateway);
    let before = peak_kib(&gateway);

    // Members that fall behind, clients in a replay, and clients that ask for pages.
    let mut stopped = Vec::new();
    for n in 0..CLIENTS {
        let mut member = narrow(&gateway, &format!("m{n}")).await;
        member.join(2).await;
        let mut replayed = narrow(&gateway, &format!("r{n}")).await;
        let replay = json!({"roomId": 1, "afterSeq": 0});
        replayed.start("joinRoom", &replay).await;
        let mut paging = narrow(&gateway, &format!("p{n}")).await;
        paging.join(1).await;
        for _ in 0..20 {
            let page = json!({"roomId": 1, "limit": 200});
            paging.start("listMessages", &page).await;
        }
        stopped.extend([member, replayed, paging]);
    }
    for _ in 0..4 {
        write(2, 50).await;
    }
    let disconnected = async {
        while connections(&gateway).await > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON + Duration::from_secs(10), disconnected)
        .await
        .expect("every client that stopped reading is disconnected");
    let cost = (peak_kib(&gateway) - before) / stopped.len() as u64;
    assert!(cost <= 1024, "{cost} KiB per client");
}
