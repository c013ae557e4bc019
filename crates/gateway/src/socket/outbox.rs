//! What waits for one client.
//!
//! On a WebSocket, packets are finished frames. They are written to the connection
//! from here, all that wait at once, and what the library writes itself (CONNECT,
//! heartbeats, the end) takes its place between them. On long-polling they are handed
//! to the library: it has a short queue for each client, and a packet that finds it
//! full is dropped, and a heartbeat that does ends the client. So only a few are
//! there at a time, and what leaves is counted in the responses. A session that
//! upgrades goes on with frames when everything that was handed over has left.
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
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::SocketError;
use socketioxide::TransportType;
use socketioxide::extract::AckSender;
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;
use socketioxide_core::Value;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::flusher::Flusher;
use super::packet::{Packet, Parts};
use crate::connection::{Ending, FrameCounter, Wire};
use crate::lock;

/// See the module's documentation.
const CONGESTED_BYTES: usize = 512 * 1024;
const LIVE_BYTES: usize = 256 * 1024;
const SPACE_BYTES: usize = 64 * 1024;
/// The most packets of ours in the library's queue, all of which goes into one
/// response: python-socketio gives a connection up whose response has more than 16
/// packets, a heartbeat included.
const MAX_HANDED_OVER: usize = 15;
/// The most bytes in the library's queue, but for one packet.
const MAX_HANDED_OVER_BYTES: usize = 128 * 1024;
/// How many frames go to the machine in one call.
const FRAMES_AT_ONCE: usize = 64;
/// An empty queue gives its memory back if it has grown beyond this.
const KEPT_CAPACITY: usize = 16;
/// How long a client may take nothing while something waits for it.
const STALL_DEADLINE: Duration = Duration::from_secs(10);

/// The client is gone: nothing will have space any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// What waits for one client.
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Held while the state is locked, so that the library does not drop it then: that
    /// ends in [`close`](Self::close).
    socket: OnceLock<Weak<Socket>>,
    /// Whether frames are written, and the library's queue is not used any more.
    writes_frames: AtomicBool,
    flushed: Notify,
    space: Notify,
    flusher: Arc<Flusher>,
    /// This, for those who write what is in it later.
    this: Weak<Self>,
}

struct State {
    carrier: Carrier,
    /// What waits while packets are not written as frames.
    waiting: VecDeque<Packet>,
    /// What is to be written to the WebSocket, in this order.
    frames: VecDeque<Bytes>,
    /// All that waits in both.
    waiting_bytes: usize,
    /// Whether a flusher or a writer will come for the frames.
    is_marked: bool,
    /// When the client last took something, or had nothing to take.
    progress: Instant,
    wire: Option<Weak<Wire>>,
    closed: bool,
    reader: Option<Waker>,
}

/// How packets get to the client.
enum Carrier {
    /// By the library's queue.
    Library(HandedOver),
    /// As frames.
    Frames,
}

/// What is in the library's queue.
struct HandedOver {
    /// The sizes of our packets.
    packets: VecDeque<usize>,
    bytes: usize,
    /// Finds the packets in what the library writes to a WebSocket.
    counter: FrameCounter,
}

