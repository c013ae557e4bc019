//! A log in memory, whose reads can fail, panic, or see an earlier state.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    AppendError, Appended, Changes, LogCursor, LogPage, MarkedRead, MessageRepository, ReadLimit,
    RoomPosition, RoomRepository,
};
use chat_domain::{
    Content, DisplayName, Generation, Message, MessageId, NewMessage, RoomId, RoomState,
    RulesNumber, Seq, StorageError, Timestamp, User, UserId,
};

use crate::world::{room, seq};

pub(crate) fn message(n: u64, content: &str) -> Message {
    NewMessage {
        extras: None,
        room_id: room(),
        author: User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::new(content).unwrap(),
        client_message_id: None,
        created_at: Timestamp::from_unix_millis(0),
        rules: RulesNumber::NONE,
    }
    .stored(MessageId::new(1), seq(n))
}

/// The room's log.
#[derive(Default)]
pub(crate) struct Log {
    messages: Mutex<BTreeMap<u64, Message>>,
    newest: AtomicUsize,
    /// The number of the room's rules.
    pub(crate) rules: AtomicU64,
    /// The room's generation.
    pub(crate) generation: AtomicU64,
    /// How many of the next reads fail, and how many panic.
    pub(crate) failing: AtomicUsize,
    pub(crate) panicking: AtomicUsize,
    pub(crate) reads: AtomicUsize,
    /// How many of the next reads of the changes fail, and how many find them unknown.
    pub(crate) failing_changes: AtomicUsize,
    pub(crate) unknown_changes: AtomicUsize,
    /// How many of the next reads of newest positions fail, and how many there were.
    pub(crate) failing_newest: AtomicUsize,
    pub(crate) newest_reads: AtomicUsize,
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

    pub(crate) fn newest_seq(&self) -> Seq {
        seq(self.newest.load(Ordering::SeqCst) as u64)
    }

    fn position(&self, room_id: RoomId) -> RoomPosition {
        RoomPosition {
            rev: chat_domain::Rev::START,
            room_id,
            newest: self.newest_seq(),
            rules: RulesNumber::new(self.rules.load(Ordering::SeqCst)),
            generation: Some(self.generation()),
        }
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation::new(self.generation.load(Ordering::SeqCst))
    }

    /// Deletes the room and uses its number again, with messages up to this number.
    pub(crate) fn begin_anew(&self, generation: u64, newest: u64) {
        self.forget_after(0);
        self.generation.store(generation, Ordering::SeqCst);
        self.rules.store(generation, Ordering::SeqCst);
        self.store_up_to(newest);
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
            generation: self.generation(),
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
    async fn newest(&self, rooms: &[RoomId]) -> Result<Vec<RoomPosition>, StorageError> {
        self.newest_reads.fetch_add(1, Ordering::SeqCst);
        if Self::take(&self.failing_newest) {
            return Err(StorageError::unavailable("on purpose"));
        }
        Ok(rooms.iter().map(|id| self.position(*id)).collect())
    }

    async fn changed_since(&self, cursor: Option<LogCursor>) -> Result<Changes, StorageError> {
        if Self::take(&self.failing_changes) {
            return Err(StorageError::unavailable("on purpose"));
        }
        let now = self.position(room());
        let reached = LogCursor::new(format!("{now:?}"));
        let cursor = cursor.filter(|_| !Self::take(&self.unknown_changes));
        let changed = cursor.map(|cursor| match cursor == reached {
            true => vec![],
            false => vec![now],
        });
        Ok(Changes {
            cursor: reached,
            rooms: changed,
            members: Vec::new(),
        })
    }

    async fn read_state(&self, _: RoomId, _: &UserId) -> Result<RoomState, StorageError> {
        unreachable!("a use case reads it")
    }

    async fn mark_read(
        &self,
        _: RoomId,
        _: Generation,
        _: &UserId,
        _: Seq,
    ) -> Result<Option<MarkedRead>, StorageError> {
        unreachable!("a use case moves it")
    }
}
