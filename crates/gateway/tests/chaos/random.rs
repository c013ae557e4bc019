//! Random decisions about faults and clients, all of which follow from one seed.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

/// Returns the seed of this process: `CHAOS_SEED`, or else a new one.
pub(crate) fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("CHAOS_SEED is a number"),
        // Short enough to be copied by hand.
        Err(_) => RandomState::new().hash_one(()) >> 40,
    })
}

/// A source of random decisions (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random {
    /// What the source was made from; it does not change.
    origin: u64,
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            origin: seed,
            state: seed,
        }
    }

    /// Returns an independent source, which depends on this source's origin and the name
    /// only, not on the decisions that were made so far.
    pub(crate) fn derive(&self, name: &str) -> Self {
        let seed = name
            .bytes()
            .fold(mix(self.origin), |seed, byte| mix(seed ^ u64::from(byte)));
        Self::new(seed)
    }

    /// Returns a random number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state) % limit.max(1)
    }

    /// Returns `true` with a probability of one in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[test]
fn a_seed_and_a_name_determine_every_decision() {
    let decisions = |seed, name: &str| {
        let mut random = Random::new(seed).derive(name);
        [(); 8].map(|()| random.below(1000))
    };
    assert_eq!(decisions(7, "a"), decisions(7, "a"));
    assert_ne!(decisions(7, "a"), decisions(8, "a"));
    assert_ne!(decisions(7, "a"), decisions(7, "b"));
    let mut used = Random::new(7);
    used.below(10);
    assert_eq!(used.derive("a").below(1000), decisions(7, "a")[0]);
}
