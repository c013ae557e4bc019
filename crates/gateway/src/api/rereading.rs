//! Rereads the keys when the process gets SIGHUP.

use std::io;
use std::path::{Path, PathBuf};

use chat_domain::{BoxError, one_line};
use tokio::signal::unix::{SignalKind, signal};

use super::keys::{ApiKeys, CurrentApiKeys};

/// Rereads the keys from their file at each SIGHUP, which from now on does not end the process.
/// A file that cannot be used leaves the keys as they are. Runs until it is dropped.
///
/// # Errors
/// The signal cannot be received.
pub(crate) fn reread_on_hangup(
    current: CurrentApiKeys,
    file: Option<PathBuf>,
) -> io::Result<impl Future<Output = ()>> {
    let mut hangups = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            if hangups.recv().await.is_none() {
                // The runtime has stopped.
                return std::future::pending().await;
            }
            match &file {
                Some(file) => reread(&current, file).await,
                None => tracing::warn!(
                    "the keys of the server API are not reread: they are in no file; set \
                     API_KEYS_FILE instead of API_KEYS"
                ),
            }
        }
    })
}

async fn reread(current: &CurrentApiKeys, file: &Path) {
    match read(file.to_owned()).await {
        Ok(keys) => {
            tracing::info!(keys = ?keys, "the keys of the server API are reread");
            current.replace(keys);
        }
        Err(error) => tracing::error!(
            error = %one_line(&*error),
            file = %file.display(),
            "the keys of the server API cannot be reread: the previous ones stay valid"
        ),
    }
}

async fn read(file: PathBuf) -> Result<ApiKeys, BoxError> {
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await??;
    Ok(text.parse()?)
}
