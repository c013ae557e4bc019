//! A world of one room's delivery: a log in memory, hints in this process, and recipients
//! that record what they receive.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chat_delivery::{Admission, Encoder, Gone, LiveGive, Recipient, Rooms};
use chat_domain::ports::{
    AppendError, Appended, Hint, HintListener, LogPage, MarkedRead, MessageRepository, ReadLimit,
    RoomEvents, RoomRepository,
};
use chat_domain::use_cases::{CatchUp, Joining};
use chat_domain::{
    ConnectionId, Content, DisplayName, Membership, Message, MessageId, NewMessage, ReadState,
    RoomEntry, RoomId, Seq, StorageError, StoredMessage, Timestamp, User, UserId,
};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

pub(crate) const ROOM: u64 = 1;

pub(crate) fn room() -> RoomId {
    RoomId::new(ROOM).unwrap()
}

pub(crate) fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

fn message(n: u64, content: &str) -> Message {
    NewMessage {
        room_id: room(),
        author: User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::new(content).unwrap(),
        client_message_id: None,
        created_at: Timestamp::from_unix_millis(0),
    }
    .stored(MessageId::new(1), seq(n))
}

/// The room's log.
#[derive(Default)]
pub(crate) struct Log {
    messages: Mutex<BTreeMap<u64, Message>>,
    newest: AtomicUsize,
    /// How many of the next reads fail, and how many panic.
    pub(crate) failing: AtomicUsize,
    pub(crate) panicking: AtomicUsize,
    pub(crate) reads: AtomicUsize,
    /// The largest page so far, in bytes of content.
    pub(crate) largest_page: AtomicUsize,
}

impl Log {
    /// Stores messages up to this number.
    pub(crate) fn store_up_to(&self, newest: u64) {
        self.store_texts_up_to(newest, "hello");
    }

    /// Stores messages with this text up to this number.
    pub(crate) fn store_texts_up_to(&self, newest: u64, text: &str) {
        let stored = self.newest.swap(newest as usize, Ordering::SeqCst) as u64;
        let mut messages = self.messages.lock().unwrap();
        messages.extend((stored + 1..=newest).map(|n| (n, message(n, text))));
    }

    /// Makes reads see an earlier state.
    pub(crate) fn forget_after(&self, newest: u64) {
        self.newest.store(newest as usize, Ordering::SeqCst);
        let mut messages = self.messages.lock().unwrap();
        messages.split_off(&(newest + 1));
    }

    pub(crate) fn delete(&self, n: u64) {
        self.messages.lock().unwrap().remove(&n);
    }

    fn newest_seq(&self) -> Seq {
        seq(self.newest.load(Ordering::SeqCst) as u64)
    }

    fn take(counter: &AtomicUsize) -> bool {
        let taken = |n: usize| n.checked_sub(1);
        counter
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken)
            .is_ok()
    }
}

#[async_trait]
impl MessageRepository for Log {
    async fn append(&self, _: NewMessage) -> Result<Appended, AppendError> {
        unreachable!("delivery appends nothing")
    }

    async fn after(
        &self,
        _: RoomId,
        position: Seq,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        // Time passes, so that reads in an endless loop reach the deadline of their test.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.reads.fetch_add(1, Ordering::SeqCst);
        assert!(!Self::take(&self.panicking), "a read panics on purpose");
        if Self::take(&self.failing) {
            return Err(StorageError::unavailable("on purpose"));
        }
        let newest = self.newest_seq();
        let messages = self.messages.lock().unwrap();
        let (mut page, mut bytes) = (Vec::new(), 0);
        let mut rest = messages.range(position.get() + 1..).map(|(_, m)| m);
        let mut next = rest.next();
        while let Some(message) = next {
            let size = message.content.as_str().len();
            let is_full = page.len() == limit.messages || bytes + size > limit.bytes;
            if is_full && !page.is_empty() {
                break;
            }
            bytes += size;
            page.push(message.clone());
            next = rest.next();
        }
        self.largest_page.fetch_max(bytes, Ordering::SeqCst);
        Ok(LogPage {
            messages: page,
            has_more: next.is_some(),
            newest,
        })
    }

