//! The simulation finds every planted bug.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use chat_delivery_controls::BUGS;

/// Within how many seeds each bug must be found.
const SEEDS: u64 = 10_000;

/// The seeds that find the bugs for which a search from the beginning takes minutes. They are tried
/// first; if one finds nothing any more, because the simulation has changed, the search does.
const RARE: &[(&str, u64)] = &[
    ("a_gap_that_could_not_be_read_is_not_tried_again", 570),
    ("changes_that_cannot_be_read_are_not_tried_again", 667),
    ("a_member_that_has_left_is_handed_changes_of_rules", 741),
    ("rooms_that_could_not_be_compared_count_as_compared", 2623),
    (
        "a_read_of_changes_that_was_not_fresh_enough_is_not_repeated",
        3207,
    ),
    ("a_read_that_was_not_fresh_enough_is_not_repeated", 3207),
];

#[test]
fn every_planted_bug_is_found() {
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = BUGS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let rare = RARE.iter().filter(|(name, _)| *name == bug.name);
                    let mut seeds = rare.map(|(_, seed)| *seed).chain(1..=SEEDS);
                    let found = seeds.find_map(|seed| Some((seed, (bug.run)(seed)?)));
                    match found {
                        Some((seed, found)) => println!("{}: seed {seed}: {found}", bug.name),
                        None => missed.lock().unwrap().push(bug.name),
                    }
                }
            });
        }
    });
    assert!(BUGS.len() >= 10);
    let missed = missed.into_inner().unwrap();
    assert!(
        missed.is_empty(),
        "not found within {SEEDS} seeds: {missed:?}"
    );
}
