//! What a read of the log transfers from PostgreSQL.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use chat_adapters::postgres::Database;
use chat_domain::ports::{MessageRepository, ReadLimit};
use chat_domain::{Seq, ports::LogPage};

use crate::databases::Postgres;
use crate::{append_at_once, by, room};

/// Forwards connections to a server, and counts the bytes that the server sends.
struct Proxy {
    address: String,
    sent: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = sent.clone();
        // The threads end with their connections, and the first with the process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(&server).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || forward(from, to, None));
                let counter = counter.clone();
                thread::spawn(move || forward(server, client, Some(&counter)));
            }
        });
        Self { address, sent }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, counter: Option<&AtomicUsize>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if let Some(counter) = counter {
            counter.fetch_add(length, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
}

/// Returns the part of a URL that names the host and the port.
fn address(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap();
    let (authority, _) = rest.split_once('/').unwrap();
    authority.rsplit('@').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_transfers_little_more_than_its_limit_of_bytes() {
    const SIZE: usize = 16_000;
    const BYTES: usize = 64 * 1024;
    let postgres = Postgres::fresh().await;
    let text = "🦀".repeat(SIZE / 4);
    let messages = (0..200).map(|_| by("42", "Ada", room(1), &text));
    for outcome in append_at_once(&postgres.database, messages).await {
        outcome.unwrap();
    }
    let url = postgres.server.url();
    let proxy = Proxy::start(address(&url).to_owned());
    let url = url.replace(address(&url), &proxy.address);
    let database = Database::open(&url.parse().unwrap(), 1).unwrap();
    let limit = |bytes| ReadLimit {
        messages: 200,
        bytes,
    };
    let read = async |bytes| -> [LogPage; 2] {
        [
            database
                .after(room(1), Seq::START, limit(bytes))
                .await
                .unwrap(),
            database.before(room(1), None, limit(bytes)).await.unwrap(),
        ]
    };
    // Opens the session and prepares its statements.
    read(1).await;
    let before = proxy.sent.load(Ordering::SeqCst);
    for page in read(BYTES).await {
        assert_eq!((page.messages.len(), page.has_more), (BYTES / SIZE, true));
    }
    let sent = proxy.sent.load(Ordering::SeqCst) - before;
    // Each page, and one message that shows that there are more.
    let expected = 2 * (BYTES + SIZE + 4096);
    assert!(sent <= expected, "{sent} bytes instead of {expected}");
}
