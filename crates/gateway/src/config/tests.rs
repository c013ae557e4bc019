//! The meaning of settings, and how problems with them are reported.

mod hooks;

use std::collections::HashMap;

use chat_adapters::jwt::{KeyAlgorithm, KeySource};

use super::*;
use crate::open_files;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn settings(flags: &[&str], environment: &[(&str, &str)]) -> Settings {
    let command = clap::Command::new("test").args(super::flags());
    let matches = command
        .try_get_matches_from(std::iter::once("test").chain(flags.iter().copied()))
        .unwrap();
    let environment: HashMap<_, _> = environment.iter().copied().collect();
    Settings::collect(&matches, |name| {
        environment.get(name).map(ToString::to_string)
    })
}

fn read(environment: &[(&str, &str)]) -> Result<Config, String> {
    let mut environment = environment.to_vec();
    if !environment
        .iter()
        .any(|(name, _)| name.starts_with("JWT_SECRET"))
    {
        environment.push(("JWT_SECRET", SECRET));
    }
    Config::read(&settings(&[], &environment)).map_err(|problems| problems.to_string())
}

fn problem(environment: &[(&str, &str)]) -> String {
    match read(environment) {
        Ok(_) => panic!("{environment:?} is accepted"),
        Err(problem) => problem,
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = read(&[]).unwrap();
    assert_eq!((config.host.as_str(), config.port), ("0.0.0.0", 3001));
    assert!(matches!(&config.storage.database, DatabaseUrl::Sqlite(path)
        if path.to_str() == Some("data/chat.db")));
    assert_eq!(config.migrate, Migrate::On);
    assert_eq!(config.jwt.leeway.as_secs(), 5);
    let limits = config.limits;
    assert_eq!((limits.message_rate, limits.connect_rate), (50, 0));
    assert_eq!((limits.max_in_flight, limits.max_rooms), (256, 200));
    assert_eq!(limits.max_connections_per_user, 50);
    assert_eq!(limits.max_packet_bytes, 65_536);
    assert_eq!(config.trusted_proxies, TrustedProxies::default());
    assert_eq!(
        config.origins.configured()[0].to_string(),
        "http://localhost:3000"
    );
}

#[test]
fn a_flag_overrides_the_environment() {
    let settings = settings(&["--port", "4001"], &[("PORT", "4002"), ("HOST", "::1")]);
    assert_eq!(settings.get("PORT"), Some("4001"));
    assert_eq!(settings.source("PORT"), Source::Flag);
    assert_eq!(settings.source("HOST"), Source::Environment);
    assert_eq!(settings.source("MIGRATE"), Source::Default);
}

#[test]
fn all_problems_are_reported_at_once_by_the_settings_names() {
    let reported = problem(&[
        ("PORT", "http"),
        ("MIGRATE", "yes"),
        ("DATABASE_URL", "mysql://x"),
        ("DATABASE_POOL_SIZE", "0"),
        ("MESSAGE_RATE", "0.5"),
        ("CONNECT_RATE", "fast"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, proxy"),
        ("MAX_IN_FLIGHT", "-1"),
        ("MAX_ROOMS", "x"),
        ("MAX_CONNECTIONS_PER_USER", "1e3"),
        ("MAX_CONNECTIONS", "all"),
        ("MAX_PACKET_BYTES", "64k"),
        ("JWT_LEEWAY", "1.5"),
        ("FRONTEND_URL", "http://a, *"),
        ("RUST_LOG", "chat=loud"),
        ("LOG_FORMAT", "xml"),
    ]);
    for part in [
        "PORT must be a port from 0 to 65535, not \"http\"",
        "MIGRATE must be on or off, not \"yes\"",
        "DATABASE_URL must start with sqlite:// or postgres://",
        "MESSAGE_RATE must be a whole number per second, or 0 for no limit, not \"0.5\"",
        "CONNECT_RATE must be a whole number per second, or 0 for no limit, not \"fast\"",
        "TRUSTED_PROXIES is malformed: \"proxy\" is not a valid network such as 10.0.0.0/8",
        "MAX_ROOMS must be a number, or 0 for no limit, not \"x\"",
        "MAX_CONNECTIONS_PER_USER must be a number, or 0 for no limit, not \"1e3\"",
        "MAX_CONNECTIONS must be a number, or 0 for no limit, not \"all\"",
        "MAX_IN_FLIGHT must be a number, or 0 for no limit, not \"-1\"",
        "MAX_PACKET_BYTES must be a number of bytes, or 0 for no limit, not \"64k\"",
        "JWT_LEEWAY must be a number of seconds, not \"1.5\"",
        "FRONTEND_URL is malformed: \"*\" is not a valid origin such as https://app.example.com",
        "RUST_LOG is not a valid filter: use info",
        "LOG_FORMAT must be auto, pretty or json, not \"xml\"",
    ] {
        assert!(reported.contains(part), "{part} is not in {reported}");
    }
    assert_eq!(reported.lines().count(), 1);
    assert!(problem(&[("DATABASE_POOL_SIZE", "0")]).contains("DATABASE_POOL_SIZE must be"));
    assert!(problem(&[("JWT_LEEWAY", "999999")]).contains("at most 86400"));
}

#[test]
fn no_problem_repeats_a_secret() {
    let weak = problem(&[("JWT_SECRET", "hunter2")]);
    assert!(
        weak.starts_with("JWT_SECRET has 7 bytes; HS256 needs at least 32"),
        "{weak}"
    );
    let url = "postgres://u:hunter2@localhost/x?sslmode=maybe";
    let malformed = problem(&[("DATABASE_URL", url)]);
    let secret = problem(&[("DATABASE_URL", "mysql://u:hunter2@localhost/x")]);
    for reported in [weak, malformed, secret] {
        assert!(!reported.contains("hunter2"), "{reported}");
    }
}

#[test]
fn a_missing_secret_is_reported_with_what_to_do() {
    let reported = match Config::read(&settings(&[], &[("JWT_SECRET", "")])) {
        Ok(_) => panic!("a configuration without a secret is accepted"),
        Err(problems) => problems.to_string(),
    };
    assert!(reported.starts_with("JWT_SECRET is not set"), "{reported}");
    assert!(reported.contains("openssl rand"), "{reported}");
}

#[test]
fn a_secret_can_be_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let path = path.to_str().unwrap();
    let given = settings(&[], &[("JWT_SECRET_FILE", path)]);
    assert_eq!(given.get("JWT_SECRET"), Some(SECRET));
    assert_eq!(given.source("JWT_SECRET"), Source::File(path.to_owned()));
    let flag = settings(&["--jwt-secret-file", path], &[]);
    assert_eq!(flag.get("JWT_SECRET"), Some(SECRET));

    let twice = problem(&[("JWT_SECRET", SECRET), ("JWT_SECRET_FILE", path)]);
    assert!(
        twice.contains("JWT_SECRET is set twice: unset it or JWT_SECRET_FILE"),
        "{twice}"
    );
    let missing = problem(&[("JWT_SECRET_FILE", "/nowhere/secret")]);
    assert!(
        missing.contains("JWT_SECRET cannot be read from /nowhere/secret"),
        "{missing}"
    );
}

/// Reads only these settings of tokens; returns the problems.
fn key_problem(environment: &[(&str, &str)]) -> String {
    match Config::read(&settings(&[], environment)) {
        Ok(_) => panic!("{environment:?} is accepted"),
        Err(problems) => problems.to_string(),
    }
}

fn key_source(environment: &[(&str, &str)]) -> KeySource {
    match Config::read(&settings(&[], environment)) {
        Ok(config) => config.jwt.keys,
        Err(problems) => panic!("{environment:?}: {problems}"),
    }
}

#[test]
fn keys_come_from_a_secret_or_a_file_or_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let key = chat_test_support::SigningKey::p256();
    std::fs::write(&path, key.public_pem()).unwrap();
    let file = ("JWT_PUBLIC_KEY_FILE", path.to_str().unwrap());
    let url = ("JWKS_URL", "https://issuer.example/jwks.json");
    let secret = ("JWT_SECRET", SECRET);

    let secrets = key_source(&[secret, ("JWT_ALGORITHMS", "HS256")]);
    assert!(matches!(secrets, KeySource::Secrets { .. }));
    assert!(matches!(key_source(&[file]), KeySource::PublicKeys(_)));
    let KeySource::Jwks(options) = key_source(&[url, ("JWT_ALGORITHMS", "RS256, EdDSA")]) else {
        panic!("JWKS_URL is a source of keys");
    };
    let named = [KeyAlgorithm::Rs256, KeyAlgorithm::EdDsa];
    assert_eq!(options.algorithms, named);

    for two in [[secret, file], [secret, url], [file, url]] {
        let reported = key_problem(&two);
        let expected = format!("{} cannot be combined with {}", two[0].0, two[1].0);
        assert!(reported.starts_with(&expected), "{reported}");
    }
    let reported = key_problem(&[url, ("JWT_SECRET_PREVIOUS", SECRET)]);
    assert!(
        reported.starts_with("JWT_SECRET_PREVIOUS is a secret"),
        "{reported}"
    );
    let reported = key_problem(&[file, ("JWT_ALGORITHMS", "RS256")]);
    assert!(
        reported.contains("is for ES256, which JWT_ALGORITHMS does not name"),
        "{reported}"
    );
}

