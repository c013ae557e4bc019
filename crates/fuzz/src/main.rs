//! libFuzzer, for the target that `FUZZ_TARGET` names. `cargo xtask fuzz` builds this program
//! with coverage and runs it.

#![no_main]

use std::sync::LazyLock;

use chat_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => *target,
        None => panic!("FUZZ_TARGET must be the name of a target, not {name:?}"),
    }
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
