//! The servers that are measured: the gateway and its peers, each a process with its own
//! core.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chat_test_support::{Janitor, free_port, signal, wait_until};

use super::plan::PeerFolder;
use crate::error::Error;

/// The port of peers that run alone, because some support no other.
const PEER_PORT: u16 = 3001;
/// Signs the tokens of every measured server, and is used nowhere else.
pub(super) const JWT_SECRET: &str = "a secret for measuring, of 32 bytes and more";

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A server that can be started again for each run.
pub(super) struct Contestant {
    pub(super) name: String,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
    pub(super) schema: Schema,
    pub(super) keeps: Promises,
}

/// The promises that a run must not break. The founding contract does not promise an
/// order, so a peer that breaks one is reported and does not end the benchmark. Figures that
/// are not valid end it in any case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Promises {
    /// No message is refused, and no delivery is missing, repeated, out of order or in the
    /// wrong room.
    All,
    None,
}

/// How a contestant's tables are created.
pub(super) enum Schema {
    /// By the contestant, when it starts.
    Own,
    /// By these statements, before it starts.
    Sql(String),
}

impl Contestant {
    /// The gateway, without limits, because peers have none.
    pub(super) fn ours(program: PathBuf, folder: PathBuf) -> Self {
        let off = |name| (name, "0".to_owned());
        Self {
            name: "ours".to_owned(),
            program,
            arguments: vec!["serve".to_owned()],
            folder,
            environment: vec![
                ("HOST", "127.0.0.1".to_owned()),
                off("MESSAGE_RATE"),
                off("MAX_ROOMS"),
                off("MAX_CONNECTIONS_PER_USER"),
                ("MAX_IN_FLIGHT", "1024".to_owned()),
                ("RUST_LOG", "warn".to_owned()),
            ],
            schema: Schema::Own,
            keeps: Promises::All,
        }
    }

    /// A built server in a folder.
    ///
    /// # Errors
    /// The server is not built, or its program or its schema is not found.
    pub(super) fn peer(peer: &PeerFolder, schema: Option<&Path>) -> Result<Self, Error> {
        let Peer {
            folder,
            program,
            arguments,
            schema,
        } = Peer::find(&peer.path, schema)?;
        let folder_name = folder.file_name().unwrap_or_default().to_string_lossy();
        let pool = peer.pool.map(|pool| pool.to_string());
        let name = match &pool {
            Some(pool) => format!("{folder_name}@{pool}"),
            None => folder_name.into_owned(),
        };
        let mut environment = vec![("NODE_ENV", "production".to_owned())];
        environment.extend(pool.map(|pool| ("PG_POOL", pool)));
        Ok(Self {
            name,
            program,
            arguments,
            schema: Schema::Sql(schema),
            keeps: Promises::None,
            folder,
            environment,
        })
    }

    /// Starts the server on this database, as one of several if there is a Redis, and waits
    /// until it listens.
    ///
    /// # Errors
    /// The server ends or does not listen in time, or its port is in use.
    pub(super) fn start(
        &self,
        database: &str,
        redis: Option<&str>,
        core: Option<usize>,
        log: &Path,
    ) -> Result<Server, Error> {
        let port = match self.schema {
            Schema::Sql(_) if redis.is_none() => PEER_PORT,
            _ => free_port()?,
        };
        // A process that already listens there would be measured instead.
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|error| format!("{} needs port {port}: {error}", self.name))?;
        let log_file = fs::File::create(log)?;
        let mut command = Command::new("sh");
        // Raises the limit on open files, and with it on connections.
        command.args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$@\"", "sh"]);
        if let Some(core) = core {
            command.args(["taskset", "--cpu-list", &core.to_string()]);
        }
        command
            .arg(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(kept_environment())
            .envs(self.environment.iter().cloned())
            .env("PORT", port.to_string())
            .env("DATABASE_URL", database)
            .env("JWT_SECRET", JWT_SECRET)
            .envs(redis.map(|url| ("REDIS_URL", url)))
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file);
        let mut child = command
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", self.name))?;
        let janitor = Janitor::new("kill -s KILL \"$1\"", [child.id().to_string()])?;
        let listening = wait_until(START_TIMEOUT, "the server listens", || {
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("it exited with {status}")));
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .ok()
                .map(drop))
        });
        let server = Server {
            child,
            port,
            _janitor: janitor,
        };
        match listening {
            Ok(()) => Ok(server),
            Err(error) => {
                let log = fs::read_to_string(log).unwrap_or_default();
                Err(format!("{}: {error}\n{log}", self.name).into())
            }
        }
    }
}

