//! The commands: what they print, how they exit, and that they reveal no secret.

use std::path::Path;
use std::process::{Command, Output};

use chat_test_support::{Cluster, ClusterOptions};
use serde_json::json;

use crate::support::client::{Client, get};
use crate::support::{DEADLINE, Database, Gateway, SECRET, command};

/// Runs a command to its end: exit code, standard output and standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = chat_test_support::run(command, DEADLINE).unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// Runs `serve` with these variables in an empty folder and returns the line that it
/// fails with.
fn serve_fails(environment: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = command("serve");
    serve
        .current_dir(&folder)
        .env("JWT_SECRET", SECRET)
        .env("HOST", "127.0.0.1")
        .env("PORT", "0");
    for (name, value) in environment {
        serve.env(name, value);
    }
    let (code, out, error) = run(&mut serve);
    assert_eq!(code, 1, "{error}");
    assert_eq!(out, "");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("chat-gateway: "), "{error}");
    error
}

#[test]
fn a_failed_start_prints_one_line_that_states_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (environment, expected) in [
        (vec![("JWT_SECRET", "")], "JWT_SECRET is not set"),
        (vec![("JWT_SECRET", "hunter2")], "JWT_SECRET has 7 bytes"),
        (vec![("PORT", "http")], "PORT must be"),
        (vec![("PORT", "65536")], "PORT must be"),
        (vec![("PORT", &port)], "check HOST and PORT"),
        (vec![("HOST", "no such host.invalid")], "cannot listen"),
        (vec![("MAX_IN_FLIGHT", "many")], "MAX_IN_FLIGHT must be"),
        (
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://:hunter2@x:4318")],
            "OTEL_EXPORTER_OTLP_ENDPOINT must not contain a user",
        ),
        (
            vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x"),
                ("SSL_CERT_FILE", "/dev/null"),
            ],
            "OTEL_EXPORTER_OTLP_ENDPOINT: the system has no trusted certificates: install",
        ),
        (
            vec![("DATABASE_URL", "mysql://u:hunter2@x/y")],
            "must start with sqlite:// or postgres://",
        ),
        (
            vec![("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/y")],
            "DATABASE_URL",
        ),
        (
            vec![("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:x/y")],
            "is malformed",
        ),
        (
            vec![("DATABASE_URL", "postgres://u:hunter2@h/y?sslmode=on")],
            "sslmode=on",
        ),
        (vec![("DATABASE_URL", "sqlite:///proc/chat.db")], "/proc"),
        (vec![("MIGRATE", "off")], "chat-gateway migrate"),
        (
            vec![("RUST_LOG", "x=loud"), ("PORT", "http")],
            "RUST_LOG is",
        ),
        (
            vec![("RUST_LOG", "x=loud"), ("PORT", "http")],
            "PORT must be",
        ),
    ] {
        let line = serve_fails(&environment);
        assert!(line.contains(expected), "{environment:?}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
        assert!(!line.contains(SECRET), "{line}");
    }
}

#[test]
fn unknown_flags_and_commands_print_one_line() {
    for arguments in [
        &["serve", "--nonsense"][..],
        &["dance"],
        &["serve", "--port"],
        &["token"],
    ] {
        let mut gateway = command(arguments[0]);
        let (code, out, error) = run(gateway.args(&arguments[1..]));
        assert_eq!(
            (code, out.as_str(), error.lines().count()),
            (1, "", 1),
            "{error}"
        );
    }
    let (code, help, _) = run(&mut command("--help"));
    assert_eq!(code, 0);
    assert!(
        help.contains("--port") && help.contains("check-config"),
        "{help}"
    );
}

