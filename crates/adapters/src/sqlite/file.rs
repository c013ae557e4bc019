//! The database file, and how it is opened.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_domain::BoxError;
use diesel::connection::SimpleConnection;
use diesel::{Connection, ConnectionError, ConnectionResult, QueryResult, SqliteConnection};

use super::checkpoint::LOG_LIMIT;

/// How long a statement waits for another connection that holds the file's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait for a lock for which SQLite does not.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The path of a database file.
#[derive(Clone)]
pub(super) struct DatabaseFile {
    path: Arc<Path>,
}

impl DatabaseFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path: path.into() }
    }

    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Checks that the file can be written or created. Leaves nothing behind.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn check_writable(&self) -> Result<(), BoxError> {
        let attempt = if self.exists() {
            OpenOptions::new().append(true).open(&self.path).map(drop)
        } else {
            let here = Path::new(".");
            let mut directories = self.path.ancestors().skip(1).map(|directory| {
                match directory.as_os_str().is_empty() {
                    true => here,
                    false => directory,
                }
            });
            let directory = directories.find(|directory| directory.exists());
            let probe = format!(".chat-gateway-{}", std::process::id());
            let probe = directory.unwrap_or(here).join(probe);
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&probe)
                .and_then(|_| std::fs::remove_file(&probe))
        };
        attempt
            .map_err(|error| format!("{} cannot be written: {error}", self.path.display()).into())
    }

    /// Creates the directory and the file, if they do not exist, and opens the file.
    ///
    /// # Errors
    /// When either cannot be created, or the file is not a database.
    pub(super) fn create(&self) -> Result<SqliteConnection, BoxError> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)
                .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
        }
        let opened = self.connect();
        opened.map_err(|error| format!("{}: {error}", self.path.display()).into())
    }

    /// Opens the file, which must exist: a database that was moved away must not be
    /// replaced with an empty one.
    ///
    /// # Errors
    /// When it does not exist or cannot be opened.
    pub(super) fn open(&self) -> ConnectionResult<SqliteConnection> {
        if !self.exists() {
            let missing = format!("{} does not exist", self.path.display());
            return Err(ConnectionError::BadConnection(missing));
        }
        self.connect()
    }

    fn connect(&self) -> ConnectionResult<SqliteConnection> {
        // Names that SQLite interprets (`:memory:`, `file:…`) become paths with ./ in
        // front of them.
        let path = if self.path.is_absolute() {
            self.path.to_path_buf()
        } else {
            Path::new(".").join(&self.path)
        };
        let path = path
            .to_str()
            .ok_or_else(|| ConnectionError::BadConnection("the path is not valid UTF-8".into()))?;
        let mut connection = SqliteConnection::establish(path)?;
        set_up(&mut connection).map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(connection)
    }

    /// Returns the size of the write-ahead log in bytes, 0 if there is none.
    pub(super) fn log_size(&self) -> u64 {
        let mut path = self.path.as_os_str().to_owned();
        path.push("-wal");
        std::fs::metadata(path).map_or(0, |log| log.len())
    }

    /// Returns which file the path leads to now. A file that is deleted or replaced while
    /// it is open would accept writes that no later process finds.
    pub(super) fn identity(&self) -> Option<FileIdentity> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let metadata = std::fs::metadata(&*self.path).ok()?;
            Some(FileIdentity(metadata.dev(), metadata.ino()))
        }
        #[cfg(not(unix))]
        {
            self.exists().then_some(FileIdentity(0, 0))
        }
    }
}

fn set_up(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = {}",
        BUSY_TIMEOUT.as_millis()
    ))?;
    let began = Instant::now();
    // SQLite does not wait for another process that is switching a new file to WAL as well.
    while let Err(error) = connection.batch_execute("PRAGMA journal_mode = WAL") {
        if began.elapsed() >= BUSY_TIMEOUT || error.to_string() != "database is locked" {
            return Err(error);
        }
        std::thread::sleep(LOCK_RETRY_INTERVAL);
    }
    // FULL: with WAL, NORMAL can lose acknowledged commits when the power fails.
    connection.batch_execute(&format!(
        "PRAGMA journal_size_limit = {LOG_LIMIT}; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON"
    ))
}

/// Identifies a file independently of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity(u64, u64);
