//! The limit on open files: every connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files that are open beside the clients' connections: those of the database, of Redis and
/// of the process itself, and operators' requests.
const OTHER_FILES: u64 = 128;

/// Returns how many clients fit within the limit on open files; 0 if there is none.
///
/// For each four clients, three more connections may carry HTTP requests: see
/// [`Admission::max_http_connections`](crate::admission::Admission::max_http_connections).
pub(crate) fn connections() -> usize {
    match getrlimit(Resource::Nofile).maximum {
        None => 0,
        Some(files) => connections_of(files),
    }
}

fn connections_of(files: u64) -> usize {
    let clients = files.saturating_sub(OTHER_FILES).saturating_mul(4) / 7;
    usize::try_from(clients.max(1)).unwrap_or(0)
}

/// Raises the limit of this process as far as it may.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit on open files cannot be raised");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_their_requests_fit_within_the_limit() {
        for files in [1024, 20_000, 1 << 30] {
            let clients = connections_of(files) as u64;
            assert!(clients + 3 * clients / 4 + OTHER_FILES <= files, "{files}");
            assert!(
                2 * clients > files - 2 * OTHER_FILES - 512,
                "{files}: {clients}"
            );
        }
        assert_eq!(connections_of(10), 1);
    }
}
