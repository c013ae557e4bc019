//! What waits for one client.
//!
//! On a WebSocket, packets are finished frames. They are written to the connection from
//! here, all that wait at once, and what socketioxide writes itself (the answer to CONNECT,
//! heartbeats, the end) takes its place between them. On long-polling they are handed over
//! to socketioxide, a few at a time. A session that upgrades continues with frames once
//! everything that was handed over has left.
//!
//! How much may wait is in [`limits`](crate::limits). A client that takes nothing for
//! [`STALL_DEADLINE`] while something waits for it is disconnected.

pub(crate) mod frame_counter;
mod frame_queue;
mod hand_over;
mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use chat_delivery::{Gone, LiveGive, Recipient};
use chat_domain::{ConnectionId, Identity, User, UserId, Visibility};
use socketioxide::TransportType;
use socketioxide::socket::Socket;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use self::frame_queue::Written;
use self::state::{Carrier, State};
use super::flusher::{Flush, Flusher};
use crate::limits::{CONGESTED_BYTES, LIVE_BYTES, STALL_DEADLINE};
use crate::lock;
use crate::metrics::{DisconnectReason, Metrics};
use crate::wire::{Ended, Ending, Wire};

/// What waits for one client.
pub(crate) struct Outbox {
    id: ConnectionId,
    state: Mutex<State>,
    /// Upgraded before the state is locked: dropping the last reference to the socket ends
    /// in [`close`](Self::close), which locks the state.
    socket: OnceLock<Weak<Socket>>,
    /// What the client's token states, once it has connected.
    identity: Mutex<Option<Arc<Identity>>>,
    /// Whether frames are written, so that the socket is not needed any more.
    writes_frames: AtomicBool,
    flushed: Notify,
    space: Notify,
    flusher: Arc<Flusher>,
    metrics: Arc<Metrics>,
    /// For what writes later.
    this: Weak<Self>,
}

