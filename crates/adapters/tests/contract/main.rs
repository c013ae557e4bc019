//! One suite per port, run against each of its adapters, on real databases.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access_hook;
mod acquaintances;
mod append_under_rules;
mod authenticator;
mod change_faults;
mod change_model;
mod change_repository;
mod change_under_rules;
mod changed_messages;
mod changed_rows;
mod changes_migration;
mod clock;
mod combined_changes;
mod databases;
mod group_commit;
mod inbox;
mod inbox_model;
mod jwks;
mod log_pages;
mod members_in_changes;
mod mentions;
mod message_extras;
mod message_import;
mod message_repository;
mod outbox;
mod postgres_faults;
mod postgres_group_commit;
mod postgres_reads;
mod postgres_room_changes;
mod postgres_room_deletion;
mod postgres_room_directory;
mod postgres_rules;
mod postgres_sessions;
mod postgres_tls;
mod postgres_unsettled;
mod proxy;
mod public_keys;
mod reactions;
mod read_marks;
mod redis_exchange;
mod redis_faults;
mod redis_nodes;
mod removed_content;
mod room_changes;
mod room_deletion;
mod room_directory;
mod room_directory_concurrency;
mod room_directory_pages;
mod room_directory_rows;
mod room_events;
mod room_repository;
mod rules_in_changes;
mod rules_migration;
mod sanctions;
mod sqlite_commit_faults;
mod sqlite_faults;
mod sqlite_log_size;
mod storage_health;
mod token_table;
mod unread_index;
mod unread_model;
mod unread_reports;
mod user_erasure;
mod user_records;
mod whole_database;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use chat_domain::ports::{AppendError, Appended, MessageRepository, ReadLimit};
use chat_domain::{
    ClientMessageId, Content, DisplayName, Message, NewMessage, RoomId, RulesNumber, Seq,
    Timestamp, User, UserId,
};

/// Declares a test on each database for each `async fn(&impl Port)`.
#[macro_export]
macro_rules! on_each_database {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let database = $crate::databases::Sqlite::fresh().await;
                super::$test(&database.database).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let database = $crate::databases::Postgres::fresh().await;
                super::$test(&database.database).await;
            })*
        }
    };
}

fn room(number: u64) -> RoomId {
    RoomId::new(number).unwrap()
}

fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

/// Limits a read to this number of messages of any size.
fn up_to(messages: usize) -> ReadLimit {
    ReadLimit {
        messages,
        bytes: usize::MAX,
    }
}

fn by(user: &str, name: &str, room_id: RoomId, content: &str) -> NewMessage {
    NewMessage {
        extras: None,
        room_id,
        author: User {
            id: UserId::new(user).unwrap(),
            name: DisplayName::from_text(name),
        },
        content: Content::new(content).unwrap(),
        client_message_id: None,
        created_at: Timestamp::from_unix_millis(1_769_860_800_007),
        rules: RulesNumber::NONE,
    }
}

fn hello(room_id: RoomId) -> NewMessage {
    by("42", "Ada", room_id, "hello")
}

/// Stores a message that is not a repeat.
async fn append(log: &impl MessageRepository, message: NewMessage) -> Result<Message, AppendError> {
    match log.append(message).await? {
        Appended::Stored(message) => Ok(message),
        Appended::Repeat(message) => panic!("{message:?} was stored before"),
    }
}

/// Makes all calls before it awaits one. Returns the outcomes in the order of the calls.
async fn append_at_once(
    log: &impl MessageRepository,
    messages: impl IntoIterator<Item = NewMessage>,
) -> Vec<Result<Appended, AppendError>> {
    let mut calls = Vec::new();
    for message in messages {
        let mut call = log.append(message);
        let answer = poll_once(&mut call).await;
        calls.push((call, answer));
    }
    let mut outcomes = Vec::new();
    for (call, answer) in calls {
        outcomes.push(match answer {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => call.await,
        });
    }
    outcomes
}

/// Polls a call once and returns its state.
async fn poll_once<T>(call: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *call).poll(context))).await
}

/// Returns an error's text with the texts of its causes.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    chain
}

/// Decides a message by this number of its room's rules.
fn under(rules: u64, message: NewMessage) -> NewMessage {
    NewMessage {
        rules: RulesNumber::new(rules),
        ..message
    }
}

/// Adds the id that the sender chose.
fn with_id(message: NewMessage, id: &str) -> NewMessage {
    NewMessage {
        client_message_id: Some(ClientMessageId::new(id).unwrap()),
        ..message
    }
}
