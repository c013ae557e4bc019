//! Watching inboxes: connections that are told when a summary of one of their user's rooms
//! changes.
//!
//! A room that is only watched needs no hints. The changes that
//! [reconciliation](crate::Rooms::reconcile) reads twice a second say which rooms and which
//! members have changed on any node; [`Watchers`] then reads the summaries of those that are
//! watched here, and compares them with what was sent last. So nothing is missed when hints are
//! lost, and a room costs nothing while it does not change.
//!
//! One task does that for all, in batches, and yields in between. What is waiting is a set of
//! rooms and users, however often they change: the newest summary wins. A connection that cannot
//! take more is owed the room, not a packet.

mod batch;
mod history;
mod loading;
mod registry;
mod updating;
mod work;

use std::hash::RandomState;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use chat_domain::ports::{Changes, Inbox, RoomDirectory};
use chat_domain::{ConnectionId, Identity, MemberView, RoomId, RoomOverview, StorageError, UserId};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use self::history::Moment;
use self::registry::{Fresh, Loaded, Millis, Registry};
use crate::lock;
use crate::recipient::Recipient;

/// How many rooms of a user are watched at least: the most recent ones.
const WINDOW: usize = 1000;
/// How many rooms are noted under one lock.
const ROOMS_AT_ONCE: usize = 2000;
/// What is committed before a connection begins to watch is in one of the next two reports of
/// changes: the first of them may have been read already.
const REPORTS_OF_THE_PAST: u64 = 2;

/// Learns what has changed in the log.
pub trait ChangesListener: Send + Sync + 'static {
    /// Called for each successful comparison with the log, in order. Nothing that was committed
    /// is left out: what is not in these changes, or in those before them, is in later ones. If
    /// they are unknown, everything may have changed. It must not block.
    fn changed(&self, changes: &Changes);
}

/// Ignores all changes.
impl ChangesListener for () {
    fn changed(&self, _: &Changes) {}
}

/// Encodes what connections are told about rooms that they watch.
pub trait SummaryEncoder: Send + Sync + 'static {
    /// Encodes what the summaries of one room have in common.
    fn shared(&self, room: &RoomOverview) -> Box<str>;

    /// Encodes and frames a room's summary for one user: its shared part, which is encoded
    /// already, and the user's own. The event is not [`SummaryEvent::Removed`].
    fn summary(
        &self,
        event: SummaryEvent,
        room: &RoomOverview,
        shared: &str,
        member: MemberView,
    ) -> Bytes;

    /// Encodes and frames the end of a room in a user's inbox.
    fn removed(&self, room_id: RoomId, reason: RemovalReason) -> Bytes;
}

/// What a watching connection is told about a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummaryEvent {
    /// Something in the summary is new.
    Updated,
    /// The user has the room now.
    Added,
    /// The user does not have the room any more.
    Removed(RemovalReason),
}

/// Why a user does not have a room any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalReason {
    /// Its membership has ended, or its token does not allow the room.
    Removed,
    /// It is banned.
    Banned,
    /// The room is deleted.
    Closed,
}

/// The connections of this node that watch their users' inboxes.
pub struct Watchers<R: Recipient> {
    registry: Mutex<Registry<R>>,
    inbox: Arc<dyn Inbox>,
    directory: Arc<dyn RoomDirectory>,
    encoder: Arc<dyn SummaryEncoder>,
    has_work: Notify,
    must_load: Notify,
    created: Instant,
    /// Makes fingerprints that no user can foresee.
    fingerprints: RandomState,
    tasks: TaskTracker,
    this: Weak<Self>,
}

