//! `chat-gateway kick`.

use std::process::Output;
use std::time::Duration;

use chat_test_support::run;

use super::group::Group;
use crate::support::client::Polling;
use crate::support::{DEADLINE, command, metric, token};

/// Runs `kick` with these settings.
pub(crate) fn kick(user: &str, environment: &[(&str, &str)]) -> Output {
    let mut kick = command("kick");
    kick.args(["--user", user])
        .envs(environment.iter().copied());
    run(&mut kick, DEADLINE).unwrap()
}

fn assert_fails(output: &Output, says: &str) {
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains(says) && line.lines().count() == 1, "{line}");
    assert!(output.stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn kick_closes_a_users_connections_on_all_nodes_and_no_others() {
    let group = Group::start(2).await;
    let (mut kicked, mut others) = (Vec::new(), Vec::new());
    for node in &group.nodes {
        for _ in 0..2 {
            let mut client = node.connect("42").await;
            client.join(1).await;
            kicked.push(client);
        }
        // Neighbours in the order of ids.
        for user in ["4", "420", "41"] {
            let mut client = node.connect(user).await;
            client.join(1).await;
            others.push(client);
        }
    }
    let polling = Polling::connect(group.nodes[0].address, &token("42", "x")).await;

    let output = kick("42", &group.exchange.settings());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert_eq!(output.stdout, b"received by 2 nodes\n");
    for client in &mut kicked {
        // The standard client takes this as the server's decision, and does not reconnect.
        assert_eq!(client.read_to_end(Duration::from_secs(1)).await, ["41"]);
    }
    assert_eq!(polling.packets().await, ["41"]);
    assert_eq!(polling.get().await.0, 400, "the session has ended");
    for client in &mut others {
        let answer = client.send(1, "still here").await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
    for (node, kicked) in group.nodes.iter().zip([3, 2]) {
        let name = "chat_forced_disconnects_total{reason=\"kicked\"}";
        assert_eq!(metric(node, name).await, kicked);
    }
    // The user is not banned.
    let mut again = group.nodes[0].connect("42").await;
    again.join(1).await;
}

#[test]
fn kick_without_redis_says_what_it_needs() {
    assert_fails(&kick("42", &[]), "set REDIS_URL");
    let nowhere = [("REDIS_URL", "redis://:hunter2@127.0.0.1:1")];
    let output = kick("42", &nowhere);
    assert_fails(&output, "Redis cannot be reached");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
    assert_fails(&kick("", &nowhere), "--user");
}

#[tokio::test(flavor = "multi_thread")]
async fn kick_fails_if_no_node_receives_it() {
    let group = Group::start(0).await;
    assert_fails(&kick("42", &group.exchange.settings()), "no node received");
}
