//! Controls for the simulation of chat-delivery: a proof that cannot fail proves nothing.
//!
//! `build.rs` copies the sources of the delivery and of its simulation once for each planted
//! bug, changes one place of the copy, and `tests/controls.rs` checks that the simulation
//! finds each of them. The product contains none of it.

#[allow(
    warnings,
    clippy::unwrap_used,
    reason = "copies of code that is checked where it stands"
)]
mod planted {
    include!(concat!(env!("OUT_DIR"), "/planted.rs"));
}

pub use planted::BUGS;

/// A planted bug.
#[derive(Debug, Clone, Copy)]
pub struct Bug {
    /// What is wrong.
    pub name: &'static str,
    /// Runs the world of a seed on the changed delivery; returns the violation that the
    /// judge saw, if it saw one.
    pub run: fn(u64) -> Option<String>,
}
