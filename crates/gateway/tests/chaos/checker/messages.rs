//! That every message that a client was given is stored with the same fields, and that pages
//! are complete.

use std::collections::HashMap;
use std::time::Duration;

use super::Violation;
use super::attempts::{Answer, Attempt};
use super::knowledge::Knowledge;
use crate::record::{Event, History, Message};

pub(super) fn check(
    history: &History,
    attempts: &[Attempt<'_>],
    knowledge: &Knowledge<'_>,
    violations: &mut Vec<Violation>,
) {
    let client = || history.client.clone();
    for attempt in attempts {
        if let Answer::Stored(message) = attempt.answer
            && (!knowledge.has(message) || !answers(message, attempt))
        {
            violations.push(Violation::AcknowledgedNotStored {
                client: client(),
                message: message.clone(),
            });
        }
    }
    let mut requested: HashMap<u64, Duration> = HashMap::new();
    for entry in &history.entries {
        match &entry.event {
            Event::Received(message) if !knowledge.has(message) => {
                violations.push(Violation::ReceivedNotStored {
                    client: client(),
                    message: message.clone(),
                });
            }
            Event::Listing { room } => {
                requested.insert(*room, entry.at);
            }
            Event::Listed {
                room,
                after,
                messages,
                has_more,
            } => {
                for message in messages.iter().filter(|message| !knowledge.has(message)) {
                    violations.push(Violation::ReceivedNotStored {
                        client: client(),
                        message: message.clone(),
                    });
                }
                let places = messages.iter().map(|message| (message.room, message.seq));
                if !places.eq((*after + 1..).take(messages.len()).map(|seq| (*room, seq))) {
                    violations.push(Violation::Page {
                        client: client(),
                        room: *room,
                        after: *after,
                    });
                }
                let from = requested.get(room).copied().unwrap_or_default();
                let [at_least, at_most] = knowledge.newest(*room, from, entry.at);
                let last = messages.last().map_or(*after, |last| last.seq);
                let fits = match has_more {
                    true => last < at_most && !messages.is_empty(),
                    false => last >= at_least,
                };
                if !fits {
                    violations.push(Violation::HasMore {
                        client: client(),
                        room: *room,
                        last,
                        has_more: *has_more,
                    });
                }
            }
            _ => {}
        }
    }
}

/// Returns whether this is the message that the attempt sent.
fn answers(message: &Message, attempt: &Attempt<'_>) -> bool {
    message.content == attempt.content && message.room == attempt.room
}
