//! The internals that the micro benchmarks measure. Nothing else may use them.

use std::sync::Arc;

use chat_domain::ports::{AppendError, Appended, MarkedRead};
use chat_domain::{Message, MessageId, NewMessage, ReadState, Seq, StorageError};

use crate::group_commit::{GroupCommit as Inner, Mark, Placed, Store, StoreError};

/// Group commit over a store that keeps nothing and returns at once.
#[derive(Clone)]
pub struct GroupCommit(Inner);

impl GroupCommit {
    /// Starts group commit with this number of lanes. Must be called within a runtime.
    pub fn start(lanes: usize) -> Self {
        Self(Inner::start(lanes, NullStore::default))
    }

    /// Stores a message. Its number is its place in the store, not in its room.
    ///
    /// # Errors
    /// When too many messages are waiting.
    pub async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        self.0.append(message).await
    }
}

#[derive(Default)]
struct NullStore {
    last: u64,
}

impl Store for NullStore {
    async fn store(&mut self, batch: &[Arc<NewMessage>]) -> Result<Vec<Placed>, StoreError> {
        Ok(batch
            .iter()
            .map(|_| {
                self.last += 1;
                let seq = Seq::new(self.last).unwrap_or_default();
                Placed::Stored(MessageId::new(self.last.cast_signed()), seq)
            })
            .collect())
    }

    async fn originals(&mut self, _: &[Arc<NewMessage>]) -> Result<Vec<Message>, StorageError> {
        Ok(Vec::new())
    }

    async fn mark(&mut self, marks: &[Mark]) -> Result<Vec<Option<MarkedRead>>, StoreError> {
        let moved = MarkedRead {
            state: ReadState::default(),
            moved: false,
        };
        Ok(vec![Some(moved); marks.len()])
    }
}