impl Outbox {
    /// Creates the outbox of a connection, written by this flusher.
    pub(crate) fn new(id: ConnectionId, flusher: Arc<Flusher>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            id,
            state: Mutex::new(State::new()),
            socket: OnceLock::new(),
            identity: Mutex::default(),
            writes_frames: AtomicBool::new(false),
            flushed: Notify::new(),
            space: Notify::new(),
            flusher,
            metrics,
            this: this.clone(),
        })
    }

    /// Starts sending: the client is connected.
    pub(crate) fn open(&self, socket: &Arc<Socket>) {
        self.socket.set(Arc::downgrade(socket)).ok();
        let mut state = lock(&self.state);
        self.hand_over(&mut state, Some(socket));
        self.mark(&mut state);
    }

    /// Sets what the client's token states.
    pub(crate) fn set_identity(&self, identity: Arc<Identity>) {
        *lock(&self.identity) = Some(identity);
    }

    /// Returns socketioxide's socket, as long as packets are handed over to it.
    fn socket(&self) -> Option<Arc<Socket>> {
        match self.writes_frames.load(Ordering::Acquire) {
            true => None,
            false => self.socket.get()?.upgrade(),
        }
    }

    /// Returns whether the client has connected, and a WebSocket carries its packets.
    pub(crate) fn is_on_websocket(&self) -> bool {
        let socket = self.socket.get().and_then(Weak::upgrade);
        socket.is_some_and(|socket| socket.transport_type() == TransportType::Websocket)
    }

    /// Sets the connection whose WebSocket carries the session from now on.
    pub(crate) fn carried_by(&self, wire: &Arc<Wire>) {
        lock(&self.state).frames.set_wire(wire);
    }

    /// Ends the outbox: the client has left the namespace. What waits, and what is pushed
    /// from now on, is discarded. What was handed over, and frames, may still leave.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.close();
        drop(state);
        self.space.notify_waiters();
    }

    /// Adds packets in order and without others between them, however large they are: the
    /// caller has waited for what was there before.
    pub(crate) fn push(&self, packets: impl IntoIterator<Item = Bytes>) {
        let socket = self.socket();
        let mut state = lock(&self.state);
        for frames in packets {
            state.push(frames);
        }
        self.hand_over(&mut state, socket.as_ref());
        self.mark(&mut state);
    }

    /// Removes packets that have left socketioxide's queue in a response.
    pub(crate) fn left(&self, count: usize) {
        let socket = self.socket();
        let mut state = lock(&self.state);
        state.left(count);
        self.hand_over(&mut state, socket.as_ref());
        self.mark(&mut state);
        self.notify(state);
    }

    fn hand_over(&self, state: &mut State, socket: Option<&Arc<Socket>>) {
        if let Some(socket) = socket {
            state.hand_over(socket);
            let writes_frames = matches!(state.carrier, Carrier::Frames);
            self.writes_frames.store(writes_frames, Ordering::Release);
        }
    }

    /// Has the frames written soon.
    fn mark(&self, state: &mut State) {
        if !state.frames.is_empty()
            && !state.is_marked
            && let Some(this) = self.this.upgrade()
        {
            state.is_marked = true;
            self.flusher.mark(this);
        }
    }

    /// Starts a task that writes the rest as the kernel takes it. It ends when everything
    /// is written, or when the client has taken nothing for too long.
    fn write_later(&self, state: &mut State) {
        // A connection that is dropped together with the runtime has no task.
        let runtime = Handle::try_current();
        if let (Some(this), Some(wire), Ok(runtime)) =
            (self.this.upgrade(), state.frames.wire(), runtime)
        {
            state.is_marked = true;
            runtime.spawn(this.write_rest(wire));
        }
    }

    async fn write_rest(self: Arc<Self>, wire: Arc<Wire>) {
        loop {
            let writable = tokio::time::timeout(STALL_DEADLINE, wire.writable()).await;
            if !matches!(writable, Ok(Ok(()))) && wire.end(Ending::Abort) == Ended::Now {
                self.metrics.forced_disconnect(DisconnectReason::Stalled);
            }
            let mut state = lock(&self.state);
            let is_done = state.write() != Written::Part;
            state.is_marked &= !is_done;
            self.notify(state);
            if is_done {
                return;
            }
        }
    }

    /// Wakes everything that waits for the present state.
    fn notify(&self, mut state: MutexGuard<'_, State>) {
        if state.bytes() < CONGESTED_BYTES / 2 {
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

    /// Takes what socketioxide writes to the WebSocket.
    pub(crate) fn write_for_socketioxide(&self, bytes: &[u8]) {
        let socket = self.socket();
        let mut state = lock(&self.state);
        state.push_frame(Bytes::copy_from_slice(bytes));
        // Only now may frames of ours follow.
        if let Carrier::SocketIoxide(hand_over) = &mut state.carrier {
            let packets = hand_over.count(bytes);
            state.left(packets);
            self.hand_over(&mut state, socket.as_ref());
        }
        self.mark(&mut state);
    }

    /// Returns the number of bytes that wait for the client.
    pub(crate) fn bytes(&self) -> usize {
        lock(&self.state).bytes()
    }

    /// Returns whether the client takes nothing although something waits for it.
    pub(crate) fn is_stalled(&self) -> bool {
        let state = lock(&self.state);
        !state.is_flushed() && state.progress.elapsed() > STALL_DEADLINE
    }

    /// Completes when nothing waits any more, here or in socketioxide.
    pub(crate) async fn flushed(&self) {
        self.wait_for(&self.flushed, |state| state.is_flushed().then_some(()))
            .await;
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

    /// Returns `Ready` while so little waits for this client that more may be read from it,
    /// or if it is gone. Remembers one reader.
    pub(crate) fn poll_uncongested(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.is_closed || state.bytes() < CONGESTED_BYTES {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Completes when so little waits for this client that more may be done for it, or when
    /// it is gone.
    pub(crate) async fn uncongested(&self) {
        self.wait_for(&self.space, |state| {
            (state.is_closed || state.bytes() < CONGESTED_BYTES).then_some(())
        })
        .await;
    }
}

impl Flush for Outbox {
    fn flush(&self) {
        let mut state = lock(&self.state);
        state.is_marked = false;
        if state.write() == Written::Part {
            self.write_later(&mut state);
        }
        self.notify(state);
    }
}

impl Recipient for Outbox {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn is_of(&self, user_id: &UserId) -> bool {
        let identity = lock(&self.identity);
        identity
            .as_ref()
            .is_some_and(|identity| identity.user.id == *user_id)
    }

    fn visit_user(&self, visit: &mut dyn FnMut(&User)) {
        let identity = lock(&self.identity).clone();
        let visible = identity.filter(|identity| identity.visibility == Visibility::Visible);
        if let Some(identity) = visible {
            visit(&identity.user);
        }
    }

    fn give(&self, frames: Bytes) {
        self.push([frames]);
    }

    fn give_live(&self, frames: &Bytes) -> LiveGive {
        let socket = self.socket();
        let mut state = lock(&self.state);
        if state.bytes() >= LIVE_BYTES {
            // The kernel may take more by now.
            state.write();
        }
        let given = match state.bytes() < LIVE_BYTES {
            true => {
                state.push(frames.clone());
                self.hand_over(&mut state, socket.as_ref());
                LiveGive::Taken
            }
            false => LiveGive::Full,
        };
        self.mark(&mut state);
        given
    }

    async fn space(&self) -> Result<(), Gone> {
        self.wait_for(&self.space, |state| match state.is_closed {
            true => Some(Err(Gone)),
            false => state.has_space().then_some(Ok(())),
        })
        .await
    }

    fn is_gone(&self) -> bool {
        lock(&self.state).is_closed
    }
}
