//! Attempts to send, each with its answer.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::record::{Event, History, Message, Operation};

/// One attempt to send a message, with its answer.
pub(super) struct Attempt<'a> {
    pub(super) number: u64,
    pub(super) at: Duration,
    pub(super) connection: usize,
    pub(super) room: u64,
    pub(super) client_message_id: Option<&'a str>,
    pub(super) content: &'a str,
    pub(super) answer: Answer<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    None,
    Stored(&'a Message),
    Refused(&'a str),
}

impl Attempt<'_> {
    pub(super) fn is_certainly_not_stored(&self) -> bool {
        matches!(self.answer, Answer::Refused(code) if code != "outcome_unknown")
    }
}

/// Returns all attempts in the order in which they were sent.
pub(super) fn attempts(history: &History) -> Vec<Attempt<'_>> {
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut connection = 0;
    for entry in &history.entries {
        match &entry.event {
            Event::Connected => connection += 1,
            Event::Sent {
                attempt,
                room,
                client_message_id,
                content,
            } => {
                places.insert(*attempt, attempts.len());
                attempts.push(Attempt {
                    number: *attempt,
                    at: entry.at,
                    connection,
                    room: *room,
                    client_message_id: client_message_id.as_deref(),
                    content,
                    answer: Answer::None,
                });
            }
            Event::Acknowledged { attempt, message } => {
                attempts[places[attempt]].answer = Answer::Stored(message);
            }
            Event::Refused {
                operation: Operation::Send { attempt },
                code,
            } => {
                attempts[places[attempt]].answer = Answer::Refused(code);
            }
            _ => {}
        }
    }
    attempts
}

pub(super) fn by_content<'a, 'b>(
    attempts: &'b [Attempt<'a>],
) -> BTreeMap<&'a str, Vec<&'b Attempt<'a>>> {
    let mut messages: BTreeMap<&str, Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempt in attempts {
        messages.entry(attempt.content).or_default().push(attempt);
    }
    messages
}
