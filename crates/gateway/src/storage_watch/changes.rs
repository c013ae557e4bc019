//! Observes the outcomes of changes to messages, and of reads of them.

use std::sync::Arc;

use async_trait::async_trait;
use chat_domain::ports::{
    ChangeRepository, ChangesPage, MadeChange, MessageChange, MessageChangeError, ReactingUsers,
    ReadLimit,
};
use chat_domain::{Message, ReactionKey, Rev, RoomId, Seq, StorageError, UserId};

use super::{Operation, Outages};

/// A repository that observes the outcomes of another.
pub(super) struct ChangesWatch {
    changes: Arc<dyn ChangeRepository>,
    outages: Arc<Outages>,
}

impl ChangesWatch {
    pub(super) fn new(changes: Arc<dyn ChangeRepository>, outages: Arc<Outages>) -> Self {
        Self { changes, outages }
    }

    fn read<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        self.outages.observe(Operation::Read, result.as_ref().err());
        result
    }
}

#[async_trait]
impl ChangeRepository for ChangesWatch {
    async fn message(&self, room_id: RoomId, seq: Seq) -> Result<Option<Message>, StorageError> {
        self.read(self.changes.message(room_id, seq).await)
    }

    async fn change(&self, change: MessageChange) -> Result<MadeChange, MessageChangeError> {
        let result = self.changes.change(change).await;
        let failure = match &result {
            Err(MessageChangeError::Storage(error)) => Some(error),
            // What is refused, storage has decided.
            Err(_) | Ok(_) => None,
        };
        self.outages.observe(Operation::Write, failure);
        result
    }

    async fn changed_after(
        &self,
        room_id: RoomId,
        after: Rev,
        up_to: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<ChangesPage, StorageError> {
        let reading = self.changes.changed_after(room_id, after, up_to, limit);
        self.read(reading.await)
    }

    async fn reacting_users(
        &self,
        room_id: RoomId,
        seq: Seq,
        key: ReactionKey,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<ReactingUsers, StorageError> {
        let changes = &self.changes;
        let reading = changes.reacting_users(room_id, seq, key, after, limit);
        self.read(reading.await)
    }

    async fn own_reactions(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        messages: &[Seq],
    ) -> Result<Vec<(Seq, ReactionKey)>, StorageError> {
        let reading = self.changes.own_reactions(room_id, user_id, messages);
        self.read(reading.await)
    }
}
