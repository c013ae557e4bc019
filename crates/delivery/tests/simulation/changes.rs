//! What has become of the messages of one room: each change, under the next number of the room,
//! and what a read of changes sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use chat_domain::ports::{
    ChangeRepository, ChangesPage, MadeChange, MessageChange, MessageChangeError, ReactingUsers,
    ReadLimit, RoomPosition,
};
use chat_domain::{
    ChangeKind, ChangedMessage, Content, Generation, Message, MessageChanges, ReactionCount,
    ReactionKey, Rev, RoomId, RulesNumber, Seq, StorageError, Timestamp, UserId,
};

use crate::frames::MessageState;
use crate::log::{Log, message, seq};
use crate::random::Random;

pub(crate) fn rev(n: u64) -> Rev {
    Rev::new(n).unwrap()
}

/// What is done to a message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit {
    Text,
    React {
        user: u64,
        key: &'static str,
        on: bool,
    },
    Delete,
    Erase,
}

impl Edit {
    pub(crate) fn random(random: &mut Random) -> Self {
        match random.within(0..20) {
            0..6 => Self::Text,
            6..18 => Self::React {
                user: random.within(1..4),
                key: random.pick(&["a", "b"]),
                on: random.percent(70),
            },
            18 => Self::Delete,
            _ => Self::Erase,
        }
    }
}

/// The changes of a room's messages up to one moment.
#[derive(Default, Clone)]
pub(crate) struct Changed {
    /// The number of the newest change.
    pub(crate) newest: u64,
    messages: Arc<BTreeMap<u64, MessageNow>>,
}

/// A message that has changed, in its newest state.
#[derive(Default, Clone)]
struct MessageNow {
    rev: u64,
    previous: u64,
    kind: Option<ChangeKind>,
    by: Option<u64>,
    /// The change that gave it its text.
    text: Option<u64>,
    reactions: BTreeMap<&'static str, BTreeSet<u64>>,
    is_deleted: bool,
    is_erased: bool,
}

impl Changed {
    /// Changes a message. Returns the number of the change; `None` if it is already so.
    pub(crate) fn change(&mut self, n: u64, edit: Edit, by: Option<u64>) -> Option<u64> {
        let next = self.newest + 1;
        let messages = Arc::make_mut(&mut self.messages);
        let mut now = messages.get(&n).cloned().unwrap_or_default();
        let kind = match edit {
            Edit::Erase if now.is_erased => return None,
            Edit::Delete | Edit::Text | Edit::React { .. } if now.is_deleted || now.is_erased => {
                return None;
            }
            Edit::Text => {
                now.text = Some(next);
                ChangeKind::Edited
            }
            Edit::React { user, key, on } => {
                let users = now.reactions.entry(key).or_default();
                let is_new = match on {
                    true => users.insert(user),
                    false => users.remove(&user),
                };
                if !is_new {
                    return None;
                }
                now.reactions.retain(|_, users| !users.is_empty());
                ChangeKind::Reactions
            }
            Edit::Delete | Edit::Erase => {
                now.reactions.clear();
                let is_erasure = matches!(edit, Edit::Erase);
                now.is_deleted |= !is_erasure;
                now.is_erased |= is_erasure;
                match is_erasure {
                    true => ChangeKind::Erased,
                    false => ChangeKind::Deleted,
                }
            }
        };
        now.previous = now.rev;
        (now.rev, now.kind, now.by) = (next, Some(kind), by);
        messages.insert(n, now);
        self.newest = next;
        Some(next)
    }

    /// Returns a message in its newest state.
    pub(crate) fn message(&self, room_id: RoomId, n: u64) -> Message {
        let mut message = message(room_id, n);
        if let Some(now) = self.messages.get(&n) {
            now.apply(&mut message);
        }
        message
    }

    /// Returns the number of a message's latest change.
    pub(crate) fn rev_of(&self, n: u64) -> u64 {
        self.messages.get(&n).map_or(0, |now| now.rev)
    }

    /// Returns the messages that changed after a number, by their latest changes.
    fn after(&self, after: u64) -> Vec<(u64, &MessageNow)> {
        let messages = self.messages.iter().map(|(n, now)| (*n, now));
        let mut changed: Vec<_> = messages.filter(|(_, now)| now.rev > after).collect();
        changed.sort_unstable_by_key(|(_, now)| now.rev);
        changed
    }
}

