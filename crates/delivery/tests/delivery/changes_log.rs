//! The changes of the room's messages, in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    ChangeRepository, ChangesPage, MadeChange, MessageChange, MessageChangeError, ReactingUsers,
    ReadLimit,
};
use chat_domain::{
    ChangeKind, ChangedMessage, Generation, Message, MessageChanges, ReactionKey, Rev, RoomId, Seq,
    StorageError, UserId,
};

use crate::log::message;

pub(crate) fn rev(n: u64) -> Rev {
    Rev::new(n).unwrap()
}

/// Returns message `n` as of a change.
pub(crate) fn changed_message(n: u64, number: u64) -> Message {
    let mut message = message(n, "hello");
    message.changes = Some(Box::new(MessageChanges {
        rev: rev(number),
        edited_at: None,
        deleted_at: None,
        erased_at: None,
        reactions: Vec::new(),
    }));
    message
}

/// What has changed.
#[derive(Default)]
pub(crate) struct ChangesLog {
    state: Mutex<State>,
    pub(crate) reads: AtomicUsize,
    /// The largest number of messages in a page, unless it is 0.
    pub(crate) page: AtomicUsize,
}

#[derive(Default)]
struct State {
    newest: u64,
    /// By message: the latest change, the one before, and who made it.
    messages: BTreeMap<u64, (u64, u64, &'static str)>,
}

impl ChangesLog {
    /// Changes a message and returns the number of the change.
    pub(crate) fn change(&self, n: u64, by: &'static str) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.newest += 1;
        let number = state.newest;
        let latest = state.messages.entry(n).or_default();
        *latest = (number, latest.0, by);
        number
    }

    pub(crate) fn newest(&self) -> Rev {
        rev(self.state.lock().unwrap().newest)
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl ChangeRepository for ChangesLog {
    async fn message(&self, _: RoomId, _: Seq) -> Result<Option<Message>, StorageError> {
        unreachable!("delivery reads no single message")
    }

    async fn change(&self, _: MessageChange) -> Result<MadeChange, MessageChangeError> {
        unreachable!("delivery changes nothing")
    }

    async fn changed_after(
        &self,
        _: RoomId,
        after: Rev,
        up_to: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<ChangesPage, StorageError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let page = {
            let state = self.state.lock().unwrap();
            let up_to = up_to.map_or(u64::MAX, Seq::get);
            let messages = state.messages.iter();
            let mut changed: Vec<_> = messages
                .filter(|(n, (number, ..))| **n <= up_to && *number > after.get())
                .map(|(n, (number, previous, by))| (*number, *n, *previous, *by))
                .collect();
            changed.sort_unstable();
            let size = match self.page.load(Ordering::SeqCst) {
                0 => limit.messages,
                size => size,
            };
            let has_more = changed.len() > size;
            changed.truncate(size);
            let messages = changed.into_iter();
            ChangesPage {
                messages: messages
                    .map(|(number, n, previous, by)| ChangedMessage {
                        message: changed_message(n, number),
                        kind: ChangeKind::Reactions,
                        by: Some(UserId::new(by).unwrap()),
                        previous: rev(previous),
                    })
                    .collect(),
                has_more,
                newest: rev(state.newest),
                generation: Generation::FIRST,
            }
        };
        // The answer takes a moment.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(page)
    }

    async fn reacting_users(
        &self,
        _: RoomId,
        _: Seq,
        _: ReactionKey,
        _: Option<UserId>,
        _: usize,
    ) -> Result<ReactingUsers, StorageError> {
        unreachable!("delivery reads no users")
    }

    async fn own_reactions(
        &self,
        _: RoomId,
        _: &UserId,
        _: &[Seq],
    ) -> Result<Vec<(Seq, ReactionKey)>, StorageError> {
        unreachable!("delivery reads for no user")
    }
}
