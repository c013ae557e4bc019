//! The commands: what they print, how they end, and that they keep secrets.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use chat_test_support::{Cluster, ClusterOptions, wait_until};
use serde_json::json;

use crate::support::client::{Client, Polling, http};
use crate::support::{Database, Gateway, SECRET, SOON, command, token};

/// Runs a command to its end: exit code, standard output and standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// `serve` with these variables, in an empty folder: the line it ends with.
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
fn a_start_that_cannot_succeed_says_in_one_line_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (environment, says) in [
        (vec![("JWT_SECRET", "")], "JWT_SECRET is not set"),
        (vec![("JWT_SECRET", "hunter2")], "JWT_SECRET has 7 bytes"),
        (vec![("PORT", "http")], "PORT must be"),
        (vec![("PORT", "65536")], "PORT must be"),
        (vec![("PORT", &port)], "check HOST and PORT"),
        (vec![("HOST", "no such host.invalid")], "cannot listen"),
        (vec![("MAX_IN_FLIGHT", "many")], "MAX_IN_FLIGHT must be"),
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
            vec![("REDIS_URL", "redis://:hunter2@x")],
            "REDIS_URL is not implemented",
        ),
        (
            vec![("MESSAGE_RATE", "5")],
            "MESSAGE_RATE is not implemented",
        ),
        (
            vec![("JWKS_URL", "http://x")],
            "JWKS_URL is not implemented",
        ),
    ] {
        let line = serve_fails(&environment);
        assert!(line.contains(says), "{environment:?}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
        assert!(!line.contains(SECRET), "{line}");
    }
}

