//! The simulation finds every planted bug.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use chat_delivery_controls::BUGS;

/// Within how many seeds each bug must be found.
const SEEDS: u64 = 10_000;

#[test]
fn every_planted_bug_is_found() {
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = BUGS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = (1..=SEEDS).find_map(|seed| Some((seed, (bug.run)(seed)?)));
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
