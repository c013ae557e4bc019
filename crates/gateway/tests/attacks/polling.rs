//! Long-polling sessions that are used against the rules.

use futures_util::future::join_all;

use crate::size;
use crate::stage::{Stage, wait_for_connections};
use crate::support::client::Polling;
use crate::support::token;

/// Of two requests that poll one session, one ends it or is refused; no other session notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn several_polls_of_one_session() {
    let stage = Stage::start("double GET", &[]).await;
    for n in 0..size(500, 20) {
        let token = token(&format!("attacker-{n}"), "x");
        let polling = Polling::connect(stage.gateway.address, &token).await;
        let answers = join_all((0..4).map(|_| polling.get_past_heartbeats())).await;
        let refused = answers.iter().filter(|(status, _)| *status == 400).count();
        assert!(refused >= 3, "{answers:?}");
    }
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}

/// Requests that send at the same time have no order, but each is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn parallel_posts_of_one_session() {
    let stage = Stage::start("parallel POST", &[]).await;
    for n in 0..size(500, 20) {
        let token = token(&format!("attacker-{n}"), "x");
        let polling = Polling::connect(stage.gateway.address, &token).await;
        let event = r#"42["x",{}]"#;
        let packets = [event; 100].join("\u{1e}");
        let answers = join_all((0..8).map(|_| polling.post(&packets))).await;
        for (status, body) in answers {
            assert!(
                status == 200 || status == 400 || status == 408,
                "{status}: {body}"
            );
        }
        polling.post("1").await;
    }
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}
