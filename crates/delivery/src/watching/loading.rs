//! Reading which rooms users have.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use chat_domain::{
    MemberView, ReadState, RoomAccess, RoomId, RoomOverview, StorageError, UserId, one_line,
};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, sleep};

use super::registry::{Entry, Fingerprint, Loaded, NOTHING, Registry, UserKey};
use super::{WINDOW, Watchers};
use crate::lock;
use crate::recipient::Recipient;

/// How many summaries one query reads.
const PAGE: usize = 500;
/// How many of the most recent rooms of a user are read to find one that is not watched yet.
const NEWEST: usize = 50;
/// How often they are read, of users with more rooms than are watched.
const NEWEST_INTERVAL: Duration = Duration::from_secs(10);
/// After how long what could not be read is read again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// A user with more rooms than this forgets those that are not among the most recent ones.
const MAX_ROOMS: usize = 2 * WINDOW;

/// The most recent rooms of a user.
pub(super) struct Found {
    rooms: Vec<(RoomId, Fingerprint)>,
    /// Whether these are all rooms of the user.
    loaded: Loaded,
}

/// What is read of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Whether one of its newest rooms is not watched.
    Newest,
    /// All that is watched.
    Window,
}

impl<R: Recipient> Watchers<R> {
    /// Reads the most recent rooms of a user that it may see.
    pub(super) async fn load(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
    ) -> Result<Found, StorageError> {
        self.read(user_id, access, WINDOW).await
    }

    async fn read(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
        limit: usize,
    ) -> Result<Found, StorageError> {
        let mut rooms = Vec::new();
        let mut after = None;
        loop {
            let size = PAGE.min(limit - rooms.len());
            let page = self.inbox.page(user_id, access, after, size).await?;
            after = page.rooms.last().map(|listed| listed.position);
            for listed in page.rooms {
                let (room, member) = (&listed.summary.room, listed.summary.member);
                let shared = self.fingerprints.hash_one(&*self.encoder.shared(room));
                rooms.push((room.room_id, self.fingerprint(shared, room, member)));
            }
            if !page.has_more || after.is_none() || rooms.len() >= limit {
                let loaded = match page.has_more || *access != RoomAccess::All {
                    true => Loaded::Part,
                    false => Loaded::All,
                };
                return Ok(Found { rooms, loaded });
            }
            yield_now().await;
        }
    }

    /// Returns the fingerprint of a summary, from that of its shared part.
    pub(super) fn fingerprint(
        &self,
        shared: u64,
        room: &RoomOverview,
        member: MemberView,
    ) -> Fingerprint {
        let summary = (shared, consistent(room, member));
        self.fingerprints.hash_one(summary).max(NOTHING + 1)
    }

    /// Lets a connection begin with what was read for it. The changes since then are told to it
    /// because it is fresh.
    pub(super) fn begin_with(&self, key: UserKey, mut found: Found) {
        found.rooms.sort_unstable();
        let mut registry = lock(&self.registry);
        let Some(user) = registry.users.get_mut(&key) else {
            return;
        };
        let is_first = user.loaded == Loaded::Nothing;
        user.loaded = user.loaded.max(found.loaded);
        user.rooms.reserve_exact(found.rooms.len());
        for (room_id, fingerprint) in found.rooms {
            // To the other connections of the user, the room may be new.
            let sent = if is_first { fingerprint } else { NOTHING };
            registry.insert(key, entry(room_id, sent));
        }
    }

    /// Reads the rooms of users again of whom not all rooms are known: what has become recent
    /// enters the window. Runs until it is dropped.
    pub async fn keep_windows(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(NEWEST_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_tick = tokio::select! {
                _ = ticks.tick() => true,
                () = self.must_load.notified() => false,
            };
            let users = lock(&self.registry).incomplete(is_tick);
            for (key, extent) in users {
                if let Err(error) = self.refresh(key, extent).await {
                    tracing::debug!(error = %one_line(&error), "an inbox cannot be read");
                    sleep(RETRY_INTERVAL).await;
                    self.must_load.notify_one();
                }
                yield_now().await;
            }
        }
    }

