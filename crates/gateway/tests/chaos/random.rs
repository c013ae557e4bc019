//! Random decisions about faults and clients.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

/// Returns a random number below `limit`.
pub(crate) fn below(limit: u64) -> u64 {
    RandomState::new().hash_one(()) % limit.max(1)
}

/// Returns `true` with a probability of one in `times`.
pub(crate) fn one_in(times: u64) -> bool {
    below(times) == 0
}