    async fn before(
        &self,
        _: RoomId,
        _: Option<Seq>,
        _: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        unreachable!("delivery reads forwards")
    }
}

#[async_trait]
impl RoomRepository for Log {
    async fn newest(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, StorageError> {
        Ok(rooms.iter().map(|id| (*id, self.newest_seq())).collect())
    }

    async fn read_state(&self, _: RoomId, _: &UserId) -> Result<ReadState, StorageError> {
        unreachable!("a use case reads it")
    }

    async fn mark_read(&self, _: RoomId, _: &UserId, _: Seq) -> Result<MarkedRead, StorageError> {
        unreachable!("a use case moves it")
    }
}

/// Hints within the test, and the rooms that are served.
#[derive(Default)]
pub(crate) struct Events {
    listener: Mutex<Option<Weak<dyn HintListener>>>,
    pub(crate) served: Mutex<Vec<RoomId>>,
}

impl RoomEvents for Events {
    fn announce(&self, hint: Hint) {
        let listener = self.listener.lock().unwrap().clone();
        if let Some(listener) = listener.and_then(|listener| listener.upgrade()) {
            listener.on_hint(hint);
        }
    }

    fn serve(&self, room_id: RoomId) {
        self.served.lock().unwrap().push(room_id);
    }

    fn release(&self, room_id: RoomId) {
        self.served.lock().unwrap().retain(|id| *id != room_id);
    }

    fn subscribe(&self, listener: Weak<dyn HintListener>) {
        *self.listener.lock().unwrap() = Some(listener);
    }
}

/// Frames that a test can read: `57;` for message 57, `42:57;` for a read pointer.
struct Text;

impl Encoder for Text {
    fn message(&self, message: &StoredMessage) -> Bytes {
        Bytes::from(format!("{};", message.seq))
    }

    fn logged_message(&self, message: Message) -> Bytes {
        Bytes::from(format!("{};", message.seq))
    }

    fn read_pointer(&self, _: RoomId, user_id: &UserId, seq: Seq) -> Bytes {
        Bytes::from(format!("{user_id}:{seq};"))
    }
}

/// A recipient that records what it receives.
pub(crate) struct Client {
    id: ConnectionId,
    state: Mutex<State>,
    changed: Notify,
    /// How often delivery has waited for space.
    pub(crate) waits: AtomicUsize,
}

struct State {
    received: String,
    has_space: bool,
    is_gone: bool,
    panics: bool,
}

impl Client {
    pub(crate) fn new(id: u64) -> Arc<Self> {
        Arc::new(Self {
            id: ConnectionId::new(id),
            state: Mutex::new(State {
                received: String::new(),
                has_space: true,
                is_gone: false,
                panics: false,
            }),
            changed: Notify::new(),
            waits: AtomicUsize::new(0),
        })
    }

    /// Returns everything received so far.
    pub(crate) fn received(&self) -> String {
        self.state.lock().unwrap().received.clone()
    }

    /// Returns the messages received so far.
    pub(crate) fn messages(&self) -> Vec<u64> {
        let received = self.received();
        received.split(';').filter_map(|f| f.parse().ok()).collect()
    }

    /// Stops or resumes reading.
    pub(crate) fn set_space(&self, has_space: bool) {
        self.change(|state| state.has_space = has_space);
    }

    pub(crate) fn disconnect(&self) {
        self.change(|state| state.is_gone = true);
    }

    /// The next live frame panics.
    pub(crate) fn panic_once(&self) {
        self.change(|state| state.panics = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
    }

    /// Waits until the condition holds, as it must within a minute of the test's time.
    pub(crate) async fn until(&self, condition: impl Fn(&str) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if condition(&self.state.lock().unwrap().received) {
                    return;
                }
                changed.await;
            }
        };
        let deadline = Duration::from_secs(60);
        if tokio::time::timeout(deadline, wait).await.is_err() {
            panic!("received only {}", self.received());
        }
    }
}

