//! `chat-gateway healthcheck`: queries a running gateway's `/readyz`, for containers
//! without curl.

use std::process::ExitCode;
use std::time::Duration;

use chat_domain::BoxError;
use clap::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Settings;

const DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn command() -> Command {
    Command::new("healthcheck").about("Check whether a running gateway is ready")
}

pub(super) async fn run(settings: &Settings) -> Result<ExitCode, BoxError> {
    let host = match settings.get("HOST").unwrap_or_default() {
        // A gateway that listens on every address listens on loopback too.
        "0.0.0.0" => "127.0.0.1",
        "::" | "[::]" => "::1",
        host => host,
    };
    let port = settings.get("PORT").unwrap_or_default();
    let port: u16 = port
        .parse()
        .map_err(|_| format!("PORT must be a port from 0 to 65535, not \"{port}\""))?;
    let status = timeout(DEADLINE, query(host, port)).await;
    match status.map_err(|_| format!("{host}:{port} does not respond"))? {
        Ok(status) if status.starts_with("HTTP/1.1 200") => Ok(ExitCode::SUCCESS),
        Ok(status) => Err(format!("{host}:{port} is not ready: {status}").into()),
        Err(error) => {
            Err(format!("cannot connect to {host}:{port}: {error}: check HOST and PORT").into())
        }
    }
}

/// Returns the status line of `/readyz`.
async fn query(host: &str, port: u16) -> std::io::Result<String> {
    let mut connection = TcpStream::connect((host, port)).await?;
    let request =
        format!("GET /readyz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    connection.take(4096).read_to_string(&mut response).await?;
    Ok(response.lines().next().unwrap_or_default().to_owned())
}
