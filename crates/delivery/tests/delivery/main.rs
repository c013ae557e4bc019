//! What members receive, and in which order, whatever happens to hints, reads and clients.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod changes;
mod changes_log;
mod client;
mod exclusion;
mod generation;
mod joining;
mod log;
mod messages;
mod read_pointers;
mod reconciliation;
mod rules;
mod tasks;
mod typing;
mod watching;
mod world;

/// More members than are served in the announcing task.
const MANY: u64 = 100;

/// Returns the frames of the messages in the range.
fn numbers(range: std::ops::RangeInclusive<u64>) -> String {
    range.map(|n| format!("{n};")).collect()
}
