//! What the nodes say to each other about their users.

use std::time::Duration;

use chat_domain::UserId;
use chat_domain::ports::{NodeName, PresenceExchange, PresenceListener, PresenceNews};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::local::Change;
use super::{Presence, State, note_change};
use crate::lock;
use crate::recipient::Recipient;

/// How often changes are published.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);
/// How often a node says at least that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// How often all users are published at most.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(2);
/// How many users one message names.
const USERS_PER_MESSAGE: usize = 1000;
/// How long a node that has just connected waits until it knows the others.
const FIRST_NEWS: Duration = Duration::from_millis(1500);

/// The state of the exchange.
#[derive(Default)]
pub(super) struct Exchanging {
    /// Since when the other nodes can be reached.
    connected: Option<Instant>,
    /// The number of the last message with changes.
    number: u64,
    /// The other nodes have to be asked for all of their users.
    must_ask: bool,
    /// All users have to be published.
    is_wanted: bool,
    snapshot_at: Option<Instant>,
    said_at: Option<Instant>,
}

impl Exchanging {
    /// Returns whether all other nodes are known.
    pub(super) fn knows_others(&self) -> bool {
        let connected = self.connected;
        connected.is_some_and(|connected| connected.elapsed() >= FIRST_NEWS)
    }

    /// Publishes nothing more.
    pub(super) fn stop(&mut self) {
        self.connected = None;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.is_some()
    }
}

impl<R: Recipient> Presence<R> {
    /// Lets users go that have been away for long enough, and tells the other nodes what has
    /// changed.
    pub(super) async fn exchange_news(&self) {
        let mut ticks = interval(PUBLISH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.must_publish.notified() => {}
            }
            let mut state = lock(&self.state);
            self.expire(&mut state);
            publish(&mut state, self.exchange.as_deref());
            drop(state);
            self.has_news.notify_one();
        }
    }

    fn expire(&self, state: &mut State<R>) {
        state.departures.expire();
        for gone in state.local.expire() {
            let user_id = gone.user.id;
            note_change(state, &user_id, Change::Went(Some(gone.at)));
            if !state.others.contains(&user_id) {
                state
                    .seen
                    .note(user_id, Some(gone.user.name), Some(gone.at));
            }
        }
        // One of the nodes that are left stores it.
        let node = self.exchange.as_ref().map(|exchange| exchange.node());
        let gone = state.others.expire();
        let is_first = node.is_some_and(|node| state.others.names().all(|other| node < *other));
        let stores = is_first && state.exchanging.is_connected();
        for (user_id, at) in gone {
            note_change(state, &user_id, Change::Went(Some(at)));
            if stores && !state.is_online(&user_id) {
                state.seen.note(user_id, None, Some(at));
            }
        }
    }
}

/// Publishes what other nodes do not know yet, if there are any.
fn publish<R>(state: &mut State<R>, exchange: Option<&dyn PresenceExchange>) {
    let changes = state.local.take_changes();
    let Some(exchange) = exchange else {
        return;
    };
    let exchanging = &mut state.exchanging;
    let now = Instant::now();
    if exchanging.connected.is_none() {
        // Whatever was published meanwhile: they find that they have missed something.
        exchanging.number += u64::from(!changes.is_empty());
        return;
    }
    let mut changes = changes.into_iter().peekable();
    while changes.peek().is_some() {
        let (mut came, mut went) = (Vec::new(), Vec::new());
        for (user_id, change) in changes.by_ref().take(USERS_PER_MESSAGE) {
            match change {
                Change::Came => came.push(user_id),
                Change::Went(at) => went.push((user_id, at)),
            }
        }
        exchanging.number += 1;
        exchanging.said_at = Some(now);
        let number = exchanging.number;
        exchange.publish(PresenceNews::Changes { number, came, went });
    }
    if std::mem::take(&mut exchanging.must_ask) {
        exchange.publish(PresenceNews::Wanted { of: None });
    }
    let is_early = |at: Instant| now < at + SNAPSHOT_INTERVAL;
    if exchanging.is_wanted && !exchanging.snapshot_at.is_some_and(is_early) {
        exchanging.is_wanted = false;
        exchanging.snapshot_at = Some(now);
        exchanging.said_at = Some(now);
        publish_all(&state.local.ids(), exchanging.number, exchange);
    }
    if exchanging
        .said_at
        .is_none_or(|said| now >= said + SIGN_OF_LIFE)
    {
        exchanging.said_at = Some(now);
        exchange.publish(PresenceNews::Changes {
            number: exchanging.number,
            came: Vec::new(),
            went: Vec::new(),
        });
    }
}

fn publish_all(users: &[UserId], number: u64, exchange: &dyn PresenceExchange) {
    let parts = users.chunks(USERS_PER_MESSAGE).len().max(1);
    let mut chunks = users.chunks(USERS_PER_MESSAGE);
    for part in 0..parts {
        exchange.publish(PresenceNews::Snapshot {
            number,
            part: u32::try_from(part).unwrap_or(u32::MAX),
            parts: u32::try_from(parts).unwrap_or(u32::MAX),
            users: chunks.next().unwrap_or_default().to_vec(),
        });
    }
}

impl<R: Recipient> PresenceListener for Presence<R> {
    fn connected(&self) {
        let exchanging = &mut lock(&self.state).exchanging;
        exchanging.connected = Some(Instant::now());
        exchanging.must_ask = true;
        exchanging.is_wanted = true;
        exchanging.snapshot_at = None;
        self.must_publish.notify_one();
    }

    fn disconnected(&self) {
        lock(&self.state).exchanging.connected = None;
        self.questions.disconnected();
    }

    fn on_news(&self, from: NodeName, news: PresenceNews) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        match &news {
            PresenceNews::Question { id, room_id } => self.answer(from.clone(), *id, *room_id),
            PresenceNews::Answer { .. } => {}
            PresenceNews::Wanted { of } => {
                if of.as_ref().is_none_or(|of| *of == exchange.node()) {
                    lock(&self.state).exchanging.is_wanted = true;
                    self.must_publish.notify_one();
                }
            }
            PresenceNews::Changes { .. } | PresenceNews::Snapshot { .. } => {}
        }
        if let PresenceNews::Answer {
            to,
            id,
            users,
            others,
        } = news
        {
            if to == exchange.node() {
                self.questions.answered(id, from, users, others);
            }
            return;
        }
        let now = self.clock.now();
        let mut state = lock(&self.state);
        let outcome = state.others.receive(&from, now, news);
        for (user_id, change) in &outcome.changes {
            note_change(&mut state, user_id, *change);
        }
        drop(state);
        if outcome.must_ask {
            exchange.publish(PresenceNews::Wanted { of: Some(from) });
        }
        if !outcome.changes.is_empty() {
            self.has_news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::{DisplayName, User};

    use super::*;
    use crate::presence::departures::Departures;
    use crate::presence::local::Local;
    use crate::presence::others::Others;
    use crate::presence::seen::SeenUsers;
    use crate::presence::watched::Watched;

    #[tokio::test]
    async fn a_node_without_others_keeps_no_news_for_them() {
        let mut state: State<()> = State {
            local: Local::default(),
            others: Others::default(),
            watched: Watched::default(),
            departures: Departures::default(),
            seen: SeenUsers::default(),
            exchanging: Exchanging::default(),
        };
        let ada = User {
            id: UserId::new("ada").unwrap(),
            name: DisplayName::from_text("Ada"),
        };
        state.local.connect(&ada);
        publish(&mut state, None);
        assert!(state.local.take_changes().is_empty());
    }
}
