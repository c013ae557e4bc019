//! A throwaway PostgreSQL server, started from installed programs.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, File};
use std::hash::BuildHasher as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::child::run;
use crate::process::{Janitor, signal, wait_until};
use crate::programs::{Programs, succeed};

const SUPERUSER: &str = "postgres";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Benchmarks store millions of rows in one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);

/// How a [`Cluster`] is started. The default is a server with PostgreSQL's default settings,
/// including durability, that trusts every connection on the loopback interface.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// Requires this password (SCRAM) from the superuser.
    pub password: Option<String>,
    /// Lines to append to `postgresql.conf`, for example `max_connections = 20`.
    pub settings: Vec<String>,
    /// Accepts TLS with this identity, in addition to plain connections.
    pub tls: Option<TlsIdentity>,
    /// Creates the cluster's folder here instead of in the system's temporary folder.
    pub folder: Option<PathBuf>,
}

/// A server's certificate and private key, both PEM.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// The certificate, followed by its intermediates if it has any.
    pub certificate_pem: String,
    /// The certificate's private key.
    pub key_pem: String,
}

/// A PostgreSQL server with its own data folder. Both are removed when the value is
/// dropped, and when the process that holds it is killed.
///
/// ```no_run
/// use chat_test_support::{Cluster, ClusterOptions};
///
/// # fn main() -> std::io::Result<()> {
/// let mut cluster = Cluster::start(ClusterOptions::default())?;
/// cluster.create_database("chat")?;
/// cluster.stop_immediate()?;
/// // Everything that was committed before the crash is still stored.
/// cluster.start_again()?;
/// assert_eq!(cluster.psql("chat", "select 1")?, "1");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    owner: Option<Owner>,
    folder: PathBuf,
    password: Option<String>,
    port: u16,
    server: Option<Child>,
    /// Removes the folder, and stops the server if it still runs.
    _janitor: Janitor,
}

