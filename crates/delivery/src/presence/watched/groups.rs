//! Connections that watch a user under tokens that name rooms: whether they share one of those with
//! the user takes a query for each set of rooms.

use std::time::Duration;

use chat_domain::{ConnectionId, RoomAccess, Timestamp, UserId};
use tokio::time::Instant;

use super::{IdentifiedConnection, Key, Watched};

/// Connections that watch a user, under tokens that name the same rooms.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::presence) struct Group {
    pub(in crate::presence) access: RoomAccess,
    pub(in crate::presence) connections: Vec<ConnectionId>,
}

/// The turns in which groups of connections that watch one user are read: some at once, and
/// [`Turns::PER_SECOND`] after that.
#[derive(Default)]
pub(super) struct Turns(Option<Instant>);

impl Turns {
    const PER_SECOND: u32 = 20;

    /// Returns when the next turn is.
    fn take(&mut self, now: Instant) -> Instant {
        let burst = Duration::from_secs(1);
        let next = self.0.map_or(now, |next| next.max(now));
        self.0 = Some(next + burst / Self::PER_SECOND);
        next.checked_sub(burst).map_or(now, |due| due.max(now))
    }
}

impl<R> Watched<R> {
    /// Notes when a watched user was last seen, as read.
    pub(in crate::presence) fn seen(&mut self, key: Key, last_seen: Option<Timestamp>) {
        if let Some(subject) = self.subjects.get_mut(&key) {
            subject.last_seen = subject.last_seen.max(last_seen);
        }
    }

    /// Has a group of connections that watch a user read again, when it is the group's turn. Until
    /// then they are told nothing about the user. Those that wait already keep their turn.
    pub(in crate::presence) fn queue(&mut self, key: Key, mut group: Group) {
        let Some(subject) = self.subjects.get_mut(&key) else {
            return;
        };
        group.connections.retain(|id| {
            let view = subject.watching.get_mut(id);
            view.is_some_and(|view| !std::mem::replace(&mut view.is_doubtful, true))
        });
        if !group.connections.is_empty() {
            let due = subject.turns.take(Instant::now());
            self.rechecks.queue(due, key, group);
        }
    }

    /// Returns a watched user, and those of the connections that still watch it under the token
    /// that they had. All that one watches is read again when its token is renewed.
    pub(in crate::presence) fn still_watching(
        &self,
        key: Key,
        group: &Group,
    ) -> Option<(UserId, Vec<IdentifiedConnection>)> {
        let subject = self.subjects.get(&key)?;
        let ids = group.connections.iter();
        let watching = ids.filter(|id| subject.watching.contains_key(id));
        let identified = watching.filter_map(|id| {
            let identity = &self.watchers.get(id)?.identity;
            (identity.rooms == group.access).then(|| (*id, identity.clone()))
        });
        Some((subject.id.clone(), identified.collect()))
    }
}
