//! Delivers rooms to their members on one node: which member receives what, in which
//! order.
//!
//! A room is *active* here while a connection has joined it or is about to. Its
//! [sequencer](chat_domain::RoomSequencer) turns the hints about stored messages into one
//! gap-free order; where a hint is missing, the log is read. Twice a second, the rooms whose
//! logs have grown are compared with what has been released, so that even a lost last hint
//! costs a second and not a message.
//!
//! Every member has a *cursor*: the position of the last message that was handed to it.
//! While it keeps up, released messages are handed to it at once. When it does not, it
//! *falls behind*: a task serves it from the log, in pages, as space becomes available,
//! until it has *caught up*. A replay after a join reads the log in the same way, before
//! the member is handed anything live.
//!
//! A member leaves by itself, or is [excluded](Rooms::exclude) by a change of the room's
//! rules, which also ends a replay. A [`RulesListener`] learns of every such change, from a
//! hint or from the comparison with the log.
//!
//! Messages that are released together are handed over together, as one piece of bytes. In
//! a room with many members a task of its own walks the members, without holding the
//! room's lock, and yields between groups of them.
//!
//! A connection may also [watch](Watchers) the summaries of all its user's rooms, joined or not.
//!
//! # Boundaries
//!
//! This crate knows neither a transport nor an encoding. It hands finished, opaque, shared
//! bytes, which an [`Encoder`] made once for all members, to a [`Recipient`]. The transport
//! implements both. It knows no database either: the log is a
//! [port](chat_domain::ports::MessageRepository) of the domain.

mod batch;
mod catch_up;
mod changes;
mod changes_batch;
mod claim;
mod encoder;
mod entrance;
mod generation;
mod handing_out;
mod leaving;
mod member;
mod members;
mod observer;
mod order;
mod pace;
mod patience;
mod presence;
mod read_pointers;
mod recent;
mod recipient;
mod reconciliation;
mod room;
mod rooms;
mod rules;
mod typing;
mod unfinished;
mod watching;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use encoder::Encoder;
pub use entrance::{Admission, Entrance, MissedRange, NotAdmitted};
pub use observer::{HandedOut, Observer, Why};
pub use presence::{Presence, PresenceCounts, PresenceEncoder, RoomPresence, UserPresence};
pub use recipient::{Gone, LiveGive, Recipient};
pub use rooms::Rooms;
pub use rules::RulesListener;
pub use watching::{
    ChangesListener, Moment, RemovalReason, SummaryEncoder, SummaryEvent, Watchers,
};

/// Locks a mutex. No code here leaves inconsistent state behind when it panics, so a panic
/// in one task must not spread to the others that share the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