#[test]
fn keys_that_cannot_be_used_are_refused_by_name() {
    let url = ("JWKS_URL", "https://issuer.example/jwks.json");
    for (environment, says) in [
        (
            vec![("JWKS_URL", "http://issuer.example/?k=hunter2")],
            "JWKS_URL must start with https://",
        ),
        (
            vec![("JWKS_URL", "https://u:hunter2@issuer.example/")],
            "JWKS_URL must not contain a user",
        ),
        (vec![("JWKS_URL", "hunter2")], "JWKS_URL is not a valid URL"),
        (
            vec![("JWT_PUBLIC_KEY_FILE", "/nowhere.pem")],
            "JWT_PUBLIC_KEY_FILE /nowhere.pem cannot be read",
        ),
        (
            vec![("JWT_PUBLIC_KEY_FILE", "/dev/null")],
            "JWT_PUBLIC_KEY_FILE /dev/null cannot be used",
        ),
        (
            vec![url, ("JWT_ALGORITHMS", "HS256")],
            "JWT_ALGORITHMS must be a list of RS256, ES256",
        ),
        (
            vec![url, ("JWT_ALGORITHMS", "none")],
            "JWT_ALGORITHMS must be a list of RS256, ES256",
        ),
        (
            vec![url, ("JWT_ALGORITHMS", "RS256,PS256")],
            "JWT_ALGORITHMS must be a list of RS256",
        ),
        (
            vec![("JWT_SECRET", SECRET), ("JWT_ALGORITHMS", "RS256")],
            "JWT_ALGORITHMS names algorithms of public",
        ),
    ] {
        let reported = key_problem(&environment);
        assert!(reported.starts_with(says), "{reported}");
        assert!(!reported.contains("hunter2"), "{reported}");
    }
}

