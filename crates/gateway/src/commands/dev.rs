//! `chat-gateway dev`: serves this machine without configuration, with a demo page.

use std::io::Write as _;
use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chat_domain::{BoxError, one_line};
use clap::Command;

use super::check_config::redacted_url;
use super::serve::{self, Prepared};
use crate::config::{Config, LogConfig, Settings};
use crate::demo::{Demo, create_demo_rooms, demo_users};
use crate::traces::Exporter;
use crate::{logging, open_files, server, wiring};

/// Beside the database, so that tokens outlive a restart as messages do.
const SECRET_FILE: &str = "data/dev-secret";
/// How long the printed tokens and those of the demo page are valid.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Enough for a conversation. The page has one for each of its users.
const PRINTED_TOKENS: usize = 2;

pub(super) fn command() -> Command {
    Command::new("dev").about("Serve this machine only, with a demo page at /")
}

pub(super) async fn run(mut settings: Settings) -> Result<ExitCode, BoxError> {
    settings.set_default("HOST", "127.0.0.1");
    for name in ["JWT_PUBLIC_KEY_FILE", "JWKS_URL"] {
        if settings.get(name).is_some() {
            return Err(
                format!("dev signs the tokens of its users: unset {name}, or use serve").into(),
            );
        }
    }
    if settings.get("JWT_SECRET").is_none() {
        settings.set_default("JWT_SECRET", secret(Path::new(SECRET_FILE))?);
    }
    let config = Config::read(&settings)?;
    let log = LogConfig::read(&settings)?;
    refuse_public_addresses(&config)?;
    let exporter = config.traces.as_ref().map(Exporter::start).transpose()?;
    logging::start(log.filter, log.format, exporter.as_ref());
    open_files::raise_limit();

    let sockets = serve::bind(&config).await?;
    let Prepared { database, is_new } = serve::prepare_database(&config).await?;
    let (listener, api_listener) = sockets.listen()?;
    let jwt = config.jwt.clone();
    let demo = Demo {
        mint: Arc::new(move |user| wiring::mint_token(&jwt, user, TOKEN_TTL)),
    };
    let stop = serve::stop_signal()?;
    let app = wiring::app(config, database, Some(demo.clone()), api_listener)?;
    if is_new {
        create_demo_rooms(&app.gateway.change_rules)
            .await
            .map_err(|error| {
                format!("the demo's rooms cannot be created: {}", one_line(&*error))
            })?;
    }
    let url = format!("http://{}", listener.local_addr()?);
    let database_url = redacted_url(settings.get("DATABASE_URL").unwrap_or_default());
    print_greeting(&url, &database_url, &demo)?;
    let served = server::serve(listener, app, stop).await;
    serve::flush(exporter).await;
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses addresses that other machines can reach: every client that can load the demo
/// page gets the tokens of the demo's users.
fn refuse_public_addresses(config: &Config) -> Result<(), BoxError> {
    let mut addresses = (config.host.as_str(), config.port)
        .to_socket_addrs()
        .map_err(|error| format!("HOST {} cannot be resolved: {error}: unset it", config.host))?;
    if addresses.all(|address| address.ip().is_loopback()) {
        return Ok(());
    }
    Err("dev listens on loopback addresses only: unset HOST, or use serve".into())
}

/// Returns the secret in this file, and generates it at the first start.
fn secret(path: &Path) -> Result<String, BoxError> {
    let failed = |what: &str, error: std::io::Error| -> BoxError {
        format!(
            "{} cannot be {what}: {error}: check the directory, or set JWT_SECRET",
            path.display()
        )
        .into()
    };
    match std::fs::read_to_string(path) {
        Ok(secret) => return Ok(secret.trim_end().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", error)),
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private_file(path, &secret).map_err(|error| failed("written", error))?;
    Ok(secret)
}

/// Writes a new file that only its owner can read.
fn write_private_file(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{text}")
}

fn print_greeting(url: &str, database_url: &str, demo: &Demo) -> Result<(), BoxError> {
    let mut text = format!(
        "\n  demo page  {url}/\n  Socket.IO  {url}\n  database   {database_url}\n\n  \
         Two tokens, valid for a day:\n"
    );
    for user in demo_users().iter().take(PRINTED_TOKENS) {
        let token = (demo.mint)(user)?;
        text += &format!("  {} (user {})\n  {token}\n", user.name.as_str(), user.id);
    }
    text += "\nready\n";
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