/// A server that others built, and how it is started.
pub(crate) struct Peer {
    pub(crate) folder: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// The statements that create its tables.
    pub(crate) schema: String,
}

impl Peer {
    /// Finds out how the server in a folder is started.
    ///
    /// # Errors
    /// The server is not built, or its program or its schema is not found.
    pub(crate) fn find(folder: &Path, schema: Option<&Path>) -> Result<Self, Error> {
        let folder = folder
            .canonicalize()
            .map_err(|error| format!("--peer {}: {error}", folder.display()))?;
        let (program, arguments) = start_command(&folder)?;
        let schema = peer_schema(&folder, schema)?;
        Ok(Self {
            folder,
            program,
            arguments,
            schema,
        })
    }
}

/// Returns the environment variables that any program may need.
pub(super) fn kept_environment() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    ["PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR"]
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// A running contestant. Dropping it stops the process.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    _janitor: Janitor,
}

impl Server {
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = signal(self.child.id(), "TERM")
            .and_then(|()| wait_until(STOP_TIMEOUT, "the server ends", || self.child.try_wait()));
        if stopped.is_err() {
            // Both fail if the process has already ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn start_command(folder: &Path) -> Result<(PathBuf, Vec<String>), Error> {
    let run = folder.join("run");
    let is_executable = |file: &Path| {
        file.metadata()
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    if is_executable(&run) {
        return Ok((run, Vec::new()));
    }
    if folder.join("package.json").is_file() {
        let scripts = ["dist/main.js", "server.js"];
        let script = scripts.iter().find(|script| folder.join(script).is_file());
        let script = script.ok_or_else(|| {
            let folder = folder.display();
            format!("{folder} has neither dist/main.js nor server.js: build it first")
        })?;
        return Ok(("node".into(), vec![(*script).to_owned()]));
    }
    if let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) {
        let name = package_name(&manifest)
            .ok_or_else(|| format!("{}/Cargo.toml has no package name", folder.display()))?;
        let program = folder.join("target/release").join(name);
        if is_executable(&program) {
            return Ok((program, Vec::new()));
        }
        return Err(format!("{} does not exist: build it first", program.display()).into());
    }
    let folder = folder.display();
    Err(
        format!("{folder} has neither a program named run, nor package.json, nor Cargo.toml")
            .into(),
    )
}

fn package_name(manifest: &str) -> Option<&str> {
    let package = manifest.split("[package]").nth(1)?;
    let line = package
        .lines()
        .find_map(|line| line.trim().strip_prefix("name"))?;
    Some(line.trim().strip_prefix('=')?.trim().trim_matches('"'))
}

fn peer_schema(folder: &Path, given: Option<&Path>) -> Result<String, Error> {
    let places = [
        Some(folder.join("schema.sql")).filter(|file| file.is_file()),
        given.map(Path::to_owned),
        Some(folder.join("../limits/schema.sql")).filter(|file| file.is_file()),
    ];
    let file = places.into_iter().flatten().next().ok_or_else(|| {
        let folder = folder.display();
        format!("{folder} has no schema.sql: pass its tables with --peer-schema")
    })?;
    let sql = fs::read_to_string(&file);
    sql.map_err(|error| format!("{}: {error}", file.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_name_is_read_from_a_manifest() {
        let manifest = "[package]\nname = \"hour\"\nversion = \"0.1.0\"\n";
        assert_eq!(package_name(manifest), Some("hour"));
        assert_eq!(package_name("[workspace]\nname = \"x\"\n"), None);
    }
}
