//! What waits for one client.
//!
//! The library has a short queue of packets for each client; a packet that finds
//! it full is dropped, and a heartbeat that does ends the client. So packets wait
//! here, in order, and only a few at a time are handed to the library: as many as
//! have left it. What leaves is counted where it does, in the WebSocket's bytes or
//! in the responses to long-polling.
//!
//! A client whose packets take more than [`MAX_BYTES`] here has fallen too far
//! behind; the push says so, and the caller cuts it off. Before that, at
//! [`CONGESTED_BYTES`], nothing more is read from it, so that a flood of its own
//! requests cannot bring it there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::SocketError;
use socketioxide::TransportType;
use socketioxide::extract::AckSender;
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;
use socketioxide_core::Value;
use tokio::sync::Notify;

use crate::lock;

/// The most that may wait for one client.
const MAX_BYTES: usize = 1024 * 1024;
/// From here on a client is not read from; until half of it is left.
const CONGESTED_BYTES: usize = 128 * 1024;
/// The most packets in the library's queue. It must be larger (see `transport.rs`):
/// heartbeats need space too.
const MAX_HANDED_OVER: usize = 64;
/// The same on long-polling, where all that is in the queue goes into one response:
/// python-socketio gives a connection up whose response has more than 16 packets,
/// a heartbeat included.
const MAX_IN_A_RESPONSE: usize = 15;

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

/// More waits for a client than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFarBehind;

/// What waits for one client.
pub(crate) struct Outbox {
    state: Mutex<State>,
    flushed: Notify,
}

struct State {
    waiting: VecDeque<Packet>,
    waiting_bytes: usize,
    /// In the library's queue. It starts with the answer to CONNECT, which the
    /// library puts there itself.
    handed_over: usize,
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
                handed_over: 1,
                socket: None,
                closed: false,
                reader: None,
            }),
            flushed: Notify::new(),
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
    }

    /// Adds packets, in order and without another between them.
    ///
    /// # Errors
    /// [`TooFarBehind`]: they are added, but this client takes too little.
    pub(crate) fn push(
        &self,
        packets: impl IntoIterator<Item = Packet>,
    ) -> Result<(), TooFarBehind> {
        let mut state = lock(&self.state);
        if state.closed {
            return Ok(());
        }
        for packet in packets {
            state.waiting_bytes += packet.bytes();
            state.waiting.push_back(packet);
        }
        // First what can go goes; what is left is judged.
        state.hand_over();
        if state.waiting_bytes > MAX_BYTES {
            return Err(TooFarBehind);
        }
        Ok(())
    }

    /// So many packets have left the library's queue.
    pub(crate) fn left(&self, count: usize) {
        let mut state = lock(&self.state);
        state.handed_over = state.handed_over.saturating_sub(count);
        state.hand_over();
        if state.waiting_bytes < CONGESTED_BYTES / 2 {
            state.wake_reader();
        }
        let is_flushed = state.is_flushed();
        drop(state);
        if is_flushed {
            self.flushed.notify_waiters();
        }
    }

    /// Ends when nothing waits any more, here or in the library.
    pub(crate) async fn flushed(&self) {
        loop {
            let flushed = self.flushed.notified();
            tokio::pin!(flushed);
            flushed.as_mut().enable();
            if lock(&self.state).is_flushed() {
                return;
            }
            flushed.await;
        }
    }

    /// Ready while little enough waits for this client to read more from it.
    /// Remembers one reader.
    pub(crate) fn poll_uncongested(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.waiting_bytes < CONGESTED_BYTES {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Outbox {
    /// Ends while little enough waits for this client to read more from it.
    pub(crate) async fn uncongested(&self) {
        std::future::poll_fn(|cx| self.poll_uncongested(cx)).await;
    }
}

impl State {
    fn is_flushed(&self) -> bool {
        self.waiting.is_empty() && self.handed_over == 0
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
        while self.handed_over < most
            && let Some(packet) = self.waiting.front()
        {
            match send(&socket, packet) {
                // It stays here until space is reported.
                Err(SendError::Socket(SocketError::InternalChannelFull)) => break,
                // The client has just gone, and its disconnect handler with it.
                Err(_) => {}
                Ok(()) => self.handed_over += 1,
            }
            self.waiting_bytes -= packet.bytes();
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
