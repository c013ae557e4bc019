//! Compares what each client sent, had acknowledged and received with the rows in the
//! database, and finds every contradiction of a promise of the wire contract.
//!
//! The checker knows neither the faults nor the gateway, only the histories and the rows. The
//! kinds of [`Violation`] are documented below; the forged histories in `checker/tests.rs`
//! show that each kind is found.
//!
//! Two questions are left open, because no client can know the answer:
//!
//! - A send without an answer may be stored or not.
//! - The place of a message in its sender's order is known only if it is known which attempt
//!   stored it. (A message that was refused and retried counts as sent at the retry.) Left
//!   out of the order are therefore: a message without any answer, which may have been stored
//!   after later messages were repeated on the next connection; a message with an unanswered
//!   attempt before a refusal; and, in a history with refusals, every message with an
//!   unanswered attempt, because the lost answer may have been a refusal.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::record::{Event, Evidence, History, Message, Missed};

#[cfg(test)]
mod tests;

/// A contradiction of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A message was acknowledged as stored, but its row does not exist.
    AcknowledgedNotStored { client: String, message: Message },
    /// A message was received or listed, but its row does not exist.
    ReceivedNotStored { client: String, message: Message },
    /// A message is stored although every attempt was answered with a code that means "not
    /// stored".
    RefusedButStored { client: String, content: String },
    /// A row that no client sent.
    NeverSent { row: Message },
    /// A second row with the same user, room and id, or with the same content.
    StoredTwice { row: Message },
    /// A room's numbers are not 1, 2, 3 …
    Gap { room: u64, expected: u64, row: u64 },
    /// A room's counter is not its newest number.
    Counter {
        room: u64,
        counter: u64,
        newest: u64,
    },
    /// On one connection, a message arrived that was not the next one: a gap or a duplicate.
    OutOfOrder {
        client: String,
        connection: usize,
        room: u64,
        expected: u64,
        seq: u64,
    },
    /// `joinedRoom` does not match the request and the replay before it.
    ResumePoint {
        client: String,
        connection: usize,
        room: u64,
        expected: u64,
        seq: u64,
        missed: Option<Missed>,
    },
    /// A message of a room that this connection has not joined, or has left.
    NotAMember {
        client: String,
        connection: usize,
        message: Message,
    },
    /// A page of history does not contain the numbers right after the requested one.
    Page {
        client: String,
        room: u64,
        after: u64,
    },
    /// Messages of one connection are not stored in the order in which it sent them.
    OwnOrder {
        client: String,
        connection: usize,
        room: u64,
        first: String,
        second: String,
    },
    /// A client that always requested what it had missed never received this message.
    NeverReceived { client: String, room: u64, seq: u64 },
    /// A refusal that faults do not explain.
    UnexpectedRefusal { client: String, code: String },
    /// A read pointer names a message before it was received, or moves back.
    ReadPointer {
        client: String,
        room: u64,
        user: String,
        seq: u64,
    },
}

/// The codes of refusals that faults cause.
const EXPECTED_CODES: [&str; 3] = ["unavailable", "rate_limited", "outcome_unknown"];

/// Returns every contradiction of a promise in the evidence.
pub(crate) fn check(evidence: &Evidence) -> Vec<Violation> {
    let stored = Stored::new(&evidence.rows);
    let mut violations = check_rows(evidence);
    for history in &evidence.histories {
        let attempts = attempts(history);
        check_messages(history, &stored, &mut violations);
        check_refusals(history, &attempts, &stored, &mut violations);
        check_own_order(history, &attempts, &stored, &mut violations);
        check_views(history, &mut violations);
        check_completeness(history, &evidence.rows, &mut violations);
    }
    violations
}

/// The rows, indexed by what is unique.
struct Stored<'a> {
    by_place: HashMap<(u64, u64), &'a Message>,
    by_content: HashMap<&'a str, &'a Message>,
}

impl<'a> Stored<'a> {
    fn new(rows: &'a [Message]) -> Self {
        Self {
            by_place: rows.iter().map(|row| ((row.room, row.seq), row)).collect(),
            by_content: rows.iter().map(|row| (row.content.as_str(), row)).collect(),
        }
    }

