//! The table of settings is complete, and `docs/configuration.md` contains the same one.

use super::{SETTINGS, Setting};

/// Every name of the operators' contract, in its order.
const CONTRACT: [&str; 36] = [
    "HOST",
    "PORT",
    "DATABASE_URL",
    "DATABASE_POOL_SIZE",
    "MIGRATE",
    "REDIS_URL",
    "JWT_SECRET",
    "JWT_SECRET_PREVIOUS",
    "JWT_PUBLIC_KEY_FILE",
    "JWKS_URL",
    "JWT_ALGORITHMS",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "JWT_LEEWAY",
    "FRONTEND_URL",
    "MESSAGE_RATE",
    "CONNECT_RATE",
    "TRUSTED_PROXIES",
    "ROOM_DEFAULT",
    "API_KEYS",
    "API_PORT",
    "ACCESS_URL",
    "WEBHOOK_URL",
    "WEBHOOK_SECRET",
    "WEBHOOK_SECRET_PREVIOUS",
    "WEBHOOK_EVENTS",
    "NOTIFY_AFTER",
    "REDIS_PREFIX",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "MAX_IN_FLIGHT",
    "MAX_ROOMS",
    "MAX_CONNECTIONS_PER_USER",
    "MAX_CONNECTIONS",
    "MAX_PACKET_BYTES",
    "RUST_LOG",
    "LOG_FORMAT",
];

/// The settings that can also be read from a file.
const SECRETS: [&str; 5] = [
    "JWT_SECRET",
    "JWT_SECRET_PREVIOUS",
    "API_KEYS",
    "WEBHOOK_SECRET",
    "WEBHOOK_SECRET_PREVIOUS",
];

const DOCUMENT: &str = include_str!("../../../../../docs/configuration.md");

#[test]
fn every_setting_of_the_contract_is_known() {
    let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(names, CONTRACT);
    let secrets = SETTINGS.iter().filter(|setting| setting.is_secret);
    assert_eq!(secrets.map(|s| s.name).collect::<Vec<_>>(), SECRETS);
}

#[test]
fn the_documentation_has_the_same_settings_in_the_same_order() {
    let documented = documented_rows();
    for (documented, setting) in documented.iter().zip(SETTINGS) {
        assert_eq!(documented, &row(setting));
    }
    assert_eq!(documented.len(), SETTINGS.len());
}

/// The part of a setting on which code and documentation must agree.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    names: String,
    default: Option<String>,
}

fn row(setting: &Setting) -> Row {
    let file = setting.file_name();
    Row {
        names: match file {
            Some(file) => format!("`{}`, `{file}`", setting.name),
            None => format!("`{}`", setting.name),
        },
        default: setting.default.map(str::to_owned),
    }
}

/// Reads the table `| variable | default | meaning |`.
fn documented_rows() -> Vec<Row> {
    let lines = DOCUMENT.lines();
    lines
        .skip_while(|line| *line != "| variable | default | meaning |")
        .skip(2)
        .map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            let [names, default, _] = cells[..] else {
                panic!("the row does not have three cells: {line}");
            };
            Row {
                names: names.to_owned(),
                // A default that is not a value, such as "none", is not in backticks.
                default: default.split('`').nth(1).map(str::to_owned),
            }
        })
        .collect()
}
