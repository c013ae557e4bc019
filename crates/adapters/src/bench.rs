//! What the micro benchmarks reach of the inside. Nothing else may use it.

use std::sync::Arc;

use chat_domain::ports::{AppendError, Appended};
use chat_domain::{Message, MessageId, NewMessage, Seq, StorageError};

use crate::group_commit::{GroupCommit as Inner, LockWait, NotStored, Store};

/// Group commit over a store that keeps nothing and is done at once.
#[derive(Clone)]
pub struct GroupCommit(Inner);

impl GroupCommit {
    /// Starts it, in a runtime, with so many lanes.
    pub fn start(lanes: usize) -> Self {
        Self(Inner::start(lanes, || Nowhere(0)))
    }

    /// Stores a message, which is numbered in its batch and not in its room.
    ///
    /// # Errors
    /// Too many wait.
    pub async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        self.0.append(message).await
    }
}

struct Nowhere(u64);

impl Store for Nowhere {
    async fn store(
        &mut self,
        batch: &[Arc<NewMessage>],
        _wait: LockWait,
    ) -> Result<Vec<(MessageId, Seq)>, NotStored> {
        Ok(batch
            .iter()
            .map(|_| {
                self.0 += 1;
                let seq = Seq::new(self.0).unwrap_or_default();
                (MessageId::new(self.0 as i64), seq)
            })
            .collect())
    }

    async fn originals(&mut self, _: &[Arc<NewMessage>]) -> Result<Vec<Message>, StorageError> {
        Ok(Vec::new())
    }
}
