//! A throwaway Redis server, started from installed programs.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::child::run;
use crate::cluster::{TlsIdentity, free_port};
use crate::process::{Janitor, signal, wait_until};
use crate::programs::succeed;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// How a [`Redis`] is started. The default is a server without persistence that trusts every
/// connection on the loopback interface.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Adds a user, whose name and password are in [`Redis::url`]. The user `default`, which
    /// [`Redis::command`] uses, keeps every permission.
    pub user: Option<RedisUser>,
    /// Accepts only TLS connections, with this identity.
    pub tls: Option<TlsIdentity>,
    /// Lines of `redis.conf`, for example `cluster-enabled yes`.
    pub settings: Vec<String>,
}

/// A user of a Redis server.
#[derive(Clone, Debug)]
pub struct RedisUser {
    /// The name: letters and digits.
    pub name: String,
    /// The password: letters and digits.
    pub password: String,
    /// What the user may do, as in `ACL SETUSER`, for example `+ping &chat:*`.
    pub rules: String,
}

/// A Redis server with its own folder. Both are removed when the value is dropped, and when
/// the process that holds it is killed.
///
/// ```no_run
/// use chat_test_support::{Redis, RedisOptions};
///
/// # fn main() -> std::io::Result<()> {
/// let mut redis = Redis::start(RedisOptions::default())?;
/// assert_eq!(redis.command(&["PING"])?, "PONG");
/// redis.kill()?;
/// redis.start_again()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Redis {
    options: RedisOptions,
    folder: PathBuf,
    port: u16,
    server: Option<Child>,
    /// Stops the server if it still runs, and removes the folder.
    _janitor: Janitor,
}

