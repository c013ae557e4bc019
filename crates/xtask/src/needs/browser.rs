//! A Chromium-based browser, for the end-to-end tests of the demo page.

use std::env;
use std::path::PathBuf;

use super::Need;
use crate::error::Error;
use crate::machine::{find_program, step};

pub(crate) const NEED: Need = Need {
    is_met: || find().is_some(),
    packages: &["chromium"],
};

/// Returns the browser's program.
pub(crate) fn prepare() -> Result<PathBuf, Error> {
    let browser = find().ok_or(
        "the tests need a browser, and none is installed: install Chromium or Chrome (Debian's \
         package is `chromium`), or set CHROME_BIN to its program",
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
