//! systemd's and Debian's tools for packages: they judge the unit and install the package.

use std::process::Command;

use super::Need;
use crate::machine::{find_program, is_root, step, succeeds};

pub(crate) const NEED: Need = Need {
    is_met: || find_program("systemd-analyze").is_some() && find_program("adduser").is_some(),
    packages: &["systemd", "adduser"],
};

/// Returns whether the package can be installed in a mount namespace; otherwise it says that this
/// is not tested.
pub(crate) fn can_install_packages() -> bool {
    let can_mount = || succeeds(Command::new("unshare").args(["--mount", "true"]));
    if is_root() && find_program("dpkg").is_some() && can_mount() {
        return true;
    }
    step(
        "NOT RUN: the installation of the Debian package, which mounts a file system: run as root \
         on Debian or Ubuntu",
    );
    false
}
