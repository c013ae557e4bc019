//! What the tests need that cargo cannot bring, one file for each.

use crate::machine::step;
use crate::{Error, apt};

pub(crate) mod browser;
pub(crate) mod node;
pub(crate) mod postgres;
pub(crate) mod python;

/// Programs that must be on this machine.
pub(crate) struct Need {
    /// Looks for them.
    pub(crate) is_here: fn() -> bool,
    /// Debian's packages that have them.
    pub(crate) packages: &'static [&'static str],
}

/// Installs what is missing, all at once, where it may; otherwise does nothing, and the
/// need that is not met says so when its turn comes.
pub(crate) fn install_missing(needs: &[Need]) -> Result<(), Error> {
    let packages: Vec<&str> = needs
        .iter()
        .filter(|need| !(need.is_here)())
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    if packages.is_empty() {
        return Ok(());
    }
    if apt::can_install() {
        return apt::install(&packages);
    }
    step(&format!("not on this machine: {}", packages.join(", ")));
    Ok(())
}
