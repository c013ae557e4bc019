//! The PostgreSQL server that all tests share; each test creates its own database on it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use chat_test_support::{Cluster, ClusterOptions, Janitor, Programs, free_port};

use super::Need;
use crate::error::Error;
use crate::machine::{run, step, succeeds, test_tools, workspace};

/// Needed even with an existing server: some tests stop and start their own.
pub(crate) const NEED: Need = Need {
    is_met: || Programs::find().is_ok(),
    packages: &["postgresql"],
};

/// A server that runs for as long as this value exists, unless it ran before.
pub(crate) struct Server {
    /// The URL of one of its databases, with a user that may create databases.
    pub(crate) url: String,
    /// The folder with the client programs, which must come first on `PATH`.
    pub(crate) programs: Option<PathBuf>,
    _running: Running,
}

enum Running {
    Elsewhere,
    Programs { _cluster: Box<Cluster> },
    Container { _janitor: Janitor },
}

/// Uses the server of `TEST_DATABASE_URL`; otherwise starts one from installed programs;
/// otherwise starts one in a container.
pub(crate) fn prepare() -> Result<Server, Error> {
    if let Ok(url) = env::var("TEST_DATABASE_URL") {
        step("PostgreSQL from TEST_DATABASE_URL");
        return Ok(Server {
            url,
            programs: None,
            _running: Running::Elsewhere,
        });
    }
    match Programs::find() {
        Ok(_) => start_programs(),
        Err(_) if succeeds(Command::new("docker").args(["compose", "ls"])) => start_compose(),
        Err(error) => Err(format!(
            "{error}; or start Docker; or set TEST_DATABASE_URL to a server on which \
             databases can be created"
        )
        .into()),
    }
}

fn start_programs() -> Result<Server, Error> {
    let cluster = Cluster::start(ClusterOptions {
        // Every test has a connection pool, and one test runs per core. The durability
        // settings keep their defaults because tests check them.
        settings: vec!["max_connections = 500".to_owned()],
        ..ClusterOptions::default()
    })?;
    let version = cluster.psql("postgres", "show server_version")?;
    step(&format!("PostgreSQL {version} on port {}", cluster.port()));
    Ok(Server {
        url: cluster.url("postgres"),
        programs: None,
        _running: Running::Programs {
            _cluster: Box::new(cluster),
        },
    })
}

fn start_compose() -> Result<Server, Error> {
    let port = free_port()?;
    let compose = [
        "docker".into(),
        "compose".into(),
        "--file".into(),
        workspace().join("crates/xtask/compose.yaml").into(),
        "--project-name".into(),
        format!("chat-gateway-test-{port}").into(),
    ];
    let stop = "POSTGRES_PORT=$1; export POSTGRES_PORT; shift; \"$@\" down --volumes";
    let janitor = Janitor::new(
        stop,
        [OsString::from(port.to_string())].iter().chain(&compose),
    )?;
    run(Command::new(&compose[0])
        .args(&compose[1..])
        .args(["up", "--detach", "--wait"])
        .env("POSTGRES_PORT", port.to_string()))?;
    step(&format!(
        "PostgreSQL in a container on port {port}; tests that start and stop their own \
         server need its programs and will fail"
    ));
    Ok(Server {
        url: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
        programs: Some(client_in_container(&compose, port)?),
        _running: Running::Container { _janitor: janitor },
    })
}

/// Creates a `psql` that runs in the server's container and returns its folder.
fn client_in_container(compose: &[OsString], port: u16) -> Result<PathBuf, Error> {
    let folder = test_tools().join("postgres-client");
    fs::create_dir_all(&folder)?;
    let psql = folder.join("psql");
    let compose: Vec<String> = compose
        .iter()
        .map(|word| format!("'{}'", Path::new(word).display()))
        .collect();
    let script = format!(
        "#!/bin/sh\nPOSTGRES_PORT={port} exec {} exec -T postgres psql \"$@\"\n",
        compose.join(" ")
    );
    fs::write(&psql, script)?;
    fs::set_permissions(&psql, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}
