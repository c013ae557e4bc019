//! Chance: which fault hits whom, and when.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

/// A random number below this one.
pub(crate) fn below(limit: u64) -> u64 {
    RandomState::new().hash_one(()) % limit.max(1)
}

/// True once in so many times.
pub(crate) fn one_in(times: u64) -> bool {
    below(times) == 0
}
