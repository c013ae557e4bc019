//! Publishes presence to the other nodes, and receives theirs.

mod message;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chat_domain::BoxError;
use chat_domain::ports::{NodeName, PresenceExchange, PresenceListener, PresenceNews};
use redis::Pipeline;
use redis::aio::MultiplexedConnection;

use self::message::Message;
use super::channels::Channel;
use super::{RedisExchange, Shared};

/// How much may wait, in users and messages. Beyond that, news are lost.
const MAX_WAITING: usize = 1_000_000;
/// How much is published in one round trip, so that hints do not wait for long.
const PUBLISHED_AT_ONCE: usize = 10_000;

/// What waits for the server, and who listens.
#[derive(Default)]
pub(super) struct PresenceLink(Mutex<State>);

#[derive(Default)]
struct State {
    listener: Option<Weak<dyn PresenceListener>>,
    is_open: bool,
    waiting: VecDeque<PresenceNews>,
    /// How much that is.
    size: usize,
}

impl PresenceLink {
    fn listener(&self) -> Option<Arc<dyn PresenceListener>> {
        self.state().listener.as_ref()?.upgrade()
    }

    /// From now on, news wait for the server.
    pub(super) fn connected(&self) {
        self.state().is_open = true;
        if let Some(listener) = self.listener() {
            listener.connected();
        }
    }

    /// From now on, news are lost: they would be outdated.
    pub(super) fn disconnected(&self) {
        let mut state = self.state();
        state.is_open = false;
        state.waiting.clear();
        state.size = 0;
        drop(state);
        if let Some(listener) = self.listener() {
            listener.disconnected();
        }
    }

    /// Takes what a node has published. Returns whether it could be read.
    pub(super) fn receive(&self, own: &str, payload: &[u8]) -> bool {
        let Ok(message) = serde_json::from_slice::<Message<'_>>(payload) else {
            return false;
        };
        if message.node == own {
            return true;
        }
        let from = NodeName::new(&*message.node);
        let Some(news) = message.news(own) else {
            return false;
        };
        if let Some(listener) = self.listener() {
            listener.on_news(from, news);
        }
        true
    }

    fn take(&self) -> Vec<PresenceNews> {
        let mut state = self.state();
        let mut taken = Vec::new();
        let mut size = 0;
        while size < PUBLISHED_AT_ONCE
            && let Some(news) = state.waiting.pop_front()
        {
            size += size_of(&news);
            taken.push(news);
        }
        state.size -= size;
        taken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how much news are: users, and one for the message.
fn size_of(news: &PresenceNews) -> usize {
    1 + match news {
        PresenceNews::Changes { came, went, .. } => came.len() + went.len(),
        PresenceNews::Snapshot { users, .. } => users.len(),
        PresenceNews::Answer { users, others, .. } => users.len() + others.len(),
        PresenceNews::Wanted { .. } | PresenceNews::Question { .. } => 0,
    }
}

impl PresenceExchange for RedisExchange {
    fn node(&self) -> NodeName {
        NodeName::new(self.shared.node.number())
    }

    fn publish(&self, news: PresenceNews) {
        let mut state = self.shared.presence.state();
        let size = size_of(&news);
        if state.is_open && state.size + size <= MAX_WAITING {
            state.size += size;
            state.waiting.push_back(news);
            drop(state);
            self.shared.work.notify_one();
        }
    }

    fn listen(&self, listener: Weak<dyn PresenceListener>) {
        let link = &self.shared.presence;
        let is_connected = {
            let mut state = link.state();
            state.listener = Some(listener);
            state.is_open
        };
        if let Some(listener) = link.listener().filter(|_| is_connected) {
            listener.connected();
        }
    }
}

/// Publishes some of what waits. Returns whether more does.
pub(super) async fn publish(
    shared: &Shared,
    commands: &mut MultiplexedConnection,
) -> Result<bool, BoxError> {
    let news = shared.presence.take();
    if news.is_empty() {
        return Ok(false);
    }
    let mut pipeline = Pipeline::with_capacity(news.len());
    let all = shared.channels.name(Channel::Presence);
    for news in &news {
        let mut publish = |channel: &str| -> Result<(), BoxError> {
            let message = Message::new(shared.node.number(), news);
            let payload = serde_json::to_vec(&message)?;
            pipeline.cmd("PUBLISH").arg(channel).arg(payload).ignore();
            Ok(())
        };
        match news {
            PresenceNews::Answer { to, .. } => {
                publish(&shared.channels.of_node(to.as_str()))?;
            }
            _ => publish(&all)?,
        }
    }
    let () = pipeline.query_async(commands).await?;
    Ok(!shared.presence.state().waiting.is_empty())
}

/// For the fuzz target.
pub(super) fn encode_again(payload: &[u8]) -> Option<Vec<u8>> {
    let message = serde_json::from_slice::<Message<'_>>(payload).ok()?;
    let news = message.news("0")?;
    serde_json::to_vec(&Message::new("0", &news)).ok()
}

#[cfg(test)]
mod tests {
    use chat_domain::UserId;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_invalid_and_what_is_ones_own_is_passed_over() {
        let link = PresenceLink::default();
        assert!(!link.receive("a", b"[]"));
        assert!(!link.receive("a", br#"{"v":1,"node":"b","later":{}}"#));
        assert!(link.receive("a", br#"{"v":1,"node":"a","later":{}}"#));
        assert!(link.receive("a", br#"{"v":1,"node":"b","wanted":{}}"#));
    }

    #[test]
    fn what_waits_is_bounded_and_lost_without_a_connection() {
        let exchange = |link: &PresenceLink, users: usize| {
            let mut state = link.state();
            let news = PresenceNews::Snapshot {
                number: 1,
                part: 0,
                parts: 1,
                users: (0..users)
                    .map(|n| UserId::new(n.to_string()).unwrap())
                    .collect(),
            };
            state.size += size_of(&news);
            state.waiting.push_back(news);
        };
        let link = PresenceLink::default();
        link.connected();
        (0..3).for_each(|_| exchange(&link, PUBLISHED_AT_ONCE));
        assert_eq!(link.take().len(), 1, "hints have their turn");
        link.disconnected();
        assert_eq!((link.take().len(), link.state().size), (0, 0));
    }
}
