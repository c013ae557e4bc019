//! The gateway's binary, as its users run it, with its own database.

#![allow(dead_code, reason = "each test binary uses only parts of this module")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chat_test_support::{TestDatabase, psql, signal};
use serde_json::{Value, json};

use self::client::Client;

pub(crate) mod client;

pub(crate) const SECRET: &str = "a secret of the tests, of 32 bytes and more";
/// How long a test waits for an event that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Returns a token that every gateway of these tests accepts.
pub(crate) fn token(user: &str, name: &str) -> String {
    sign(&json!({ "sub": user, "name": name, "exp": now() + 3600 }))
}

/// Returns a token with these claims, signed with the gateways' secret.
pub(crate) fn sign(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// The database of one test. Removed when it is dropped.
pub(crate) enum Database {
    Sqlite(tempfile::TempDir),
    Postgres(TestDatabase),
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(TestDatabase::create_from_env())
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite://{}", self.path().display()),
            Self::Postgres(database) => database.url(),
        }
    }

    /// Returns the file of a SQLite database.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("data/chat.db"),
            Self::Postgres(_) => panic!("a PostgreSQL database is not a file"),
        }
    }

    /// Runs SQL on a session that is not the gateway's and returns one line per row, with
    /// `|` between the columns.
    pub(crate) fn sql(&self, sql: &str) -> String {
        match self {
            Self::Sqlite(_) => {
                let path = self.path();
                let done = Command::new("python3")
                    .args(["-c", SQLITE_SHELL, path.to_str().unwrap(), sql])
                    .output()
                    .unwrap();
                let error = String::from_utf8_lossy(&done.stderr);
                assert!(done.status.success(), "{sql}: {error}");
                String::from_utf8(done.stdout)
                    .unwrap()
                    .trim_end()
                    .to_owned()
            }
            Self::Postgres(database) => psql(&database.url(), sql).unwrap().trim_end().to_owned(),
        }
    }
}

/// Python includes SQLite; the program `sqlite3` may not be installed.
const SQLITE_SHELL: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
for statement in sys.argv[2].split(';;'):
    for row in db.execute(statement):
        print('|'.join('' if v is None else str(v) for v in row))
";

/// A running gateway. Killed when it is dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    text: String,
    /// The process has ended and everything that it logged is in `text`.
    is_complete: bool,
}

impl Log {
    /// Waits until `find` returns a value.
    fn wait_for<T>(
        &self,
        what: &str,
        within: Duration,
        find: impl Fn(&LogState) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + within;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(found) = find(&state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "timed out waiting for {what}:\n{}",
                state.text
            );
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Gateway {
    /// Starts `serve` on this database with the default settings.
    pub(crate) fn start(database: &Database) -> Self {
        Self::start_with(database, &[])
    }

    /// Starts `serve` on this database with these environment variables, in addition to
    /// the required ones.
    pub(crate) fn start_with(database: &Database, environment: &[(&str, &str)]) -> Self {
        let mut command = command("serve");
        command
            .env("DATABASE_URL", database.url())
            .env("JWT_SECRET", SECRET)
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .envs(environment.iter().copied());
        Self::spawn(command)
    }

    /// Starts a command that serves clients and waits until it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let collected = log.clone();
        // The thread ends when the process does, which closes the pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                collected.state.lock().unwrap().text += &format!("{line}\n");
                collected.changed.notify_all();
            }
            collected.state.lock().unwrap().is_complete = true;
            collected.changed.notify_all();
        });
        let mut gateway = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
        };
        let listening = gateway.wait_for_log(|log| {
            let line = log.lines().find(|line| line.contains("\"listening\""))?;
            let line: Value = serde_json::from_str(line).ok()?;
            line["address"].as_str()?.parse().ok()
        });
        gateway.address = listening;
        gateway
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connects a client as this user.
    pub(crate) async fn connect(&self, user: &str) -> Client {
        Client::connect(self.address, &token(user, "x")).await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns a field of `/proc/PID/status`, such as `VmRSS` (resident memory) or `VmHWM`
    /// (its peak), in KiB.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Returns the number of files and sockets that the process has open.
    pub(crate) fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Returns what the gateway has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.state.lock().unwrap().text.clone()
    }

    /// Waits until `find` returns a value for the log.
    pub(crate) fn wait_for_log<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        self.log
            .wait_for("a log line", DEADLINE, |log| find(&log.text))
    }

    /// Sends a signal, for example "TERM" or "KILL".
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name).unwrap();
    }

    /// Waits until the process has ended and its log is complete.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        // The kernel closes the pipe of the log when the process ends.
        let within = Duration::from_secs(15);
        self.log.wait_for("the gateway to end", within, |log| {
            log.is_complete.then_some(())
        });
        self.child.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

/// Returns a command of the binary that does not inherit the developer's settings.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat-gateway"));
    command.arg(name).env_clear();
    for kept in ["PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}
