//! Changes that wait for each other share their transactions.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chat_domain::ports::{ChangeRepository, MadeChange, MessageChange, MessageChangeError};
use chat_domain::{MessageEdit, RulesNumber, StorageError};
use diesel::connection::SimpleConnection as _;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::change_repository::{Store, change, counts, edit, newest_rev, react, rev, user};
use crate::databases::{Postgres, Sqlite};
use crate::{append, hello, room, seq};

crate::on_each_database!(
    changes_are_made_in_the_order_in_which_they_were_asked_for,
    each_change_has_its_own_outcome,
);

/// How many users react.
const USERS: u64 = 1000;
/// How many transactions that may take.
const FEW: usize = 16;

/// Asks for the changes at once, in their order.
async fn at_once(
    store: &impl ChangeRepository,
    changes: impl IntoIterator<Item = (u64, MessageEdit)>,
) -> Vec<Result<MadeChange, MessageChangeError>> {
    let changes = changes.into_iter();
    join_all(changes.map(|(position, edit)| change(store, room(1), position, edit))).await
}

async fn all_react(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    let reactions = (0..USERS).map(|n| (1, react(&n.to_string(), "+", true)));
    let made = at_once(store, reactions).await;
    // Each of them knows how many have reacted by then.
    for (made, n) in made.into_iter().zip(1..) {
        let made = made.unwrap();
        assert!(made.is_new);
        assert_eq!(counts(&made.message), [("+".to_owned(), n)]);
        assert_eq!(made.message.changes.unwrap().rev, rev(n));
    }
    assert_eq!(newest_rev(store, room(1)).await, rev(USERS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_reactions_take_few_transactions_on_postgres() {
    let postgres = Postgres::fresh().await;
    all_react(&postgres.database).await;
    let transactions = "SELECT count(DISTINCT xmin::text) FROM reactions";
    let transactions = postgres.server.psql(transactions).unwrap();
    let transactions: usize = transactions.trim().parse().unwrap();
    assert!(transactions <= FEW, "{transactions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_reactions_take_few_transactions_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    all_react(&sqlite.database).await;
    let transactions = commits_in_log(&sqlite.path);
    assert!((1..=FEW).contains(&transactions), "{transactions}");
}

/// Counts the commits that SQLite's log holds since it began anew: the frames that say how large
/// the database is after them.
fn commits_in_log(database: &Path) -> usize {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    let log = std::fs::read(path).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let (page_size, salts) = (number(8) as usize, &log[16..24]);
    let frames = (32..log.len()).step_by(24 + page_size);
    let frames = frames.take_while(|at| &log[at + 8..at + 16] == salts);
    frames.filter(|at| number(at + 4) > 0).count()
}

async fn changes_are_made_in_the_order_in_which_they_were_asked_for(store: &impl Store) {
    const MESSAGES: u64 = 3;
    const EDITS: u64 = 300;
    for _ in 0..MESSAGES {
        append(store, hello(room(1))).await.unwrap();
    }
    let edits = (0..EDITS).map(|n| (n % MESSAGES + 1, edit(&n.to_string())));
    for (made, n) in at_once(store, edits).await.into_iter().zip(0..) {
        let message = made.unwrap().message;
        assert_eq!(message.content.as_str(), n.to_string());
        assert_eq!(message.changes.unwrap().rev, rev(n + 1));
    }
}

async fn each_change_has_its_own_outcome(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    append(store, hello(room(1))).await.unwrap();
    let other_rules = MessageChange {
        room_id: room(1),
        seq: seq(1),
        edit: edit("by other rules"),
        by: Some(user("1")),
        rules: RulesNumber::new(7),
    };
    let other_room = MessageChange {
        room_id: room(2),
        rules: RulesNumber::NONE,
        ..other_rules.clone()
    };
    let (outcomes, other_rules, other_room) = tokio::join!(
        at_once(
            store,
            [
                (1, react("7", "+", true)),
                (1, react("7", "+", true)),
                (2, MessageEdit::Delete),
                (2, edit("late")),
                (9, MessageEdit::Delete),
                (1, edit("new")),
            ]
        ),
        ChangeRepository::change(store, other_rules),
        ChangeRepository::change(store, other_room),
    );
    let outcomes: Vec<_> = outcomes.into_iter().map(shown).collect();
    assert_eq!(
        outcomes,
        ["1", "already 1", "2", "deleted", "not found", "3"]
    );
    assert_eq!(shown(other_rules), "rules changed");
    assert_eq!(shown(other_room), "not found");
    assert_eq!(newest_rev(store, room(1)).await, rev(3));
}

/// Shows an outcome: that of a change by the number that its message has.
fn shown(outcome: Result<MadeChange, MessageChangeError>) -> String {
    match outcome {
        Ok(made) => {
            let rev = made.message.changes.unwrap().rev.get();
            let already = if made.is_new { "" } else { "already " };
            format!("{already}{rev}")
        }
        Err(MessageChangeError::NotFound) => "not found".to_owned(),
        Err(MessageChangeError::Deleted) => "deleted".to_owned(),
        Err(MessageChangeError::TooManyReactions) => "too many".to_owned(),
        Err(MessageChangeError::RulesChanged) => "rules changed".to_owned(),
        Err(MessageChangeError::Storage(StorageError::Unavailable(_))) => "unavailable".to_owned(),
        Err(MessageChangeError::Storage(error)) => format!("{error:?}"),
    }
}

/// Two of a hundred changes cannot be stored.
async fn changes_that_cannot_be_stored_fail_alone(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    let reactions = (0..100).map(|n| (1, react(&n.to_string(), "+", true)));
    let outcomes = at_once(store, reactions).await;
    let mut made = 0;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let expected = match n {
            13 | 64 => "unavailable".to_owned(),
            _ => {
                made += 1;
                made.to_string()
            }
        };
        assert_eq!(shown(outcome), expected, "{n}");
    }
    assert_eq!(newest_rev(store, room(1)).await, rev(98));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_cannot_be_stored_fail_alone_on_postgres() {
    let postgres = Postgres::fresh().await;
    let trigger = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN RAISE 'no'; END $$; \
         CREATE TRIGGER no BEFORE INSERT ON reactions FOR EACH ROW \
         WHEN (NEW.user_id IN ('13', '64')) EXECUTE FUNCTION no()";
    postgres.server.psql(trigger).unwrap();
    changes_that_cannot_be_stored_fail_alone(&postgres.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_cannot_be_stored_fail_alone_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON reactions \
         WHEN NEW.user_id IN ('13', '64') BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlite.other().batch_execute(trigger).unwrap();
    changes_that_cannot_be_stored_fail_alone(&sqlite.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_changes_of_a_batch_are_unknown_if_its_connection_breaks_during_the_commit() {
    let postgres = Postgres::fresh().await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    let sql = |sql: &str| drop(postgres.server.psql(sql).unwrap());
    sql("CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER die AFTER INSERT ON reactions \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()");
    let reactions = (0..20).map(|n| (1, react(&n.to_string(), "+", true)));
    for outcome in at_once(&postgres.database, reactions).await {
        assert!(
            matches!(
                outcome,
                Err(MessageChangeError::Storage(StorageError::OutcomeUnknown(_)))
            ),
            "{outcome:?}"
        );
    }
    sql("DROP TRIGGER die ON reactions");
    let made = change(&postgres.database, room(1), 1, edit("new")).await;
    assert_eq!(shown(made), "1");
}

/// Very many changes of a room that is locked take one session.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_locked_room_delay_no_other_room() {
    let postgres = Postgres::fresh().await;
    let store = &postgres.database;
    for number in 1..=5 {
        append(store, hello(room(number))).await.unwrap();
    }
    let lock = "SELECT FROM rooms WHERE id = 1 FOR UPDATE";
    let lock = postgres.hold(lock).await;
    let reactions = (0..500).map(|n| (1, react(&n.to_string(), "+", true)));
    let locked = at_once(store, reactions);
    let others = async {
        postgres.wait_for_event("transactionid").await;
        for number in (2..=5).cycle().take(40) {
            let outcome = change(store, room(number), 1, edit("new")).await;
            outcome.unwrap();
        }
        let waiting = "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event_type = 'Lock'";
        assert_eq!(postgres.server.psql(waiting).unwrap().trim(), "1");
        lock.batch_execute("COMMIT").await.unwrap();
    };
    let both = async { tokio::join!(locked, others) };
    let (made, ()) = timeout(Duration::from_secs(20), both).await.unwrap();
    let revs = made.into_iter().map(shown).collect::<BTreeSet<_>>();
    assert_eq!(revs.len(), 500);
    assert_eq!(newest_rev(store, room(1)).await, rev(500));
}