impl Outbox {
    /// An outbox that this one writes, when there is something in it.
    pub(crate) fn new(flusher: Arc<Flusher>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            state: Mutex::new(State {
                // The library's queue starts with the answer to CONNECT, which it puts
                // there itself.
                carrier: Carrier::Library(HandedOver {
                    packets: VecDeque::from([0]),
                    bytes: 0,
                    counter: FrameCounter::default(),
                }),
                waiting: VecDeque::new(),
                frames: VecDeque::new(),
                waiting_bytes: 0,
                is_marked: false,
                progress: Instant::now(),
                wire: None,
                closed: false,
                reader: None,
            }),
            socket: OnceLock::new(),
            writes_frames: AtomicBool::new(false),
            flushed: Notify::new(),
            space: Notify::new(),
            flusher,
            this: this.clone(),
        })
    }

    /// The client is connected: what waits may go out.
    pub(crate) fn open(&self, socket: &Arc<Socket>) {
        self.socket.set(Arc::downgrade(socket)).ok();
        let mut state = lock(&self.state);
        self.hand_over(&mut state, Some(socket));
        self.mark(&mut state);
    }

    /// The library's socket, for as long as packets are handed to it.
    fn socket(&self) -> Option<Arc<Socket>> {
        match self.writes_frames.load(Ordering::Acquire) {
            true => None,
            false => self.socket.get()?.upgrade(),
        }
    }

    /// This WebSocket carries the session from now on.
    pub(crate) fn carried_by(&self, wire: &Arc<Wire>) {
        lock(&self.state).wire = Some(Arc::downgrade(wire));
    }

    /// The client is gone from the namespace: what waits, and what is pushed from
    /// now on, is thrown away. What was handed over, and frames, may still leave.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        state.waiting_bytes -= bytes_of(&waiting);
        state.wake_reader();
        drop(state);
        self.space.notify_waiters();
    }

    /// Adds packets, in order and without another between them, however large they
    /// are: who adds them has waited for what was there before.
    pub(crate) fn push(&self, packets: impl IntoIterator<Item = Packet>) {
        let socket = self.socket();
        let mut state = lock(&self.state);
        state.push(packets);
        self.hand_over(&mut state, socket.as_ref());
        self.mark(&mut state);
    }

    /// Adds packets if the client keeps up with what is live; says whether it did.
    /// `run` is their frames in one piece.
    pub(crate) fn push_live(&self, packets: &[Packet], run: &Bytes) -> bool {
        let socket = self.socket();
        let mut state = lock(&self.state);
        if state.waiting_bytes >= LIVE_BYTES {
            // Before it is judged, it may take what it can.
            state.write();
        }
        let keeps_up = state.waiting_bytes < LIVE_BYTES;
        if keeps_up {
            match state.carrier {
                Carrier::Frames if !state.closed => state.push_frame(run.clone()),
                _ => state.push(packets.iter().cloned()),
            }
            self.hand_over(&mut state, socket.as_ref());
        }
        self.mark(&mut state);
        keeps_up
    }

    /// So many packets have left the library's queue whole, in a response.
    pub(crate) fn left(&self, count: usize) {
        let socket = self.socket();
        let mut state = lock(&self.state);
        state.left(count);
        self.hand_over(&mut state, socket.as_ref());
        self.mark(&mut state);
        self.tell(state);
    }

    /// Writes what waits to the WebSocket.
    pub(crate) fn flush(&self) {
        let mut state = lock(&self.state);
        state.is_marked = false;
        if state.write() == Written::Part {
            self.write_later(&mut state);
        }
        self.tell(state);
    }

    fn hand_over(&self, state: &mut State, socket: Option<&Arc<Socket>>) {
        if let Some(socket) = socket {
            state.hand_over(socket);
            let writes_frames = matches!(state.carrier, Carrier::Frames);
            self.writes_frames.store(writes_frames, Ordering::Release);
        }
    }

    /// Has the frames written, soon.
    fn mark(&self, state: &mut State) {
        if !state.frames.is_empty()
            && !state.is_marked
            && let Some(this) = self.this.upgrade()
        {
            state.is_marked = true;
            self.flusher.mark(this);
        }
    }

    /// Writes the rest as the machine takes it, in a task that ends when all is
    /// written or the client has taken nothing for too long.
    fn write_later(&self, state: &mut State) {
        let wire = state.wire.as_ref().and_then(Weak::upgrade);
        // A connection that is dropped with the runtime has nobody to go on.
        let runtime = Handle::try_current();
        if let (Some(this), Some(wire), Ok(runtime)) = (self.this.upgrade(), wire, runtime) {
            state.is_marked = true;
            runtime.spawn(this.write_rest(wire));
        }
    }

    async fn write_rest(self: Arc<Self>, wire: Arc<Wire>) {
        loop {
            let writable = tokio::time::timeout(STALL_DEADLINE, wire.writable()).await;
            if !matches!(writable, Ok(Ok(()))) {
                wire.end(Ending::Abort);
            }
            let mut state = lock(&self.state);
            let is_done = state.write() != Written::Part;
            state.is_marked &= !is_done;
            self.tell(state);
            if is_done {
                return;
            }
        }
    }

    /// Tells everybody who waits for what is the case now.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
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

    /// The library writes to the WebSocket.
    pub(crate) fn write_for_library(&self, bytes: &[u8]) {
        let socket = self.socket();
        let mut state = lock(&self.state);
        state.push_frame(Bytes::copy_from_slice(bytes));
        // Only now may frames of ours follow.
        if let Carrier::Library(handed_over) = &mut state.carrier {
            let packets = handed_over.counter.advance(bytes);
            state.left(packets);
            self.hand_over(&mut state, socket.as_ref());
        }
        self.mark(&mut state);
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
            if let Some(found) = found(&lock(&self.state)) {
                return found;
            }
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

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    All,
    /// The machine takes no more now.
    Part,
    /// The connection is gone, and what waited for it.
    Nothing,
}

impl State {
    fn push(&mut self, packets: impl IntoIterator<Item = Packet>) {
        if self.closed {
            return;
        }
        for packet in packets {
            match self.carrier {
                Carrier::Frames => self.push_frame(packet.frame().clone()),
                Carrier::Library(_) => {
                    self.note_begin();
                    self.waiting_bytes += packet.frame().len();
                    self.waiting.push_back(packet);
                }
            }
        }
    }

