//! Forged histories: one without a violation, and a forgery of it for each kind of violation.

use std::time::Duration;

use super::{Violation, check};
use crate::record::{
    Breaks, Entry, Event, Evidence, Explains, History, Joined, Lag, Message, Missed, Operation,
    Pointer, Reach, Rules, States, Window,
};

mod changes;
mod connections;
mod nodes;
mod order;
mod pages;
mod pointers;
mod refusals;
mod registers;
mod resume;
mod rules;
mod stored;
mod timing;
mod views;

const ADA: usize = 0;
const GRACE: usize = 1;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn row(seq: u64, user: &str, content: &str) -> Message {
    Message {
        id: seq,
        room: 1,
        seq,
        user: user.to_owned(),
        name: format!("The user {user}"),
        client_message_id: Some(format!("id-{content}")),
        content: content.to_owned(),
        created_at: format!("2026-01-31T12:00:00.{seq:03}Z"),
    }
}

fn sent(attempt: u64, content: &str) -> Event {
    sent_as(attempt, &format!("id-{content}"), content)
}

fn sent_as(attempt: u64, id: &str, content: &str) -> Event {
    Event::Sent {
        attempt,
        room: 1,
        client_message_id: Some(id.to_owned()),
        content: content.to_owned(),
    }
}

fn acknowledged(attempt: u64, message: &Message) -> Event {
    let message = message.clone();
    Event::Acknowledged { attempt, message }
}

fn received(message: &Message) -> Event {
    Event::Received(message.clone())
}

fn error(event: &str, code: &str) -> Event {
    let (event, code) = (Some(event.to_owned()), code.to_owned());
    Event::Error { event, code }
}

/// Returns the refusal of a send, with the event that precedes it.
fn refused(attempt: u64, code: &str) -> [Event; 2] {
    let operation = Operation::Send { attempt };
    let refused = Event::Refused {
        operation,
        code: code.to_owned(),
    };
    [error("sendMessage", code), refused]
}

fn joining(after: impl Into<Option<u64>>) -> Event {
    let after = after.into();
    Event::Joining { room: 1, after }
}

/// Returns a `joinedRoom` of a user whose pointer is at `read`.
fn joined(seq: u64, read: u64) -> Event {
    Event::Joined(Joined {
        room: 1,
        seq,
        read,
        unread: seq - read,
        missed: None,
    })
}

fn missed(from: u64, to: u64, read: u64) -> Event {
    Event::Joined(Joined {
        room: 1,
        seq: to,
        read,
        unread: to - read,
        missed: Some(Missed { from, to }),
    })
}

fn marked_read(user: &str, seq: u64) -> Event {
    let user = user.to_owned();
    Event::MarkedRead { room: 1, user, seq }
}

fn history(client: &str, entries: impl IntoIterator<Item = (u64, Event)>) -> History {
    let entries = entries.into_iter().map(|(at, event)| Entry {
        at: millis(at),
        event,
    });
    History {
        client: client.to_owned(),
        user: client.to_owned(),
        entries: entries.collect(),
    }
}

fn pointer(user: &str, seq: u64) -> Pointer {
    let user = user.to_owned();
    Pointer { room: 1, user, seq }
}

fn window(begin: u64, end: u64) -> Window {
    Window {
        begin: millis(begin),
        end: millis(end),
        reach: Reach::Everything,
        is_graceful: false,
    }
}

/// Returns evidence without a violation. Ada sends a, b and c. A fault breaks her connection
/// before b and c are answered, and she repeats them. Grace receives all three, joins again
/// in between, marks what she has read, reconnects, and pages. Each event of a client has its
/// own time.
fn valid_evidence() -> Evidence {
    let rows: Vec<_> = [(1, "a"), (2, "b"), (3, "c")]
        .into_iter()
        .map(|(seq, content)| row(seq, "ada", content))
        .collect();
    let [a, b, c] = [0, 1, 2].map(|n: usize| rows[n].clone());
    let ada = [
        (0, Event::Connected),
        (10, joining(0)),
        (20, joined(0, 0)),
        (30, sent(1, "a")),
        (40, received(&a)),
        (50, acknowledged(1, &a)),
        (60, sent(2, "b")),
        (70, sent(3, "c")),
        (80, Event::Disconnected),
        (90, Event::Connected),
        (100, joining(1)),
        (110, received(&b)),
        (120, joined(2, 2)),
        (130, sent(4, "b")),
        (140, sent(5, "c")),
        (150, acknowledged(4, &b)),
        (160, received(&c)),
        (170, acknowledged(5, &c)),
    ];
    let grace = [
        (0, Event::Connected),
        (10, joining(0)),
        (20, joined(0, 0)),
        (45, received(&a)),
        (75, received(&b)),
        (80, Event::Marking { room: 1, seq: 2 }),
        (
            90,
            Event::Marked {
                room: 1,
                requested: 2,
                seq: 2,
                unread: 0,
            },
        ),
        (95, marked_read("grace", 2)),
        (100, joining(2)),
        (105, joined(2, 2)),
        (170, received(&c)),
        (180, Event::Disconnected),
        (190, Event::Connected),
        (200, joining(3)),
        (210, joined(3, 2)),
        (220, Event::Listing { room: 1 }),
        (
            230,
            Event::Listed {
                room: 1,
                after: 2,
                messages: vec![c],
                has_more: false,
            },
        ),
        (240, Event::Leaving { room: 1 }),
        (250, Event::Left { room: 1 }),
    ];
    Evidence {
        histories: vec![history("ada", ada), history("grace", grace)],
        rows,
        counters: vec![(1, 3)],
        pointers: vec![pointer("ada", 3), pointer("grace", 2)],
        states: States::default(),
        windows: vec![window(75, 95)],
        explains: Explains {
            codes: &["unavailable", "rate_limited", "outcome_unknown"],
            breaks: Breaks::Affected,
            failed_reads: false,
        },
        broken: 0,
        patience: None,
        lags: Vec::new(),
        rules: Rules::default(),
    }
}

