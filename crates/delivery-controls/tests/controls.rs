//! The simulation finds every planted bug.

use chat_delivery_controls::BUGS;

/// Within how many seeds each bug must be found.
const SEEDS: u64 = 10_000;

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in BUGS {
        let found = (1..=SEEDS).find_map(|seed| Some((seed, (bug.run)(seed)?)));
        match found {
            Some((seed, violation)) => println!("{}: seed {seed}: {violation}", bug.name),
            None => missed.push(bug.name),
        }
    }
    assert!(BUGS.len() >= 10);
    assert!(
        missed.is_empty(),
        "not found within {SEEDS} seeds: {missed:?}"
    );
}
