//! A TCP proxy that can swallow what passes through it, in either direction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A proxy in front of one server. It ends, with its connections, when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    swallowing: Arc<Swallowing>,
    _connections: JoinSet<()>,
}

/// What the proxy reads and does not pass on. The connections stay open.
#[derive(Default)]
struct Swallowing {
    to_server: AtomicBool,
    to_client: AtomicBool,
}

/// A direction through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

impl Proxy {
    /// Starts a proxy in front of the server on this port of the loopback interface.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let swallowing = Arc::new(Swallowing::default());
        let mut connections = JoinSet::new();
        let shared = swallowing.clone();
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = shared.clone();
                connections.spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = copy(from_client, to_server, &shared.to_server) => {}
                        () = copy(from_server, to_client, &shared.to_client) => {}
                    }
                });
            }
        });
        Self {
            address,
            swallowing,
            _connections: connections,
        }
    }

    /// Swallows everything in this direction from now on, or passes it on again. What was
    /// swallowed is gone.
    pub(crate) fn swallow(&self, direction: Direction, swallow: bool) {
        let flag = match direction {
            Direction::ToServer => &self.swallowing.to_server,
            Direction::ToClient => &self.swallowing.to_client,
        };
        flag.store(swallow, Ordering::SeqCst);
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallow: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !swallow.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
