//! systemd's judgement of the unit, and Debian's tools, which build and install the package. Neither
//! exists on every system on which the gateway is developed.

use std::process::Command;

use super::Need;
use crate::machine::{find_program, is_root, step, succeeds};

pub(crate) const NEED: Need = Need {
    is_met: || find_program("systemd-analyze").is_some() && find_program("adduser").is_some(),
    packages: &["systemd", "adduser"],
};

/// Lets the tests use what this machine has, and says what is not tested without the rest.
pub(crate) fn prepare(tests: &mut Command) {
    match find_program("systemd-analyze") {
        Some(program) => drop(tests.env("TEST_SYSTEMD_ANALYZE", program)),
        None => step("NOT RUN: systemd's judgement of the unit: systemd-analyze is not installed"),
    }
    match find_program("dpkg-deb") {
        Some(program) => drop(tests.env("TEST_DPKG_DEB", program)),
        None => step("NOT RUN: the files of a release: dpkg-deb is not installed"),
    }
    let can_mount = || succeeds(Command::new("unshare").args(["--mount", "true"]));
    if is_root() && find_program("dpkg").is_some() && can_mount() {
        tests.env("TEST_PACKAGE", "1");
    } else {
        step(
            "NOT RUN: the installation of the Debian package, which mounts a file system: run as \
             root on Debian or Ubuntu",
        );
    }
}
