//! The contract of [`Clock`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chat_adapters::SystemClock;
use chat_domain::ports::Clock;

/// Declares a test with each clock for each `fn(&impl Clock)`.
macro_rules! on_each_clock {
    ($($test:ident),* $(,)?) => {
        mod on_the_system {
            $(#[test]
            fn $test() {
                super::$test(&super::SystemClock);
            })*
        }
    };
}

on_each_clock!(
    the_time_is_that_of_the_system,
    the_time_does_not_jump,
    the_time_has_a_precision_of_milliseconds,
);

/// How far a correction of the system's clock may move it during a test.
const TOLERANCE: i64 = 1000;

fn system_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn the_time_is_that_of_the_system(clock: &impl Clock) {
    let before = system_millis();
    let now = clock.now().unix_millis();
    let after = system_millis();
    assert!(
        (before - TOLERANCE..=after + TOLERANCE).contains(&now),
        "{now} is not between {before} and {after}"
    );
}

fn the_time_does_not_jump(clock: &impl Clock) {
    let (start, first) = (Instant::now(), clock.now().unix_millis());
    for _ in 0..10_000 {
        let elapsed = i64::try_from(start.elapsed().as_millis()).unwrap();
        let shown = clock.now().unix_millis() - first;
        assert!(
            (shown - elapsed).abs() <= TOLERANCE,
            "{shown} ms have passed on the clock, and {elapsed} ms in fact"
        );
    }
}

fn the_time_has_a_precision_of_milliseconds(clock: &impl Clock) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut seen = BTreeSet::new();
    while seen.len() < 20 && Instant::now() < deadline {
        seen.insert(clock.now().unix_millis());
    }
    assert_eq!(seen.len(), 20, "different times in ten seconds");
    assert!(seen.iter().any(|millis| millis % 10 != 0), "{seen:?}");
}