    fn has(&self, message: &Message) -> bool {
        self.by_place
            .get(&(message.room, message.seq))
            .is_some_and(|row| *row == message)
    }
}

/// Checks the rows by themselves, and that each row was sent.
fn check_rows(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut sent = HashSet::new();
    for history in &evidence.histories {
        for event in &history.events {
            if let Event::Sent {
                room,
                client_message_id,
                content,
                ..
            } = event
            {
                sent.insert((&history.user, *room, client_message_id, content));
            }
        }
    }
    let mut ids = HashSet::new();
    let mut contents = HashSet::new();
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    for row in &evidence.rows {
        if !sent.contains(&(&row.user, row.room, &row.client_message_id, &row.content)) {
            violations.push(Violation::NeverSent { row: row.clone() });
        }
        let id = row.client_message_id.as_ref();
        let new_id = id.is_none_or(|id| ids.insert((&row.user, row.room, id)));
        if !contents.insert(&row.content) || !new_id {
            violations.push(Violation::StoredTwice { row: row.clone() });
        }
        let last = newest.entry(row.room).or_default();
        if row.seq != *last + 1 {
            violations.push(Violation::Gap {
                room: row.room,
                expected: *last + 1,
                row: row.seq,
            });
        }
        *last = row.seq;
    }
    let counters: BTreeMap<u64, u64> = evidence.counters.iter().copied().collect();
    let rooms: BTreeSet<u64> = newest.keys().chain(counters.keys()).copied().collect();
    for room in rooms {
        let counter = counters.get(&room).copied().unwrap_or(0);
        let newest = newest.get(&room).copied().unwrap_or(0);
        if counter != newest {
            violations.push(Violation::Counter {
                room,
                counter,
                newest,
            });
        }
    }
    violations
}

/// Checks that every message that a client received is stored with the same fields.
fn check_messages(history: &History, stored: &Stored<'_>, violations: &mut Vec<Violation>) {
    let client = || history.client.clone();
    for event in &history.events {
        match event {
            Event::Acknowledged { message, .. } if !stored.has(message) => {
                violations.push(Violation::AcknowledgedNotStored {
                    client: client(),
                    message: message.clone(),
                });
            }
            Event::Received(message) if !stored.has(message) => {
                violations.push(Violation::ReceivedNotStored {
                    client: client(),
                    message: message.clone(),
                });
            }
            Event::Listed {
                room,
                after,
                messages,
            } => {
                for message in messages.iter().filter(|message| !stored.has(message)) {
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
            }
            _ => {}
        }
    }
}

/// One attempt to send a message, with its answer.
struct Attempt<'a> {
    number: u64,
    connection: usize,
    room: u64,
    content: &'a str,
    answer: Answer<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer<'a> {
    None,
    Stored(&'a Message),
    Refused(&'a str),
}

impl Attempt<'_> {
    fn is_certainly_not_stored(&self) -> bool {
        matches!(self.answer, Answer::Refused(code) if code != "outcome_unknown")
    }
}

/// Returns all attempts in the order in which they were sent.
fn attempts(history: &History) -> Vec<Attempt<'_>> {
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut connection = 0;
    for event in &history.events {
        match event {
            Event::Connected => connection += 1,
            Event::Sent {
                attempt,
                room,
                content,
                ..
            } => {
                places.insert(*attempt, attempts.len());
                attempts.push(Attempt {
                    number: *attempt,
                    connection,
                    room: *room,
                    content,
                    answer: Answer::None,
                });
            }
            Event::Acknowledged { attempt, message } => {
                attempts[places[attempt]].answer = Answer::Stored(message);
            }
            Event::Refused { attempt, code } => {
                attempts[places[attempt]].answer = Answer::Refused(code);
            }
            _ => {}
        }
    }
    attempts
}

