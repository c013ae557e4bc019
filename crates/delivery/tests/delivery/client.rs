//! A client that records what it receives, as text.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chat_delivery::{Encoder, Gone, LiveGive, Recipient};
use chat_domain::{
    ChangeSubject, ChangedMessage, ConnectionId, Message, ReactionKey, RoomId, Seq, StoredChange,
    StoredMessage, UserId,
};
use tokio::sync::Notify;

/// A recipient that records what it receives.
pub(crate) struct Client {
    number: u64,
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
    pub(crate) fn new(number: u64) -> Arc<Self> {
        Arc::new(Self {
            number,
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

    pub(crate) fn number(&self) -> u64 {
        self.number
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

    /// Waits until the condition holds, as it must within ten seconds of the test's time.
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
        let deadline = Duration::from_secs(10);
        if tokio::time::timeout(deadline, wait).await.is_err() {
            panic!("received only {}", self.received());
        }
    }
}

impl Recipient for Client {
    fn id(&self) -> ConnectionId {
        ConnectionId::new(self.number)
    }

    /// The client's number is its user's id.
    fn is_of(&self, user_id: &UserId) -> bool {
        user_id.as_str() == self.number.to_string()
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

thread_local! {
    /// A test and all that it starts run on one thread.
    static CHANGES_ENCODED: Cell<usize> = const { Cell::new(0) };
}

/// Returns how many frames of changed messages this test has encoded.
pub(crate) fn changes_encoded() -> usize {
    CHANGES_ENCODED.get()
}

/// Frames that a test can read: `57;` for message 57, `42:57;` for a read pointer, `room x;`
/// and `42 x;` for a change of rules that is encoded as `x`.
pub(crate) struct Text;

impl Encoder for Text {
    fn message(&self, message: &StoredMessage) -> Bytes {
        Bytes::from(format!("{};", message.seq()))
    }

    fn logged_message(&self, message: Message, _: &[ReactionKey]) -> Bytes {
        Bytes::from(format!("{};", message.seq))
    }

    fn changed_message(
        &self,
        room_id: RoomId,
        changed: ChangedMessage,
        is_merged: bool,
        _: &[ReactionKey],
    ) -> Bytes {
        CHANGES_ENCODED.set(CHANGES_ENCODED.get() + 1);
        let rev = changed
            .message
            .changes
            .as_ref()
            .map_or(0, |changes| changes.rev.get());
        let by = changed
            .by
            .filter(|_| !is_merged)
            .map(|by| format!(" by {by}"));
        let by = by.unwrap_or_default();
        Bytes::from(format!("{room_id}/{}@{rev}{by};", changed.message.seq))
    }

    fn read_pointer(&self, _: RoomId, user_id: &UserId, seq: Seq) -> Bytes {
        Bytes::from(format!("{user_id}:{seq};"))
    }

    fn typing(&self, _: RoomId, user: &chat_domain::User, typing: bool) -> Bytes {
        Bytes::from(format!("{} {typing};", user.id))
    }

    fn rules_change(&self, change: &StoredChange) -> Bytes {
        let subject = match change.subject() {
            ChangeSubject::Room => "room",
            ChangeSubject::Member(user_id) => user_id.as_str(),
        };
        Bytes::from(format!("{subject} {};", change.encoded()))
    }
}