#[test]
fn unknown_flags_and_commands_are_one_line_too() {
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
fn a_server_that_loses_commits_is_refused() {
    let options = ClusterOptions {
        settings: vec!["fsync = off".into()],
        ..ClusterOptions::default()
    };
    let server = Cluster::start(options).unwrap();
    let line = serve_fails(&[("DATABASE_URL", &server.url("postgres"))]);
    assert!(line.contains("fsync"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn synchronous_commit_off_is_a_warning() {
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
fn migrate_says_what_it_does() {
    for database in [Database::sqlite(), Database::postgres()] {
        let migrate = |arguments: &[&str]| {
            let mut migrate = command("migrate");
            migrate.env("DATABASE_URL", database.url()).args(arguments);
            let (code, out, error) = run(&mut migrate);
            assert_eq!(code, 0, "{error}");
            out
        };
        assert_eq!(
            migrate(&["--dry-run"]),
            "pending 0001_messages\npending 0002_repeats_and_pointers\npending 0003_cheaper_appends\n"
        );
        assert_eq!(
            migrate(&["--dry-run"]),
            "pending 0001_messages\npending 0002_repeats_and_pointers\npending 0003_cheaper_appends\n"
        );
        assert_eq!(
            migrate(&[]),
            "applied 0001_messages\napplied 0002_repeats_and_pointers\napplied 0003_cheaper_appends\n"
        );
        assert_eq!(migrate(&[]), "up to date\n");
        assert_eq!(migrate(&["--dry-run"]), "up to date\n");
        let url = database.url();
        let gateway = Gateway::start_with(&database, &[("MIGRATE", "off")]);
        drop((url, gateway));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_token_is_let_in() {
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
fn check_config_tells_where_settings_came_from_and_whether_serve_would_start() {
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
    assert!(!folder.path().join("data").exists(), "it only looks");

    let url = "postgres://u:hunter2@127.0.0.1:1/x";
    for (name, value, says) in [
        ("JWT_SECRET", "hunter2", "WRONG: has 7 bytes"),
        ("PORT", "x", "WRONG: must be a port"),
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
    ] {
        let mut environment = right.to_vec();
        environment.push(("PORT", "0"));
        environment.retain(|(other, _)| *other != name);
        environment.push((name, value));
        let (code, out, error) = check(&environment, &[]);
        assert_eq!(code, 1, "{out}");
        assert!(out.contains(says), "{out}");
        assert!(
            !out.contains("hunter2") && !error.contains("hunter2"),
            "{out}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_follow_the_database() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let get = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        http(gateway.address, &request).await.0
    };
    let port = gateway.address.port().to_string();
    let healthcheck = |port: &str| run(command("healthcheck").env("PORT", port));
    assert_eq!((get("/healthz").await, get("/readyz").await), (200, 200));
    assert_eq!(healthcheck(&port).0, 0);
    assert_eq!(get("/metrics").await, 200);
    assert_eq!(get("/").await, 404, "the demo page is dev's alone");

    database.sql("ALTER TABLE rooms RENAME TO elsewhere");
    assert_eq!((get("/healthz").await, get("/readyz").await), (200, 503));
    let (code, out, error) = healthcheck(&port);
    assert_eq!((code, out.as_str(), error.lines().count()), (1, "", 1));
    database.sql("ALTER TABLE elsewhere RENAME TO rooms");
    assert_eq!(get("/readyz").await, 200);
    assert_eq!(healthcheck("1").0, 1);
}

crate::on_each_database!(sigterm_finishes_what_was_sent);

async fn sigterm_finishes_what_was_sent(database: &Database) {
    let mut gateway = Gateway::start_with(database, &[("MAX_IN_FLIGHT", "0")]);
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    let polling = Polling::connect(gateway.address, &token("2", "Grace")).await;
    client.join(1).await;
    let mut ids = Vec::new();
    for n in 0..200 {
        ids.push(
            client
                .start(
                    "sendMessage",
                    &json!({"roomId": 1, "content": n.to_string()}),
                )
                .await,
        );
    }
    // The first answer shows that all have arrived or are about to.
    let first = client.ack(ids.remove(0)).await;
    assert_eq!(first["ok"], true);
    let asked = Instant::now();
    gateway.signal("TERM");
    let mut stored = 1;
    for id in ids {
        let answer = client.ack(id).await;
        match answer["ok"] == true {
            true => stored += 1,
            // What came after the signal.
            false => assert_eq!(answer["error"]["code"], "unavailable"),
        }
    }
    let rest = client.read_to_end(Duration::from_secs(5)).await;
    assert!(
        !rest.iter().any(|packet| packet.starts_with("41")),
        "no disconnect: {rest:?}"
    );
    // The poller's session is over too: 400, or nobody there any more. A heartbeat that
    // waited for it may be fetched in the same instant.
    let ended = tokio::spawn(async move { while polling.get().await.0 == 200 {} });
    let ended = tokio::time::timeout(SOON, ended).await;
    assert!(ended.is_ok(), "the poller's session is not over");
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(
        database.sql("SELECT count(*) FROM messages"),
        stored.to_string()
    );
}

/// A client whose send waits for the database: somebody else holds the table.
struct Hanging<'a> {
    database: &'a Database,
    _client: Client,
    holder: Option<std::thread::JoinHandle<()>>,
}

impl<'a> Hanging<'a> {
    async fn on(database: &'a Database, gateway: &Gateway) -> Self {
        let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
        client.join(1).await;
        client.send(1, "x").await;
        let url = database.url();
        let hold = "BEGIN; LOCK TABLE rooms; SELECT pg_sleep(20); COMMIT";
        let holder = std::thread::spawn(move || {
            // Ended before it is done.
            chat_test_support::psql(&url, hold).ok();
        });
        let one = |sql: &str| {
            wait_until(SOON, sql, || Ok((database.sql(sql) == "1").then_some(()))).unwrap();
        };
        one(
            "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock' \
             AND relation = 'rooms'::regclass",
        );
        client
            .emit("sendMessage", &json!({"roomId": 1, "content": "x"}))
            .await;
        one("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rooms'::regclass");
        Self {
            database,
            _client: client,
            holder: Some(holder),
        }
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        self.holder.take().map(std::thread::JoinHandle::join);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_in_time_though_the_database_hangs() {
    let database = Database::postgres();
    let mut gateway = Gateway::start(&database);
    let _hanging = Hanging::on(&database, &gateway).await;
    let asked = Instant::now();
    gateway.signal("TERM");
    gateway.wait_for_log(|log| log.contains("draining").then_some(()));
    // Meanwhile, whoever asks is told.
    let ready = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(http(gateway.address, ready).await.0, 503);
    let mut late = Client::open(gateway.address).await;
    let token = token("2", "Grace");
    late.say(&format!("40{}", json!({ "token": token }))).await;
    assert_eq!(
        late.packet().await,
        Ok(r#"44{"message":"unavailable"}"#.to_owned())
    );
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let database = Database::postgres();
    let mut gateway = Gateway::start(&database);
    let _hanging = Hanging::on(&database, &gateway).await;
    gateway.signal("TERM");
    gateway.wait_for_log(|log| log.contains("draining").then_some(()));
    let asked = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(2));
}

/// Everything that is logged, at the finest level, while secrets pass through.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_holds_a_secret_or_a_message() {
    let options = ClusterOptions {
        password: Some("hunter2-the-password".into()),
        ..ClusterOptions::default()
    };
    let server = Cluster::start(options).unwrap();
    let mut serve = command("serve");
    serve
        .env("DATABASE_URL", server.url("postgres"))
        .env("JWT_SECRET", SECRET);
    serve
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("RUST_LOG", "trace");
    let mut gateway = Gateway::spawn(serve);
    let ada = token("1", "Ada");
    let mut client = Client::connect(gateway.address, &ada).await;
    client.join(1).await;
    client.send(1, "the content of a message").await;
    let mut refused = Client::open(gateway.address).await;
    refused
        .say(r#"40{"token":"a-token-that-is-refused"}"#)
        .await;
    refused.packet().await.unwrap();
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket&token={ada}",
        gateway.address
    );
    let headers = [("authorization", ada.as_str())];
    Client::open_with(&url, &headers).await.unwrap();
    gateway.signal("TERM");
    gateway.wait();
    let log = gateway.log();
    assert!(
        log.contains("\"TRACE\"") || log.contains("\"DEBUG\""),
        "{log}"
    );
    let signature = ada.rsplit('.').next().unwrap();
    for secret in [
        SECRET,
        "hunter2",
        signature,
        "a-token-that-is-refused",
        "the content of a message",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// The binary needs no library but the C one and what comes with the compiler.
#[test]
fn the_binary_links_no_system_library() {
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
        assert!(is_known, "{library}");
    }
}
