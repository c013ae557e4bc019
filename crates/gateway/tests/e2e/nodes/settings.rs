//! What `serve` and `check-config` say about a Redis that cannot be used.

use std::process::Output;

use chat_test_support::{Redis, RedisOptions, run};

use crate::support::{DEADLINE, Database, SECRET, command};

fn run_with(name: &str, database: &Database, redis_url: &str) -> Output {
    let mut command = command(name);
    command
        .env("DATABASE_URL", database.url())
        .env("REDIS_URL", redis_url)
        .env("JWT_SECRET", SECRET)
        .env("HOST", "127.0.0.1")
        .env("PORT", "0");
    run(&mut command, DEADLINE).unwrap()
}

#[test]
fn a_redis_in_cluster_mode_prevents_a_start() {
    let redis = Redis::start(RedisOptions {
        settings: vec!["cluster-enabled yes".to_owned()],
        ..RedisOptions::default()
    })
    .unwrap();
    let database = Database::postgres();
    for name in ["serve", "check-config"] {
        let output = run_with(name, &database, &redis.url());
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("REDIS_URL: the Redis server is in cluster mode"),
            "{text}"
        );
    }
}

#[test]
fn check_config_accepts_a_redis_that_is_down_and_hides_its_password() {
    let output = run_with(
        "check-config",
        &Database::postgres(),
        "redis://chat:hunter2@127.0.0.1:1",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("redis://chat:***@127.0.0.1:1"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
