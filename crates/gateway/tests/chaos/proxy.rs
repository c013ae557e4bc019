//! A TCP proxy between the clients and the gateway, which breaks connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::random::Random;

/// How a proxy breaks connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProxyFault {
    /// Resets both sides of each connection at a random time within this period.
    Resets { within: Duration },
    /// After one in so many sends, resets both sides before the acknowledgement reaches the
    /// client.
    LosesAcks { one_in: u64 },
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
    _connections: JoinSet<()>,
}

struct Inner {
    gateway: SocketAddr,
    fault: ProxyFault,
    /// Whether the proxy has stopped breaking connections.
    is_stopped: watch::Sender<bool>,
    broken: AtomicU64,
}

impl Proxy {
    pub(crate) async fn start(gateway: SocketAddr, fault: ProxyFault, random: Random) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            gateway,
            fault,
            is_stopped: watch::Sender::new(false),
            broken: AtomicU64::new(0),
        });
        let mut connections = JoinSet::new();
        let accepting = inner.clone();
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0_u64.. {
                let (client, _) = listener.accept().await.unwrap();
                let random = random.derive(&format!("connection {number}"));
                connections.spawn(accepting.clone().forward(client, random));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            inner,
            _connections: connections,
        }
    }

    /// Returns the number of connections broken so far.
    pub(crate) fn broken(&self) -> u64 {
        self.inner.broken.load(Ordering::Relaxed)
    }

    /// Stops breaking connections. The proxy only forwards from now on.
    pub(crate) fn stop_faults(&self) {
        self.inner.is_stopped.send_replace(true);
    }
}

impl Inner {
    async fn forward(self: Arc<Self>, client: TcpStream, mut random: Random) {
        let Ok(gateway) = TcpStream::connect(self.gateway).await else {
            return;
        };
        client.set_nodelay(true).unwrap();
        gateway.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_gateway, mut to_gateway) = gateway.into_split();
        let broken = tokio::select! {
            broken = self.up(&mut from_client, &mut to_gateway, random.derive("sends")) => broken,
            // The connection ends by itself.
            () = down(&mut from_gateway, &mut to_client) => false,
            () = self.time_to_reset(random.derive("reset")) => true,
        };
        if !broken {
            return;
        }
        self.broken.fetch_add(1, Ordering::Relaxed);
        if let ProxyFault::LosesAcks { .. } = self.fault {
            // One in three connections is reset immediately, the others after the gateway
            // has answered the send. The answer is discarded.
            if !random.one_in(3) {
                let mut answer = [0; 4096];
                let answered = from_gateway.read(&mut answer);
                timeout(Duration::from_millis(200), answered).await.ok();
            }
        }
        // With a linger of zero, closing sends a reset (RST) instead of a FIN.
        for half in [to_client, to_gateway] {
            half.as_ref().set_zero_linger().ok();
        }
    }

    /// Forwards from the client to the gateway. Returns whether the proxy must break the
    /// connection.
    async fn up(
        &self,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        mut random: Random,
    ) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            if to.write_all(&chunk[..length]).await.is_err() {
                return false;
            }
            if let ProxyFault::LosesAcks { one_in: n } = self.fault
                && !*self.is_stopped.borrow()
                && begins_with_a_send(&chunk[..length])
                && random.one_in(n)
            {
                return true;
            }
        }
        false
    }

    async fn time_to_reset(&self, mut random: Random) {
        let mut is_stopped = self.is_stopped.subscribe();
        if let ProxyFault::Resets { within } = self.fault {
            let moment = Duration::from_millis(random.below(within.as_millis() as u64));
            tokio::select! {
                () = sleep(moment) => return,
                _ = is_stopped.wait_for(|is_stopped| *is_stopped) => {}
            }
        }
        std::future::pending().await
    }
}

async fn down(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

/// Returns whether these bytes start with a WebSocket frame of a `sendMessage`. A client
/// writes each frame with one call, so a chunk usually starts with a frame. If it does not,
/// the fault is skipped, which does no harm.
fn begins_with_a_send(chunk: &[u8]) -> bool {
    const MASKED: u8 = 0x80;
    let [0x81, length, ..] = chunk else {
        return false;
    };
    let header = match length & !MASKED {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let Some((mask, payload)) = chunk
        .get(header..)
        .and_then(|rest| rest.split_first_chunk::<4>())
    else {
        return false;
    };
    // A packet starts with `42`, the number of its acknowledgement, and the event's name.
    let text: Vec<u8> = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .take(40)
        .collect();
    text.starts_with(b"42") && text.windows(11).any(|window| window == b"sendMessage")
}
