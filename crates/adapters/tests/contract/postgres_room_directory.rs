//! What changes of rules do on PostgreSQL when they fail, and which privileges they need.

use chat_adapters::postgres::Database;
use chat_domain::ports::{ChangeError, Inbox, RoomDirectory, Sanctions};
use chat_domain::{MessageEdit, Role, RoomAccess, RulesNumber, StorageError, Timestamp};
use chat_test_support::{Cluster, ClusterOptions};

use crate::change_repository::make;
use crate::databases::Postgres;
use crate::message_extras::{mentions, with};
use crate::proxy::Proxy;
use crate::room_directory::{ban, change, freeze, mute, number, remove, set, unban, unmute, user};
use crate::{append, hello, room};

const CONFIGURATION: &str = include_str!("../../../../docs/configuration.md");

/// The backend carries the call out although its connection broke.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_answer_is_lost_may_have_been_made() {
    let postgres = Postgres::fresh().await;
    change(&postgres.database, set("1", Role::Owner)).await;
    let url = postgres.server.url();
    let (before, port) = url.rsplit_once(':').unwrap();
    let (port, after) = port.split_once('/').unwrap();
    let proxy = Proxy::start(port.parse().unwrap()).await;
    let url = format!("{before}:{}/{after}", proxy.address.port());
    let node = Database::open(&url.parse().unwrap(), 1).unwrap();

    let locker = postgres
        .hold("SELECT FROM rooms WHERE id = 1 FOR UPDATE")
        .await;
    let decided_by = number(&node, room(1)).await;
    let changing =
        tokio::spawn(async move { node.change(room(1), decided_by, &freeze(), None).await });
    postgres.server.wait_for_lock_waits(1).unwrap();
    drop(proxy);
    let lost = changing.await.unwrap();
    let is_unknown = matches!(
        lost,
        Err(ChangeError::Storage(StorageError::OutcomeUnknown(_)))
    );
    assert!(is_unknown, "{lost:?}");
    locker.batch_execute("COMMIT").await.unwrap();
    // The retry waits for the room until the backend has ended its transaction.
    let again = freeze();
    let retried = postgres.database.change(room(1), decided_by, &again, None);
    match retried.await {
        Ok(changed) => assert!(changed.has_changed),
        Err(error) => assert!(matches!(error, ChangeError::RulesChanged), "{error:?}"),
    }
    assert!(!change(&postgres.database, freeze()).await.has_changed);
    assert_eq!(number(&postgres.database, room(1)).await.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_server_refuses_is_not_made() {
    let postgres = Postgres::fresh().await;
    let sql = |sql: &str| drop(postgres.server.psql(sql).unwrap());
    sql("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$");
    for (kind, table, timing, is_certain) in [
        ("", "members", "BEFORE", true),
        ("", "rooms", "AFTER", true),
        // The server refuses the commit after it has sent the result.
        ("CONSTRAINT", "members", "AFTER", false),
    ] {
        let deferred = match is_certain {
            true => "",
            false => "DEFERRABLE INITIALLY DEFERRED",
        };
        sql(&format!(
            "CREATE {kind} TRIGGER no {timing} INSERT ON {table} {deferred} \
             FOR EACH ROW EXECUTE FUNCTION no()"
        ));
        let none = RulesNumber::NONE;
        let step = set("1", Role::Owner);
        let refused = postgres.database.change(room(1), none, &step, None).await;
        let is_as_expected = match &refused {
            Err(ChangeError::Storage(StorageError::Unavailable(_))) => is_certain,
            Err(ChangeError::Storage(StorageError::OutcomeUnknown(_))) => !is_certain,
            _ => false,
        };
        assert!(is_as_expected, "{refused:?}");
        sql(&format!("DROP TRIGGER no ON {table}"));
        let snapshot = postgres.database.snapshot(room(1), &[user("1")]).await;
        let snapshot = snapshot.unwrap();
        assert_eq!((snapshot.rules, snapshot.settings), (none, None));
        assert_eq!(snapshot.users[0].role, None);
    }
    assert!(
        change(&postgres.database, set("1", Role::Owner))
            .await
            .has_changed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_privileges_suffice() {
    let server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let url = server.url("chat");
    let owner = Database::open(&url.parse().unwrap(), 1).unwrap();
    owner.migrate().await.unwrap();
    server
        .psql("chat", "CREATE ROLE chat_gateway LOGIN")
        .unwrap();
    let grants = CONFIGURATION
        .split("\n      GRANT ")
        .skip(1)
        .filter_map(|rest| rest.split_once(';'));
    let mut count = 0;
    for (grant, _) in grants {
        server.psql("chat", &format!("GRANT {grant}")).unwrap();
        count += 1;
    }
    assert!(count >= 4, "{count}");
    let (_, address) = url.split_once('@').unwrap();
    let url = format!("postgres://chat_gateway@{address}");
    let gateway = Database::open(&url.parse().unwrap(), 2).unwrap();
    for step in [
        set("1", Role::Owner),
        set("1", Role::Member),
        ban("1", None),
        ban("1", 9),
        unban("1"),
        mute("1", 9),
        mute("1", None),
        unmute("1"),
        freeze(),
        set("2", Role::Member),
        remove("2"),
    ] {
        assert!(change(&gateway, step).await.has_changed);
    }
    for _ in 0..2 {
        gateway
            .take_turn(room(1), &user("1"), 0, None)
            .await
            .unwrap();
    }
    gateway.members(room(1), None, 10).await.unwrap();
    // A mention is stored, counted and deleted.
    append(&gateway, with(hello(room(2)), mentions([user("1")])))
        .await
        .unwrap();
    gateway
        .page(&user("1"), &RoomAccess::All, None, 9)
        .await
        .unwrap();
    make(&gateway, room(2), 1, MessageEdit::Delete).await;
    let left = server.psql("chat", "SELECT count(*) FROM mentions");
    assert_eq!(left.unwrap().trim(), "0");
    let (subject, time) = (user("1"), Timestamp::from_unix_millis(0));
    for _ in 0..2 {
        gateway.revoke(&subject, time).await.unwrap();
        gateway.disconnect(&subject).await.unwrap();
    }
    gateway.lift(&subject).await.unwrap().unwrap();
    gateway.sanctions_since(None).await.unwrap();
    assert_eq!(gateway.revocations(None, 9).await.unwrap().len(), 1);
}