impl MessageNow {
    fn apply(&self, message: &mut Message) {
        let now = Timestamp::from_unix_millis(0);
        let reactions = self.reactions.iter().map(|(key, users)| ReactionCount {
            key: ReactionKey::new(*key).unwrap(),
            count: users.len() as u64,
        });
        message.content = match (self.is_deleted || self.is_erased, self.text) {
            (true, _) => Content::deleted(),
            (false, Some(text)) => Content::new(format!("edited in {text}")).unwrap(),
            (false, None) => message.content.clone(),
        };
        message.changes = Some(Box::new(MessageChanges {
            rev: rev(self.rev),
            edited_at: self.text.map(|_| now),
            deleted_at: self.is_deleted.then_some(now),
            erased_at: self.is_erased.then_some(now),
            reactions: reactions.collect(),
        }));
    }
}

/// A state that a message had, and who gave it to it.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) state: MessageState,
    pub(crate) by: Option<u64>,
}

impl Log {
    /// Changes a message. Returns the number of the change; `None` if there is nothing to change.
    pub(crate) fn change(
        &self,
        room_id: RoomId,
        n: u64,
        edit: Edit,
        by: Option<u64>,
    ) -> Option<u64> {
        let mut state = self.state.lock().unwrap();
        let room = state.rooms.entry(room_id).or_default();
        if !room.now.has(n) {
            return None;
        }
        let before = room.now.clone();
        let number = room.now.changed.change(n, edit, by)?;
        room.remember(before);
        let message = MessageState::of(&room.now.changed.message(room_id, n));
        let past = Past { state: message, by };
        room.past.entry(n).or_default().push(past);
        let newest = seq(room.now.newest);
        state.changes.push(RoomPosition {
            rev: rev(number),
            room_id,
            newest,
            rules: RulesNumber::NONE,
            generation: None,
        });
        Some(number)
    }

    /// Returns the number of the room's newest change.
    pub(crate) fn rev(&self, room_id: RoomId) -> u64 {
        self.now(room_id).changed.newest
    }

    /// Returns the stored messages in a range in their newest states.
    pub(crate) fn states(&self, room_id: RoomId, after: u64, to: u64) -> Vec<(u64, MessageState)> {
        let now = self.now(room_id);
        let stored = now.between(after, to);
        let state = |n| (n, MessageState::of(&now.changed.message(room_id, n)));
        stored.map(state).collect()
    }

    /// Returns the stored messages that changed after a number, each with the number
    /// of its latest change.
    pub(crate) fn latest_changes(&self, room_id: RoomId, after: u64) -> Vec<(u64, u64)> {
        let now = self.now(room_id);
        let stored = now.between(0, now.newest);
        let changed = stored.map(|n| (n, now.changed.rev_of(n)));
        changed.filter(|(_, rev)| *rev > after).collect()
    }

    /// Returns the states that a message had after it changed.
    pub(crate) fn past(&self, room_id: RoomId, n: u64) -> Vec<Past> {
        let state = self.state.lock().unwrap();
        let room = state.rooms.get(&room_id);
        let past = room.and_then(|room| room.past.get(&n).cloned());
        past.unwrap_or_default()
    }
}

#[async_trait]
impl ChangeRepository for Log {
    async fn message(&self, _: RoomId, _: Seq) -> Result<Option<Message>, StorageError> {
        unreachable!("delivery reads no single message")
    }

    async fn change(&self, _: MessageChange) -> Result<MadeChange, MessageChangeError> {
        unreachable!("delivery changes nothing")
    }

    async fn changed_after(
        &self,
        room_id: RoomId,
        after: Rev,
        up_to: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<ChangesPage, StorageError> {
        let is_stale = self.read_rooms().await?;
        let seen = self.seen(room_id, is_stale);
        self.answer().await;
        let up_to = up_to.map_or(u64::MAX, Seq::get);
        let mut rest = seen.changed.after(after.get()).into_iter();
        let mut rest = rest.by_ref().filter(|(n, _)| *n <= up_to && seen.has(*n));
        // Smaller pages than a database's, so that many boundaries are met.
        let messages = rest.by_ref().take(limit.messages.min(7));
        let messages = messages.map(|(n, now)| ChangedMessage {
            message: seen.changed.message(room_id, n),
            kind: now.kind.unwrap(),
            by: now.by.map(|by| UserId::new(by.to_string()).unwrap()),
            previous: rev(now.previous),
        });
        Ok(ChangesPage {
            messages: messages.collect(),
            has_more: rest.next().is_some(),
            newest: rev(seen.changed.newest),
            generation: Generation::FIRST,
        })
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
        self.read_rooms().await?;
        self.answer().await;
        // The frames do not state whose reactions they show.
        Ok(Vec::new())
    }
}
