//! What makes gateways the nodes of one group.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::BuildHasher as _;

/// A Redis, and a prefix that no other group uses.
pub(crate) struct Exchange {
    url: String,
    prefix: String,
}

impl Exchange {
    /// The nodes exchange hints through the Redis that `cargo xtask test` provides.
    pub(crate) fn shared() -> Self {
        let url = env::var("TEST_REDIS_URL")
            .expect("TEST_REDIS_URL is not set: run `cargo xtask test`, which provides Redis");
        Self::on(&url)
    }

    /// The nodes exchange hints through this Redis, whether it is there or not.
    pub(crate) fn on(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: format!("test-{:016x}:", RandomState::new().hash_one(())),
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the settings that all nodes share.
    pub(crate) fn settings(&self) -> [(&str, &str); 2] {
        [("REDIS_URL", &self.url), ("REDIS_PREFIX", &self.prefix)]
    }
}
