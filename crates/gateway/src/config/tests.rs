//! What settings mean, and what is said about wrong ones.

use std::collections::HashMap;

use super::*;

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
fn defaults_are_the_contracts() {
    let config = read(&[]).unwrap();
    assert_eq!((config.host.as_str(), config.port), ("0.0.0.0", 3001));
    assert!(matches!(&config.storage.database, DatabaseUrl::Sqlite(path)
        if path.to_str() == Some("data/chat.db")));
    assert_eq!(config.migrate, Migrate::On);
    assert_eq!(config.jwt.leeway.as_secs(), 5);
    assert_eq!(config.limits.max_in_flight, 256);
    assert_eq!(config.limits.max_packet_bytes, 65_536);
    assert_eq!(config.origins.configured()[0].to_string(), "http://localhost:3000");
}

#[test]
fn a_flag_beats_the_environment() {
    let settings = settings(&["--port", "4001"], &[("PORT", "4002"), ("HOST", "::1")]);
    assert_eq!(settings.get("PORT"), Some("4001"));
    assert_eq!(settings.source("PORT"), Source::Flag);
    assert_eq!(settings.source("HOST"), Source::Environment);
    assert_eq!(settings.source("MIGRATE"), Source::Default);
}

#[test]
fn every_wrong_setting_is_named_and_said_at_once() {
    let said = problem(&[
        ("PORT", "http"),
        ("MIGRATE", "yes"),
        ("DATABASE_URL", "mysql://x"),
        ("DATABASE_POOL_SIZE", "0"),
        ("MAX_IN_FLIGHT", "-1"),
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
        "MAX_IN_FLIGHT must be a number, 0 for no limit, not \"-1\"",
        "MAX_PACKET_BYTES must be bytes, 0 for no limit, not \"64k\"",
        "JWT_LEEWAY must be seconds, not \"1.5\"",
        "FRONTEND_URL is malformed: \"*\" is not a valid origin such as https://app.example.com",
        "RUST_LOG is no filter",
        "LOG_FORMAT must be auto, pretty or json, not \"xml\"",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert_eq!(said.lines().count(), 1);
    assert!(problem(&[("DATABASE_POOL_SIZE", "0")]).contains("DATABASE_POOL_SIZE must be"));
    assert!(problem(&[("JWT_LEEWAY", "999999")]).contains("at most 86400"));
}

#[test]
fn no_secret_is_repeated() {
    let weak = problem(&[("JWT_SECRET", "hunter2")]);
    assert!(
        weak.starts_with("JWT_SECRET has 7 bytes; HS256 needs at least 32"),
        "{weak}"
    );
    let url = "postgres://u:hunter2@localhost/x?sslmode=maybe";
    let malformed = problem(&[("DATABASE_URL", url)]);
    let secret = problem(&[("DATABASE_URL", "mysql://u:hunter2@localhost/x")]);
    for said in [weak, malformed, secret] {
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_missing_secret_says_what_to_do() {
    let said = match Config::read(&settings(&[], &[("JWT_SECRET", "")])) {
        Ok(_) => panic!("it is accepted"),
        Err(problems) => problems.to_string(),
    };
    assert!(said.starts_with("JWT_SECRET is not set"), "{said}");
    assert!(said.contains("openssl rand"), "{said}");
}

#[test]
fn a_secret_may_be_in_a_file() {
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
    assert!(twice.contains("given twice"), "{twice}");
    let missing = problem(&[("JWT_SECRET_FILE", "/nowhere/secret")]);
    assert!(
        missing.contains("JWT_SECRET cannot be read from /nowhere/secret"),
        "{missing}"
    );
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    for name in [
        "REDIS_URL",
        "JWT_PUBLIC_KEY_FILE",
        "JWKS_URL",
        "MESSAGE_RATE",
        "MAX_ROOMS",
        "MAX_CONNECTIONS_PER_USER",
    ] {
        let said = problem(&[(name, "7")]);
        assert!(
            said.starts_with(&format!("{name} is not implemented")),
            "{said}"
        );
    }
    // 0 asks for no limit, which is what this version does.
    for name in ["MESSAGE_RATE", "MAX_ROOMS", "MAX_CONNECTIONS_PER_USER"] {
        assert!(read(&[(name, "0")]).is_ok(), "{name}");
    }
}

#[test]
fn databases_are_known_by_their_scheme() {
    let database = |url: &str| read(&[("DATABASE_URL", url)]).unwrap().storage.database;
    let path = |url: &str| match database(url) {
        DatabaseUrl::Sqlite(path) => path.to_str().unwrap().to_owned(),
        DatabaseUrl::Postgres(_) => panic!("{url} is no file"),
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
    assert!(problem(&[("DATABASE_URL", "sqlite://")]).contains("names no file"));
}
