//! A C++ compiler, for libFuzzer.

use super::Need;
use crate::machine::find_program;

pub(crate) const NEED: Need = Need {
    is_met: || find_program("c++").is_some(),
    packages: &["g++"],
};
