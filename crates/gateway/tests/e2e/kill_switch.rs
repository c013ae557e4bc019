//! The gateway ends connections in the middle of an upgrade, whatever the reason. The files
//! `handshake`, `expiry`, `nodes/kick` and `backpressure` have the same for WebSockets and for
//! long-polling.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::nodes::group::Group;
use crate::nodes::kick::kick;
use crate::support::client::{Polling, Socket};
use crate::support::{DEADLINE, Database, Gateway, metric, now, sign, token};

/// How long the end of a connection may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// How far an upgrade has come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The WebSocket is open.
    Opened,
    /// The client has sent its probe, and received the answer.
    Probed,
}

const PHASES: [Phase; 2] = [Phase::Opened, Phase::Probed];

/// A session of long-polling whose client does not complete the upgrade.
struct Upgrading {
    polling: Polling,
    socket: Socket,
    phase: Phase,
}

impl Upgrading {
    /// Connects, joins room 1 and begins to upgrade.
    async fn begin(gateway: &Gateway, token: &str, phase: Phase) -> Self {
        let polling = Polling::connect(gateway.address, token).await;
        let joined = polling.post(r#"420["joinRoom",{"roomId":1}]"#).await;
        assert_eq!(joined.0, 200);
        while !polling.packets().await.concat().contains("430[") {}
        let url = format!(
            "ws://{}/socket.io/?EIO=4&transport=websocket&sid={}",
            gateway.address, polling.sid
        );
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        if let Phase::Probed = phase {
            socket.send(Message::text("2probe")).await.unwrap();
            let answer = timeout(DEADLINE, socket.next()).await.unwrap();
            assert_eq!(answer.unwrap().unwrap(), Message::text("3probe"));
        }
        Self {
            polling,
            socket,
            phase,
        }
    }

    /// Waits until the TCP connection of the WebSocket is closed, which must happen within
    /// this time. Then the session must have ended, too.
    async fn assert_ends_within(mut self, deadline: Duration) {
        let phase = self.phase;
        let ended = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let ended = timeout(deadline, ended).await;
        assert!(ended.is_ok(), "{phase:?}: the WebSocket is open");
        let (status, body) = self.polling.get().await;
        assert_eq!(status, 400, "{phase:?}: {body}");
        let event = r#"42["joinRoom",{"roomId":1}]"#;
        assert_eq!(self.polling.post(event).await.0, 400, "{phase:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_ends_a_connection_in_the_middle_of_its_upgrade() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("JWT_LEEWAY", "0")]);
    let exp = now() + 3;
    let token = sign(&json!({"sub": "1", "exp": exp}));
    let mut upgrading = Vec::new();
    for phase in PHASES {
        upgrading.push(Upgrading::begin(&gateway, &token, phase).await);
    }
    let ends_at = UNIX_EPOCH + Duration::from_secs(exp) + CLOSE_DEADLINE;
    for upgrading in upgrading {
        let left = ends_at.duration_since(SystemTime::now());
        upgrading.assert_ends_within(left.unwrap_or_default()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_ends_a_connection_in_the_middle_of_its_upgrade() {
    let group = Group::start(1).await;
    let mut upgrading = Vec::new();
    for phase in PHASES {
        upgrading.push(Upgrading::begin(&group.nodes[0], &token("42", "x"), phase).await);
    }
    let output = kick("42", &group.exchange.settings());
    assert_eq!(output.stdout, b"received by 1 node\n");
    for upgrading in upgrading {
        upgrading.assert_ends_within(CLOSE_DEADLINE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stays_in_its_upgrade_is_disconnected() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut upgrading = Vec::new();
    for phase in PHASES {
        upgrading.push(Upgrading::begin(&gateway, &token("1", "x"), phase).await);
    }
    let since = Instant::now();
    let mut writer = gateway.connect("2").await;
    writer.join(1).await;
    while metric(&gateway, "chat_connections").await > 1 {
        assert_eq!(writer.send(1, "x").await["ok"], true);
        assert!(since.elapsed() < Duration::from_secs(30), "still connected");
    }
    for upgrading in upgrading {
        upgrading.assert_ends_within(CLOSE_DEADLINE).await;
    }
}

/// The deadline counts from the session's first request, not from its last one.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_polling_session_without_connect_ends_within_ten_seconds() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let since = Instant::now();
    let silent = Polling::open(gateway.address).await;
    let polled = Polling::open(gateway.address).await;
    let probing = Polling::open(gateway.address).await;
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket&sid={}",
        gateway.address, probing.sid
    );
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    polled.poll_to_end().await;
    let elapsed = since.elapsed();
    assert!(elapsed >= Duration::from_secs(8), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(12), "{elapsed:?}");
    assert_eq!(silent.post("40").await.0, 400);
    let upgrading = Upgrading {
        polling: probing,
        socket,
        phase: Phase::Opened,
    };
    upgrading.assert_ends_within(CLOSE_DEADLINE).await;
}