impl<R: Recipient> Watchers<R> {
    /// Creates the watchers of inboxes that are read from here. Its tasks run in `tasks`.
    pub fn new(
        inbox: Arc<dyn Inbox>,
        directory: Arc<dyn RoomDirectory>,
        encoder: Arc<dyn SummaryEncoder>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            registry: Mutex::default(),
            inbox,
            directory,
            encoder,
            has_work: Notify::new(),
            must_load: Notify::new(),
            created: Instant::now(),
            fingerprints: RandomState::new(),
            tasks,
            this: this.clone(),
        })
    }

    /// Returns how many connections watch, and how many different rooms they watch.
    pub fn counts(&self) -> (usize, usize) {
        lock(&self.registry).counts()
    }

    /// Returns the present moment, for a client that is about to read its user's inbox and may
    /// watch later.
    pub fn now(&self) -> Moment {
        lock(&self.registry).history.now()
    }

    /// Lets a connection watch the inbox of its user, until [`unwatch`](Self::unwatch). When
    /// this returns, no change is missed from `since` on, the moment at which the client began
    /// to read the inbox, or from this call on. Nothing is done for a connection that watches
    /// already.
    ///
    /// # Errors
    /// Those of [`Inbox::page`]: the connection does not watch then.
    pub async fn watch(
        &self,
        recipient: &Arc<R>,
        identity: &Arc<Identity>,
        since: Option<Moment>,
    ) -> Result<(), StorageError> {
        let id = recipient.id();
        let (user, loaded, after) = {
            let mut registry = lock(&self.registry);
            if registry.watches(id) {
                return Ok(());
            }
            // Before the inbox is read.
            let after = since.unwrap_or_else(|| registry.history.now());
            let (user, loaded) = registry.add(id, recipient.clone(), identity.clone());
            (user, loaded, after)
        };
        if loaded != Loaded::All {
            match self.load(&identity.user.id, &identity.rooms).await {
                Ok(found) => self.begin_with(user, found),
                Err(error) => {
                    self.unwatch(id);
                    return Err(error);
                }
            }
        }
        let mut registry = lock(&self.registry);
        let until = registry.history.now().plus(REPORTS_OF_THE_PAST);
        registry.fresh.push(Fresh {
            key: user,
            connection: id,
            after,
            until,
        });
        drop(registry);
        self.has_work.notify_one();
        Ok(())
    }

    /// Returns whether a connection watches, or is about to.
    pub fn watches(&self, connection: ConnectionId) -> bool {
        lock(&self.registry).watches(connection)
    }

    /// Ends the watch of a connection, if it watches.
    pub fn unwatch(&self, connection: ConnectionId) {
        let mut registry = lock(&self.registry);
        registry.remove(connection);
    }

    /// Takes in a new identity of a connection's user, if it watches. When this returns, no
    /// summary of a room follows that the identity does not allow.
    pub fn renew(&self, connection: ConnectionId, identity: &Arc<Identity>) {
        let mut registry = lock(&self.registry);
        let Some(user) = registry.user_of(connection) else {
            return;
        };
        let watching = user.connections.iter_mut();
        for watching in watching.filter(|watching| watching.id == connection) {
            watching.renew(identity.clone(), &user.rooms);
            self.resume_when_possible(watching);
        }
        if user.loaded == Loaded::Part {
            user.must_load = true;
            self.must_load.notify_one();
        }
    }

    /// Looks at the summaries of these users again, because their membership of the room may
    /// have changed. When this returns, no summary follows that was read before.
    pub fn recheck<'a>(&self, room_id: RoomId, users: impl IntoIterator<Item = &'a UserId>) {
        let mut registry = lock(&self.registry);
        for user_id in users {
            if let Some(user) = registry.key(user_id) {
                registry.invalidated.insert((room_id, user));
                registry.work.add(room_id, user);
            }
        }
        drop(registry);
        self.has_work.notify_one();
    }

    /// Looks at the summaries of a room again, because any user's membership may have changed.
    /// When this returns, no summary follows that was read before.
    pub fn recheck_room(&self, room_id: RoomId) {
        let mut registry = lock(&self.registry);
        if !registry.watchers(room_id).is_empty() {
            registry.invalidated_rooms.insert(room_id);
            registry.work.add_everyone(room_id);
        }
        drop(registry);
        self.has_work.notify_one();
    }

    /// Milliseconds since the creation and a second, so that 0 is long ago.
    fn millis(&self) -> Millis {
        let millis = self.created.elapsed().as_millis();
        Millis::try_from(millis).map_or(Millis::MAX, |millis| millis.saturating_add(1000))
    }
}

impl<R: Recipient> ChangesListener for Watchers<R> {
    fn changed(&self, changes: &Changes) {
        for rooms in changes
            .rooms
            .iter()
            .flat_map(|rooms| rooms.chunks(ROOMS_AT_ONCE))
        {
            let mut registry = lock(&self.registry);
            registry.history.note(rooms, &[]);
            for position in rooms {
                if !registry.watchers(position.room_id).is_empty() {
                    registry.work.add_everyone(position.room_id);
                }
            }
        }
        for members in changes.members.chunks(ROOMS_AT_ONCE) {
            let mut registry = lock(&self.registry);
            registry.history.note(&[], members);
            for member in members {
                if let Some(user) = registry.key(&member.user_id) {
                    registry.work.add(member.room_id, user);
                }
            }
        }
        let mut registry = lock(&self.registry);
        registry.history.reported(changes);
        if changes.rooms.is_none() {
            let watched = registry.watched();
            registry.work.compare(watched);
            // Memberships may have begun.
            for user in registry.users.values_mut() {
                user.must_load = user.loaded != Loaded::Nothing;
            }
            self.must_load.notify_one();
        }
        drop(registry);
        self.has_work.notify_one();
    }
}
