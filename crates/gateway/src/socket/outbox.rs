//! What waits for one client.
//!
//! The library has a short queue of packets for each client; a packet that finds
//! it full is dropped, and a heartbeat that does ends the client. So packets wait
//! here, in order, and only a few at a time are handed to the library: as many as
//! have left it. What leaves is counted where it does, in the WebSocket's bytes or
//! in the responses to long-polling.
//!
//! How much may wait, from little to much:
//! - up to [`SPACE_BYTES`], a member that has fallen behind is given more from the
//!   log;
//! - up to [`LIVE_BYTES`], a member gets what is live; beyond, it falls behind;
//! - from [`CONGESTED_BYTES`] on, nothing more is read from the client and none of
//!   its events is carried out, so that its own requests cannot fill this. One
//!   answer may be larger: a page of 200 long messages.
//!
//! A client that takes nothing for [`STALL_DEADLINE`] with something waiting is cut
//! off as well.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::SocketError;
use socketioxide::TransportType;
use socketioxide::extract::AckSender;
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;
use socketioxide_core::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lock;

/// See the module's documentation.
const CONGESTED_BYTES: usize = 512 * 1024;
const LIVE_BYTES: usize = 256 * 1024;
const SPACE_BYTES: usize = 64 * 1024;
/// The most packets in the library's queue. It must be larger (see `transport.rs`):
/// heartbeats need space too.
const MAX_HANDED_OVER: usize = 64;
/// The same on long-polling, where all that is in the queue goes into one response:
/// python-socketio gives a connection up whose response has more than 16 packets,
/// a heartbeat included.
const MAX_IN_A_RESPONSE: usize = 15;
/// The most bytes in the library's queue, but for one packet.
const MAX_HANDED_OVER_BYTES: usize = 128 * 1024;
/// How long a client may take nothing while something waits for it.
const STALL_DEADLINE: Duration = Duration::from_secs(10);

/// A packet of Socket.IO.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    /// An event with one argument, encoded.
    Event(&'static str, Arc<RawValue>),
    /// The acknowledgement of the client's event with this id.
    Ack(i64, Arc<RawValue>),
    /// The end of the connection to the namespace.
    Disconnect,
}

impl Packet {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(_, json) | Self::Ack(_, json) => json.get().len(),
            Self::Disconnect => 0,
        }
    }
}

/// The client is gone: nothing will have space any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// What waits for one client.
pub(crate) struct Outbox {
    state: Mutex<State>,
    flushed: Notify,
    space: Notify,
}

struct State {
    waiting: VecDeque<Packet>,
    waiting_bytes: usize,
    /// The sizes of what is in the library's queue. It starts with the answer to
    /// CONNECT, which the library puts there itself.
    handed_over: VecDeque<usize>,
    handed_over_bytes: usize,
    /// When the client last took something, or had nothing to take.
    progress: Instant,
    socket: Option<Weak<Socket>>,
    closed: bool,
    reader: Option<Waker>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                handed_over: VecDeque::from([0]),
                handed_over_bytes: 0,
                progress: Instant::now(),
                socket: None,
                closed: false,
                reader: None,
            }),
            flushed: Notify::new(),
            space: Notify::new(),
        }
    }
}

impl Outbox {
    /// The client is connected: what waits may go out.
    pub(crate) fn open(&self, socket: &Arc<Socket>) {
        let mut state = lock(&self.state);
        state.socket = Some(Arc::downgrade(socket));
        state.hand_over();
    }