fn by_content<'a, 'b>(attempts: &'b [Attempt<'a>]) -> BTreeMap<&'a str, Vec<&'b Attempt<'a>>> {
    let mut messages: BTreeMap<&str, Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempt in attempts {
        messages.entry(attempt.content).or_default().push(attempt);
    }
    messages
}

/// Checks that messages known not to be stored are not, that each acknowledgement contains the
/// message that was sent, and that faults explain each refusal.
fn check_refusals(
    history: &History,
    attempts: &[Attempt<'_>],
    stored: &Stored<'_>,
    violations: &mut Vec<Violation>,
) {
    for (content, attempts) in by_content(attempts) {
        if attempts
            .iter()
            .all(|attempt| attempt.is_certainly_not_stored())
            && stored.by_content.contains_key(content)
        {
            violations.push(Violation::RefusedButStored {
                client: history.client.clone(),
                content: content.to_owned(),
            });
        }
        for attempt in attempts {
            match attempt.answer {
                Answer::Refused(code) if !EXPECTED_CODES.contains(&code) => {
                    violations.push(Violation::UnexpectedRefusal {
                        client: history.client.clone(),
                        code: code.to_owned(),
                    });
                }
                Answer::Stored(message)
                    if message.content != content || message.room != attempt.room =>
                {
                    violations.push(Violation::AcknowledgedNotStored {
                        client: history.client.clone(),
                        message: message.clone(),
                    });
                }
                _ => {}
            }
        }
    }
}

/// A stored message with the attempt that determines its place in the sender's order.
struct Sending<'a> {
    attempt: u64,
    seq: u64,
    content: &'a str,
}

/// Checks that messages of one connection to a room are stored in the order in which it sent
/// them.
fn check_own_order(
    history: &History,
    attempts: &[Attempt<'_>],
    stored: &Stored<'_>,
    violations: &mut Vec<Violation>,
) {
    let any_refused = attempts
        .iter()
        .any(|attempt| matches!(attempt.answer, Answer::Refused(_)));
    let mut sendings: BTreeMap<(usize, u64), Vec<Sending<'_>>> = BTreeMap::new();
    for (content, attempts) in by_content(attempts) {
        let Some(row) = stored.by_content.get(content) else {
            continue;
        };
        let refused = |attempt: &&&Attempt<'_>| attempt.is_certainly_not_stored();
        let repeated = attempts.iter().take_while(refused).count();
        let Some(counts) = attempts.get(repeated) else {
            continue;
        };
        let later = &attempts[repeated..];
        let is_ambiguous = |attempt: &&Attempt<'_>| match attempt.answer {
            Answer::Refused(_) => true,
            Answer::None => any_refused,
            Answer::Stored(_) => false,
        };
        let never_answered = later[later.len() - 1].answer == Answer::None;
        if never_answered || later.len() > 1 && later.iter().any(is_ambiguous) {
            continue;
        }
        sendings
            .entry((counts.connection, counts.room))
            .or_default()
            .push(Sending {
                attempt: counts.number,
                seq: row.seq,
                content,
            });
    }
    for ((connection, room), mut sendings) in sendings {
        sendings.sort_unstable_by_key(|sending| sending.attempt);
        for pair in sendings.windows(2) {
            if pair[0].seq > pair[1].seq {
                violations.push(Violation::OwnOrder {
                    client: history.client.clone(),
                    connection,
                    room,
                    first: pair[0].content.to_owned(),
                    second: pair[1].content.to_owned(),
                });
            }
        }
    }
}

/// What a connection must receive next in a room that it has joined or is joining.
#[derive(Clone, Copy)]
enum View {
    /// The connection is joining. With `afterSeq`, `next` is the next replayed message.
    Joining {
        after: Option<u64>,
        next: u64,
    },
    Member {
        next: u64,
    },
}

