//! Clients that ask for much and read nothing.

use serde_json::json;
use tokio::net::TcpSocket;

use crate::size;
use crate::stage::{Stage, wait_for_connections};
use crate::support::client::Client;
use crate::support::token;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn readers_that_stop() {
    let stage = Stage::start("readers that stop", &[("MESSAGE_RATE", "0")]).await;
    let address = stage.gateway.address;
    let mut writer = Client::connect(address, &token("writer", "x")).await;
    writer.join(2).await;
    let content = "\u{1}".repeat(4000);
    for _ in 0..100 {
        assert_eq!(writer.send(2, &content).await["ok"], true);
        writer.take_events();
    }
    drop(writer);
    let readers = size(100, 20);
    let mut stopped = Vec::new();
    for n in 0..readers {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let token = token(&format!("reader-{n}"), "x");
        let mut client = Client::connect_through(stream, address, &token).await;
        client.join(2).await;
        for _ in 0..20 {
            client
                .start("listMessages", &json!({"roomId": 2, "limit": 200}))
                .await;
        }
        stopped.push(client);
    }
    // They are disconnected, although their own side stays open.
    wait_for_connections(&stage.gateway, 2).await;
    drop(stopped);
    stage.finish().await;
}
