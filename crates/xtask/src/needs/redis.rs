//! The Redis server that tests share if they do not stop it; each uses a prefix of its own.

use std::env;
use std::process::Command;

use chat_test_support::{Janitor, Redis, RedisOptions, free_port};

use super::Need;
use crate::error::Error;
use crate::machine::{run, step, succeeds, workspace};

/// Needed even with an existing server: some tests stop and start their own.
pub(crate) const NEED: Need = Need {
    is_met: || Redis::find_programs().is_ok(),
    packages: &["redis-server"],
};

/// A server that runs for as long as this value exists, unless it ran before.
pub(crate) struct Server {
    /// The server's URL.
    pub(crate) url: String,
    _running: Running,
}

enum Running {
    Elsewhere,
    Programs { _server: Box<Redis> },
    Container { _janitor: Janitor },
}

/// Uses the server of `TEST_REDIS_URL`; otherwise starts one from installed programs;
/// otherwise starts one in a container.
pub(crate) fn prepare() -> Result<Server, Error> {
    if let Ok(url) = env::var("TEST_REDIS_URL") {
        step("Redis from TEST_REDIS_URL");
        return Ok(Server {
            url,
            _running: Running::Elsewhere,
        });
    }
    match Redis::find_programs() {
        Ok(()) => start_programs(),
        Err(_) if succeeds(Command::new("docker").args(["compose", "ls"])) => start_compose(),
        Err(error) => {
            Err(format!("{error}; or start Docker; or set TEST_REDIS_URL to a server").into())
        }
    }
}

fn start_programs() -> Result<Server, Error> {
    let server = Redis::start(RedisOptions::default())?;
    step(&format!("Redis on port {}", server.port()));
    Ok(Server {
        url: server.url(),
        _running: Running::Programs {
            _server: Box::new(server),
        },
    })
}

fn start_compose() -> Result<Server, Error> {
    let port = free_port()?.to_string();
    let file = workspace().join("crates/xtask/compose.redis.yaml");
    let project = format!("chat-gateway-test-{port}");
    let stop = "REDIS_PORT=$1; export REDIS_PORT; \
                docker compose --file \"$2\" --project-name \"$3\" down --volumes";
    let janitor = Janitor::new(stop, [port.as_ref(), file.as_os_str(), project.as_ref()])?;
    run(Command::new("docker")
        .args(["compose", "--file"])
        .arg(&file)
        .args(["--project-name", &project, "up", "--detach", "--wait"])
        .env("REDIS_PORT", &port))?;
    step(&format!(
        "Redis in a container on port {port}; tests that start and stop their own server need \
         its programs and will fail"
    ));
    Ok(Server {
        url: format!("redis://127.0.0.1:{port}"),
        _running: Running::Container { _janitor: janitor },
    })
}
