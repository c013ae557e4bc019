//! A browser of the Chromium family, which the end-to-end tests drive.

use std::env;
use std::path::PathBuf;

use super::Need;
use crate::Error;
use crate::machine::{find_program, step};

pub(crate) const NEED: Need = Need {
    is_here: || find().is_some(),
    packages: &["chromium"],
};

/// The browser's program.
pub(crate) fn prepare() -> Result<PathBuf, Error> {
    let browser = find().ok_or(
        "the tests drive a browser and there is none: install Chromium or Chrome (Debian's \
         package is `chromium`), or say in CHROME_BIN where its program is",
    )?;
    step(&format!("browser {}", browser.display()));
    Ok(browser)
}

fn find() -> Option<PathBuf> {
    if let Some(program) = env::var_os("CHROME_BIN") {
        return Some(program.into());
    }
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find_map(find_program)
}
