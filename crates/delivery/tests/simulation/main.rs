//! Thousands of seeded worlds run the real delivery code in virtual time, against a
//! simulated log and simulated clients, under every fault that the architecture allows for.
//! A judge compares every frame with the promises.
//!
//! - `SIMULATION_SEEDS=N` runs that many seeds instead of 2,000, from `SIMULATION_FIRST` on.
//! - `SIMULATION_SEED=N` replays one seed and prints its trace.
//!
//! The controls, planted bugs that this must find, are in the crate `chat-delivery-controls`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod changes;
mod client;
mod frames;
mod judge;
mod log;
mod random;
mod rules;
mod steps;
mod views;
mod world;

const SEEDS: u64 = 2_000;

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number")),
    )
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = from_environment("SIMULATION_SEED") {
        let outcome = world::run(seed);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let first = from_environment("SIMULATION_FIRST").unwrap_or(1);
    let seeds = from_environment("SIMULATION_SEEDS").unwrap_or(SEEDS);
    assert!(seeds > 0, "SIMULATION_SEEDS must be at least 1");
    for seed in first..first + seeds {
        if let Some(violation) = world::run(seed).violation {
            panic!("seed {seed}: {violation} (SIMULATION_SEED={seed} replays it)");
        }
    }
    println!("{seeds} seeds from {first} on: no violation");
}

#[test]
fn a_seed_gives_one_trace() {
    for seed in 1..=20 {
        let (one, two) = (world::run(seed), world::run(seed));
        assert!(one.trace.len() > 20, "seed {seed} does something");
        assert_eq!(one, two, "seed {seed}");
    }
    assert_ne!(world::run(1).trace, world::run(2).trace);
}
