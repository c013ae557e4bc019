//! `chat-gateway token`: mints a token with the configured secret.

use std::process::ExitCode;
use std::time::Duration;

use chat_domain::{BoxError, DisplayName, User, UserId};
use clap::{Arg, ArgMatches, Command};

use crate::config::{Settings, read_jwt};
use crate::wiring;

const EXPECTED_DURATION: &str = "must be a duration such as 90s, 15m, 1h or 7d";

pub(super) fn command() -> Command {
    let argument = |name: &'static str, help| Arg::new(name).long(name).help(help);
    Command::new("token")
        .about("Mint a token and print it, and nothing else")
        .arg(argument("user", "the user's id").required(true))
        .arg(argument("name", "the display name; defaults to the id"))
        .arg(
            argument("ttl", "how long the token is valid: 90s, 15m, 1h, 7d")
                .default_value("1h")
                .value_parser(duration),
        )
}

pub(super) fn run(settings: &Settings, arguments: &ArgMatches) -> Result<ExitCode, BoxError> {
    let options = read_jwt(settings)?;
    let text = |name| arguments.get_one::<String>(name).map(String::as_str);
    let id = text("user").unwrap_or_default();
    let user = User {
        id: UserId::new(id).map_err(|error| format!("--user: {error}"))?,
        name: DisplayName::from_text(text("name").unwrap_or(id)),
    };
    let ttl = arguments.get_one::<Duration>("ttl").copied();
    let token = wiring::mint_token(&options, &user, ttl.unwrap_or_default())?;
    println!("{token}");
    Ok(ExitCode::SUCCESS)
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_alphabetic()).len());
    let seconds = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(EXPECTED_DURATION.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| EXPECTED_DURATION)?;
    // More than a century is a typing error, and may not fit a token's date.
    match number.checked_mul(seconds) {
        Some(ttl) if ttl <= 100 * 365 * 24 * 60 * 60 => Ok(Duration::from_secs(ttl)),
        _ => Err("must be at most a century".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_with_an_optional_unit() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("1h", 3600),
            ("7d", 604_800),
        ] {
            assert_eq!(
                duration(text).map(|ttl| ttl.as_secs()),
                Ok(seconds),
                "{text}"
            );
        }
        for invalid in [
            "",
            "h",
            "-1h",
            "1.5h",
            "1w",
            "99999999999999999999d",
            "40000d",
        ] {
            assert!(duration(invalid).is_err(), "{invalid}");
        }
    }
}
