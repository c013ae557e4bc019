//! Presence: which users are online, on any node, and which connections are told.
//!
//! Every node keeps a replica of the users of all nodes, because the question "is this user
//! online" is asked far more often than the answer changes. What changes on a node is published
//! twice a second, for all users together, so that a user that comes or goes costs some bytes and
//! no message of its own. Who is in a room is asked of the other nodes when a client wants to know
//! it: it changes more often than it is asked.
//!
//! Nothing is stored but when a user was last seen, in batches.

mod coverage;
mod departures;
mod exchanging;
mod local;
mod others;
mod room;
mod seen;
mod watched;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chat_domain::ports::{Acquaintance, Acquaintances, Clock, PresenceExchange, PresenceListener};
use chat_domain::{ConnectionId, Identity, StorageError, User, UserId, Visibility};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

pub use self::room::RoomPresence;
pub use self::watched::UserPresence;

use self::departures::Departures;
use self::exchanging::Exchanging;
use self::local::{Change, Local};
use self::others::Others;
use self::room::Questions;
use self::seen::SeenUsers;
use self::watched::{Seen, Watched};
use crate::lock;
use crate::recipient::{LiveGive, Recipient};
use crate::rooms::Rooms;

/// How many packets about users this node produces per interval; the newest wins.
const PACKETS_PER_INTERVAL: usize = 20_000;
const INTERVAL: Duration = Duration::from_millis(500);
/// How many connections are told under one lock.
const CONNECTIONS_AT_ONCE: usize = 128;

/// Encodes what connections are told about users that they watch.
pub trait PresenceEncoder: Send + Sync + 'static {
    /// Encodes and frames how a user appears.
    fn user_presence(&self, presence: &UserPresence) -> Bytes;
}

/// Which users are online, and who watches them.
pub struct Presence<R: Recipient> {
    state: Mutex<State<R>>,
    rooms: Arc<Rooms<R>>,
    acquaintances: Arc<dyn Acquaintances>,
    clock: Arc<dyn Clock>,
    encoder: Arc<dyn PresenceEncoder>,
    /// `None`: there is one node.
    exchange: Option<Arc<dyn PresenceExchange>>,
    questions: Questions,
    /// Somebody may have to be told something.
    has_news: Notify,
    must_publish: Notify,
    must_recheck: Notify,
}

struct State<R> {
    local: Local,
    others: Others,
    watched: Watched<R>,
    departures: Departures,
    seen: SeenUsers,
    exchanging: Exchanging,
}

impl<R> State<R> {
    fn is_online(&self, user_id: &UserId) -> bool {
        self.local.contains(user_id) || self.others.contains(user_id)
    }
}

/// How many connections watch, and how many users are watched and online.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PresenceCounts {
    /// Connections that watch users.
    pub watchers: usize,
    /// Users that they watch.
    pub watched: usize,
    /// Users of this node that are online.
    pub local: usize,
    /// Users of the other nodes, counted once for each.
    pub others: usize,
}

impl<R: Recipient> Presence<R> {
    /// Creates the presence of users whose rooms are delivered here. Its tasks are in
    /// [`run`](Self::run).
    pub fn new(
        rooms: Arc<Rooms<R>>,
        acquaintances: Arc<dyn Acquaintances>,
        clock: Arc<dyn Clock>,
        encoder: Arc<dyn PresenceEncoder>,
        exchange: Option<Arc<dyn PresenceExchange>>,
    ) -> Arc<Self> {
        let presence = Arc::new(Self {
            state: Mutex::new(State {
                local: Local::default(),
                others: Others::default(),
                watched: Watched::default(),
                departures: Departures::default(),
                seen: SeenUsers::default(),
                exchanging: Exchanging::default(),
            }),
            rooms,
            acquaintances,
            clock,
            encoder,
            exchange,
            questions: Questions::default(),
            has_news: Notify::new(),
            must_publish: Notify::new(),
            must_recheck: Notify::new(),
        });
        if let Some(exchange) = &presence.exchange {
            let listener: Arc<dyn PresenceListener> = presence.clone();
            exchange.listen(Arc::downgrade(&listener));
        }
        presence
    }

    /// Returns how many connections watch, and how many users are watched and online.
    pub fn counts(&self) -> PresenceCounts {
        let state = lock(&self.state);
        let (watchers, watched) = state.watched.counts();
        PresenceCounts {
            watchers,
            watched,
            local: state.local.len(),
            others: state.others.users(),
        }
    }

    /// Notes that a connection of this user has begun.
    pub fn connect(&self, user: &User, visibility: Visibility) {
        let mut state = lock(&self.state);
        match visibility {
            Visibility::Visible => {
                if state.local.connect(user) {
                    state.watched.note(&user.id, None);
                }
            }
            Visibility::Invisible => hide(&mut state, user, false),
        }
        drop(state);
        self.has_news.notify_one();
    }

    /// Notes that a visible connection of this user has ended.
    pub fn disconnect(&self, user_id: &UserId) {
        let at = self.clock.now();
        lock(&self.state).local.disconnect(user_id, at);
    }

