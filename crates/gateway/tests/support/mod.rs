//! The gateway's binary, as its users run it, with its own database.

#![allow(dead_code, reason = "each test binary uses only parts of this module")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_test_support::{ChildProcess, TestDatabase, run, signal};
use serde_json::{Value, json};

use self::client::Client;

pub(crate) mod bystander;
pub(crate) mod cable;
pub(crate) mod client;
pub(crate) mod contract;
pub(crate) mod example;
pub(crate) mod exchange;
pub(crate) mod hook;
pub(crate) mod load;
pub(crate) mod lock;
pub(crate) mod metrics;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod roaming;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-gateway");
pub(crate) const SECRET: &str = "a secret of the tests, of 32 bytes and more";
/// The settings of which one names the keys that verify tokens.
const KEYS: [&str; 3] = ["JWT_SECRET", "JWT_PUBLIC_KEY_FILE", "JWKS_URL"];
/// How long a test waits for an event that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Returns a token that every gateway of these tests accepts.
pub(crate) fn token(user: &str, name: &str) -> String {
    sign(&json!({ "sub": user, "name": name, "exp": now() + 3600 }))
}

/// Returns a token with these claims, signed with the gateways' secret.
pub(crate) fn sign(claims: &Value) -> String {
    sign_with(SECRET, claims)
}

/// Returns a token with these claims, signed with this secret.
pub(crate) fn sign_with(secret: &str, claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
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
                let mut python = Command::new("python3");
                python.args(["-c", SQLITE_SHELL, path.to_str().unwrap(), sql]);
                let done = run(&mut python, DEADLINE).unwrap();
                let error = String::from_utf8_lossy(&done.stderr);
                assert!(done.status.success(), "{sql}: {error}");
                String::from_utf8(done.stdout)
                    .unwrap()
                    .trim_end()
                    .to_owned()
            }
            Self::Postgres(database) => database.psql(sql).unwrap(),
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

/// A running gateway. Killed when it is dropped; its log is printed if the test fails.
pub(crate) struct Gateway {
    process: ChildProcess,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// Starts `serve` on this database with the default settings, but without
    /// `MESSAGE_RATE`.
    pub(crate) fn start(database: &Database) -> Self {
        Self::start_with(database, &[])
    }

    /// Starts `serve` on this database with these environment variables, in addition to
    /// the required ones.
    pub(crate) fn start_with(database: &Database, environment: &[(&str, &str)]) -> Self {
        Self::start_program(PROGRAM.as_ref(), database, environment)
    }

    /// Starts `serve` of this gateway program, like [`start_with`](Self::start_with).
    pub(crate) fn start_program(
        program: &OsStr,
        database: &Database,
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = command_of(program, "serve");
        if !environment.iter().any(|(name, _)| KEYS.contains(name)) {
            command.env("JWT_SECRET", SECRET);
        }
        command
            .env("DATABASE_URL", database.url())
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env("MESSAGE_RATE", "0")
            .envs(environment.iter().copied());
        Self::spawn(command)
    }

    /// Starts a command that serves clients and waits until it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let process = ChildProcess::start(&mut command).unwrap();
        let listening = process.wait_for_output("the gateway listens", DEADLINE, |log| {
            let line = log.lines().find(|line| line.contains("\"listening\""))?;
            let line: Value = serde_json::from_str(line).ok()?;
            line["address"].as_str()?.parse().ok()
        });
        Self {
            address: listening.unwrap(),
            process,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connects a client as this user.
    pub(crate) async fn connect(&self, user: &str) -> Client {
        Client::connect(self.address, &token(user, "x")).await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns a field of `/proc/PID/status`, such as `VmRSS` (resident memory) or `VmHWM`
    /// (its peak), in KiB.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Returns the number of sockets that the process has open. Files do not count: the gateway
    /// opens connections to SQLite when it needs them.
    pub(crate) fn open_sockets(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        let files = std::fs::read_dir(folder).unwrap().flatten();
        // One that has been closed meanwhile has no target.
        let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Returns the number of files and sockets that the process has open.
    pub(crate) fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Returns what the gateway has logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Waits until `find` returns a value for the log.
    pub(crate) fn wait_for_log<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        self.process
            .wait_for_output("a log line", DEADLINE, find)
            .unwrap()
    }

    /// Sends a signal, for example "TERM" or "KILL".
    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.id(), name).unwrap();
    }

    /// Waits until the process has ended and its log is complete.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait(Duration::from_secs(15)).unwrap()
    }
}

/// Returns the value of a metric by its name and labels, or by its name the sum of all values.
pub(crate) async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let scrape = metrics::Scrape::of(gateway.address).await;
    let value = match name.contains('{') {
        true => scrape.value(name),
        false => scrape.sum(name),
    };
    value as u64
}

/// Returns a command of the binary that does not inherit the developer's settings.
pub(crate) fn command(name: &str) -> Command {
    command_of(PROGRAM.as_ref(), name)
}

fn command_of(program: &OsStr, name: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(name).env_clear();
    for kept in ["PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}
