//! A node that drains while there are others: it closes its clients one by one, and serves
//! each until then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_adapters::jwt::{JwtAuthenticator, JwtOptions, KeySource, Secret};
use chat_adapters::{LocalRoomEvents, SystemClock, postgres};
use chat_domain::RoomKind;
use chat_gateway::{
    AllowedOrigins, App, AppOptions, Draining, Limits, Traces, TrustedProxies, server,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::client::{Client, Ended, Polling, get, http};
use crate::support::roaming::Crowd;
use crate::support::{Database, SECRET, token};

const SPREAD: Duration = Duration::from_secs(3);

/// A gateway in this process.
struct Node {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Node {
    async fn start(url: &str) -> Self {
        let database = postgres::Database::open(&url.parse().unwrap(), 4).unwrap();
        database.migrate().await.unwrap();
        let database = Arc::new(database);
        let authenticator = JwtAuthenticator::new(&JwtOptions {
            keys: KeySource::Secrets {
                current: Secret::new(SECRET.as_bytes()).unwrap(),
                previous: None,
            },
            issuer: None,
            audience: None,
            leeway: Duration::ZERO,
        })
        .unwrap();
        let app = App::new(AppOptions {
            messages: database.clone(),
            changes: database.clone(),
            rooms: database.clone(),
            directory: database.clone(),
            deletion: database.clone(),
            erasure: database.clone(),
            records: database.clone(),
            import: database.clone(),
            inbox: database.clone(),
            acquaintances: database.clone(),
            room_default: RoomKind::Open,
            sanctions: database.clone(),
            storage: database,
            events: Arc::new(LocalRoomEvents::default()),
            authenticator: Arc::new(authenticator),
            access_hook: None,
            tasks: Vec::new(),
            clock: Arc::new(SystemClock),
            origins: AllowedOrigins::default(),
            trusted_proxies: TrustedProxies::default(),
            limits: Limits {
                max_in_flight: 256,
                max_packet_bytes: 65_536,
                ..Limits::default()
            },
            nodes: None,
            metrics: Arc::default(),
            traces: Traces::Off,
            draining: Draining::Spread(SPREAD),
            api: None,
            demo: None,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server::serve(listener, app, async {
            stopped.await.unwrap();
        }));
        Self {
            address,
            stop,
            served,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_its_clients_until_it_closes_them_one_by_one() {
    const CLIENTS: u32 = 12;
    let database = Database::postgres();
    let leaving = Node::start(&database.url()).await;
    let staying = Node::start(&database.url()).await;
    let nodes = [leaving.address, staying.address];
    let mut crowd = Crowd::start(CLIENTS as usize, &nodes, |_| 0).await;

    let mut early = Client::open(leaving.address).await;
    let early_polling = Polling::open(leaving.address).await;

    let stopped = Instant::now();
    leaving.stop.send(()).unwrap();
    let drained = async {
        // It is not ready for others from the beginning, and still serves its own.
        while get(leaving.address, "/readyz").await.0 != 503 {}
        for transport in ["polling", "websocket"] {
            assert_no_session_begins(leaving.address, transport).await;
        }
        // A client that had not connected yet is to try another node, which an answer would
        // prevent.
        let connect = format!("40{}", json!({ "token": token("early", "Grace") }));
        early.send_packet(&connect).await;
        assert_eq!(early.packet().await, Err(Ended::Closed));
        let (status, packets) = early_polling.post(&connect).await;
        assert!(status == 400 || packets == "ok", "{packets}");
        early_polling.poll_to_end().await;
        crowd.wait_for_acknowledgements(100).await;
        leaving.served.await.unwrap().unwrap();
    };
    let within = Duration::from_secs(10);
    timeout(within, drained).await.expect("the node ends");
    crowd.wait_for_acknowledgements(100).await;

    let mut ended = Vec::new();
    for roamer in crowd.finish(&database).await {
        assert_eq!(roamer.ended.len(), 1);
        ended.extend(roamer.ended);
    }
    ended.sort_by_key(|connection| connection.at);
    // At a steady pace: a busy computer closes later, but never earlier.
    for (place, connection) in (0..).zip(&ended) {
        let turn = SPREAD * place / CLIENTS;
        let after = connection.at - stopped;
        assert!(after >= turn, "client {place} is closed after {after:?}");
    }
    let last = ended.last().unwrap();
    assert!(last.at - stopped < SPREAD + Duration::from_secs(3));
    // Until then it was served.
    let served_for = last.last_answer - stopped;
    assert!(served_for > SPREAD / 2, "{served_for:?}");
}

/// A proxy that receives this answer tries another node, and the standard client retries.
async fn assert_no_session_begins(node: SocketAddr, transport: &str) {
    let request = format!(
        "GET /socket.io/?EIO=4&transport={transport} HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let (status, response) = http(node, &request).await;
    assert_eq!(status, 503, "{response}");
    let response = response.to_ascii_lowercase();
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    assert!(response.contains("\r\nretry-after: 1\r\n"), "{response}");
}
