//! Compares what each client sent, had acknowledged and received with the rows in the
//! database, and finds every contradiction of a promise of the wire contract.
//!
//! The checker knows neither the gateway nor how a fault works, only the histories, the rows,
//! when the fault struck, and what it explains. The kinds of [`Violation`] are documented
//! below; the forged histories in `checker/tests/` show that each kind is found.
//!
//! Two questions are left open, because no client can know the answer:
//!
//! - A send without an answer may be stored or not.
//! - The place of a message in its sender's order is known only if it is known which attempt
//!   stored it. (A message that was refused and retried counts as sent at the retry.) Left
//!   out of the order are therefore: a message without any answer, which may have been stored
//!   after later messages were repeated on the next connection; a message with an unanswered
//!   attempt before a refusal; in a history with refusals, every message with an unanswered
//!   attempt, because the lost answer may have been a refusal; and a message that several
//!   connections of one user sent.

use std::time::Duration;

use crate::record::{Evidence, Joined, Message, State, Window};

use self::attempts::attempts;
use self::changes::Changes;
use self::knowledge::Knowledge;
use self::standing::Standing;
pub(crate) use self::timing::slowest_delivery;

mod attempts;
mod changes;
mod connections;
mod knowledge;
mod messages;
mod order;
mod pointers;
mod refusals;
mod register;
mod resume;
mod rows;
mod rules;
mod standing;
mod timing;
mod views;

#[cfg(test)]
mod tests;

/// How long a member may lack a message, and how long after the fault a refusal or the end of
/// a connection may reach its client.
const PROMISED_DELAY: Duration = Duration::from_secs(1);
/// How often something has to be woken between the acknowledgement of a message and a member:
/// tasks of the gateway, of the proxy and of the clients. The machine may be late each time.
const WAKE_UPS: u32 = 5;
/// No machine is late for so long that an effect of a fault may be observed after this time.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// The largest number of messages that a join replays.
const REPLAY_LIMIT: u64 = 1000;

/// A contradiction of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A message was acknowledged as stored, but its row does not exist or differs.
    AcknowledgedNotStored { client: String, message: Message },
    /// A message was received or listed, but its row does not exist or differs.
    ReceivedNotStored { client: String, message: Message },
    /// A message is stored although every attempt was answered with a code that means "not
    /// stored".
    RefusedButStored { user: String, content: String },
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
        expected: u64,
        joined: Joined,
    },
    /// A resume point is older than what was known before the join, or newer than the room.
    ResumeBounds {
        client: String,
        joined: Joined,
        at_least: u64,
        at_most: u64,
    },
    /// Messages were declared as missed, although they were few enough to be replayed and no
    /// read failed.
    FewMissed { client: String, joined: Joined },
    /// A message of a room that this connection has not joined, or has left.
    NotAMember {
        client: String,
        connection: usize,
        message: Message,
    },
    /// A member did not have a message within a second; `after` is how long it took, or how
    /// long the member stayed without it.
    Late {
        client: String,
        room: u64,
        seq: u64,
        at: Duration,
        after: Duration,
    },
    /// A page of history does not contain the numbers right after the requested one.
    Page {
        client: String,
        room: u64,
        after: u64,
    },
    /// `hasMore` contradicts the room's newest message.
    HasMore {
        client: String,
        room: u64,
        last: u64,
        has_more: bool,
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
    /// A refusal or an `error` event that the fault does not explain.
    Unexplained {
        client: String,
        event: Option<String>,
        code: String,
        at: Duration,
    },
    /// A refusal without the `error` event that must precede it.
    NoErrorEvent {
        client: String,
        event: String,
        code: String,
    },
    /// A connection ended, or could not be made, and the fault does not explain it.
    Disconnected { client: String, at: Duration },
    /// A client waited in vain for an answer, and no fault struck its node.
    WaitedInVain { client: String, at: Duration },
    /// More connections ended than the proxy broke.
    DisconnectedTooOften { ended: u64, broken: u64 },
    /// A gateway that shut down did not answer a send that was in progress.
    Unanswered { client: String, content: String },
    /// `markedRead` names a message before it was received, moves back, or names one that
    /// its user did not mark.
    ReadPointer {
        client: String,
        room: u64,
        user: String,
        seq: u64,
    },
    /// `readSeq`, `unread` or the answer to `markRead` contradicts what is known of the
    /// pointer and the room.
    ReadState {
        client: String,
        room: u64,
        read: u64,
        unread: u64,
        expected: [u64; 2],
    },
    /// The stored read pointer is older than what a client was shown, or newer than what its
    /// user sent and marked.
    StoredPointer {
        room: u64,
        user: String,
        stored: u64,
        expected: [u64; 2],
    },
    /// A state of a message that it never had, or that another client was shown differently.
    StateNeverWas {
        client: String,
        room: u64,
        seq: u64,
        state: State,
    },
    /// On one connection, a change arrived after a newer one, an older state of a message after a
    /// newer one, or one in a replay that was not asked for; `after` is the change before it.
    ChangeOutOfOrder {
        client: String,
        room: u64,
        seq: u64,
        rev: u64,
        after: u64,
    },
    /// The `rev` of a join is older than what the client had; or changes were declared as missed,
    /// although they were few enough to be replayed and no read failed.
    ChangesAtJoin {
        client: String,
        room: u64,
        rev: u64,
        missed: Option<(u64, u64)>,
    },
    /// A member did not have a change, or a later one of the message, within a second.
    ChangeLate {
        client: String,
        room: u64,
        seq: u64,
        rev: u64,
        at: Duration,
        after: Duration,
    },
    /// In the end, a message is not stored as a client has it, or without a change that was
    /// acknowledged.
    FinalState {
        client: String,
        room: u64,
        seq: u64,
        has: Option<State>,
        stored: State,
    },
    /// A message was stored while rules forbade its user to write.
    ForbiddenButStored { row: Message, stored: [Duration; 2] },
    /// A user joined a room that did not exist for it, or was answered from it.
    Admitted {
        client: String,
        room: u64,
        event: &'static str,
        at: Duration,
    },
    /// Something of a room reached a connection more than a second after its user was excluded.
    ReachedExcluded {
        client: String,
        room: u64,
        at: Duration,
    },
    /// A connection received no `leftRoom` within a second after its user was excluded.
    NotExcluded {
        client: String,
        room: u64,
        at: Duration,
    },
    /// `leftRoom` with a reason that no change of rules explains.
    ExcludedWithoutReason {
        client: String,
        room: u64,
        reason: String,
        at: Duration,
    },
    /// A change of rules was announced to a connection that has not joined the room, or has left
    /// it.
    AnnouncedOutside {
        client: String,
        connection: usize,
        room: u64,
    },
    /// What a client was shown of a room's rules does not follow from the changes.
    RulesSeen {
        client: String,
        room: u64,
        at: Duration,
    },
    /// What the database holds of a room's rules does not follow from the changes; `what` is the
    /// table, and the user if there is one.
    StoredRules { room: u64, what: String },
}

