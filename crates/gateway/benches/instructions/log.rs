//! A log in memory whose messages all look alike, so that reading it costs little.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use chat_adapters::bench::GroupCommit;
use chat_domain::ports::{
    AppendError, Appended, Changes, LogCursor, LogPage, MarkedRead, MessageRepository, PoolStatus,
    ReadLimit, RoomPosition, RoomRepository, StorageHealth,
};
use chat_domain::{
    Generation, Message, NewMessage, ReadState, RoomId, RoomState, RulesNumber, Seq, StorageError,
    UserId,
};

use crate::samples::{message, room, seq};

/// The log of one room. It appends through group commit.
pub(crate) struct Log {
    commits: GroupCommit,
    newest: AtomicU64,
    template: Message,
}

impl Log {
    /// Creates a log with this many messages; further ones are numbered from 1. Must be
    /// called within a runtime.
    pub(crate) fn start(newest: u64) -> Self {
        Self {
            // With one lane, the numbers of the store are those of the room.
            commits: GroupCommit::start(1),
            newest: AtomicU64::new(newest),
            template: message(room(1), 1),
        }
    }

    fn newest(&self) -> Seq {
        seq(self.newest.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl MessageRepository for Log {
    async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        let appended = self.commits.append(message).await;
        if let Ok(Appended::Stored(message)) = &appended {
            self.newest.fetch_max(message.seq.get(), Ordering::Relaxed);
        }
        appended
    }

    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        let newest = self.newest();
        let last = newest.get().min(position.get() + limit.messages as u64);
        let messages = (position.get() + 1..=last).map(|n| Message {
            room_id,
            seq: seq(n),
            ..self.template.clone()
        });
        Ok(LogPage {
            messages: messages.collect(),
            has_more: last < newest.get(),
            newest,
            generation: Generation::FIRST,
        })
    }

    async fn before(
        &self,
        _: RoomId,
        _: Option<Seq>,
        _: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        unreachable!("no piece reads backwards")
    }
}

#[async_trait]
impl RoomRepository for Log {
    async fn newest(&self, rooms: &[RoomId]) -> Result<Vec<RoomPosition>, StorageError> {
        let positions = rooms.iter().map(|room_id| RoomPosition {
            rev: chat_domain::Rev::START,
            room_id: *room_id,
            newest: self.newest(),
            rules: RulesNumber::NONE,
            generation: Some(Generation::FIRST),
        });
        Ok(positions.collect())
    }

    async fn changed_since(&self, _: Option<LogCursor>) -> Result<Changes, StorageError> {
        Ok(Changes {
            cursor: LogCursor::new(String::new()),
            rooms: None,
            members: Vec::new(),
        })
    }

    async fn read_state(&self, _: RoomId, _: &UserId) -> Result<RoomState, StorageError> {
        Ok(RoomState {
            rev: chat_domain::Rev::START,
            read: ReadState {
                newest: self.newest(),
                read: Seq::START,
            },
            rules: RulesNumber::NONE,
        })
    }

    async fn mark_read(
        &self,
        _: RoomId,
        _: Generation,
        _: &UserId,
        _: Seq,
    ) -> Result<Option<MarkedRead>, StorageError> {
        unreachable!("no piece marks a room as read")
    }
}

#[async_trait]
impl StorageHealth for Log {
    async fn check_writable(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn pool(&self) -> PoolStatus {
        PoolStatus::default()
    }

    async fn stopped(&self) -> &'static str {
        std::future::pending().await
    }
}
