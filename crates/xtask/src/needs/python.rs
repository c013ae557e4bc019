//! Python with the packages of the Python client tests, in a virtual environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Need;
use crate::error::Error;
use crate::machine::{run, step, succeeds, test_tools};

pub(crate) const NEED: Need = Need {
    is_met: || find().is_some(),
    packages: &["python3", "python3-venv"],
};

/// Installs the packages that `clients/requirements.txt` pins and returns the virtual
/// environment's program `python`.
pub(crate) fn prepare(clients: &Path) -> Result<PathBuf, Error> {
    let environment = test_tools().join("python");
    let program = environment.join("bin/python");
    let requirements = clients.join("requirements.txt");
    let wanted = fs::read_to_string(&requirements)?;
    let stamp = environment.join("requirements.installed");
    let installed = fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted);
    // After an upgrade of the system's Python, an old environment may not start.
    if !installed || !succeeds(Command::new(&program).arg("--version")) {
        let python = find().ok_or(
            "the tests need Python 3 with its module venv for Python clients: install it \
             (Debian's packages are `python3` and `python3-venv`)",
        )?;
        step("pip install");
        run(Command::new(python)
            .args(["-m", "venv", "--clear"])
            .arg(&environment))?;
        run(Command::new(&program)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(&requirements)
            .stdin(Stdio::null()))?;
        fs::write(stamp, wanted)?;
    }
    step(&format!("python {}", program.display()));
    Ok(program)
}

/// Debian packages Python without the modules that `venv` needs, and the first Python on
/// `PATH` may not be Debian's.
fn find() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(|python| succeeds(Command::new(python).args(["-c", "import ensurepip, venv"])))
}
