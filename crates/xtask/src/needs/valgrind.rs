//! Valgrind, whose tool callgrind counts instructions.

use std::path::PathBuf;

use super::Need;
use crate::error::Error;
use crate::machine::find_program;

pub(crate) const NEED: Need = Need {
    is_met: || find().is_some(),
    packages: &["valgrind"],
};

/// Installs Valgrind if that is possible, and returns the program.
pub(crate) fn prepare() -> Result<PathBuf, Error> {
    super::install_missing(&[NEED])?;
    let program = find();
    program.ok_or_else(|| {
        "instructions are counted with Valgrind: install it (Debian's package is `valgrind`)".into()
    })
}

fn find() -> Option<PathBuf> {
    find_program("valgrind")
}
