//! What operators have imposed on users, as this node knows it: whose tokens are revoked, and
//! whose connections are to be closed.
//!
//! All revocations are in memory, so that a handshake costs no query: a storm of reconnecting
//! clients does not reach the database, and a database that restarts stops nobody from connecting.
//! A node learns of what is new in two ways, in any order: by a command, and from the storage,
//! which it reads every two seconds. It trusts its memory for [`SANCTIONS_MAX_AGE`] after it last
//! read the storage. After that, and before it has read the storage for the first time, no
//! handshake succeeds.
//!
//! # Why no connection slips through
//!
//! A revocation is first noted, and then the user's connections are looked at. A connection is
//! first registered (or gets its new token), and then the revocations are looked at. Whichever
//! is noted second finds the other.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    DISCONNECTION_LIFETIME, NodeCommand, NodeCommandListener, Revocations, RevocationsUnreachable,
    Sanctions, SanctionsCursor,
};
use chat_domain::{Disconnection, Identity, Revocation, StorageError, Timestamp, UserId, one_line};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::clients::Clients;
use crate::limits::{
    SANCTIONS_INTERVAL, SANCTIONS_MAX_AGE, SANCTIONS_PATIENCE, SANCTIONS_RETRY_INTERVAL,
};
use crate::lock;
use crate::socket::serving;

/// How many revocations are read at once.
const PAGE: usize = 5000;

/// The sanctions that this node knows, and the clients on which it imposes them.
pub(crate) struct KnownSanctions {
    storage: Arc<dyn Sanctions>,
    clients: Arc<Clients>,
    /// The state of each user whose tokens were ever revoked.
    revocations: RwLock<HashMap<UserId, Known>>,
    /// The latest disconnection of each user that was carried out, and when.
    disconnections: Mutex<HashMap<UserId, (u64, Instant)>>,
    /// When the last complete reading of the storage began.
    read_at: watch::Sender<Option<Instant>>,
}

/// The state of a user's revocation.
struct Known {
    number: u64,
    /// `None`: it is lifted.
    issued_before: Option<Timestamp>,
}

impl KnownSanctions {
    /// Knows nothing yet: [`follow`](Self::follow) reads the storage.
    pub(crate) fn new(storage: Arc<dyn Sanctions>, clients: Arc<Clients>) -> Self {
        Self {
            storage,
            clients,
            revocations: RwLock::default(),
            disconnections: Mutex::default(),
            read_at: watch::Sender::new(None),
        }
    }

    /// Registers a connection with this identity, unless its token is revoked: also if that is
    /// noted while it is registered.
    pub(crate) fn register<T>(
        &self,
        identity: &Identity,
        register: impl FnOnce() -> T,
    ) -> Result<T, IsRevoked<T>> {
        let registered = register();
        match self.revokes(identity) {
            false => Ok(registered),
            true => Err(IsRevoked(registered)),
        }
    }

    /// Ends the user's connections whose tokens are revoked, as far as that is known.
    pub(crate) fn end_revoked(&self, user_id: &UserId) -> usize {
        let clients = &self.clients;
        let revoked = clients.claim(user_id, |client| self.revokes(&client.identity()));
        let count = revoked.len();
        serving::end_all(revoked, serving::revoke);
        count
    }

    fn revokes(&self, identity: &Identity) -> bool {
        let revocations = self.revocations.read();
        let revocations = revocations.unwrap_or_else(PoisonError::into_inner);
        let known = revocations.get(&identity.user.id);
        known
            .and_then(|known| known.issued_before)
            .is_some_and(|time| identity.was_issued_before(time))
    }

    /// Notes the state of a user's revocation, unless a newer one is known.
    fn apply(&self, revocation: Revocation) {
        let Revocation {
            user_id,
            number,
            issued_before,
        } = revocation;
        {
            let revocations = self.revocations.write();
            let mut revocations = revocations.unwrap_or_else(PoisonError::into_inner);
            let known = revocations.get(&user_id);
            if known.is_some_and(|known| known.number >= number) {
                return;
            }
            let known = Known {
                number,
                issued_before,
            };
            revocations.insert(user_id.clone(), known);
        }
        let Some(issued_before) = issued_before else {
            return tracing::debug!(user = %user_id, "the revocation of a user's tokens is lifted");
        };
        match self.end_revoked(&user_id) {
            0 => tracing::debug!(user = %user_id, %issued_before, "a user's tokens are revoked"),
            connections => tracing::info!(
                user = %user_id, %issued_before, connections,
                "a user's tokens are revoked"
            ),
        }
    }