impl Recipient for Client {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn give(&self, frames: Bytes) {
        self.change(|state| state.received += std::str::from_utf8(&frames).unwrap());
    }

    fn give_live(&self, frames: &Bytes) -> LiveGive {
        let panics = {
            let mut state = self.state.lock().unwrap();
            if !state.has_space {
                return LiveGive::Full;
            }
            std::mem::take(&mut state.panics)
        };
        assert!(!panics, "a recipient panics on purpose");
        self.give(frames.clone());
        LiveGive::Taken
    }

    async fn space(&self) -> Result<(), Gone> {
        self.waits.fetch_add(1, Ordering::SeqCst);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state.lock().unwrap();
                if state.is_gone {
                    return Err(Gone);
                }
                if state.has_space {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    fn is_gone(&self) -> bool {
        self.state.lock().unwrap().is_gone
    }
}

/// The delivery of one room.
pub(crate) struct World {
    pub(crate) log: Arc<Log>,
    pub(crate) events: Arc<Events>,
    pub(crate) rooms: Arc<Rooms<Client>>,
    /// The tasks that delivery runs.
    pub(crate) tasks: TaskTracker,
}

impl World {
    /// A room with this many stored messages, compared with its log in the background.
    pub(crate) fn with(newest: u64) -> Self {
        let world = Self::without_reconciliation(newest);
        tokio::spawn(world.rooms.clone().reconcile());
        world
    }

    pub(crate) fn without_reconciliation(newest: u64) -> Self {
        let log = Arc::new(Log::default());
        log.store_up_to(newest);
        let (events, tasks) = (Arc::new(Events::default()), TaskTracker::new());
        let rooms = Rooms::new(
            log.clone(),
            log.clone(),
            events.clone(),
            Arc::new(Text),
            tasks.clone(),
        );
        Self {
            log,
            events,
            rooms,
            tasks,
        }
    }

    /// Joins without catching up, or after a message.
    pub(crate) async fn join(&self, client: &Arc<Client>, after: Option<u64>) {
        let catch_up = match after {
            Some(after) => CatchUp::Replay { after: seq(after) },
            None => CatchUp::None,
        };
        let state = ReadState {
            newest: self.log.newest_seq(),
            read: Seq::START,
        };
        let joining = Joining { state, catch_up };
        let welcome = |Admission { seam, missed }| {
            let missed = missed.map(|missed| format!(" missed {}-{}", missed.from, missed.to));
            Bytes::from(format!("joined {seam}{};", missed.unwrap_or_default()))
        };
        let entrance = self.rooms.open(room());
        let mut membership = Membership::default();
        let admitted = entrance.admit(client, &mut membership, joining, welcome);
        admitted.await.ok();
    }

    /// Joins this many clients.
    pub(crate) async fn crowd(&self, size: u64) -> Vec<Arc<Client>> {
        let clients: Vec<_> = (0..size).map(Client::new).collect();
        for client in &clients {
            self.join(client, None).await;
        }
        clients
    }

    /// Stores a message and announces it.
    pub(crate) fn send(&self, n: u64) {
        self.log.store_up_to(n);
        self.hint(n);
    }

    /// Announces a message.
    pub(crate) fn hint(&self, n: u64) {
        let message = StoredMessage::new(message(n, "hello"), "".into());
        self.announce(RoomEntry::Message(Arc::new(message)));
    }

    /// Announces a read pointer.
    pub(crate) fn read(&self, user: &str, n: u64) {
        self.announce(RoomEntry::ReadPointer {
            user_id: UserId::new(user).unwrap(),
            seq: seq(n),
        });
    }

    fn announce(&self, entry: RoomEntry) {
        self.events.announce(Hint {
            room_id: room(),
            entry,
        });
    }
}
