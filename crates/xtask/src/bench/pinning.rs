//! The cores: the server has one to itself; the database and the load share another.

use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use crate::error::Error;
use crate::machine::{find_program, run, step};

const SERVER_CORE: usize = 0;
const OTHER_CORE: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pinning {
    Pinned,
    Unpinned,
}

impl Pinning {
    /// Pins this process, and with it all that it starts afterwards, to the core that is
    /// not the server's. Without `taskset` or a second core, it only prints that the
    /// figures are less exact.
    pub(super) fn pin_this_process() -> Result<Self, Error> {
        let cores = available_parallelism()?.get();
        if find_program("taskset").is_none() || cores < 2 {
            step("NOT PINNED: this needs taskset and two cores; the figures will vary more");
            return Ok(Self::Unpinned);
        }
        let mut taskset = Command::new("taskset");
        taskset
            .args([
                "--all-tasks",
                "--cpu-list",
                "--pid",
                &OTHER_CORE.to_string(),
            ])
            .arg(std::process::id().to_string())
            .stdout(Stdio::null());
        run(&mut taskset)?;
        Ok(Self::Pinned)
    }

    /// Returns the core of the server, if it is pinned.
    pub(super) fn server_core(self) -> Option<usize> {
        (self == Self::Pinned).then_some(SERVER_CORE)
    }

    /// Describes the placement for the caption of the figures.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Pinned => format!(
                "the server on core {SERVER_CORE}, the database and the load on core {OTHER_CORE}"
            ),
            Self::Unpinned => "nothing pinned".to_owned(),
        }
    }
}
