//! promtool, which checks metrics and alert rules as Prometheus reads them.

use std::path::PathBuf;

use super::Need;
use crate::error::Error;
use crate::machine::{find_program, step};

pub(crate) const NEED: Need = Need {
    is_met: || find().is_some(),
    packages: &["prometheus"],
};

/// Returns the program `promtool`.
pub(crate) fn prepare() -> Result<PathBuf, Error> {
    let promtool = find().ok_or(
        "the tests need promtool, and it is not installed: install Prometheus (Debian's package \
         is `prometheus`)",
    )?;
    step(&format!("promtool {}", promtool.display()));
    Ok(promtool)
}

fn find() -> Option<PathBuf> {
    find_program("promtool")
}