/// Returns every contradiction of a promise in the evidence.
pub(crate) fn check(evidence: &Evidence) -> Vec<Violation> {
    let knowledge = Knowledge::new(evidence);
    let standing = Standing::new(evidence);
    let changes = Changes::new(evidence);
    let mut violations = Vec::new();
    rows::check(evidence, &mut violations);
    refusals::check_stored(evidence, &knowledge, &mut violations);
    connections::check_total(evidence, &mut violations);
    pointers::check_stored(evidence, &knowledge, &mut violations);
    rules::check_stored(evidence, &knowledge, &standing, &mut violations);
    rules::check_tables(evidence, &standing, &mut violations);
    for history in &evidence.histories {
        let attempts = attempts(history);
        messages::check(history, &attempts, &knowledge, &mut violations);
        let known = (&knowledge, &standing, &changes);
        refusals::check(history, &attempts, evidence, known, &mut violations);
        rules::check(history, evidence, &standing, &mut violations);
        order::check(history, &attempts, &knowledge, &mut violations);
        connections::check(history, &attempts, evidence, &mut violations);
        resume::check(history, evidence, &knowledge, &mut violations);
        pointers::check(history, &knowledge, &mut violations);
        views::check(history, &mut violations);
        views::check_completeness(history, &evidence.rows, &mut violations);
        timing::check(history, evidence, &knowledge, &mut violations);
        changes::check(history, evidence, &changes, &mut violations);
    }
    violations
}

impl Evidence {
    /// Returns how long a member may lack a message in this period. The machine may have been
    /// late shortly before.
    fn allowed_delay(&self, from: Duration, to: Duration) -> Duration {
        let from = from.saturating_sub(PROMISED_DELAY);
        let lags = self.lags.iter();
        let lags = lags.filter(|lag| lag.begin <= to && lag.end >= from);
        let longest = lags.map(|lag| lag.end - lag.begin).max();
        PROMISED_DELAY + WAKE_UPS * longest.unwrap_or_default()
    }

    /// Returns since when a client, connected to this node, must have noticed by `at` what
    /// happened: the last time after which, by `at`, a second has passed in which no fault that
    /// affects it struck.
    fn noticed_since(&self, client: &str, node: usize, at: Duration) -> Duration {
        let mut delay = PROMISED_DELAY;
        loop {
            let allowed = self.allowed_delay(at.saturating_sub(delay), at);
            if allowed <= delay {
                break;
            }
            delay = allowed;
        }
        let mut since = at.saturating_sub(delay);
        for window in self.windows.iter().rev() {
            let strikes = window.begin < since + PROMISED_DELAY && window.end > since;
            if strikes && window.affects(client, node) {
                since = window.begin.saturating_sub(PROMISED_DELAY);
            }
        }
        since
    }

    /// Returns whether the fault explains what this client observed at this time, connected to
    /// this node.
    fn is_struck(&self, client: &str, node: usize, at: Duration) -> bool {
        let mut windows = self.windows.iter();
        windows.any(|window| window.affects(client, node) && self.is_within(window, at))
    }

    /// Returns whether the window's effects may be observed at this time.
    fn is_within(&self, window: &Window, at: Duration) -> bool {
        window.begin <= at
            && at < window.end + LONGEST_DELAY
            && at < window.end + self.allowed_delay(window.end, at)
    }
}