/// Checks that each connection receives messages of joined rooms only, without gaps and
/// duplicates, and that read pointers move forward.
fn check_views(history: &History, violations: &mut Vec<Violation>) {
    let client = || history.client.clone();
    let mut connection = 0;
    let mut views: HashMap<u64, View> = HashMap::new();
    let mut pointers: HashMap<(u64, &str), u64> = HashMap::new();
    for event in &history.events {
        match event {
            Event::Connected => {
                connection += 1;
                views.clear();
                pointers.clear();
            }
            Event::Joining { room, after } => {
                let next = after.unwrap_or(0) + 1;
                let after = *after;
                views.insert(*room, View::Joining { after, next });
            }
            Event::JoinRefused { room } | Event::Left { room } => {
                views.remove(room);
            }
            Event::Joined { room, seq, missed } => {
                let expected = match views.get(room) {
                    Some(view) => expected_resume_point(*view, *seq, *missed),
                    None => Some(0),
                };
                if let Some(expected) = expected {
                    violations.push(Violation::ResumePoint {
                        client: client(),
                        connection,
                        room: *room,
                        expected,
                        seq: *seq,
                        missed: *missed,
                    });
                }
                views.insert(*room, View::Member { next: *seq + 1 });
            }
            Event::Received(message) => {
                let next = match views.get_mut(&message.room) {
                    Some(
                        View::Joining {
                            after: Some(_),
                            next,
                        }
                        | View::Member { next },
                    ) => next,
                    Some(View::Joining { after: None, .. }) | None => {
                        violations.push(Violation::NotAMember {
                            client: client(),
                            connection,
                            message: message.clone(),
                        });
                        continue;
                    }
                };
                if message.seq != *next {
                    violations.push(Violation::OutOfOrder {
                        client: client(),
                        connection,
                        room: message.room,
                        expected: *next,
                        seq: message.seq,
                    });
                }
                *next = message.seq + 1;
            }
            Event::MarkedRead { room, user, seq } => {
                let seen = match views.get(room) {
                    Some(View::Member { next }) => *next - 1,
                    _ => 0,
                };
                let last = pointers.insert((*room, user), *seq).unwrap_or(0);
                if *seq > seen || *seq <= last {
                    violations.push(Violation::ReadPointer {
                        client: client(),
                        room: *room,
                        user: user.clone(),
                        seq: *seq,
                    });
                }
            }
            _ => {}
        }
    }
}

/// Returns the resume point that would have been valid, if this one is not.
fn expected_resume_point(view: View, seq: u64, missed: Option<Missed>) -> Option<u64> {
    let (next, asked_beyond) = match view {
        View::Joining { after: None, .. } => return missed.is_some().then_some(seq),
        View::Joining {
            after: Some(after),
            next,
        } => (next, next == after + 1 && seq <= after),
        // A member that fell behind receives another `joinedRoom`, whose `missed` starts at
        // its next message.
        View::Member { next } if missed.is_none() => return Some(next - 1),
        View::Member { next } => (next, false),
    };
    let fits = match missed {
        Some(missed) => missed.from == next && missed.to == seq && missed.from <= missed.to,
        None => seq + 1 == next || asked_beyond,
    };
    (!fits).then_some(next - 1)
}

/// Checks that a client has received every message of a room if each of its joins continued
/// where it had received everything.
fn check_completeness(history: &History, rows: &[Message], violations: &mut Vec<Violation>) {
    let mut seen: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut skipped = HashSet::new();
    for event in &history.events {
        match event {
            Event::Joining { room, after } => {
                let seen = seen.entry(*room).or_default();
                let whole = (1..).take_while(|seq| seen.contains(seq)).count();
                if after.is_none_or(|after| after > whole as u64) {
                    skipped.insert(*room);
                }
            }
            Event::Received(message) => {
                seen.entry(message.room).or_default().insert(message.seq);
            }
            Event::Listed { messages, .. } => {
                for message in messages {
                    seen.entry(message.room).or_default().insert(message.seq);
                }
            }
            _ => {}
        }
    }
    for (room, seen) in &seen {
        if skipped.contains(room) {
            continue;
        }
        for row in rows.iter().filter(|row| row.room == *room) {
            if !seen.contains(&row.seq) {
                violations.push(Violation::NeverReceived {
                    client: history.client.clone(),
                    room: *room,
                    seq: row.seq,
                });
            }
        }
    }
}
