//! Batches on PostgreSQL that are stored, or may be stored, after their connection broke.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chat_adapters::postgres::Database;
use chat_domain::ports::{AppendError, Appended, MessageRepository};
use chat_domain::{Seq, StorageError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::databases::Postgres;
use crate::{append, by, hello, room, seq, under, up_to};

/// What the proxy does with the connections that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Forward,
    /// Keeps what the client sends.
    Hold,
    /// Closes the connection to the client, not the one to the server.
    Cut,
    /// Sends to the server what was kept.
    Deliver,
}

/// A proxy between the database's client and its server. Later connections are forwarded.
struct Proxy {
    address: SocketAddr,
    step: watch::Sender<Step>,
    /// The number of bytes that are kept.
    held: watch::Sender<usize>,
}

impl Proxy {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            step: watch::Sender::new(Step::Forward),
            held: watch::Sender::new(0),
        };
        let (step, held) = (proxy.step.clone(), proxy.held.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(forward(client, server, step.subscribe(), held.clone()));
            }
        });
        proxy
    }

    async fn holds_something(&self) {
        let mut held = self.held.subscribe();
        let holds = held.wait_for(|bytes| *bytes > 0);
        let holds = tokio::time::timeout(Duration::from_secs(20), holds);
        holds.await.unwrap().unwrap();
    }
}

async fn forward(
    client: TcpStream,
    mut server: TcpStream,
    mut step: watch::Receiver<Step>,
    held_bytes: watch::Sender<usize>,
) {
    step.mark_unchanged();
    let (mut client, mut held) = (Some(client), Vec::new());
    let mut current = Step::Forward;
    loop {
        let client_is_readable = async {
            match &client {
                Some(client) => client.readable().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What arrives after a step is treated according to it.
            biased;
            changed = step.changed() => {
                if changed.is_err() {
                    return;
                }
                current = *step.borrow();
                if current == Step::Cut {
                    client = None;
                }
                if current == Step::Deliver && server.write_all(&held).await.is_err() {
                    return;
                }
            }
            _ = client_is_readable => {
                let Some(bytes) = client.as_ref().and_then(read) else {
                    return;
                };
                if current == Step::Hold {
                    held.extend(bytes);
                    held_bytes.send_replace(held.len());
                } else if server.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            _ = server.readable() => {
                let Some(bytes) = read(&server) else {
                    return;
                };
                if let Some(client) = &mut client
                    && client.write_all(&bytes).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

/// Returns what can be read, or `None` at the end.
fn read(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 64 * 1024];
    match stream.try_read(&mut bytes) {
        Ok(0) => None,
        Ok(count) => {
            bytes.truncate(count);
            Some(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Vec::new()),
        Err(_) => None,
    }
}

/// A database, and the proxy that it uses.
struct Setup {
    postgres: Postgres,
    proxy: Proxy,
    node: Database,
}

impl Setup {
    async fn new() -> Self {
        let postgres = Postgres::fresh().await;
        let url = postgres.server.url();
        let address = url.split('@').nth(1).unwrap().split('/').next().unwrap();
        let proxy = Proxy::start(address.to_owned()).await;
        let url = url.replace(address, &proxy.address.to_string());
        let node = Database::open(&url.parse().unwrap(), 2).unwrap();
        append(&node, hello(room(1))).await.unwrap();
        Self {
            postgres,
            proxy,
            node,
        }
    }

    /// Sends a message whose call does not reach the server, and cuts its connection.
    async fn cut_before_the_call_arrives(&self) {
        self.proxy.step.send_replace(Step::Hold);
        let sending = self.send("old");
        self.proxy.holds_something().await;
        self.proxy.step.send_replace(Step::Cut);
        is_unknown(sending).await;
    }

    fn send(&self, content: &str) -> JoinHandle<Result<Appended, AppendError>> {
        let (node, message) = (self.node.clone(), by("42", "Ada", room(1), content));
        tokio::spawn(async move { node.append(message).await })
    }

    async fn contents(&self) -> Vec<String> {
        let read = self.postgres.database.after(room(1), Seq::START, up_to(50));
        let messages = read.await.unwrap().messages;
        let seqs: Vec<_> = messages.iter().map(|m| m.seq.get()).collect();
        assert_eq!(seqs, (1..=messages.len() as u64).collect::<Vec<_>>());
        let contents = messages.iter().map(|m| m.content.as_str().to_owned());
        contents.collect()
    }
}

async fn is_unknown(sending: JoinHandle<Result<Appended, AppendError>>) {
    let began = Instant::now();
    let outcome = sending.await.unwrap();
    assert!(
        matches!(
            outcome,
            Err(AppendError::Storage(StorageError::OutcomeUnknown(_)))
        ),
        "{outcome:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_after_one_whose_commit_outlives_its_connection() {
    let setup = Setup::new().await;
    let trigger = "CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW WHEN (NEW.content = 'old') EXECUTE FUNCTION sleep()";
    setup.postgres.server.psql(trigger).unwrap();
    let sending = setup.send("old");
    setup.postgres.wait_for_event("PgSleep").await;
    setup.proxy.step.send_replace(Step::Cut);
    is_unknown(sending).await;

    let other = append(
        &setup.postgres.database,
        by("1", "x", room(1), "other node"),
    );
    let (new, other) = tokio::join!(setup.send("new"), other);
    assert!(matches!(new.unwrap(), Ok(Appended::Stored(m)) if m.seq > seq(2)));
    other.unwrap();
    let contents = setup.contents().await;
    assert_eq!(contents[..2], ["hello", "old"]);
    assert_eq!(contents.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_a_call_that_arrives_after_its_connection_broke() {
    let setup = Setup::new().await;
    setup.cut_before_the_call_arrives().await;

    let new = setup.send("new");
    // Another node, and another room of this one, do not wait.
    let began = Instant::now();
    append(
        &setup.postgres.database,
        by("1", "x", room(1), "other node"),
    )
    .await
    .unwrap();
    append(&setup.node, hello(room(2))).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(!new.is_finished());
    setup.proxy.step.send_replace(Step::Deliver);
    // Its backend remains, and is terminated.
    assert!(matches!(new.await.unwrap(), Ok(Appended::Stored(m)) if m.seq == seq(4)));
    assert_eq!(
        setup.contents().await,
        ["hello", "other node", "old", "new"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_arrives_delays_its_room_for_two_seconds() {
    let setup = Setup::new().await;
    setup.cut_before_the_call_arrives().await;

    let began = Instant::now();
    let new = setup.send("new").await.unwrap();
    assert!(matches!(new, Ok(Appended::Stored(m)) if m.seq == seq(2)));
    let took = began.elapsed();
    assert!(took > Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    // The backend is terminated: what arrives now is not carried out.
    setup.proxy.step.send_replace(Step::Deliver);
    append(&setup.node, hello(room(1))).await.unwrap();
    assert_eq!(setup.contents().await, ["hello", "new", "hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_arrives_after_the_rules_have_changed_stores_nothing() {
    let setup = Setup::new().await;
    setup.cut_before_the_call_arrives().await;

    let waiting = setup.send("decided before");
    let change = "UPDATE rooms SET rules = 1";
    setup.postgres.server.psql(change).unwrap();
    setup.proxy.step.send_replace(Step::Deliver);
    let refused = waiting.await.unwrap();
    assert!(
        matches!(refused, Err(AppendError::RulesChanged)),
        "{refused:?}"
    );
    let new = under(1, by("42", "Ada", room(1), "new"));
    assert_eq!(append(&setup.node, new).await.unwrap().seq, seq(2));
    assert_eq!(setup.contents().await, ["hello", "new"]);
}
