//! A database that is out of reach.

use std::time::{Duration, Instant};

use chat_test_support::{Cluster, ClusterOptions};
use tokio::time::sleep;

use super::{REVOKED, handshake, issued, try_kick};
use crate::support::{DEADLINE, Gateway, SECRET, command};

const UNAVAILABLE: &str = r#"44{"message":"unavailable"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_survive_a_short_outage_and_are_refused_in_a_long_one() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let mut serve = command("serve");
    serve
        .env("DATABASE_URL", server.url("chat"))
        .env("JWT_SECRET", SECRET)
        .env("HOST", "127.0.0.1")
        .env("PORT", "0");
    let gateway = Gateway::spawn(serve);
    let (revoked, valid) = (issued("42", Some(9)), issued("43", Some(9)));
    let done = try_kick("42", &["--revoke"], &server.url("chat"), &[]);
    assert!(done.status.success());
    while handshake(&gateway, &revoked).await != REVOKED {
        sleep(Duration::from_millis(20)).await;
    }

    server.stop_immediate().unwrap();
    let began = Instant::now();
    // What the node knows is a few seconds old.
    assert!(handshake(&gateway, &valid).await.starts_with("40{"));
    assert_eq!(handshake(&gateway, &revoked).await, REVOKED);
    while handshake(&gateway, &valid).await != UNAVAILABLE {
        assert!(began.elapsed() < DEADLINE);
        sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(5));
    assert_eq!(handshake(&gateway, &revoked).await, UNAVAILABLE);
    gateway.wait_for_log(|log| log.contains("revocations cannot be read").then_some(()));

    server.start_again().unwrap();
    let began = Instant::now();
    while !handshake(&gateway, &valid).await.starts_with("40{") {
        assert!(began.elapsed() < DEADLINE);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(handshake(&gateway, &revoked).await, REVOKED);
    gateway.wait_for_log(|log| log.contains("revocations are read again").then_some(()));
    assert_eq!(
        gateway.log().matches("revocations cannot be read").count(),
        1
    );
}
