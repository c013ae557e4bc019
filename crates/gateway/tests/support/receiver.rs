//! A receiver of webhooks, which can behave badly in every way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chat_test_support::TlsIdentity;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// A secret of the tests.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a call is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// This status.
    Status(u16),
    /// Success, after this time.
    After(Duration),
    /// Nothing, until the caller gives up.
    Hang,
    /// The head of a success, then the end of the connection.
    CloseMidResponse,
    /// The end of the connection.
    Close,
    /// A redirect to another path of this receiver.
    Redirect,
}

/// A call that has arrived.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) signature: String,
    pub(crate) body: Value,
    /// How often a call of this id has arrived, with this one.
    pub(crate) attempt: u32,
    /// Whether it was answered with success.
    pub(crate) is_taken: bool,
    pub(crate) at: Instant,
}

impl Call {
    /// Returns the room that it is about.
    pub(crate) fn room(&self) -> u64 {
        let data = &self.body["data"];
        let rooms = [
            &data["message"]["roomId"],
            &data["room"]["roomId"],
            &data["roomId"],
        ];
        rooms.into_iter().find_map(Value::as_u64).unwrap()
    }

    pub(crate) fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }
}

type Decide = Box<dyn Fn(&Call) -> Behaviour + Send + Sync>;

struct State {
    tls: Option<TlsAcceptor>,
    connections: AtomicUsize,
    calls: Mutex<Vec<Call>>,
    attempts: Mutex<HashMap<String, u32>>,
    decide: Mutex<Arc<Decide>>,
    changed: watch::Sender<usize>,
}

/// A receiver on a port of its own. It ends when it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    tasks: JoinSet<()>,
}

impl Receiver {
    /// Starts a receiver that takes everything.
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts one that presents this identity.
    pub(crate) async fn start_tls(identity: &TlsIdentity) -> Self {
        let config = Arc::new(identity.server_config().unwrap());
        Self::listen(Some(TlsAcceptor::from(config))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept_all: Decide = Box::new(|_| Behaviour::Status(204));
        let state = Arc::new(State {
            tls,
            connections: AtomicUsize::new(0),
            calls: Mutex::default(),
            attempts: Mutex::default(),
            decide: Mutex::new(Arc::new(accept_all)),
            changed: watch::channel(0).0,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Self {
            address,
            state,
            tasks,
        }
    }

    /// Ends all connections and takes no more, as a killed process does.
    pub(crate) async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Listens again at the same address.
    pub(crate) async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.tasks.spawn(accept(listener, self.state.clone()));
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.state.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}/hook", self.address)
    }

    /// Returns how many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Decides from now on how calls are answered.
    pub(crate) fn behave(&self, decide: impl Fn(&Call) -> Behaviour + Send + Sync + 'static) {
        *self.state.decide.lock().unwrap() = Arc::new(Box::new(decide));
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap().clone()
    }

    /// Returns the calls that were taken, without repetitions, in their order.
    pub(crate) fn taken(&self) -> Vec<Call> {
        let mut taken: Vec<Call> = Vec::new();
        for call in self.calls().into_iter().filter(|call| call.is_taken) {
            if !taken.iter().any(|other| other.id == call.id) {
                taken.push(call);
            }
        }
        taken
    }

    /// Waits until the calls are as expected.
    pub(crate) async fn until(&self, within: Duration, is_met: impl Fn(&Self) -> bool) {
        let mut changes = self.state.changed.subscribe();
        let waiting = async {
            while !is_met(self) {
                changes.changed().await.unwrap();
            }
        };
        if timeout(within, waiting).await.is_err() {
            panic!("{:#?}", self.calls());
        }
    }

    /// Waits until this many different calls were taken.
    pub(crate) async fn until_taken(&self, count: usize) {
        let within = Duration::from_secs(60);
        self.until(within, |receiver| receiver.taken().len() >= count)
            .await;
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let state = state.clone();
        connections.spawn(async move {
            match &state.tls {
                None => serve(connection, &state).await,
                Some(tls) => {
                    // A caller that does not trust the certificate ends the connection.
                    if let Ok(connection) = tls.accept(connection).await {
                        serve(connection, &state).await;
                    }
                }
            }
        });
    }
}

async fn serve(mut connection: impl AsyncRead + AsyncWrite + Unpin, state: &State) {
    state.connections.fetch_add(1, Ordering::Relaxed);
    let mut buffer = Vec::new();
    while let Some((head, body)) = read(&mut connection, &mut buffer).await {
        let behaviour = note(state, &head, &body);
        let response: &[u8] = match behaviour {
            Behaviour::Status(status) => {
                let response = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
                if status == 204 {
                    b"HTTP/1.1 204 X\r\n\r\n"
                } else {
                    connection.write_all(response.as_bytes()).await.ok();
                    continue;
                }
            }
            Behaviour::After(time) => {
                sleep(time).await;
                b"HTTP/1.1 204 X\r\n\r\n"
            }
            Behaviour::Hang => {
                // Ends when the caller closes the connection.
                connection.read_u8().await.ok();
                return;
            }
            Behaviour::CloseMidResponse => {
                let head = b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\npart";
                connection.write_all(head).await.ok();
                return;
            }
            Behaviour::Close => return,
            Behaviour::Redirect => {
                b"HTTP/1.1 307 X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
            }
        };
        connection.write_all(response).await.ok();
    }
}

/// Reads a request: its head and its body.
async fn read(
    connection: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..at].to_vec()).unwrap();
            let length: usize = header(&head, "content-length").parse().unwrap();
            if buffer.len() >= at + 4 + length {
                let body = buffer[at + 4..at + 4 + length].to_vec();
                buffer.drain(..at + 4 + length);
                return Some((head, body));
            }
        }
        if connection.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn header(head: &str, name: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.to_owned()).unwrap()
}

fn note(state: &State, head: &str, body: &[u8]) -> Behaviour {
    let id = header(head, "webhook-id");
    let attempt = {
        let mut attempts = state.attempts.lock().unwrap();
        let attempt = attempts.entry(id.clone()).or_default();
        *attempt += 1;
        *attempt
    };
    let mut call = Call {
        path: head.split(' ').nth(1).unwrap().to_owned(),
        id,
        signature: header(head, "webhook-signature"),
        body: serde_json::from_slice(body).unwrap(),
        attempt,
        is_taken: false,
        at: Instant::now(),
    };
    let decide = state.decide.lock().unwrap().clone();
    let behaviour = decide(&call);
    call.is_taken = match behaviour {
        Behaviour::Status(status) => (200..300).contains(&status),
        Behaviour::After(_) => true,
        _ => false,
    };
    let mut calls = state.calls.lock().unwrap();
    calls.push(call);
    state.changed.send_replace(calls.len());
    behaviour
}
