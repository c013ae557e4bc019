//! Attacks: what a client that has no business here, or that misbehaves, can do to the others.
//!
//! Beside each attack an honest pair of clients exchanges messages, all of which must arrive.
//! The tests assert outcomes: what is refused or closed, that memory and open files stay
//! bounded during the attack, and that they return to what they were before it.
//!
//! - `pair` is the honest pair, and `stage` the gateway with everything that is asserted about
//!   it; `raw` is a client that can send any bytes.
//! - The other files contain the attacks, one file per kind.
//!
//! The sizes suit `cargo test`. `cargo xtask attack` sets `ATTACK_FULL`, which makes the attacks
//! as large as they are named, and prints the pair's latency beside that without an attack.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod floods;
mod handshakes;
mod packets;
mod pair;
mod polling;
mod raw;
mod readers;
mod slow_requests;
mod stage;

/// Returns the size of an attack: the first if it is to be as large as it is named.
fn size(full: usize, small: usize) -> usize {
    match is_full() {
        true => full,
        false => small,
    }
}

fn is_full() -> bool {
    std::env::var_os("ATTACK_FULL").is_some()
}