    fn push_frame(&mut self, frame: Bytes) {
        self.note_begin();
        self.waiting_bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// The time in which a client takes nothing begins with the first thing to take.
    fn note_begin(&mut self) {
        if self.is_flushed() {
            self.progress = Instant::now();
        }
    }

    fn is_flushed(&self) -> bool {
        let is_handed_over = match &self.carrier {
            Carrier::Library(handed_over) => handed_over.packets.is_empty(),
            Carrier::Frames => true,
        };
        self.waiting.is_empty() && self.frames.is_empty() && is_handed_over
    }

    fn has_space(&self) -> bool {
        self.waiting_bytes < SPACE_BYTES
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Writes frames until there are none, or the machine takes no more.
    fn write(&mut self) -> Written {
        if self.frames.is_empty() {
            return Written::All;
        }
        let Some(wire) = self.wire.as_ref().and_then(Weak::upgrade) else {
            return self.give_up();
        };
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); FRAMES_AT_ONCE];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                *slice = IoSlice::new(frame);
                count += 1;
            }
            match wire.try_write_vectored(&slices[..count]) {
                Ok(taken) => self.taken(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Written::Part,
                Err(_) => return self.give_up(),
            }
        }
        if self.frames.capacity() > KEPT_CAPACITY {
            self.frames = VecDeque::new();
        }
        Written::All
    }

    /// The machine took so many bytes of the frames.
    fn taken(&mut self, mut bytes: usize) {
        self.progress = Instant::now();
        self.waiting_bytes -= bytes;
        while let Some(frame) = self.frames.front_mut() {
            if bytes < frame.len() {
                frame.advance(bytes);
                return;
            }
            bytes -= frame.len();
            self.frames.pop_front();
        }
    }

    /// The connection has ended, and the library finds it out by itself.
    fn give_up(&mut self) -> Written {
        let frames = std::mem::take(&mut self.frames);
        self.waiting_bytes -= frames.iter().map(Bytes::len).sum::<usize>();
        Written::Nothing
    }

    /// So many packets have left the library's queue.
    fn left(&mut self, count: usize) {
        self.progress = Instant::now();
        if let Carrier::Library(handed_over) = &mut self.carrier {
            for _ in 0..count {
                let bytes = handed_over.packets.pop_front().unwrap_or_default();
                handed_over.bytes -= bytes;
            }
        }
    }

    /// Hands packets to the library, or goes on with frames if it can.
    fn hand_over(&mut self, socket: &Arc<Socket>) {
        let Carrier::Library(handed_over) = &mut self.carrier else {
            return;
        };
        if self.closed {
            return;
        }
        if socket.transport_type() == TransportType::Websocket {
            // Frames must not overtake what is still in the library's queue.
            if handed_over.packets.is_empty() && self.wire.is_some() {
                self.carrier = Carrier::Frames;
                let waiting = std::mem::take(&mut self.waiting);
                let frames = waiting.iter().map(|packet| packet.frame().clone());
                self.frames.extend(frames);
            }
            return;
        }
        while handed_over.packets.len() < MAX_HANDED_OVER
            && handed_over.bytes < MAX_HANDED_OVER_BYTES
            && let Some(packet) = self.waiting.front()
        {
            let bytes = packet.frame().len();
            match send(socket, packet) {
                // It stays here until space is reported.
                Err(SendError::Socket(SocketError::InternalChannelFull)) => break,
                // The client has just gone, and its disconnect handler with it.
                Err(_) => {}
                Ok(()) => {
                    handed_over.packets.push_back(bytes);
                    handed_over.bytes += bytes;
                }
            }
            self.waiting_bytes -= bytes;
            self.waiting.pop_front();
        }
    }
}

fn bytes_of(packets: &VecDeque<Packet>) -> usize {
    packets.iter().map(|packet| packet.frame().len()).sum()
}

fn send(socket: &Arc<Socket>, packet: &Packet) -> Result<(), SendError> {
    match packet.parts() {
        Parts::Event(name, json) => socket.emit(name, raw(json)),
        Parts::Ack(id, json) => {
            // The library makes a sender only from a message.
            let mut message = Value::Str(Default::default(), None);
            let Ok(ack) = AckSender::from_message_parts(socket, &mut message, &Some(id));
            ack.send(raw(json))
        }
        Parts::Disconnect => Ok(socket.clone().disconnect()?),
    }
}

/// JSON of ours, as the library passes it through.
fn raw(json: &str) -> &RawValue {
    match serde_json::from_str(json) {
        Ok(raw) => raw,
        Err(error) => unreachable!("a packet was encoded as JSON: {error}"),
    }
}
