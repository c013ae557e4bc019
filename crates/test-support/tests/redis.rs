//! A throwaway Redis server starts, stops and leaves nothing behind.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use chat_test_support::{ChildProcess, Redis, RedisOptions, RedisUser, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

fn is_listening(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_server_is_stopped_killed_and_started_on_the_same_port() {
    let mut redis = Redis::start(RedisOptions::default()).unwrap();
    let url = redis.url();
    redis.command(&["SET", "key", "value"]).unwrap();
    for end in [Redis::stop, Redis::kill] {
        end(&mut redis).unwrap();
        assert!(redis.command(&["PING"]).is_err());
        redis.start_again().unwrap();
        assert_eq!(redis.command(&["PING"]).unwrap(), "PONG");
        assert_eq!(redis.command(&["GET", "key"]).unwrap(), "", "it persists");
    }
    assert_eq!(redis.url(), url);
}

#[test]
fn a_suspended_server_is_continued_or_killed() {
    let mut redis = Redis::start(RedisOptions::default()).unwrap();
    redis.signal("STOP").unwrap();
    redis.signal("CONT").unwrap();
    assert_eq!(redis.command(&["PING"]).unwrap(), "PONG");
    redis.signal("STOP").unwrap();
    redis.kill().unwrap();
    assert!(!is_listening(redis.port()));
}

#[test]
fn a_user_may_do_only_what_its_rules_permit() {
    let redis = Redis::start(RedisOptions {
        user: Some(RedisUser {
            name: "chat".to_owned(),
            password: "hunter2".to_owned(),
            rules: "+ping +publish &chat:*".to_owned(),
        }),
        ..RedisOptions::default()
    })
    .unwrap();
    let port = redis.port();
    assert_eq!(
        redis.url(),
        format!("redis://chat:hunter2@127.0.0.1:{port}")
    );
    let dry_run = |words: &[&str]| {
        let mut command = vec!["ACL", "DRYRUN", "chat"];
        command.extend(words);
        redis.command(&command).unwrap()
    };
    assert_eq!(dry_run(&["PUBLISH", "chat:x", "1"]), "OK");
    assert_ne!(dry_run(&["PUBLISH", "other", "1"]), "OK");
    assert_ne!(dry_run(&["GET", "key"]), "OK");
}

#[test]
fn a_refused_command_is_an_error_with_the_servers_message() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let error = redis.command(&["NONSENSE"]).unwrap_err().to_string();
    assert!(error.contains("unknown command"), "{error}");
}

#[test]
fn a_server_that_does_not_start_is_reported_with_its_log() {
    let error = Redis::start(RedisOptions {
        settings: vec!["nonsense yes".to_owned()],
        ..RedisOptions::default()
    })
    .unwrap_err();
    assert!(error.to_string().contains("nonsense"), "{error}");
}

#[test]
fn a_server_ends_with_a_killed_process() {
    // The process to kill is another run of this test.
    const HOLD: &str = "HOLD_A_SERVER_UNTIL_KILLED";
    if std::env::var_os(HOLD).is_some() {
        let redis = Redis::start(RedisOptions::default()).unwrap();
        println!("port {}", redis.port());
        loop {
            std::thread::park();
        }
    }

    let mut process = Command::new(std::env::current_exe().unwrap());
    process
        .args(["--exact", "a_server_ends_with_a_killed_process"])
        .args(["--nocapture", "--quiet"])
        .env(HOLD, "");
    let process = ChildProcess::start(&mut process).unwrap();
    let port = process.wait_for_output("the port", TIMEOUT, |output| {
        let (_, port) = output.split_once("port ")?;
        port.split_once('\n')?.0.parse::<u16>().ok()
    });
    let port = port.unwrap();
    assert!(is_listening(port));

    drop(process);
    wait_until(Duration::from_secs(20), "the server is gone", || {
        Ok((!is_listening(port)).then_some(()))
    })
    .unwrap();
}
