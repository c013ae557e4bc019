//! HTTP long-polling.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Engine.IO's separator between the packets of a request or response.
const SEPARATOR: &str = "\u{1e}";
/// Engine.IO's packet "noop".
const NOOP: &str = "6";
/// How long a request may take. The gateway answers a poll at the latest with a heartbeat.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);

/// A long-polling session. One task polls; while nothing takes what it has received, it does
/// not poll. Another one posts, because a gateway reads from a client only as long as the
/// client reads too.
pub(crate) struct Polling {
    arrivals: mpsc::Receiver<Vec<String>>,
    departures: mpsc::UnboundedSender<Vec<String>>,
    _tasks: JoinSet<()>,
}

impl Polling {
    /// Opens a session without connecting to the namespace.
    pub(super) async fn open(address: SocketAddr) -> Option<Self> {
        let path = "/socket.io/?EIO=4&transport=polling";
        let body = ok(http(address, "GET", path, "").await)?;
        let open: Value = serde_json::from_str(body.strip_prefix('0')?).ok()?;
        let path = format!("{path}&sid={}", open["sid"].as_str()?);
        let (arrived, arrivals) = mpsc::channel(1);
        let (departures, departing) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(poll(address, path.clone(), arrived));
        tasks.spawn(post(address, path, departing));
        Some(Self {
            arrivals,
            departures,
            _tasks: tasks,
        })
    }

    /// Returns the next packets, or `None` if the session has ended or a request failed: what was
    /// posted with it is not answered.
    pub(super) async fn next(&mut self) -> Option<Vec<String>> {
        tokio::select! {
            biased;
            arrived = self.arrivals.recv() => arrived,
            () = self.departures.closed() => None,
        }
    }

    /// Has packets posted. Returns `false` if an earlier request failed.
    pub(super) fn send(&mut self, packets: Vec<String>) -> bool {
        self.departures.send(packets).is_ok()
    }
}

/// Posts packets in their order until a request fails.
async fn post(
    address: SocketAddr,
    path: String,
    mut departing: mpsc::UnboundedReceiver<Vec<String>>,
) {
    while let Some(mut packets) = departing.recv().await {
        while let Ok(more) = departing.try_recv() {
            packets.extend(more);
        }
        let body = packets.join(SEPARATOR);
        if ok(http(address, "POST", &path, &body).await).is_none() {
            return;
        }
    }
}

/// Polls until the session has ended.
async fn poll(address: SocketAddr, path: String, arrived: mpsc::Sender<Vec<String>>) {
    while let Some(body) = ok(http(address, "GET", &path, "").await) {
        let packets = body.split(SEPARATOR).filter(|packet| *packet != NOOP);
        let packets = packets.map(str::to_owned).collect();
        if arrived.send(packets).await.is_err() {
            return;
        }
    }
}

fn ok(response: Option<(u16, String)>) -> Option<String> {
    response.and_then(|(status, body)| (status == 200).then_some(body))
}

/// Sends an HTTP request on a new connection and returns the response's status and body, or
/// `None` if the connection broke.
async fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.ok()?;
        parse(&response)
    };
    timeout(REQUEST_DEADLINE, exchange).await.ok().flatten()
}

/// Returns the status and the body of a response, or `None` if a part of it is missing.
fn parse(response: &[u8]) -> Option<(u16, String)> {
    let response = str::from_utf8(response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() == length).then(|| (status, body.to_owned()))
}