    /// Closes the connections that the user had at a time, unless a newer disconnection was
    /// carried out.
    fn disconnect(&self, disconnection: &Disconnection, at: Instant) {
        let user_id = &disconnection.user_id;
        if let Some(number) = disconnection.number {
            let mut known = lock(&self.disconnections);
            if known
                .get(user_id)
                .is_some_and(|(known, _)| *known >= number)
            {
                return;
            }
            known.insert(user_id.clone(), (number, Instant::now()));
        }
        let disconnected = self
            .clients
            .claim(user_id, |client| client.connected_at() <= at);
        match disconnected.len() {
            0 => tracing::debug!(user = %user_id, "a user is disconnected"),
            connections => tracing::info!(user = %user_id, connections, "a user is disconnected"),
        }
        serving::end_all(disconnected, serving::disconnect);
    }

    /// Reads what is new in the storage, again and again. Runs until it is dropped.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut ticks = interval(SANCTIONS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cursor = None;
        let mut is_failing = false;
        loop {
            ticks.tick().await;
            match self.read(cursor.clone()).await {
                Ok(next) => {
                    cursor = Some(next);
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("revocations are read again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(error = %one_line(&error), "revocations cannot be read");
                    }
                    ticks.reset_after(SANCTIONS_RETRY_INTERVAL);
                }
            }
            self.forget_old_disconnections();
        }
    }

    async fn read(&self, cursor: Option<SanctionsCursor>) -> Result<SanctionsCursor, StorageError> {
        let began = Instant::now();
        let recent = self.storage.sanctions_since(cursor).await?;
        let answered = Instant::now();
        match recent.revocations {
            Some(revocations) => revocations.into_iter().for_each(|new| self.apply(new)),
            None => self.read_all().await?,
        }
        for found in recent.disconnections {
            // No connection is as old as one that was stored before this process could count.
            if let Some(at) = answered.checked_sub(found.age) {
                self.disconnect(&found.disconnection, at);
            }
        }
        self.read_at.send_replace(Some(began));
        Ok(recent.cursor)
    }

    async fn read_all(&self) -> Result<(), StorageError> {
        let mut after = None;
        loop {
            let page = self.storage.revocations(after, PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|last| last.user_id.clone());
            page.into_iter().for_each(|new| self.apply(new));
            if is_last {
                return Ok(());
            }
        }
    }

    /// What the storage has deleted, no reading finds again.
    fn forget_old_disconnections(&self) {
        let mut disconnections = lock(&self.disconnections);
        disconnections.retain(|_, (_, at)| at.elapsed() < DISCONNECTION_LIFETIME);
        let unused = disconnections.capacity() / 4;
        if disconnections.len() < unused {
            disconnections.shrink_to_fit();
        }
    }
}

/// What was registered although its token is revoked.
#[derive(Debug)]
pub(crate) struct IsRevoked<T>(pub(crate) T);

#[async_trait]
impl Revocations for KnownSanctions {
    async fn is_revoked(&self, identity: &Identity) -> Result<bool, RevocationsUnreachable> {
        let is_current =
            |read_at: &Option<Instant>| read_at.is_some_and(|at| at.elapsed() <= SANCTIONS_MAX_AGE);
        let has_read = is_current(&self.read_at.borrow());
        if !has_read {
            let mut read_at = self.read_at.subscribe();
            let read = timeout(SANCTIONS_PATIENCE, read_at.wait_for(is_current));
            read.await.map_err(|_| too_old())?.map_err(|_| too_old())?;
        }
        Ok(self.revokes(identity))
    }
}

fn too_old() -> RevocationsUnreachable {
    let seconds = Duration::as_secs(&SANCTIONS_MAX_AGE);
    RevocationsUnreachable(format!("they were not read in the last {seconds} seconds").into())
}

impl NodeCommandListener for KnownSanctions {
    fn on_command(&self, command: NodeCommand) {
        match command {
            NodeCommand::DisconnectUser(disconnection) => {
                self.disconnect(&disconnection, Instant::now());
            }
            NodeCommand::RevokeTokens(revocation) => self.apply(revocation),
        }
    }
}
