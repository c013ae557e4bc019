//! What the tests and benchmarks need and cargo cannot provide, one file each.

pub(crate) mod browser;
pub(crate) mod cxx;
pub(crate) mod nginx;
pub(crate) mod node;
pub(crate) mod postgres;
pub(crate) mod promtool;
pub(crate) mod python;
pub(crate) mod redis;
pub(crate) mod rust_client;
pub(crate) mod systemd;
pub(crate) mod valgrind;

use crate::apt;
use crate::error::Error;
use crate::machine::step;

/// Programs that must be installed.
pub(crate) struct Need {
    /// Returns whether they are installed.
    pub(crate) is_met: fn() -> bool,
    /// The Debian packages that contain them.
    pub(crate) packages: &'static [&'static str],
}

/// Installs all missing packages at once, if permitted. Otherwise it only prints them, and
/// preparing an unmet need later fails with instructions.
pub(crate) fn install_missing(needs: &[Need]) -> Result<(), Error> {
    let packages: Vec<&str> = needs
        .iter()
        .filter(|need| !(need.is_met)())
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    if packages.is_empty() {
        return Ok(());
    }
    if apt::can_install() {
        return apt::install(&packages);
    }
    step(&format!("not installed: {}", packages.join(", ")));
    Ok(())
}
