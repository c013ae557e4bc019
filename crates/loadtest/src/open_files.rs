//! The limit on open files: every connection is an open file.

use chat_domain::BoxError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside the connections.
const OTHER_FILES: u64 = 64;

/// Raises this process's limit so that it can hold this many connections.
///
/// # Errors
/// The hard limit is too low; the message says how to raise it.
pub(crate) fn allow(connections: usize) -> Result<(), BoxError> {
    let needed = connections as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        ..limit
    };
    let is_allowed = limit.maximum.is_none_or(|maximum| maximum >= needed);
    if is_allowed && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let maximum = limit.maximum.unwrap_or_default();
    Err(format!(
        "{connections} connections need {needed} open files, but this process is limited to \
         {maximum}: run `ulimit -n {needed}` first, as root"
    )
    .into())
}