/// Returns evidence without a violation in which Grace missed so many messages, all sent by
/// Ada, that they are not replayed. She reads the first page.
fn many_missed(count: u64) -> Evidence {
    let rows: Vec<_> = (1..=count)
        .map(|seq| row(seq, "ada", &format!("message {seq}")))
        .collect();
    let begun = [(0, Event::Connected), (1, joining(0)), (2, joined(0, 0))];
    let sendings = rows.iter().flat_map(|row| {
        [
            (10, sent(row.seq, &row.content)),
            (20, received(row)),
            (20, acknowledged(row.seq, row)),
        ]
    });
    let listed = Event::Listed {
        room: 1,
        after: 0,
        messages: rows.clone(),
        has_more: false,
    };
    let grace = [
        (30, Event::Connected),
        (40, joining(0)),
        (50, missed(1, count, 0)),
        (60, Event::Listing { room: 1 }),
        (70, listed),
    ];
    Evidence {
        histories: vec![
            history("ada", begun.into_iter().chain(sendings)),
            history("grace", grace),
        ],
        counters: vec![(1, count)],
        pointers: vec![pointer("ada", count)],
        states: States::default(),
        rows,
        ..valid_evidence()
    }
}

impl Evidence {
    fn entries(&mut self, client: usize) -> &mut Vec<Entry> {
        &mut self.histories[client].entries
    }

    /// Inserts events behind those of the same time.
    fn insert(&mut self, client: usize, at: u64, events: impl IntoIterator<Item = Event>) {
        let at = millis(at);
        let entries = self.entries(client);
        let place = entries.partition_point(|entry| entry.at <= at);
        let inserted = events.into_iter().map(|event| Entry { at, event });
        entries.splice(place..place, inserted);
    }

    fn remove(&mut self, client: usize, at: u64) {
        let entries = self.entries(client);
        let before = entries.len();
        entries.retain(|entry| entry.at != millis(at));
        assert_eq!(entries.len(), before - 1, "the valid evidence has changed");
    }

    fn replace(&mut self, client: usize, at: u64, event: Event) {
        self.remove(client, at);
        self.insert(client, at, [event]);
    }

    /// Adds a message that Ada sends at this time and that both receive 10 ms later.
    fn add(&mut self, at: u64, attempt: u64, content: &str) -> Message {
        let seq = self.rows.len() as u64 + 1;
        let row = row(seq, "ada", content);
        self.rows.push(row.clone());
        self.counters = vec![(1, seq)];
        self.pointers = vec![pointer("ada", seq), pointer("grace", 2)];
        self.insert(ADA, at, [sent(attempt, content)]);
        self.insert(ADA, at + 10, [received(&row)]);
        self.insert(GRACE, at + 10, [received(&row)]);
        row
    }

    /// Keeps Grace in the room.
    fn grace_stays(&mut self) {
        self.remove(GRACE, 240);
        self.remove(GRACE, 250);
    }
}

/// Changes the valid evidence and returns the violations that the checker finds.
fn forged(forge: impl FnOnce(&mut Evidence)) -> Vec<Violation> {
    let mut evidence = valid_evidence();
    forge(&mut evidence);
    check(&evidence)
}

/// Checks that the checker finds the expected violation, possibly with others that follow
/// from it.
#[track_caller]
fn finds(expected: fn(&Violation) -> bool, forge: impl FnOnce(&mut Evidence)) {
    let violations = forged(forge);
    assert!(violations.iter().any(expected), "{violations:#?}");
}

#[test]
fn valid_evidence_has_no_violation() {
    assert_eq!(forged(|_| {}), []);
    assert_eq!(check(&many_missed(1001)), []);
}
