//! A TCP proxy between the clients and the gateway, which breaks connections or tampers with
//! messages.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::frames::{Frames, Piece, requested_ack};
use self::tampering::{Place, Tampered, Tampering, place};
use crate::random::Random;

mod frames;
pub(crate) mod tampering;

/// How long the proxy waits for the answer that it swallows.
const ANSWER_DEADLINE: Duration = Duration::from_millis(500);

/// What a proxy does to connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProxyFault {
    /// Resets both sides of each connection at a random time within this period.
    Resets { within: Duration },
    /// Swallows the acknowledgement of one in so many sends and changes of rules, and resets both
    /// sides.
    LosesAcks { one_in: u64 },
    /// Tampers with the message to a client after so many, once.
    Tampers { tampering: Tampering, after: u64 },
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
    _connections: JoinSet<()>,
}

struct Inner {
    gateway: SocketAddr,
    fault: ProxyFault,
    /// Whether the proxy only forwards from now on.
    is_stopped: watch::Sender<bool>,
    broken: AtomicU64,
    swallowed: AtomicU64,
    /// The number of messages to clients so far.
    messages: AtomicU64,
    tampered: Mutex<Option<Place>>,
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
            swallowed: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            tampered: Mutex::default(),
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
        self.inner.broken.load(Ordering::SeqCst)
    }

    /// Returns the number of acknowledgements swallowed so far.
    pub(crate) fn swallowed(&self) -> u64 {
        self.inner.swallowed.load(Ordering::SeqCst)
    }

    /// Returns the message that was tampered with.
    pub(crate) fn tampered(&self) -> Option<Place> {
        *self.inner.tampered.lock().unwrap()
    }

    /// Stops injecting faults. The proxy only forwards from now on.
    pub(crate) fn stop_faults(&self) {
        self.inner.is_stopped.send_replace(true);
    }
}

/// Whether the proxy breaks a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Broken,
    /// The connection ended by itself.
    Ended,
}

/// The acknowledgement to be swallowed on one connection.
type Wanted = Mutex<Option<u64>>;

impl Inner {
    async fn forward(self: Arc<Self>, client: TcpStream, mut random: Random) {
        let Ok(gateway) = TcpStream::connect(self.gateway).await else {
            return;
        };
        client.set_nodelay(true).unwrap();
        gateway.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_gateway, mut to_gateway) = gateway.into_split();
        let wanted = Wanted::default();
        let reset = random.derive("reset");
        let verdict = tokio::select! {
            verdict = self.up(&mut from_client, &mut to_gateway, &wanted, &mut random) => verdict,
            verdict = self.down(&mut from_gateway, &mut to_client, &wanted) => verdict,
            () = self.time_to_reset(reset) => Verdict::Broken,
        };
        if verdict == Verdict::Ended {
            return;
        }
        // Before the clients can notice it.
        self.broken.fetch_add(1, Ordering::SeqCst);
        // With a linger of zero, closing sends a reset (RST) instead of a FIN.
        for half in [to_client, to_gateway] {
            half.as_ref().set_zero_linger().ok();
        }
    }

    /// Forwards from the client to the gateway.
    async fn up(
        &self,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        wanted: &Wanted,
        random: &mut Random,
    ) -> Verdict {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let chunk = &chunk[..length];
            if let ProxyFault::LosesAcks { one_in } = self.fault
                && !*self.is_stopped.borrow()
                && let Some(ack) = requested_ack(chunk)
                && random.one_in(one_in)
            {
                *wanted.lock().unwrap() = Some(ack);
                if to.write_all(chunk).await.is_err() {
                    return Verdict::Ended;
                }
                // `down` swallows the answer.
                sleep(ANSWER_DEADLINE).await;
                return Verdict::Broken;
            }
            if to.write_all(chunk).await.is_err() {
                return Verdict::Ended;
            }
        }
        Verdict::Ended
    }

    /// Forwards from the gateway to the client.
    async fn down(
        &self,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        wanted: &Wanted,
    ) -> Verdict {
        let mut frames = Frames::default();
        let mut tampered = Tampered::default();
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            frames.push(&chunk[..length]);
            let mut bytes = Vec::new();
            while let Some(piece) = frames.next() {
                if is_wanted(wanted, piece.text()) {
                    self.swallowed.fetch_add(1, Ordering::SeqCst);
                    return Verdict::Broken;
                }
                match self.chosen(&piece) {
                    Some((tampering, place)) => {
                        bytes.extend(tampered.instead_of(tampering, place, piece).await);
                    }
                    None => {
                        bytes.extend(piece.bytes());
                        bytes.extend(tampered.after(&piece));
                    }
                }
            }
            if to.write_all(&bytes).await.is_err() {
                return Verdict::Ended;
            }
        }
        Verdict::Ended
    }

    /// Returns what has to happen to this piece, if it is the chosen message.
    fn chosen(&self, piece: &Piece) -> Option<(Tampering, Place)> {
        let ProxyFault::Tampers { tampering, after } = self.fault else {
            return None;
        };
        let place = place(piece.text())?;
        let is_chosen = self.messages.fetch_add(1, Ordering::Relaxed) == after;
        is_chosen.then(|| {
            *self.tampered.lock().unwrap() = Some(place);
            (tampering, place)
        })
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

/// Returns whether this packet is the acknowledgement to be swallowed.
fn is_wanted(wanted: &Wanted, packet: &str) -> bool {
    let Some(wanted) = *wanted.lock().unwrap() else {
        return false;
    };
    packet.starts_with(&format!("43{wanted}["))
}