#[test]
fn a_room_without_rules_is_open_unless_the_operator_decides_otherwise() {
    let kind = |settings: &[(&str, &str)]| read(settings).unwrap().room_default;
    assert_eq!(kind(&[]), RoomKind::Open);
    assert_eq!(kind(&[("ROOM_DEFAULT", "open")]), RoomKind::Open);
    assert_eq!(kind(&[("ROOM_DEFAULT", "private")]), RoomKind::Private);
    assert_eq!(
        problem(&[("ROOM_DEFAULT", "Private")]),
        "ROOM_DEFAULT must be open or private, not \"Private\""
    );
}

#[test]
fn each_limit_has_its_own_setting_and_0_is_no_limit() {
    let names = [
        "MESSAGE_RATE",
        "CONNECT_RATE",
        "MAX_IN_FLIGHT",
        "MAX_ROOMS",
        "MAX_CONNECTIONS_PER_USER",
        "MAX_CONNECTIONS",
        "MAX_PACKET_BYTES",
    ];
    let of = |values: [&str; 7]| {
        let settings: Vec<_> = names.into_iter().zip(values).collect();
        let limits = read(&settings).unwrap().limits;
        let rates = [limits.message_rate, limits.connect_rate].map(|rate| rate as usize);
        let [message_rate, connect_rate] = rates;
        [
            message_rate,
            connect_rate,
            limits.max_in_flight,
            limits.max_rooms,
            limits.max_connections_per_user,
            limits.max_connections,
            limits.max_packet_bytes,
        ]
    };
    assert_eq!(
        of(["1", "2", "3", "4", "5", "6", "7"]),
        [1, 2, 3, 4, 5, 6, 7]
    );
    assert_eq!(of(["0"; 7]), [0; 7]);
    // Without the setting, it depends on how many files this process may open.
    let default = read(&[]).unwrap().limits.max_connections;
    assert_eq!(default, open_files::connections());
}

