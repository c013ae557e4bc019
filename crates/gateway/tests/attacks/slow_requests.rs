//! Requests that never end.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::size;
use crate::stage::Stage;
use crate::support::client::Polling;
use crate::support::token;

/// Sends the beginning of a request, and then a byte a second until the gateway closes the
/// connection. Returns how long that took.
async fn drip(stage: &Stage, beginning: &str) -> Duration {
    let mut stream = TcpStream::connect(stage.gateway.address).await.unwrap();
    let since = Instant::now();
    let (mut read, mut write) = stream.split();
    let dripping = async {
        write.write_all(beginning.as_bytes()).await.ok();
        loop {
            sleep(Duration::from_secs(1)).await;
            if write.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    let closed = async { read.read_to_end(&mut answer).await };
    tokio::select! {
        () = dripping => {}
        closed = timeout(Duration::from_secs(20), closed) => {
            closed.expect("the gateway closes the connection").ok();
        }
    }
    since.elapsed()
}

async fn drip_many(stage: &Stage, beginnings: Vec<String>) {
    let count = beginnings.len();
    let dripping = stream::iter(&beginnings).map(|beginning| drip(stage, beginning));
    let elapsed: Vec<_> = dripping.buffer_unordered(count).collect().await;
    let longest = elapsed.into_iter().max().unwrap();
    assert!(longest < Duration::from_secs(15), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn slow_headers() {
    let stage = Stage::start("slow headers", &[]).await;
    let beginning = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    drip_many(&stage, vec![beginning.to_owned(); size(2000, 200)]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn slow_bodies() {
    let stage = Stage::start("slow bodies", &[]).await;
    let mut beginnings = Vec::new();
    for n in 0..size(1000, 100) {
        let token = token(&format!("slow-{n}"), "x");
        let polling = Polling::connect(stage.gateway.address, &token).await;
        beginnings.push(format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: x\r\n\
             Content-Length: 60000\r\n\r\n42[",
            polling.sid
        ));
    }
    drip_many(&stage, beginnings).await;
    stage.finish().await;
}