    /// The client is gone from the namespace: what waits, and what is pushed from
    /// now on, is thrown away. What was handed over may still leave.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.socket = None;
        state.waiting = VecDeque::new();
        state.waiting_bytes = 0;
        state.wake_reader();
        drop(state);
        self.space.notify_waiters();
    }

    /// Adds packets, in order and without another between them, however large they
    /// are: who adds them has waited for what was there before.
    pub(crate) fn push(&self, packets: impl IntoIterator<Item = Packet>) {
        lock(&self.state).push(packets);
    }

    /// Adds a packet if the client keeps up with what is live; says whether it did.
    pub(crate) fn push_live(&self, packet: Packet) -> bool {
        let mut state = lock(&self.state);
        let keeps_up = state.waiting_bytes < LIVE_BYTES;
        if keeps_up {
            state.push([packet]);
        }
        keeps_up
    }

    /// The client took something, and so many packets have left the library's
    /// queue whole.
    pub(crate) fn left(&self, count: usize) {
        let mut state = lock(&self.state);
        state.progress = Instant::now();
        for _ in 0..count {
            let bytes = state.handed_over.pop_front().unwrap_or_default();
            state.handed_over_bytes -= bytes;
        }
        state.hand_over();
        if state.waiting_bytes < CONGESTED_BYTES / 2 {
            state.wake_reader();
        }
        let (has_space, is_flushed) = (state.has_space(), state.is_flushed());
        drop(state);
        if has_space {
            self.space.notify_waiters();
        }
        if is_flushed {
            self.flushed.notify_waiters();
        }
    }

    /// Whether the client takes nothing though something waits for it.
    pub(crate) fn is_stalled(&self) -> bool {
        let state = lock(&self.state);
        !state.is_flushed() && state.progress.elapsed() > STALL_DEADLINE
    }

    /// Ends when nothing waits any more, here or in the library.
    pub(crate) async fn flushed(&self) {
        self.wait_for(&self.flushed, |state| state.is_flushed().then_some(()))
            .await;
    }

    /// Ends when a member that has fallen behind may be given more.
    ///
    /// # Errors
    /// [`Gone`]. A client that takes nothing for too long is cut off and then gone.
    pub(crate) async fn space(&self) -> Result<(), Gone> {
        self.wait_for(&self.space, |state| match state.closed {
            true => Some(Err(Gone)),
            false => state.has_space().then_some(Ok(())),
        })
        .await
    }

    async fn wait_for<T>(&self, changed: &Notify, found: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let change = changed.notified();
            tokio::pin!(change);
            // From here on no change is missed.
            change.as_mut().enable();
            if let Some(found) = found(&lock(&self.state)) {
                return found;
            }
            change.await;
        }
    }

    /// Ready while little enough waits for this client to read more from it, or if
    /// it is gone. Remembers one reader.
    pub(crate) fn poll_uncongested(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.waiting_bytes < CONGESTED_BYTES {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends while little enough waits for this client to do more for it.
    pub(crate) async fn uncongested(&self) {
        self.wait_for(&self.space, |state| {
            (state.closed || state.waiting_bytes < CONGESTED_BYTES).then_some(())
        })
        .await;
    }
}

impl State {
    fn push(&mut self, packets: impl IntoIterator<Item = Packet>) {
        if self.closed {
            return;
        }
        if self.is_flushed() {
            self.progress = Instant::now();
        }
        for packet in packets {
            self.waiting_bytes += packet.bytes();
            self.waiting.push_back(packet);
        }
        self.hand_over();
    }

    fn is_flushed(&self) -> bool {
        self.waiting.is_empty() && self.handed_over.is_empty()
    }

    fn has_space(&self) -> bool {
        self.waiting_bytes < SPACE_BYTES
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn hand_over(&mut self) {
        let Some(socket) = self.socket.as_ref().and_then(Weak::upgrade) else {
            return;
        };
        let most = match socket.transport_type() {
            TransportType::Websocket => MAX_HANDED_OVER,
            TransportType::Polling => MAX_IN_A_RESPONSE,
        };
        while self.handed_over.len() < most
            && self.handed_over_bytes < MAX_HANDED_OVER_BYTES
            && let Some(packet) = self.waiting.front()
        {
            let bytes = packet.bytes();
            match send(&socket, packet) {
                // It stays here until space is reported.
                Err(SendError::Socket(SocketError::InternalChannelFull)) => break,
                // The client has just gone, and its disconnect handler with it.
                Err(_) => {}
                Ok(()) => {
                    self.handed_over.push_back(bytes);
                    self.handed_over_bytes += bytes;
                }
            }
            self.waiting_bytes -= bytes;
            self.waiting.pop_front();
        }
    }
}

fn send(socket: &Arc<Socket>, packet: &Packet) -> Result<(), SendError> {
    match packet {
        Packet::Event(name, json) => socket.emit(name, &**json),
        Packet::Ack(id, json) => {
            // The library makes a sender only from a message.
            let mut message = Value::Str(Default::default(), None);
            let Ok(ack) = AckSender::from_message_parts(socket, &mut message, &Some(*id));
            ack.send(&**json)
        }
        Packet::Disconnect => Ok(socket.clone().disconnect()?),
    }
}