#[test]
fn redis_enables_several_nodes_on_postgresql() {
    assert!(read(&[]).unwrap().redis.is_none());
    let postgres = ("DATABASE_URL", "postgres://localhost/chat");
    let config = read(&[postgres, ("REDIS_URL", "redis://:hunter2@localhost")]).unwrap();
    assert_eq!(config.redis.unwrap().prefix, "chat:");
    let url = ("REDIS_URL", "rediss://localhost");
    let config = read(&[postgres, url, ("REDIS_PREFIX", "x:")]).unwrap();
    assert_eq!(config.redis.unwrap().prefix, "x:");
}

#[test]
fn a_redis_that_cannot_be_used_is_refused_by_name() {
    let postgres = ("DATABASE_URL", "postgres://localhost/chat");
    for (url, says) in [
        ("localhost:6379", "must start with redis:// or rediss://"),
        (
            "redis+unix:///run/redis.sock",
            "Unix sockets are not supported",
        ),
        ("redis+sentinel://:hunter2@h/x", "Sentinel is not supported"),
        (
            "redis+cluster://:hunter2@h",
            "Redis Cluster is not supported",
        ),
        ("redis://:hunter2@h:port", "is not a valid URL"),
    ] {
        let reported = problem(&[postgres, ("REDIS_URL", url)]);
        let expected = format!("REDIS_URL cannot be used: {says}");
        assert!(reported.starts_with(&expected), "{reported}");
        assert!(!reported.contains("hunter2"), "{reported}");
    }
    let reported = problem(&[("REDIS_URL", "redis://localhost")]);
    assert!(
        reported.starts_with("REDIS_URL needs PostgreSQL"),
        "{reported}"
    );
}

#[test]
fn a_database_is_identified_by_its_scheme() {
    let database = |url: &str| read(&[("DATABASE_URL", url)]).unwrap().storage.database;
    let path = |url: &str| match database(url) {
        DatabaseUrl::Sqlite(path) => path.to_str().unwrap().to_owned(),
        DatabaseUrl::Postgres(_) => panic!("{url} is not a SQLite URL"),
    };
    assert_eq!(path("sqlite://chat.db"), "chat.db");
    assert_eq!(path("sqlite:///var/lib/chat.db"), "/var/lib/chat.db");
    assert_eq!(path("sqlite://a b%20c?d.db"), "a b%20c?d.db");
    assert!(matches!(
        database("postgres://localhost/x"),
        DatabaseUrl::Postgres(_)
    ));
    assert!(matches!(
        database("postgresql://localhost/x"),
        DatabaseUrl::Postgres(_)
    ));
    assert!(problem(&[("DATABASE_URL", "sqlite://")]).contains("has no path"));
}
