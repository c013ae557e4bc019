//! The clients that are connected to this node: by user, by expiry, and all of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_domain::ports::Clock;
use chat_domain::{ConnectionId, Identity, Timestamp, UserId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::limits::{DRAIN_SPREAD, EXPIRY_CHECK_INTERVAL, STALL_CHECK_INTERVAL};
use crate::lock;
use crate::metrics::DisconnectReason;
use crate::socket::client::Client;
use crate::socket::serving;
use crate::wire::Ending;

/// All connected clients.
pub(crate) struct Clients {
    registry: Mutex<Registry>,
    /// 0: no limit.
    max_per_user: usize,
}

#[derive(Default)]
struct Registry {
    /// A user's connections are neighbours.
    by_user: BTreeMap<(UserId, ConnectionId), Arc<Client>>,
    /// In the order in which their tokens expire; without those that are being ended.
    by_expiry: BTreeMap<(Timestamp, ConnectionId), Arc<Client>>,
    is_draining: bool,
}

impl Registry {
    fn of<'a>(&'a self, user_id: &'a UserId) -> impl Iterator<Item = &'a Arc<Client>> {
        let first = (user_id.clone(), ConnectionId::new(0));
        let clients = self.by_user.range(first..);
        let own = clients.take_while(move |((user, _), _)| user == user_id);
        own.map(|(_, client)| client)
    }
}

/// The clients that are connected now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Census {
    /// Over WebSocket.
    pub(crate) websocket: usize,
    /// Over long-polling.
    pub(crate) polling: usize,
    /// The number of bytes that wait for all of them.
    pub(crate) queued_bytes: usize,
}

/// How a shutdown closes the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draining {
    /// All at once, because they have no other node to reconnect to. A client that connects
    /// meanwhile is refused with `unavailable`.
    AtOnce,
    /// Evenly over this time, so that the nodes to which they reconnect are not overloaded.
    /// Until its turn comes, a client is served as before. A client that connects meanwhile
    /// is sent elsewhere: by HTTP 503, or by the end of its connection.
    Spread(Duration),
}

impl Draining {
    /// Spread over the time that suits several nodes.
    pub const SPREAD: Self = Self::Spread(DRAIN_SPREAD);
}

/// Why a client cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdded {
    /// The gateway is draining: no drain would close the client.
    IsDraining,
    /// The user has the maximum number of connections.
    TooManyOfUser,
}

/// The error for a client whose token was not renewed in time, or that was claimed: its connection
/// is about to end, or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HasExpired;

impl Clients {
    /// Creates a registry for at most this many connections per user; 0 for no limit.
    pub(crate) fn new(max_per_user: usize) -> Self {
        Self {
            registry: Mutex::default(),
            max_per_user,
        }
    }

    /// Adds a client.
    ///
    /// # Errors
    /// [`NotAdded`].
    pub(crate) fn add(&self, client: &Arc<Client>) -> Result<(), NotAdded> {
        let mut registry = lock(&self.registry);
        if registry.is_draining {
            return Err(NotAdded::IsDraining);
        }
        let (user, expiry) = keys(client);
        if self.max_per_user != 0 && registry.of(&user.0).count() >= self.max_per_user {
            return Err(NotAdded::TooManyOfUser);
        }
        registry.by_user.insert(user, client.clone());
        registry.by_expiry.insert(expiry, client.clone());
        Ok(())
    }

    /// Removes a client.
    pub(crate) fn remove(&self, client: &Client) {
        let mut registry = lock(&self.registry);
        // With the registry locked, no renewal changes them.
        let (user, expiry) = keys(client);
        registry.by_user.remove(&user);
        registry.by_expiry.remove(&expiry);
    }

    /// Lets a new token of a client take effect. At the instant at which the old one expires,
    /// either this or [`end_expired`](Self::end_expired) is first, never both.
    ///
    /// # Errors
    /// [`HasExpired`].
    pub(crate) fn renew(
        &self,
        client: &Client,
        identity: &Arc<Identity>,
    ) -> Result<(), HasExpired> {
        let mut registry = lock(&self.registry);
        let (_, expiry) = keys(client);
        let client = registry.by_expiry.remove(&expiry).ok_or(HasExpired)?;
        client.set_identity(identity.clone());
        let (_, expiry) = keys(&client);
        registry.by_expiry.insert(expiry, client);
        Ok(())
    }