impl Cluster {
    /// Creates a data folder and starts a server on it, on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// The programs are not installed (the error says what to install), or the server did
    /// not start (the error ends with its log).
    pub fn start(options: ClusterOptions) -> io::Result<Self> {
        let programs = Programs::find()?;
        let owner = Owner::if_root()?;
        let parent = options.folder.clone().unwrap_or_else(env::temp_dir);
        let folder = tempfile::Builder::new()
            .prefix("chat-postgres-")
            .tempdir_in(parent)?
            .keep();
        let janitor = Janitor::new(CLEAN_UP, [&folder])?;
        if let Some(owner) = &owner {
            chown(&folder, Some(owner.user), Some(owner.group))?;
        }
        let mut cluster = Self {
            programs,
            owner,
            folder,
            password: options.password.clone(),
            port: 0,
            server: None,
            _janitor: janitor,
        };
        cluster.initialize(&options)?;
        // Another process may take the free port before the server listens on it.
        for _ in 0..10 {
            cluster.port = free_port()?;
            match cluster.start_again() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                outcome => return outcome.map(|()| cluster),
            }
        }
        Err(io::Error::other("found no free port for PostgreSQL"))
    }

    /// Returns the URL of one of its databases, with the superuser's name and, if set, its
    /// password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = self.password.as_ref().map(|password| {
            let mut encoded = String::from(":");
            for byte in password.bytes() {
                if byte.is_ascii_alphanumeric() {
                    encoded.push(char::from(byte));
                } else {
                    encoded.push_str(&format!("%{byte:02X}"));
                }
            }
            encoded
        });
        format!(
            "postgres://{SUPERUSER}{}@127.0.0.1:{}/{database}",
            password.unwrap_or_default(),
            self.port
        )
    }

    /// Returns the TCP port, which stays the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server like a crash, without flushing anything: the next start recovers.
    ///
    /// # Errors
    ///
    /// The server did not stop and was killed; the error ends with its log.
    pub fn stop_immediate(&mut self) -> io::Result<()> {
        self.stop("QUIT")
    }

    /// Stops the server cleanly, after closing its connections.
    ///
    /// # Errors
    ///
    /// The server did not stop and was killed; the error ends with its log.
    pub fn stop_fast(&mut self) -> io::Result<()> {
        self.stop("INT")
    }

    /// Kills all processes of the server, as the kernel does when memory is short.
    ///
    /// # Errors
    ///
    /// The server's processes cannot be listed.
    pub fn kill_all(&mut self) -> io::Result<()> {
        let children = self.psql(SUPERUSER, "select pid from pg_stat_activity")?;
        self.kill();
        for child in children.lines() {
            // One that has noticed the end of the server is gone already.
            signal(child.parse().map_err(io::Error::other)?, "KILL").ok();
        }
        Ok(())
    }

    /// Starts the stopped server on the same port and data.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if another process has taken the port; otherwise the error ends with the
    /// server's log.
    pub fn start_again(&mut self) -> io::Result<()> {
        assert!(self.server.is_none(), "the server is already running");
        let log = self.folder.join("server.log");
        let output = File::create(&log)?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            // Ctrl-C ends the tests; the janitor stops the server after them.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let server = self.server.insert(command.spawn()?);
        let status_file = self.folder.join("data/postmaster.pid");
        let ready = wait_until(START_TIMEOUT, "PostgreSQL is ready", || {
            if let Some(status) = server.try_wait()? {
                return Err(exit_error(status, &log));
            }
            Ok(is_ready(&status_file, server.id()).then_some(()))
        });
        if let Err(error) = ready {
            self.kill();
            return Err(with_log(&error, &log));
        }
        let folder = self.psql(SUPERUSER, "show data_directory")?;
        assert_eq!(
            Path::new(&folder),
            self.data().canonicalize()?,
            "another PostgreSQL server listens on port {}",
            self.port
        );
        Ok(())
    }

    /// Runs SQL as the superuser and returns its output: one row per line, columns separated
    /// by `|`.
    ///
    /// # Errors
    ///
    /// The connection failed, or a statement did; the error has the server's message.
    pub fn psql(&self, database: &str, sql: &str) -> io::Result<String> {
        let url = self.url(database);
        self.programs.psql(&url, sql, STATEMENT_TIMEOUT)
    }

    /// Returns the server's log since it was last started.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn log(&self) -> io::Result<String> {
        fs::read_to_string(self.folder.join("server.log"))
    }

    /// Creates an empty database.
    ///
    /// # Errors
    ///
    /// The connection failed, or the name is already used.
    pub fn create_database(&self, name: &str) -> io::Result<()> {
        self.psql(SUPERUSER, &format!("create database \"{name}\""))
            .map(drop)
    }

    fn initialize(&self, options: &ClusterOptions) -> io::Result<()> {
        let mut initdb = self.command("initdb");
        initdb
            .arg("-D")
            .arg(self.data())
            .args(["--username", SUPERUSER, "--encoding", "UTF8", "--no-locale"])
            // Applies only to initdb's own files; the server still syncs its writes.
            .arg("--no-sync");
        if let Some(password) = &options.password {
            let file = self.write("password", password)?;
            initdb
                .args(["--auth", "scram-sha-256", "--pwfile"])
                .arg(file);
        } else {
            initdb.args(["--auth", "trust"]);
        }
        succeed("initdb", &run(&mut initdb, START_TIMEOUT)?)?;

        let mut settings = vec![
            "listen_addresses = '127.0.0.1'".to_owned(),
            "unix_socket_directories = ''".to_owned(),
        ];
        if let Some(tls) = &options.tls {
            self.write("data/server.crt", &tls.certificate_pem)?;
            self.write("data/server.key", &tls.key_pem)?;
            settings.push("ssl = on".to_owned());
        }
        settings.extend(options.settings.iter().cloned());
        let file = self.data().join("postgresql.conf");
        // If a setting occurs twice, the last line applies.
        let text = fs::read_to_string(&file)? + "\n" + &settings.join("\n") + "\n";
        fs::write(file, text)
    }

    /// Writes a file that only the server's user can read, as PostgreSQL requires for keys.
    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?
            .write_all(text.as_bytes())?;
        if let Some(owner) = &self.owner {
            chown(&path, Some(owner.user), Some(owner.group))?;
        }
        Ok(path)
    }

    fn stop(&mut self, signal_name: &str) -> io::Result<()> {
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let stopped = signal(server.id(), signal_name).and_then(|()| {
            wait_until(STOP_TIMEOUT, "PostgreSQL has stopped", || server.try_wait())
        });
        if let Err(error) = stopped {
            self.kill();
            return Err(with_log(&error, &self.folder.join("server.log")));
        }
        self.server = None;
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().ok();
            wait_until(KILL_TIMEOUT, "PostgreSQL is killed", || server.try_wait()).ok();
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.programs.command(program);
        // The owner may not have access to this process's working directory.
        command.current_dir(&self.folder);
        if let Some(owner) = &self.owner {
            command.uid(owner.user).gid(owner.group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop_immediate() {
            eprintln!("PostgreSQL in {}: {error}", self.folder.display());
        }
    }
}

/// `$1` is the cluster's folder. The server removes `postmaster.pid` when it has ended.
const CLEAN_UP: &str = r#"
status=$1/data/postmaster.pid
if server=$(head -n 1 "$status"); then kill -s QUIT "$server"; fi
tries=0
while [ -e "$status" ] && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
rm -rf "$1"
"#;

/// The user that runs the server if this process is root, which PostgreSQL refuses.
#[derive(Debug)]
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    fn if_root() -> io::Result<Option<Self>> {
        if id(&["-u"])? != 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            user: id(&["-u", "postgres"])?,
            group: id(&["-g", "postgres"])?,
        }))
    }
}

fn id(arguments: &[&str]) -> io::Result<u32> {
    let output = run(Command::new("id").args(arguments), START_TIMEOUT)?;
    succeed("id", &output)?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(io::Error::other)
}

/// Returns a port on which no process listens, below the range of ephemeral ports: an
/// outgoing connection could take an ephemeral port of a stopped server, and a client that
/// retries could even be assigned the port and connect to itself.
///
/// # Errors
///
/// A hundred random ports were all in use.
pub fn free_port() -> io::Result<u16> {
    for _ in 0..100 {
        let random = RandomState::new().hash_one(()) % 12_000;
        let port = 20_000 + u16::try_from(random).map_err(io::Error::other)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("found no free port below 32000"))
}

/// Reads the same lines as `pg_ctl`: the process id on line 1, its state on line 8.
fn is_ready(status_file: &Path, process_id: u32) -> bool {
    let Ok(text) = fs::read_to_string(status_file) else {
        return false;
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first() == Some(&process_id.to_string().as_str()) && lines.get(7) == Some(&"ready")
}

fn exit_error(status: ExitStatus, log: &Path) -> io::Error {
    let text = fs::read_to_string(log).unwrap_or_default();
    let kind = if text.contains("Address already in use") {
        io::ErrorKind::AddrInUse
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, format!("PostgreSQL exited with {status}"))
}

fn with_log(error: &io::Error, log: &Path) -> io::Error {
    let log = fs::read_to_string(log).unwrap_or_default();
    io::Error::new(error.kind(), format!("{error}:\n{log}"))
}
