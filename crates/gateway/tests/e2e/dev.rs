//! `chat-gateway dev`: what it needs, what it prints, and which host names it serves.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chat_test_support::ChildProcess;
use tempfile::TempDir;

use crate::operations::run;
use crate::support::client::{Client, http};
use crate::support::{DEADLINE, Gateway, command};

/// Runs `dev` until it has printed `ready`, and returns what it has printed.
fn printed_by_dev(folder: &Path) -> Vec<String> {
    let mut dev = command("dev");
    dev.current_dir(folder).env("PORT", "0");
    let dev = ChildProcess::start(&mut dev).unwrap();
    let printed = dev.wait_for_output("`ready`", DEADLINE, |output| {
        let (before, _) = output.split_once("\nready\n")?;
        Some(before.lines().map(str::to_owned).collect())
    });
    printed.unwrap()
}

#[test]
fn dev_needs_no_configuration_and_prints_two_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let printed = printed_by_dev(folder.path());
    let is_token = |line: &&String| line.contains("eyJ") && line.trim().split('.').count() == 3;
    assert_eq!(printed.iter().filter(is_token).count(), 2, "{printed:?}");
    let url = printed
        .iter()
        .find_map(|line| line.split_once("Socket.IO  http://"))
        .unwrap()
        .1;
    assert!(url.starts_with("127.0.0.1:"), "{url}");
}

#[test]
fn the_secret_of_dev_is_private_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/dev-secret");
    printed_by_dev(folder.path());
    let first = std::fs::read_to_string(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    printed_by_dev(folder.path());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
}

#[test]
fn dev_refuses_an_address_that_other_machines_can_reach() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = command("dev");
    let (code, _, error) = run(dev.current_dir(&folder).env("HOST", "0.0.0.0"));
    assert_eq!(code, 1);
    assert!(error.contains("loopback addresses only"), "{error}");
}

/// Runs a command of the operator's on the database of `dev`.
fn operate(folder: &Path, arguments: &[&str]) -> String {
    let (name, arguments) = arguments.split_first().unwrap();
    let mut command = command(name);
    let (code, printed, error) = run(command
        .env("DATABASE_URL", "sqlite://data/chat.db")
        .current_dir(folder)
        .args(arguments));
    assert_eq!(code, 0, "{error}");
    printed
}

#[test]
fn dev_creates_the_rooms_of_its_page_in_a_new_database_only() {
    let folder = tempfile::tempdir().unwrap();
    let members = ["member", "list", "--room", "2"];
    printed_by_dev(folder.path());
    let room = operate(folder.path(), &["room", "show", "--room", "2"]);
    assert!(room.contains("kind private"), "{room}");
    assert_eq!(
        operate(folder.path(), &members),
        "1 owner\n2 moderator\n3 member\n"
    );
    operate(
        folder.path(),
        &["member", "remove", "--room", "2", "--user", "3"],
    );
    printed_by_dev(folder.path());
    assert_eq!(operate(folder.path(), &members), "1 owner\n2 moderator\n");
}

#[test]
fn dev_leaves_the_rooms_of_an_existing_database_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    operate(folder.path(), &["migrate"]);
    printed_by_dev(folder.path());
    let room = operate(folder.path(), &["room", "show", "--room", "2"]);
    assert_eq!(room, "room 2 has no rules\n");
}

const POLL: &str = "/socket.io/?EIO=4&transport=polling";

fn gateway() -> (Gateway, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = command("dev");
    dev.current_dir(&folder).env("PORT", "0");
    (Gateway::spawn(dev), folder)
}

/// A website can make its own name resolve to 127.0.0.1 (DNS rebinding). Its requests then
/// reach the gateway, but with its name as `Host`.
#[tokio::test(flavor = "multi_thread")]
async fn dev_serves_its_page_and_socket_io_under_loopback_names_only() {
    let (gateway, _folder) = gateway();
    let port = gateway.address.port();
    let get = async |path: &str, host: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        http(gateway.address, &request).await
    };
    for host in ["localhost", "127.0.0.1", "127.0.0.2", "[::1]"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            let (status, page) = get("/", &host).await;
            assert_eq!(status, 200, "{host}");
            assert!(page.contains("eyJ"), "{host}: the page has no tokens");
            assert_eq!(get(POLL, &host).await.0, 200, "{host}");
        }
    }
    for host in [
        "rebound.example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "192.0.2.1",
        "0.0.0.0",
        "",
    ] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            for path in ["/", "/metrics", "/elsewhere", POLL] {
                let (status, page) = get(path, &host).await;
                assert_eq!(status, 403, "{host}{path}");
                assert!(!page.contains("eyJ"), "{host}{path}: the page has tokens");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_opens_a_websocket_for_its_own_page_under_loopback_names_only() {
    let (gateway, _folder) = gateway();
    let address = gateway.address;
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let open = async |host: &str| {
        let host = format!("{host}:{}", address.port());
        let origin = format!("http://{host}");
        Client::open_with(&url, &[("host", &host), ("origin", &origin)]).await
    };
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        assert!(open(host).await.is_ok(), "{host}");
    }
    for host in ["rebound.example.com", "localhost.example.com", "192.0.2.1"] {
        let refused = open(host).await;
        assert!(refused.is_err_and(|error| error.contains("403")), "{host}");
    }
}
