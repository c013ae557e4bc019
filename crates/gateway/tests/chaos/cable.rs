//! A TCP proxy between one gateway and a server that it uses. It carries everything in both
//! directions until the network breaks: packets are lost for a while, or the gateway's side of
//! each connection is reset while the server still believes in it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::record::PADDING;

const CHUNK: usize = 64 * 1024;

/// What does not arrive while the cable is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    Requests,
    Answers,
    Both,
}

pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
    _connections: JoinSet<()>,
}

struct Inner {
    /// The server's `host:port`.
    server: String,
    state: watch::Sender<State>,
    detained: AtomicU64,
    broken_calls: AtomicU64,
}

/// What the gateway sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    /// It contains the text of a message.
    Message,
    Other,
    /// The connection has ended.
    End,
}

/// Connections are numbered 0, 1, 2 …
#[derive(Clone, Copy, Default)]
struct State {
    /// The number of connections so far.
    connections: u64,
    silence: Option<Silence>,
    /// The gateway's side of the connections below this number is reset.
    torn_below: u64,
    /// Messages on the connections below this number are on their way to the server, for
    /// which these connections still exist.
    detained_below: u64,
}

impl Request {
    fn of(bytes: &[u8]) -> Self {
        let mut padding = [0; 4];
        let padding = PADDING.encode_utf8(&mut padding).as_bytes();
        match bytes {
            [] => Self::End,
            _ if bytes.windows(4).any(|window| window == padding) => Self::Message,
            _ => Self::Other,
        }
    }
}

impl State {
    fn carries(&self, request: Request, connection: u64) -> bool {
        matches!(self.silence, None | Some(Silence::Answers))
            && (request == Request::Other || connection >= self.detained_below)
    }

    fn carries_answers(&self) -> bool {
        matches!(self.silence, None | Some(Silence::Requests))
    }

    fn is_torn(&self, connection: u64) -> bool {
        connection < self.torn_below
    }
}

impl Cable {
    /// Listens for one gateway's connections to this server.
    pub(crate) async fn start(server: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            server,
            state: watch::Sender::default(),
            detained: AtomicU64::new(0),
            broken_calls: AtomicU64::new(0),
        });
        let carrying = inner.clone();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0_u64.. {
                let (gateway, _) = listener.accept().await.unwrap();
                let count = number + 1;
                carrying
                    .state
                    .send_modify(|state| state.connections = count);
                connections.spawn(carrying.clone().carry(gateway, number));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            inner,
            _connections: connections,
        }
    }

    /// Loses every packet until `resume`, when the kernel sends them again.
    pub(crate) fn be_silent(&self, silence: Silence) {
        let state = &self.inner.state;
        state.send_modify(|state| state.silence = Some(silence));
    }

    pub(crate) fn resume(&self) {
        self.inner.state.send_modify(|state| state.silence = None);
    }

    /// Keeps messages that the gateway sends on its present connections on their way to the
    /// server, until `release`. New connections work.
    pub(crate) fn detain(&self) {
        let state = &self.inner.state;
        state.send_modify(|state| state.detained_below = state.connections);
    }

    /// Returns the number of requests with messages that were detained so far.
    pub(crate) fn detained(&self) -> u64 {
        self.inner.detained.load(Ordering::SeqCst)
    }

    /// Resets the gateway's side of its present connections. The server notices nothing until
    /// `release`. New connections work.
    pub(crate) fn tear(&self) {
        self.inner.state.send_modify(|state| {
            state.detained_below = state.connections;
            state.torn_below = state.connections;
        });
    }

    /// Lets what was detained arrive, and then the end of what was torn.
    pub(crate) fn release(&self) {
        let state = &self.inner.state;
        state.send_modify(|state| state.detained_below = 0);
    }

    /// Returns the number of connections that were torn during a call, after the request and
    /// before the answer.
    pub(crate) fn broken_calls(&self) -> u64 {
        self.inner.broken_calls.load(Ordering::SeqCst)
    }
}

impl Inner {
    async fn carry(self: Arc<Self>, gateway: TcpStream, number: u64) {
        let Ok(server) = TcpStream::connect(&self.server).await else {
            return;
        };
        gateway.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (from_gateway, to_gateway) = gateway.into_split();
        let (from_server, to_server) = server.into_split();
        let is_called = AtomicBool::new(false);
        tokio::join!(
            self.carry_requests(number, from_gateway, to_server, &is_called),
            self.carry_answers(number, from_server, to_gateway, &is_called),
        );
    }

    async fn carry_requests(
        &self,
        number: u64,
        from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        is_called: &AtomicBool,
    ) {
        let mut open = self.state.subscribe();
        let mut torn = self.state.subscribe();
        let mut chunk = vec![0; CHUNK];
        let mut from = Some(from);
        while let Some(gateway) = &mut from {
            let length = tokio::select! {
                read = gateway.read(&mut chunk) => read.unwrap_or(0),
                () = holds(&mut torn, |state| state.is_torn(number)) => 0,
            };
            let request = Request::of(&chunk[..length]);
            if request == Request::End {
                from = None;
            } else {
                is_called.store(true, Ordering::SeqCst);
            }
            if request == Request::Message && number < self.state.borrow().detained_below {
                self.detained.fetch_add(1, Ordering::SeqCst);
            }
            let arriving = holds(&mut open, |state| state.carries(request, number));
            tokio::pin!(arriving);
            tokio::select! {
                () = &mut arriving => {}
                () = holds(&mut torn, |state| state.is_torn(number)), if from.is_some() => {
                    from = None;
                    arriving.await;
                }
            }
            if to.write_all(&chunk[..length]).await.is_err() {
                return;
            }
        }
    }

    async fn carry_answers(
        &self,
        number: u64,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        is_called: &AtomicBool,
    ) {
        let mut chunk = vec![0; CHUNK];
        let mut open = self.state.subscribe();
        let mut torn = self.state.subscribe();
        let carrying = async {
            while let Ok(length @ 1..) = from.read(&mut chunk).await {
                holds(&mut open, State::carries_answers).await;
                is_called.store(false, Ordering::SeqCst);
                if to.write_all(&chunk[..length]).await.is_err() {
                    return;
                }
            }
            holds(&mut open, State::carries_answers).await;
        };
        let is_torn = tokio::select! {
            () = carrying => false,
            () = holds(&mut torn, |state| state.is_torn(number)) => true,
        };
        if is_torn {
            if is_called.load(Ordering::SeqCst) {
                self.broken_calls.fetch_add(1, Ordering::SeqCst);
            }
            // With a linger of zero, closing sends a reset (RST) instead of a FIN.
            to.as_ref().set_zero_linger().ok();
            to.forget();
        }
    }
}

/// Waits until the condition holds.
async fn holds(state: &mut watch::Receiver<State>, condition: impl Fn(&State) -> bool) {
    state.wait_for(condition).await.ok();
}