impl Redis {
    /// Checks that the programs are on `PATH`.
    ///
    /// # Errors
    ///
    /// `NotFound`; the message says what to install.
    pub fn find_programs() -> io::Result<()> {
        let path = env::var_os("PATH").unwrap_or_default();
        let is_installed =
            |program: &&str| env::split_paths(&path).any(|folder| folder.join(program).is_file());
        if ["redis-server", "redis-cli"].iter().all(is_installed) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "Redis's programs redis-server and redis-cli are not on PATH: install Redis (package \
             `redis-server` on Debian and Ubuntu, `redis` on Homebrew)",
        ))
    }

    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// The programs are not installed (the error says what to install), or the server did
    /// not start (the error ends with its log).
    pub fn start(options: RedisOptions) -> io::Result<Self> {
        Self::find_programs()?;
        let folder = tempfile::Builder::new()
            .prefix("chat-redis-")
            .tempdir()?
            .keep();
        let janitor = Janitor::new(CLEAN_UP, [&folder])?;
        let mut redis = Self {
            options,
            folder,
            port: 0,
            server: None,
            _janitor: janitor,
        };
        // Another process may take the free port before the server listens on it.
        for _ in 0..10 {
            redis.port = free_port()?;
            match redis.start_again() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                outcome => return outcome.map(|()| redis),
            }
        }
        Err(io::Error::other("found no free port for Redis"))
    }

    /// Returns the server's URL, with the name and password of the user of the options.
    #[must_use]
    pub fn url(&self) -> String {
        let user = self.options.user.as_ref();
        let credentials = user.map(|user| format!("{}:{}@", user.name, user.password));
        let (scheme, host) = match self.options.tls {
            Some(_) => ("rediss", "localhost"),
            None => ("redis", "127.0.0.1"),
        };
        format!(
            "{scheme}://{}{host}:{}",
            credentials.unwrap_or_default(),
            self.port
        )
    }

    /// Returns the TCP port, which stays the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command as the user `default` and returns its reply, without types: one element
    /// per line.
    ///
    /// # Errors
    ///
    /// `TimedOut`; or the connection failed; or the command did, and the error has the
    /// server's message.
    pub fn command(&self, words: &[&str]) -> io::Result<String> {
        let mut command = Command::new("redis-cli");
        command
            .args(["-e", "--raw", "-p", &self.port.to_string()])
            .env_remove("REDISCLI_AUTH");
        if self.options.tls.is_some() {
            command.args(["-h", "localhost", "--tls", "--insecure"]);
        }
        let output = run(command.args(words), COMMAND_TIMEOUT)?;
        succeed("redis-cli", &output)?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// Sends the signal with this name to the server: `STOP` suspends it, `CONT` continues it.
    ///
    /// # Errors
    ///
    /// The server is not running.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let server = self.server.as_ref();
        signal(server.map_or(0, Child::id), name)
    }

    /// Stops the server, which closes its connections.
    ///
    /// # Errors
    ///
    /// The server did not stop and was killed; the error ends with its log.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let stopped = signal(server.id(), "TERM")
            .and_then(|()| wait_until(STOP_TIMEOUT, "Redis has stopped", || server.try_wait()));
        if let Err(error) = stopped {
            self.kill()?;
            return Err(with_log(&error, &self.log()));
        }
        self.server = None;
        Ok(())
    }

    /// Kills the server, also a suspended one.
    ///
    /// # Errors
    ///
    /// The process cannot be killed.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            wait_until(STOP_TIMEOUT, "Redis is killed", || server.try_wait())?;
            // The janitor must not end a process that is given the same id later.
            fs::remove_file(self.folder.join("redis.pid"))?;
        }
        Ok(())
    }

    /// Starts the stopped server on the same port.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if another process has taken the port; otherwise the error ends with the
    /// server's log.
    pub fn start_again(&mut self) -> io::Result<()> {
        assert!(self.server.is_none(), "the server is already running");
        let log = self.log();
        let output = File::create(&log)?;
        let configuration = self.folder.join("redis.conf");
        fs::write(&configuration, self.configuration()?)?;
        let mut command = Command::new("redis-server");
        command
            .arg(configuration)
            .current_dir(&self.folder)
            // Ctrl-C ends the tests; the janitor stops the server after them.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let server = self.server.insert(command.spawn()?);
        let ready = wait_until(START_TIMEOUT, "Redis is ready", || {
            if let Some(status) = server.try_wait()? {
                return Err(exit_error(status, &log));
            }
            let text = fs::read_to_string(&log)?;
            Ok(text.contains("Ready to accept connections").then_some(()))
        });
        if let Err(error) = ready {
            self.kill().ok();
            self.server = None;
            return Err(with_log(&error, &log));
        }
        Ok(())
    }

    fn configuration(&self) -> io::Result<String> {
        let port = self.port;
        let mut lines: Vec<String> = ["bind 127.0.0.1", "save \"\"", "appendonly no"]
            .map(str::to_owned)
            .into();
        lines.push(format!("dir \"{}\"", self.folder.display()));
        lines.push(format!("pidfile \"{}/redis.pid\"", self.folder.display()));
        match &self.options.tls {
            None => lines.push(format!("port {port}")),
            Some(tls) => {
                let (certificate, key) = ("server.crt", "server.key");
                fs::write(self.folder.join(certificate), &tls.certificate_pem)?;
                fs::write(self.folder.join(key), &tls.key_pem)?;
                lines.push(format!("port 0\ntls-port {port}\ntls-auth-clients no"));
                lines.push(format!("tls-cert-file {certificate}\ntls-key-file {key}"));
            }
        }
        if let Some(user) = &self.options.user {
            let RedisUser {
                name,
                password,
                rules,
            } = user;
            lines.push(format!("user {name} on >{password} resetchannels {rules}"));
        }
        lines.extend(self.options.settings.iter().cloned());
        Ok(lines.join("\n") + "\n")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("Redis in {}: {error}", self.folder.display());
        }
    }
}

/// `$1` is the server's folder.
const CLEAN_UP: &str = r#"
if server=$(cat "$1/redis.pid"); then
    kill -s KILL "$server"
    tries=0
    while kill -0 "$server" && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
fi
rm -rf "$1"
"#;

fn exit_error(status: ExitStatus, log: &Path) -> io::Error {
    let text = fs::read_to_string(log).unwrap_or_default();
    let kind = match text.contains("Address already in use") {
        true => io::ErrorKind::AddrInUse,
        false => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("Redis exited with {status}"))
}

fn with_log(error: &io::Error, log: &Path) -> io::Error {
    let log = fs::read_to_string(log).unwrap_or_default();
    io::Error::new(error.kind(), format!("{error}:\n{log}"))
}