#[test]
fn serve_refuses_postgres_with_fsync_off() {
    let options = ClusterOptions {
        settings: vec!["fsync = off".into()],
        ..ClusterOptions::default()
    };
    let server = Cluster::start(options).unwrap();
    let line = serve_fails(&[("DATABASE_URL", &server.url("postgres"))]);
    assert!(line.contains("fsync"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_warns_about_synchronous_commit_off() {
    let database = Database::postgres();
    let Database::Postgres(server) = &database else {
        unreachable!()
    };
    database.sql(&format!(
        "ALTER DATABASE {} SET synchronous_commit = off",
        server.name()
    ));
    let gateway = Gateway::start(&database);
    assert!(
        gateway.log().contains("synchronous_commit=off"),
        "{}",
        gateway.log()
    );
}

#[test]
fn migrate_prints_what_it_applies_and_dry_run_what_is_pending() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/sqlite");
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let lines = |verb: &str| -> String {
        let names = names.iter().map(|name| name.to_str().unwrap());
        names.map(|name| format!("{verb} {name}\n")).collect()
    };
    for database in [Database::sqlite(), Database::postgres()] {
        let migrate = |arguments: &[&str]| {
            let mut migrate = command("migrate");
            migrate.env("DATABASE_URL", database.url()).args(arguments);
            let (code, out, error) = run(&mut migrate);
            assert_eq!(code, 0, "{error}");
            out
        };
        assert_eq!(migrate(&["--dry-run"]), lines("pending"));
        assert_eq!(migrate(&["--dry-run"]), lines("pending"));
        assert_eq!(migrate(&[]), lines("applied"));
        assert_eq!(migrate(&[]), "up to date\n");
        assert_eq!(migrate(&["--dry-run"]), "up to date\n");
        Gateway::start_with(&database, &[("MIGRATE", "off")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_token_connects() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut mint = command("token");
    mint.env("JWT_SECRET", SECRET)
        .args(["--user", "1", "--name", "Ada L.", "--ttl", "1h"]);
    let (code, out, error) = run(&mut mint);
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out.lines().count(), 1);
    let mut client = Client::connect(gateway.address, out.trim()).await;
    client.join(1).await;
    assert_eq!(
        client.send(1, "x").await["message"]["user"],
        json!({"id": "1", "name": "Ada L."})
    );

    let (code, out, error) = run(command("token").args(["--user", "1"]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains("JWT_SECRET is not set"), "{error}");
}

#[test]
fn check_config_prints_each_source_and_whether_serve_would_start() {
    let folder = tempfile::tempdir().unwrap();
    let check = |environment: &[(&str, &str)], flags: &[&str]| {
        let mut check = command("check-config");
        check
            .current_dir(&folder)
            .envs(environment.iter().copied())
            .args(flags);
        run(&mut check)
    };
    let right = [("JWT_SECRET", SECRET), ("HOST", "127.0.0.1")];
    let (code, out, _) = check(&right, &["--port", "0"]);
    assert_eq!(code, 0, "{out}");
    let line = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("PORT"), "PORT 0 (flag)");
    assert_eq!(line("HOST"), "HOST 127.0.0.1 (environment)");
    assert_eq!(line("MIGRATE"), "MIGRATE on (default)");
    assert_eq!(
        line("JWT_SECRET"),
        format!("JWT_SECRET ({} bytes) (environment)", SECRET.len())
    );
    assert!(!out.contains(SECRET));
    assert!(
        !folder.path().join("data").exists(),
        "check-config creates no files"
    );

    let url = "postgres://u:hunter2@127.0.0.1:1/x";
    for (name, value, expected) in [
        ("JWT_SECRET", "hunter2", "error: has 7 bytes"),
        ("PORT", "x", "error: must be a port"),
        ("DATABASE_URL", url, "serve would not start: the database"),
        (
            "MIGRATE",
            "off",
            "serve would not start: migrations are pending",
        ),
        (
            "DATABASE_URL",
            "sqlite:///proc/x/chat.db",
            "serve would not start: /proc/x/chat.db cannot be written",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://x",
            "serve would not start: OTEL_EXPORTER_OTLP_ENDPOINT: the system has no trusted",
        ),
    ] {
        let mut environment = right.to_vec();
        environment.extend([("PORT", "0"), ("SSL_CERT_FILE", "/dev/null")]);
        environment.retain(|(other, _)| *other != name);
        environment.push((name, value));
        let (code, out, error) = check(&environment, &[]);
        assert_eq!(code, 1, "{out}");
        assert!(out.contains(expected), "{out}");
        assert!(!out.contains("hunter2"), "{out}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_database_and_health_does_not() {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;

    let database = Database::sqlite();
    let path = database.path();
    let gateway = Gateway::start(&database);
    let get = async |path: &str| get(gateway.address, path).await.0;
    let port = gateway.address.port().to_string();
    let healthcheck = |port: &str| run(command("healthcheck").env("PORT", port));
    assert_eq!((get("/healthz").await, get("/readyz").await), (200, 200));
    assert_eq!(healthcheck(&port).0, 0);
    assert_eq!(get("/metrics").await, 200);
    assert_eq!(get("/").await, 404, "only dev has the demo page");

    let mut locker = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    locker.batch_execute("BEGIN EXCLUSIVE").unwrap();
    assert_eq!((get("/healthz").await, get("/readyz").await), (200, 503));
    let (code, out, error) = healthcheck(&port);
    assert_eq!((code, out.as_str(), error.lines().count()), (1, "", 1));
    drop(locker);
    assert_eq!(get("/readyz").await, 200);
    assert_eq!(healthcheck("1").0, 1);
}

/// The binary needs only the C library and the compiler's own libraries.
#[test]
fn the_binary_links_no_other_system_library() {
    let (code, out, error) = run(Command::new("ldd").arg(env!("CARGO_BIN_EXE_chat-gateway")));
    assert_eq!(code, 0, "{error}");
    for line in out.lines() {
        let library = line.split_whitespace().next().unwrap();
        let known = [
            "linux-vdso",
            "libc.so",
            "libm.so",
            "libgcc_s.so",
            "ld-linux",
            "/lib",
        ];
        let is_known = known.iter().any(|known| library.starts_with(known));
        assert!(is_known, "the binary links {library}");
    }
}
