//! `chat-gateway check-config`: prints each setting's value, its source and what is
//! wrong with it, and whether `serve` would start.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use chat_domain::{BoxError, one_line};
use clap::Command;

use super::serve;
use crate::config::{Config, Migrate, Problems, SETTINGS, Setting, Settings};
use crate::traces::Exporter;
use crate::wiring;

/// How the names of settings end that may contain a password.
const URL_SUFFIXES: [&str; 2] = ["_URL", "_ENDPOINT"];

pub(super) fn command() -> Command {
    Command::new("check-config")
        .about("Print each setting and its source, and whether serve would start")
}

pub(super) async fn run(settings: &Settings) -> Result<ExitCode, BoxError> {
    let (mut report, mut complaints) = (Vec::new(), Vec::new());
    let read = Config::read(settings);
    let Problems(problems) = match &read {
        Ok(_) => Problems(Vec::new()),
        Err(problems) => problems.clone(),
    };
    for setting in SETTINGS {
        let problem = problems
            .iter()
            .find(|problem| problem.setting == setting.name);
        let line = describe(settings, setting, problem.map(|p| p.text.as_str()));
        report.push(line);
    }
    if read.is_err() {
        complaints.push("correct the settings marked with an error".to_owned());
    }
    if let Ok(config) = &read {
        complaints.extend(try_out(config).await);
        match wiring::check_keys(&config.jwt).await {
            Ok(None) => {}
            Ok(Some(why)) => report.push(format!(
                "warning: JWKS_URL: the keys cannot be fetched now: {why}: serve would start, and \
                 answer every token with unavailable until they can be"
            )),
            Err(error) => complaints.push(one_line(&*error)),
        }
    }
    let code = match complaints.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    match &complaints[..] {
        [] => report.push("serve would start".to_owned()),
        complaints => {
            let lines = complaints.iter();
            report.extend(lines.map(|complaint| format!("serve would not start: {complaint}")));
        }
    }
    report.push(String::new());
    // A reader such as `head` may have closed the pipe: the exit code still states the result.
    std::io::stdout()
        .write_all(report.join("\n").as_bytes())
        .ok();
    Ok(code)
}

/// Tries what only an attempt can show: the database, Redis, the port and trusted authorities.
async fn try_out(config: &Config) -> Vec<String> {
    let mut complaints = Vec::new();
    let attempt = async {
        let database = serve::open_database(config).await?;
        let pending = serve::pending_migrations(&database).await?;
        match config.migrate {
            _ if pending.is_empty() => Ok(()),
            Migrate::On => database.check_migratable().await,
            Migrate::Off => Err(serve::pending_error(&pending)),
        }
    };
    if let Err(error) = attempt.await {
        complaints.push(one_line(&*error));
    }
    if let Some(redis) = &config.redis
        && let Err(error) = wiring::check_redis(redis).await
    {
        complaints.push(one_line(&*error));
    }
    if let Err(error) = serve::bind(config).await {
        complaints.push(one_line(&*error));
    }
    if let Some(options) = &config.access_hook
        && let Err(error) = wiring::access_hook(options.clone(), Arc::default())
    {
        complaints.push(one_line(&*error));
    }
    if let Some(webhooks) = &config.webhooks
        && let Err(error) = wiring::webhook_receiver(webhooks)
    {
        complaints.push(one_line(&*error));
    }
    if let Some(endpoint) = &config.traces
        && let Err(error) = Exporter::start(endpoint)
    {
        complaints.push(one_line(&*error));
    }
    complaints
}

fn describe(settings: &Settings, setting: &Setting, problem: Option<&str>) -> String {
    let value = match settings.get(setting.name) {
        None => "unset".to_owned(),
        Some(secret) if setting.is_secret => format!("({} bytes)", secret.len()),
        Some(url) if URL_SUFFIXES.iter().any(|s| setting.name.ends_with(s)) => redacted_url(url),
        Some(value) => value.to_owned(),
    };
    let source = settings.source(setting.name);
    let problem = problem.map_or(String::new(), |problem| format!("  error: {problem}"));
    format!("{:<29}{value}  ({source}){problem}", setting.name)
}

/// Returns a URL without its password.
pub(super) fn redacted_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // It may be nothing but a password.
        return "(malformed)".to_owned();
    };
    if scheme == "sqlite" {
        return url.to_owned();
    }
    // A password may contain an @ or a / that should have been encoded.
    let shown = match rest.rsplit_once('@') {
        Some((credentials, host)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        None => url.to_owned(),
    };
    match shown.split_once('?') {
        // The query of an issuer's URL may be or contain a secret of any name.
        Some((base, query))
            if scheme.starts_with("http") || query.to_lowercase().contains("password") =>
        {
            format!("{base}?***")
        }
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::redacted_url;

    #[test]
    fn a_password_is_hidden_wherever_it_is_in_a_url() {
        for (url, shown) in [
            ("postgres://u:hunter2@h:1/db", "postgres://u:***@h:1/db"),
            ("postgres://u:hun@ter/2@h/db", "postgres://u:***@h/db"),
            (
                "postgres://h/db?user=u&password=hunter2",
                "postgres://h/db?***",
            ),
            (
                "postgres://h/db?sslmode=require",
                "postgres://h/db?sslmode=require",
            ),
            ("u:hunter2@h", "(malformed)"),
            ("sqlite://data/chat.db", "sqlite://data/chat.db"),
            ("redis://:hunter2@h", "redis://:***@h"),
            ("https://h/jwks?key=hunter2", "https://h/jwks?***"),
        ] {
            assert_eq!(redacted_url(url), shown);
        }
    }
}
