//! A gateway as its users run it: the binary, with a database of its own.

#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chat_test_support::{TestDatabase, psql, signal};
use serde_json::{Value, json};

pub(crate) mod client;

pub(crate) const SECRET: &str = "a secret of the tests, of 32 bytes and more";
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A token that every gateway here accepts.
pub(crate) fn token(user: &str, name: &str) -> String {
    sign(&json!({ "sub": user, "name": name, "exp": now() + 3600 }))
}

/// A token with these claims, signed with the gateways' secret.
pub(crate) fn sign(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A database for one gateway.
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

    /// The file of a SQLite database.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("data/chat.db"),
            Self::Postgres(_) => panic!("PostgreSQL is no file"),
        }
    }

    /// Runs SQL beside the gateway; what it prints, one row a line, columns
    /// separated by `|`.
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

/// Python has SQLite with it; the program `sqlite3` may not be there.
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
    text: Mutex<String>,
    grown: Condvar,
}

impl Gateway {
    /// `serve` on this database, with the defaults.
    pub(crate) fn start(database: &Database) -> Self {
        Self::start_with(database, &[])
    }

    /// `serve` on this database, with these variables beside the needed ones.
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

    /// Starts a command that listens, and waits until it does.
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
        // Ends with the process, whose end of the pipe it reads.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *collected.text.lock().unwrap() += &format!("{line}\n");
                collected.grown.notify_all();
            }
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

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// Waits until the log holds what is looked for.
    pub(crate) fn wait_for_log<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        let mut text = self.log.text.lock().unwrap();
        loop {
            if let Some(found) = find(&text) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not in the log:\n{text}");
            text = self.log.grown.wait_timeout(text, left).unwrap().0;
        }
    }

    /// Sends a signal: "TERM", "KILL".
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the gateway does not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
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

/// The binary, with an environment that no developer's settings reach.
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
