//! The operator's settings.

use std::collections::HashMap;

use chat_gateway::config::{Config, LogConfig, SETTINGS, Settings};
use clap::ArgMatches;

/// A secret that no problem may repeat. It is long enough not to be there by chance.
const PASSWORD: &str = "correct-horse-battery-staple";

/// Each line is `NAME=value`. No value is a path that would be read.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let values: HashMap<&str, &str> = lines.filter(|(name, _)| !name.ends_with("_FILE")).collect();
    let settings = Settings::collect(&ArgMatches::default(), |name| {
        values.get(name).map(|value| (*value).to_owned())
    });
    for setting in SETTINGS {
        let given = values.get(setting.name).filter(|value| !value.is_empty());
        assert_eq!(
            settings.get(setting.name),
            given.copied().or(setting.default)
        );
    }
    LogConfig::read(&settings).ok();
    let Err(problems) = Config::read(&settings) else {
        return;
    };
    let problems = problems.to_string();
    let is_secret_everywhere = SETTINGS.iter().all(|setting| {
        let value = settings.get(setting.name).unwrap_or_default();
        setting.is_secret || is_secret_in(setting.name, value)
    });
    assert!(
        !is_secret_everywhere || !problems.contains(PASSWORD),
        "{problems}"
    );
}

/// Returns whether the password is not in this value, or where a URL with a login has one.
fn is_secret_in(name: &str, value: &str) -> bool {
    let Some((before, after)) = value.split_once(PASSWORD) else {
        return true;
    };
    let is_password = before.ends_with(':') && after.contains('@') && !after.contains(PASSWORD);
    is_password && ["DATABASE_URL", "REDIS_URL"].contains(&name)
}
