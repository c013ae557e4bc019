//! nginx, for the tests of `deploy/nginx.conf`.

use std::path::{Path, PathBuf};

use super::Need;
use crate::error::Error;
use crate::machine::{find_program, step};

pub(crate) const NEED: Need = Need {
    is_met: || find().is_some(),
    packages: &["nginx"],
};

/// Returns the program `nginx`.
pub(crate) fn prepare() -> Result<PathBuf, Error> {
    let nginx = find().ok_or(
        "the tests need nginx, and it is not installed: install it (Debian's package is \
         `nginx`)",
    )?;
    step(&format!("nginx {}", nginx.display()));
    Ok(nginx)
}

/// Debian's folder is not on every user's `PATH`.
fn find() -> Option<PathBuf> {
    let debian = Path::new("/usr/sbin/nginx");
    find_program("nginx").or_else(|| debian.is_file().then(|| debian.to_owned()))
}