    /// Returns how many clients are connected over which transport, and how much waits for
    /// them.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for client in self.all() {
            match client.session.has_websocket() {
                true => census.websocket += 1,
                false => census.polling += 1,
            }
            census.queued_bytes += client.outbox().bytes();
        }
        census
    }

    /// Returns the number of connected clients.
    pub(crate) fn count(&self) -> usize {
        lock(&self.registry).by_user.len()
    }

    /// Returns the number of users with a connection.
    pub(crate) fn users(&self) -> usize {
        let registry = lock(&self.registry);
        // A user's connections are neighbours.
        let mut users = 0;
        let mut last = None;
        for (user_id, _) in registry.by_user.keys() {
            users += usize::from(last != Some(user_id));
            last = Some(user_id);
        }
        users
    }

    /// Returns the clients of a user to which this applies, for the caller to end them. No client
    /// is returned twice, or expires after that.
    pub(crate) fn claim(
        &self,
        user_id: &UserId,
        applies: impl Fn(&Client) -> bool,
    ) -> Vec<Arc<Client>> {
        let mut registry = lock(&self.registry);
        let claimed = registry.of(user_id).filter(|client| applies(client));
        let mut claimed: Vec<_> = claimed.cloned().collect();
        claimed.retain(|client| registry.by_expiry.remove(&keys(client).1).is_some());
        claimed
    }

    /// Returns the clients of these connections.
    pub(crate) fn with_ids(&self, ids: &HashSet<ConnectionId>) -> Vec<Arc<Client>> {
        let mut clients = self.all();
        clients.retain(|client| ids.contains(&client.id()));
        clients
    }

    fn all(&self) -> Vec<Arc<Client>> {
        lock(&self.registry).by_user.values().cloned().collect()
    }

    /// Drains every client by itself, so that none waits for another: its events finish,
    /// its answers leave, and its transport is closed. Further clients are refused.
    pub(crate) async fn drain(&self, draining: Draining) {
        lock(&self.registry).is_draining = true;
        let clients = self.all();
        let interval = match draining {
            Draining::AtOnce => Duration::ZERO,
            Draining::Spread(spread) => spread.div_f64(clients.len().max(1) as f64),
        };
        let begun = Instant::now();
        let drains: JoinSet<()> = clients
            .into_iter()
            .enumerate()
            .map(|(place, client)| {
                let turn = begun + interval.mul_f64(place as f64);
                async move {
                    tokio::select! {
                        () = sleep_until(turn) => {}
                        // The client has left before its turn.
                        () = client.session.ended().cancelled() => {}
                    }
                    client.drain().await;
                }
            })
            .collect();
        drains.join_all().await;
    }

    /// Closes every transport now.
    pub(crate) fn end_all(&self) {
        for client in self.all() {
            client.session.end(Ending::Finish);
        }
    }

    /// Disconnects clients that take nothing although something waits for them. Runs until
    /// it is dropped.
    pub(crate) async fn disconnect_stalled(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(STALL_CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for client in self.all() {
                if client.outbox().is_stalled() {
                    tracing::debug!(
                        user = %client.identity().user.id,
                        client = %client.session.client_address(),
                        "a client that reads nothing is disconnected"
                    );
                    client.session.abort(DisconnectReason::Stalled);
                }
            }
        }
    }

    /// Ends the connections whose tokens have expired. Runs until it is dropped.
    pub(crate) async fn end_expired(self: Arc<Self>, clock: Arc<dyn Clock>) {
        let mut ticks = tokio::time::interval(EXPIRY_CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            while let Some(client) = self.pop_expired(clock.now()) {
                serving::expire(&client);
            }
        }
    }

    fn pop_expired(&self, now: Timestamp) -> Option<Arc<Client>> {
        let mut registry = lock(&self.registry);
        let first = registry.by_expiry.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

type Keys = ((UserId, ConnectionId), (Timestamp, ConnectionId));

fn keys(client: &Client) -> Keys {
    let identity = client.identity();
    let user = identity.user.id.clone();
    ((user, client.id()), (identity.valid_until, client.id()))
}