    /// Notes that the user of a visible connection must not be seen any more.
    pub fn hide(&self, user: &User) {
        hide(&mut lock(&self.state), user, true);
        self.has_news.notify_one();
    }

    /// Lets a connection watch these users, each once, instead of those before, until
    /// [`unwatch`](Self::unwatch). `answer` is called with how they appear, before the connection
    /// is told anything about them.
    ///
    /// # Errors
    /// Those of [`Acquaintances::among`]: the connection watches what it did before.
    pub async fn watch(
        &self,
        recipient: &Arc<R>,
        identity: &Arc<Identity>,
        users: Vec<UserId>,
        answer: impl FnOnce(Vec<UserPresence>),
    ) -> Result<(), StorageError> {
        let found = match users.is_empty() {
            true => Vec::new(),
            false => {
                let user_id = &identity.user.id;
                let among = self.acquaintances.among(user_id, &identity.rooms, &users);
                among.await?
            }
        };
        let found = users.into_iter().zip(found);
        let id = recipient.id();
        let mut state = lock(&self.state);
        let State {
            local,
            others,
            watched,
            departures,
            ..
        } = &mut *state;
        // What was read may be older.
        let found = found.map(|(user_id, found)| {
            let found = found.map(|found| Acquaintance {
                last_seen: found.last_seen.max(departures.of(&user_id)),
            });
            (user_id, found)
        });
        let found = found.collect();
        let is_online = |user_id: &UserId| local.contains(user_id) || others.contains(user_id);
        let states = watched.watch(id, recipient.clone(), identity.clone(), found, is_online);
        watched.rechecks.begun(id);
        answer(states);
        drop(state);
        self.must_recheck.notify_one();
        Ok(())
    }

    /// Ends the watch of a connection, if it watches.
    pub fn unwatch(&self, connection: ConnectionId) {
        lock(&self.state).watched.unwatch(connection);
    }

    /// Takes in a new identity of a connection's user, if it watches.
    pub fn renew(&self, connection: ConnectionId, identity: &Arc<Identity>) {
        let mut state = lock(&self.state);
        state.watched.renew(connection, identity.clone());
        drop(state);
        self.must_recheck.notify_one();
    }

    /// Keeps presence current. Runs until it is dropped.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(
            self.exchange_news(),
            self.tell(),
            self.recheck(),
            self.store_seen(),
        );
    }

    /// Tells watchers what has changed.
    async fn tell(&self) {
        let mut interval = (Instant::now(), 0);
        loop {
            if interval.0.elapsed() >= INTERVAL {
                interval = (Instant::now(), 0);
            }
            if interval.1 >= PACKETS_PER_INTERVAL {
                tokio::time::sleep_until(interval.0 + INTERVAL).await;
                continue;
            }
            let (key, next_look) = {
                let mut state = lock(&self.state);
                (state.watched.take_waiting(), state.watched.next_look())
            };
            let Some(key) = key else {
                let news = self.has_news.notified();
                match next_look {
                    Some(next_look) => drop(timeout_at(next_look, news).await),
                    None => news.await,
                }
                continue;
            };
            let mut after = None;
            loop {
                let told = self.tell_some(key, after);
                interval.1 += told.packets;
                if told.next.is_none() {
                    break;
                }
                after = told.next;
                yield_now().await;
            }
        }
    }

    fn tell_some(&self, key: watched::Key, after: Option<ConnectionId>) -> watched::Told {
        let mut state = lock(&self.state);
        let State {
            local,
            others,
            watched,
            ..
        } = &mut *state;
        let mut encoded: Option<(UserPresence, Bytes)> = None;
        watched.tell(
            key,
            after,
            CONNECTIONS_AT_ONCE,
            |user_id| local.contains(user_id) || others.contains(user_id),
            |recipient, presence| {
                let frame = match &encoded {
                    Some((known, frame)) if known == presence => frame.clone(),
                    _ => {
                        let frame = self.encoder.user_presence(presence);
                        encoded = Some((presence.clone(), frame.clone()));
                        frame
                    }
                };
                recipient.give_live(&frame) == LiveGive::Taken
            },
        )
    }
}

/// Hides a user that has, or had, a connection to this node.
fn hide<R>(state: &mut State<R>, user: &User, has_connection: bool) {
    if state.local.hide(&user.id, has_connection) {
        state.departures.forget(&user.id);
        state.watched.note(&user.id, Some(Seen::Hidden));
        state.seen.note(user.id.clone(), None, None);
    }
}

/// Notes what has become of a user of another node.
fn note_change<R>(state: &mut State<R>, user_id: &UserId, change: Change) {
    let seen = match change {
        Change::Came => None,
        Change::Went(Some(at)) => {
            state.departures.note(user_id, at);
            Some(Seen::At(at))
        }
        Change::Went(None) => {
            state.departures.forget(user_id);
            Some(Seen::Hidden)
        }
    };
    state.watched.note(user_id, seen);
}