    async fn refresh(&self, key: UserKey, extent: Extent) -> Result<(), StorageError> {
        let Some((user_id, accesses, before)) = lock(&self.registry).begin_refresh(key, extent)
        else {
            return Ok(());
        };
        let limit = match extent {
            Extent::Newest => NEWEST,
            Extent::Window => WINDOW,
        };
        let mut found = HashSet::new();
        let mut loaded = Loaded::Part;
        for access in &accesses {
            let read = self.read(&user_id, access, limit).await;
            let read = read.inspect_err(|_| lock(&self.registry).must_load(key))?;
            loaded = loaded.max(read.loaded);
            found.extend(read.rooms.into_iter().map(|(room_id, _)| room_id));
        }
        let mut registry = lock(&self.registry);
        match extent {
            Extent::Newest if found.is_subset(&before) => {}
            // What has left the window has to be found, too.
            Extent::Newest => {
                registry.must_load(key);
                self.must_load.notify_one();
            }
            Extent::Window => registry.end_refresh(key, &before, &found, loaded),
        }
        drop(registry);
        self.has_work.notify_one();
        Ok(())
    }
}

impl<R: Recipient> Registry<R> {
    fn must_load(&mut self, key: UserKey) {
        if let Some(user) = self.users.get_mut(&key) {
            user.must_load = true;
        }
    }

    /// Returns the users of whom something has to be read, and what.
    fn incomplete(&self, is_tick: bool) -> Vec<(UserKey, Extent)> {
        let users = self.users.iter().filter_map(|(key, user)| {
            let extent = match (user.must_load, user.loaded) {
                (true, _) => Extent::Window,
                (false, Loaded::Part) if is_tick => Extent::Newest,
                _ => return None,
            };
            Some((*key, extent))
        });
        users.collect()
    }

    /// Returns the user, what its connections may see, and the rooms that are watched.
    fn begin_refresh(
        &mut self,
        key: UserKey,
        extent: Extent,
    ) -> Option<(UserId, Vec<RoomAccess>, HashSet<RoomId>)> {
        let user = self.users.get_mut(&key)?;
        if extent == Extent::Window {
            user.must_load = false;
        }
        let mut accesses: Vec<RoomAccess> = Vec::new();
        for connection in &user.connections {
            if !accesses.contains(&connection.identity.rooms) {
                accesses.push(connection.identity.rooms.clone());
            }
        }
        let rooms = user.rooms.iter().map(|entry| entry.room_id).collect();
        Some((user.id.clone(), accesses, rooms))
    }

    /// Has the rooms looked at that were not watched before, and those that were and are not
    /// among the most recent ones any more: the membership of some may have ended.
    fn end_refresh(
        &mut self,
        key: UserKey,
        before: &HashSet<RoomId>,
        found: &HashSet<RoomId>,
        loaded: Loaded,
    ) {
        let Some(user) = self.users.get_mut(&key) else {
            return;
        };
        user.loaded = loaded;
        let is_full = user.rooms.len() > MAX_ROOMS;
        for room_id in found.symmetric_difference(before) {
            match is_full && before.contains(room_id) {
                true => drop(self.take(key, *room_id)),
                false => self.work.add(*room_id, key),
            }
        }
    }
}

pub(super) fn entry(room_id: RoomId, sent: Fingerprint) -> Entry {
    Entry {
        room_id,
        sent,
        sent_at: 0,
    }
}

/// A pointer that was read after the room may be ahead of what was read of the room, and so may
/// the messages that mention the user.
pub(super) fn consistent(room: &RoomOverview, member: MemberView) -> MemberView {
    let read = member.read.min(room.newest);
    let unread = ReadState {
        newest: room.newest,
        read,
    }
    .unread();
    MemberView {
        read,
        mentions: member.mentions.min(unread),
        ..member
    }
}
