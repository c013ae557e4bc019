//! When the tokens of those who are connected expire.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chat_domain::Timestamp;
use socketioxide_core::Sid;

use crate::gateway::Gateway;
use crate::lock;
use crate::socket::connection::Connection;

/// How often it is looked whose token has expired: no timer for each connection.
const LOOK: Duration = Duration::from_millis(100);

/// The connections in the order in which their tokens expire.
#[derive(Default)]
pub(crate) struct Expiries(Mutex<BTreeMap<(Timestamp, Sid), Weak<Connection>>>);

impl Expiries {
    /// A client is connected until its token expires.
    pub(crate) fn add(&self, connection: &Arc<Connection>) {
        let key = (connection.identity.valid_until, connection.id);
        lock(&self.0).insert(key, Arc::downgrade(connection));
    }

    /// It is not connected any more.
    pub(crate) fn remove(&self, connection: &Connection) {
        let key = (connection.identity.valid_until, connection.id);
        lock(&self.0).remove(&key);
    }

    fn pop_expired(&self, now: Timestamp) -> Option<Weak<Connection>> {
        let mut expiries = lock(&self.0);
        let first = expiries.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Ends those whose token has expired, for ever.
    pub(crate) async fn end_expired(gateway: Arc<Gateway>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            while let Some(connection) = gateway.expiries.pop_expired(gateway.clock.now()) {
                if let Some(connection) = connection.upgrade() {
                    connection.expire(&gateway);
                }
            }
        }
    }
}
