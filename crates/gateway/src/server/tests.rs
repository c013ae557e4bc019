//! What `serve` does when a task that must keep running ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    AppendError, Appended, Changes, LogCursor, LogPage, MessageRepository, MockAcquaintances,
    MockAuthenticator, MockChangeRepository, MockClock, MockInbox, MockMessageImport,
    MockRoomDeletion, MockRoomDirectory, MockRoomEvents, MockRoomRepository, MockSanctions,
    MockUserErasure, MockUserRecords, PoolStatus, ReadLimit, RecentSanctions, SanctionsCursor,
    StorageHealth,
};
use chat_domain::{
    DisplayName, Identity, NewMessage, RoomAccess, RoomId, RoomKind, RoomState, Seq, StorageError,
    Timestamp, User, UserId,
};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::serve;
use crate::{AllowedOrigins, App, AppOptions, Draining, Limits, Traces, TrustedProxies};

/// How long the test waits for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// Storage that answers everything except an append.
struct StorageWithoutAppends;

#[async_trait]
impl MessageRepository for StorageWithoutAppends {
    async fn append(&self, _: NewMessage) -> Result<Appended, AppendError> {
        std::future::pending().await
    }

    async fn after(&self, _: RoomId, _: Seq, _: ReadLimit) -> Result<LogPage, StorageError> {
        Ok(LogPage::default())
    }

    async fn before(
        &self,
        _: RoomId,
        _: Option<Seq>,
        _: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        Ok(LogPage::default())
    }
}

#[async_trait]
impl StorageHealth for StorageWithoutAppends {
    async fn check_writable(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn pool(&self) -> PoolStatus {
        PoolStatus::default()
    }

    async fn stopped(&self) -> &'static str {
        std::future::pending().await
    }
}

/// Returns a gateway whose reconciliation panics as soon as a room is active.
fn app() -> App {
    let mut authenticator = MockAuthenticator::new();
    authenticator.expect_authenticate().returning(|_| {
        Ok(Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms: RoomAccess::All,
            visibility: chat_domain::Visibility::Visible,
            issued_at: None,
            expires_at: Timestamp::from_unix_millis(i64::MAX),
            valid_until: Timestamp::from_unix_millis(i64::MAX),
            grants: None,
        })
    });
    let mut sanctions = MockSanctions::new();
    sanctions.expect_sanctions_since().returning(|_| {
        Ok(RecentSanctions {
            cursor: SanctionsCursor::new(""),
            revocations: Some(Vec::new()),
            disconnections: Vec::new(),
        })
    });
    let mut clock = MockClock::new();
    let now = Timestamp::from_unix_millis(0);
    clock.expect_now().return_const(now);
    let mut rooms = MockRoomRepository::new();
    let state = rooms.expect_read_state();
    state.returning(|_, _| Ok(RoomState::default()));
    let is_active = Arc::new(AtomicBool::new(false));
    let activated = is_active.clone();
    rooms.expect_changed_since().returning(move |_| {
        assert!(!is_active.load(Ordering::Relaxed), "on purpose");
        Ok(Changes {
            cursor: LogCursor::new(String::new()),
            rooms: Some(Vec::new()),
            members: Vec::new(),
        })
    });
    let mut events = MockRoomEvents::new();
    events.expect_subscribe().return_const(());
    events
        .expect_serve()
        .returning(move |_| activated.store(true, Ordering::Relaxed));
    events.expect_release().return_const(());
    let mut erasure = MockUserErasure::new();
    erasure.expect_erase_batch().returning(|_| Ok(None));
    let mut acquaintances = MockAcquaintances::new();
    acquaintances.expect_note_seen().returning(|_| Ok(()));
    App::new(AppOptions {
        messages: Arc::new(StorageWithoutAppends),
        changes: Arc::new(MockChangeRepository::new()),
        rooms: Arc::new(rooms),
        directory: Arc::new(MockRoomDirectory::new()),
        deletion: Arc::new(MockRoomDeletion::new()),
        erasure: Arc::new(erasure),
        records: Arc::new(MockUserRecords::new()),
        import: Arc::new(MockMessageImport::new()),
        inbox: Arc::new(MockInbox::new()),
        acquaintances: Arc::new(acquaintances),
        room_default: RoomKind::Open,
        storage: Arc::new(StorageWithoutAppends),
        events: Arc::new(events),
        authenticator: Arc::new(authenticator),
        access_hook: None,
        sanctions: Arc::new(sanctions),
        tasks: Vec::new(),
        clock: Arc::new(clock),
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
        draining: Draining::AtOnce,
        api: None,
        demo: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_panics_fails_the_liveness_check_and_ends_the_process_with_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let healthz = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let served = tokio::spawn(serve(listener, app(), std::future::pending()));
    assert!(healthz().await.starts_with("HTTP/1.1 200"));

    // A member makes its room active. Its pending message delays the end of `serve`, so that
    // the failed liveness check can be observed.
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let connect = Message::text(r#"40{"token":"x"}"#);
    socket.send(connect).await.unwrap();
    let mut answer = async || socket.next().await.unwrap().unwrap().to_string();
    while !answer().await.starts_with("40") {}
    for packet in [
        r#"420["joinRoom",{"roomId":1}]"#,
        r#"42["sendMessage",{"roomId":1,"content":"x"}]"#,
    ] {
        socket.send(Message::text(packet)).await.unwrap();
    }
    let fails = async { while healthz().await.starts_with("HTTP/1.1 200") {} };
    timeout(DEADLINE, fails)
        .await
        .expect("the liveness check fails");
    let failed = healthz().await;
    assert!(failed.starts_with("HTTP/1.1 503"), "{failed}");
    assert!(failed.contains("compares rooms with the log"), "{failed}");
    let served = timeout(DEADLINE, served).await.expect("`serve` returns");
    let error = served.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the task that compares rooms with the log has ended"
    );
}
