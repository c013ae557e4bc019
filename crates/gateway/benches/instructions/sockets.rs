//! A whole gateway and its clients, over real connections within this process: reading,
//! parsing, storing, delivering and writing. The clients' own work is part of the figures;
//! it is small, and does not change.

mod client;

use std::net::SocketAddr;
use std::sync::Arc;

use chat_adapters::LocalRoomEvents;
use chat_domain::ports::{
    Clock, MockAcquaintances, MockChangeRepository, MockInbox, MockMessageImport, MockRoomDeletion,
    MockRoomDirectory, MockSanctions, MockUserErasure, MockUserRecords, RecentSanctions,
    SanctionsCursor,
};
use chat_domain::{RoomKind, Timestamp};
use chat_gateway::{
    AllowedOrigins, App, AppOptions, Draining, Limits, Traces, TrustedProxies, server,
};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use self::client::{PollingClient, WebSocketClient};
use crate::log::Log;
use crate::piece::{Entry, Piece};
use crate::samples::{TYPICAL, arrival, text};
use crate::tokens;

/// Messages per run.
const MESSAGES: usize = 100;
/// Connections per run.
const CONNECTIONS: usize = 50;
/// How the packets begin that a sender expects.
const NEW_MESSAGE: &str = "42[\"newMessage\"";
const ACKNOWLEDGED: &str = "431[{\"ok\":true";

pub(crate) const PIECES: &[Entry] = &[
    Entry("send_and_receive_over_websocket", || send(1)),
    Entry("send_to_each_of_40_over_websocket", || send(40)),
    Entry("send_and_receive_over_polling", poll),
    Entry("connect_and_join_over_websocket", connect),
];

/// Sends messages, one after another, to a room with this many members.
fn send(members: usize) -> Piece {
    let served = Served::start();
    let mut clients = served.runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..members {
            clients.push(WebSocketClient::join(served.address, &served.token).await);
        }
        clients
    });
    let packet = send_message();
    Piece::new(MESSAGES * members, move || {
        served.runtime.block_on(async {
            for _ in 0..MESSAGES {
                let [sender, ..] = &mut *clients else { return };
                sender.send(&packet).await;
                // In a small room, the sender has the message before its acknowledgement.
                let [first, second] = match members {
                    1 => [NEW_MESSAGE, ACKNOWLEDGED],
                    _ => [ACKNOWLEDGED, NEW_MESSAGE],
                };
                sender.expect(first).await;
                sender.expect(second).await;
                for client in &mut clients[1..] {
                    client.expect(NEW_MESSAGE).await;
                }
            }
        });
    })
}

/// Sends messages to a room with one member, over long-polling.
fn poll() -> Piece {
    let served = Served::start();
    let joined = PollingClient::join(served.address, &served.token);
    let mut client = served.runtime.block_on(joined);
    let packet = send_message();
    Piece::new(MESSAGES, move || {
        served.runtime.block_on(async {
            for _ in 0..MESSAGES {
                client.send(&packet).await;
                client.expect(NEW_MESSAGE).await;
                client.expect(ACKNOWLEDGED).await;
            }
        });
    })
}

/// Connects and joins a room, then disconnects.
fn connect() -> Piece {
    let served = Served::start();
    Piece::new(CONNECTIONS, move || {
        served.runtime.block_on(async {
            for _ in 0..CONNECTIONS {
                WebSocketClient::join(served.address, &served.token).await;
            }
        });
    })
}

fn send_message() -> String {
    format!(
        r#"421["sendMessage",{{"roomId":7,"content":"{}"}}]"#,
        text(TYPICAL)
    )
}

/// A gateway that runs while its runtime does.
struct Served {
    runtime: Runtime,
    address: SocketAddr,
    token: String,
}

impl Served {
    fn start() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let address = runtime.block_on(async {
            let log = Arc::new(Log::start(0));
            let app = App::new(AppOptions {
                messages: log.clone(),
                // No message has changed.
                changes: Arc::new(MockChangeRepository::new()),
                rooms: log.clone(),
                // No room has rules.
                directory: Arc::new(MockRoomDirectory::new()),
                deletion: Arc::new(MockRoomDeletion::new()),
                erasure: Arc::new(no_erasures()),
                records: Arc::new(MockUserRecords::new()),
                import: Arc::new(MockMessageImport::new()),
                inbox: Arc::new(MockInbox::new()),
                acquaintances: Arc::new(no_acquaintances()),
                room_default: RoomKind::Open,
                storage: log,
                events: Arc::new(LocalRoomEvents::default()),
                authenticator: Arc::new(tokens::authenticator()),
                access_hook: None,
                sanctions: Arc::new(no_sanctions()),
                tasks: Vec::new(),
                clock: Arc::new(StoppedClock),
                origins: AllowedOrigins::new(Vec::new()),
                trusted_proxies: TrustedProxies::default(),
                limits: Limits {
                    max_in_flight: 64,
                    max_packet_bytes: 64 * 1024,
                    ..Limits::default()
                },
                nodes: None,
                metrics: Arc::default(),
                traces: Traces::Off,
                draining: Draining::AtOnce,
                api: None,
                demo: None,
            });
            let listener = TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a free port");
            let address = listener.local_addr().expect("a bound port");
            tokio::spawn(server::serve(listener, app, std::future::pending()));
            address
        });
        Self {
            runtime,
            address,
            token: tokens::token(),
        }
    }
}

/// No user is to be erased.
fn no_erasures() -> MockUserErasure {
    let mut erasure = MockUserErasure::new();
    erasure.expect_erase_batch().returning(|_| Ok(None));
    erasure
}

/// Nothing is stored about users.
fn no_acquaintances() -> MockAcquaintances {
    let mut acquaintances = MockAcquaintances::new();
    acquaintances.expect_note_seen().returning(|_| Ok(()));
    acquaintances
}

/// No token is revoked.
fn no_sanctions() -> MockSanctions {
    let mut sanctions = MockSanctions::new();
    sanctions.expect_sanctions_since().returning(|_| {
        Ok(RecentSanctions {
            cursor: SanctionsCursor::new(""),
            revocations: Some(Vec::new()),
            disconnections: Vec::new(),
        })
    });
    sanctions
}

/// Messages arrive at the same time, so that they have the same length.
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        arrival()
    }
}
