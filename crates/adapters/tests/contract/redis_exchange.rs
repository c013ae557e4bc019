//! What nodes exchange through a Redis that works: hints of served rooms, and commands.

use std::sync::{Arc, Weak};

use chat_adapters::redis::{ConnectError, RedisExchange, send_command};
use chat_domain::ports::{NodeCommand, NodeCommandListener, NodeCommands as _, RoomEvents as _};
use chat_domain::{BoxError, Disconnection, UserId, one_line};
use chat_test_support::{Certificates, Redis, RedisOptions, RedisUser};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::redis_nodes::{
    Node, client, eventually, message, options, publish, served_by, shared_options, shared_url,
};
use crate::room;
use crate::room_events::{DEADLINE, hint};

/// What the documentation states that the gateway's user must be allowed.
const RULES: &str = "+hello +ping +subscribe +unsubscribe +publish &chat:*";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_verbatim_and_only_once_on_every_node() {
    let options = shared_options();
    let mut nodes = [0; 3].map(|_| Node::start(&options));
    for node in &nodes {
        node.exchange.serve(room(1));
    }
    served_by(&shared_url(), &options.prefix, 1, 3).await;
    let sent: Vec<_> = (1..=50)
        .map(|n| message(1, n, &format!(r#"{{"id":{n}, "content":"\u0000 é"}}"#)))
        .collect();
    for hint in &sent {
        nodes[0].exchange.announce(hint.clone());
    }
    for node in &mut nodes {
        for hint in &sent {
            assert_eq!(node.subscription.next().await, *hint);
        }
    }
    nodes[0]
        .until("its hints are published", |s| s.published == 50)
        .await;
    let [first, second, third] = nodes.map(|node| node.status());
    assert_eq!(
        (first.received, second.received, third.received),
        (0, 50, 50)
    );
    assert_eq!((first.invalid, first.lost), (0, Default::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_receives_only_the_rooms_that_it_serves() {
    let (options, url) = (shared_options(), shared_url());
    let first = Node::start(&options);
    let mut second = Node::start(&options);
    second.exchange.serve(room(1));
    second.exchange.serve(room(2));
    served_by(&url, &options.prefix, 2, 1).await;
    first.until("it is connected", |s| s.is_connected).await;
    second.exchange.release(room(1));
    served_by(&url, &options.prefix, 1, 0).await;
    for room_number in [1, 3, 2] {
        first.exchange.announce(hint(room_number, 1));
    }
    assert_eq!(second.subscription.next().await, hint(2, 1));
    assert_eq!(second.status().received, 1);

    second.exchange.serve(room(1));
    served_by(&url, &options.prefix, 1, 1).await;
    first.exchange.announce(hint(1, 2));
    assert_eq!(second.subscription.next().await, hint(1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_with_different_prefixes_share_a_server() {
    let options = [shared_options(), shared_options()];
    let mut nodes = options.each_ref().map(Node::start);
    for (node, options) in nodes.iter().zip(&options) {
        node.exchange.serve(room(1));
        served_by(&shared_url(), &options.prefix, 1, 1).await;
    }
    nodes[0].exchange.announce(hint(1, 1));
    assert_eq!(nodes[0].subscription.next().await, hint(1, 1));
    nodes[0]
        .until("it is published", |s| s.published == 1)
        .await;
    assert_eq!(nodes[1].status().received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_room_of_a_large_node_is_subscribed() {
    const ROOMS: u64 = 2500;
    let (options, url) = (shared_options(), shared_url());
    let node = Node::start(&options);
    (1..=ROOMS).for_each(|n| node.exchange.serve(room(n)));
    let mut client = client(&url);
    let pattern = format!("{}room:*", options.prefix);
    let mut channels = || -> usize {
        let mut command = redis::cmd("PUBSUB");
        let channels: Vec<String> = command
            .arg("CHANNELS")
            .arg(&pattern)
            .query(&mut client)
            .unwrap();
        channels.len()
    };
    eventually("all are subscribed", async || channels() == ROOMS as usize).await;
    (1..=ROOMS).for_each(|n| node.exchange.release(room(n)));
    eventually("none is subscribed", async || channels() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_by_others_is_counted_and_ignored() {
    let (options, url) = (shared_options(), shared_url());
    let first = Node::start(&options);
    let mut second = Node::start(&options);
    second.exchange.serve(room(1));
    served_by(&url, &options.prefix, 1, 1).await;
    let channel = format!("{}room:1", options.prefix);
    let huge = vec![b'['; 1_000_000];
    for garbage in [
        &b""[..],
        b"\xff\x00",
        b"{\"v\":1,\"node\":\"x\",\"entries\":[7]}",
        b"{\"v\":9,\"node\":\"x\",\"entries\":[]}",
        &huge,
    ] {
        publish(&url, &channel, garbage);
    }
    publish(&url, &format!("{}nodes", options.prefix), b"restart");
    second.until("all are counted", |s| s.invalid == 6).await;
    first.until("it is connected", |s| s.is_connected).await;
    first.exchange.announce(hint(1, 1));
    assert_eq!(second.subscription.next().await, hint(1, 1));
    assert_eq!(second.status().connections, 1);
}

/// Passes commands on to a test.
struct Commands(mpsc::UnboundedSender<NodeCommand>);

impl NodeCommandListener for Commands {
    fn on_command(&self, command: NodeCommand) {
        self.0.send(command).ok();
    }
}

fn disconnect_ada() -> NodeCommand {
    NodeCommand::DisconnectUser(Disconnection {
        user_id: UserId::new("42").unwrap(),
        number: Some(1),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reaches_every_node_and_says_how_many() {
    let options = shared_options();
    let command = disconnect_ada();
    let reached = send_command(&options, command.clone()).await;
    assert_eq!(reached.unwrap(), 0, "no node is subscribed");
    let mut listeners = Vec::new();
    for _ in 0..3 {
        let node = RedisExchange::start(&options).unwrap();
        let (sender, commands) = mpsc::unbounded_channel();
        let listener: Arc<dyn NodeCommandListener> = Arc::new(Commands(sender));
        let weak: Weak<dyn NodeCommandListener> = Arc::downgrade(&listener);
        chat_domain::ports::NodeCommands::subscribe(&node, weak);
        listeners.push((node, listener, commands));
    }
    let mut client = client(&shared_url());
    let channel = format!("{}nodes", options.prefix);
    eventually("all nodes listen", async || {
        let mut command = redis::cmd("PUBSUB");
        let reply: (String, u64) = command
            .arg("NUMSUB")
            .arg(&channel)
            .query(&mut client)
            .unwrap();
        reply.1 == 3
    })
    .await;
    assert_eq!(listeners[0].0.send(command.clone()).await.unwrap(), 3);
    for (_, _, commands) in &mut listeners {
        let received = timeout(DEADLINE, commands.recv()).await.unwrap();
        assert_eq!(received, Some(command.clone()));
    }
}

/// Starts a server with a user that has the documented permissions, and no others.
fn with_documented_user() -> Redis {
    let user = RedisUser {
        name: "chat".to_owned(),
        password: "hunter2".to_owned(),
        rules: RULES.to_owned(),
    };
    let options = RedisOptions {
        user: Some(user),
        ..RedisOptions::default()
    };
    Redis::start(options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_sufficient() {
    let documentation = include_str!("../../../../docs/deployment.md");
    assert!(documentation.contains(RULES), "{RULES} is not documented");
    let server = with_documented_user();
    let mut options = options(&server.url());
    options.prefix = "chat:".to_owned();
    let mut first = Node::start(&options);
    let mut second = Node::start(&options);
    second.exchange.serve(room(1));
    first.reach(&mut second, 1).await;
    second.exchange.release(room(1));
    let admin = format!("redis://127.0.0.1:{}", server.port());
    served_by(&admin, &options.prefix, 1, 0).await;
    let command = disconnect_ada();
    assert_eq!(send_command(&options, command).await.unwrap(), 2);
    assert_eq!(
        (first.status().connections, second.status().connections),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_reported_without_the_password() {
    let server = with_documented_user();
    let wrong = server.url().replace("hunter2", "hunter3");
    let error = RedisExchange::check(&options(&wrong)).await.unwrap_err();
    let line = one_line(&error);
    assert!(line.contains("WRONGPASS"), "{line}");
    assert!(!line.contains("hunter"), "{line}");
    RedisExchange::check(&options(&server.url())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_over_tls_only_with_its_authority() {
    let certificates = Certificates::generate().unwrap();
    let server = Redis::start(RedisOptions {
        tls: Some(certificates.server.clone()),
        ..RedisOptions::default()
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = certificates.write_to(folder.path()).unwrap().authority;
    let url = format!("{}?sslrootcert={}", server.url(), authority.display());
    let options = options(&url);
    let mut first = Node::start(&options);
    let mut second = Node::start(&options);
    second.exchange.serve(room(1));
    first.reach(&mut second, 1).await;

    let other = Certificates::generate().unwrap();
    std::fs::write(&authority, &other.authority_pem).unwrap();
    let error = RedisExchange::check(&options).await.unwrap_err();
    assert!(one_line(&error).contains("certificate"), "{error:?}");
    std::fs::remove_file(&authority).unwrap();
    let started: Result<_, BoxError> = RedisExchange::start(&options);
    assert!(started.is_err(), "the authority's file does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_cluster_mode_is_refused_by_name() {
    let server = Redis::start(RedisOptions {
        settings: vec!["cluster-enabled yes".to_owned()],
        ..RedisOptions::default()
    })
    .unwrap();
    let error = RedisExchange::check(&options(&server.url()))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::ClusterMode), "{error:?}");
    assert!(error.to_string().contains("cluster mode"));
}
