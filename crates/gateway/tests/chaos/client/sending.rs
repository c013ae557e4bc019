//! Composing and sending messages, and what follows from their answers.

use serde_json::json;
use tokio::time::Instant;

use super::{Client, Membership, Request, Role};
use crate::record::{Event, PADDING, compact};

/// The largest number of sends in progress per client.
const WINDOW: usize = 8;
/// The same for a client in rooms with rules.
const SMALL_WINDOW: usize = 2;

pub(super) struct Outgoing {
    room: u64,
    client_message_id: Option<String>,
    /// Without its padding.
    content: String,
    patience: Patience,
    /// The first attempt that was not refused, which determines the message's order.
    counts: Option<u64>,
    waiting: Waiting,
}

/// A message that another connection of the same user repeats: with the same content, or
/// wrongly with other content.
#[derive(Debug)]
pub(crate) struct SharedMessage {
    user: &'static str,
    /// The client that sent it.
    by: &'static str,
    room: u64,
    client_message_id: String,
    content: String,
}

/// How a sender reacts to a refusal. (It always repeats an attempt without an answer if the
/// message has an id.)
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Retries,
    GivesUp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    ToBeSent,
    Until(Instant),
    ForAnswer,
}

impl Client {
    /// Prepares what a new connection has to send again.
    pub(super) fn repeat_unanswered(&mut self) {
        // Without an id, a retry would be another message.
        self.outbox.retain(|message| {
            message.client_message_id.is_some() || message.waiting != Waiting::ForAnswer
        });
        for message in &mut self.outbox {
            message.waiting = Waiting::ToBeSent;
        }
        let order = |message: &Outgoing| message.counts.unwrap_or(u64::MAX);
        self.outbox.make_contiguous().sort_by_key(order);
    }

    pub(super) fn compose_some(&mut self) {
        while self.outbox.len() < WINDOW {
            let message = self.compose();
            self.outbox.push_back(message);
            if self.random.one_in(2) {
                break;
            }
        }
    }

    /// Composes now and then, and has little in progress: most of the load is that of the rooms
    /// without rules.
    pub(super) fn compose_sparingly(&mut self) {
        if self.outbox.len() < SMALL_WINDOW && self.random.one_in(6) {
            let message = self.compose();
            self.outbox.push_back(message);
        }
    }

    /// Creates a new message, or repeats one of another connection of this user.
    fn compose(&mut self) -> Outgoing {
        let number = self.next_message;
        self.next_message += 1;
        let place = self.random.below(self.rooms.len() as u64) as usize;
        let room = *self.rooms.keys().nth(place).unwrap();
        // Ids are unique per user, and the user may have other connections.
        let name = format!("{}-{number}", self.profile.name);
        let mut message = Outgoing {
            room,
            content: name.clone(),
            client_message_id: (self.is_editor() || !self.random.one_in(10)).then_some(name),
            patience: match self.random.one_in(3) {
                true => Patience::GivesUp,
                false => Patience::Retries,
            },
            counts: None,
            waiting: Waiting::ToBeSent,
        };
        if let Some(shared) = self.shared_message() {
            message.room = shared.room;
            message.client_message_id = Some(shared.client_message_id);
            if self.random.one_in(2) {
                message.content = shared.content;
            }
        } else if self.random.one_in(8) {
            self.share(&message);
        }
        message
    }

    fn share(&self, message: &Outgoing) {
        if let Some(id) = &message.client_message_id {
            self.crowd.shared.lock().unwrap().push(SharedMessage {
                user: self.profile.user,
                by: self.profile.name,
                room: message.room,
                client_message_id: id.clone(),
                content: message.content.clone(),
            });
        }
    }

    /// Takes a message that another connection of this user has sent to a room of this
    /// client.
    fn shared_message(&self) -> Option<SharedMessage> {
        let mut shared = self.crowd.shared.lock().unwrap();
        let place = shared.iter().position(|message| {
            message.user == self.profile.user
                && message.by != self.profile.name
                && self.rooms.contains_key(&message.room)
        })?;
        Some(shared.swap_remove(place))
    }

    /// Sends the messages that are due, in their order.
    pub(super) fn send_due(&mut self, now: Instant) {
        let mut due = Vec::new();
        for message in &mut self.outbox {
            let is_due = match message.waiting {
                Waiting::ToBeSent => true,
                Waiting::Until(time) => now >= time,
                Waiting::ForAnswer => false,
            };
            // A guest tries whether it may write or not.
            let may_send = self.profile.role == Role::Guest
                || self.rooms[&message.room].membership == Membership::In;
            if !is_due || !may_send {
                continue;
            }
            let attempt = self.next_attempt;
            self.next_attempt += 1;
            message.waiting = Waiting::ForAnswer;
            message.counts.get_or_insert(attempt);
            let content = padded(&message.content, self.crowd.length);
            let sent = Event::Sent {
                attempt,
                room: message.room,
                client_message_id: message.client_message_id.clone(),
                content: compact(&content),
            };
            let mut payload = json!({ "roomId": message.room, "content": content });
            if let Some(id) = &message.client_message_id {
                payload["clientMessageId"] = json!(id);
            }
            let request = Request::Send {
                attempt,
                room: message.room,
                content: message.content.clone(),
            };
            due.push((sent, payload, request));
        }
        for (sent, payload, request) in due {
            self.record(sent);
            self.request(&payload, request);
        }
    }

    pub(super) fn send_acknowledged(&mut self, content: &str) {
        self.outbox.retain(|message| message.content != content);
    }

    pub(super) fn send_refused(&mut self, content: &str, code: &str, is_retryable: bool) {
        let place = self
            .outbox
            .iter()
            .position(|message| message.content == content)
            .unwrap();
        let mut message = self.outbox.remove(place).unwrap();
        // Without an id, a retry after an unknown outcome might store the message twice.
        let may_repeat = code != "outcome_unknown" || message.client_message_id.is_some();
        if is_retryable && may_repeat && message.patience == Patience::Retries {
            message.waiting = Waiting::Until(Instant::now() + self.crowd.backoff);
            message.counts = None;
            self.outbox.push_back(message);
        }
    }
}

/// Returns the content with as much padding as it needs to have this length in characters.
fn padded(content: &str, length: usize) -> String {
    let padding = length.saturating_sub(content.chars().count());
    content
        .chars()
        .chain(std::iter::repeat_n(PADDING, padding))
        .collect()
}
