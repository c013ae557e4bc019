//! What group commit itself costs: the queue, the batches and the answers, over a store
//! that does nothing.

use chat_adapters::bench::GroupCommit;
use chat_domain::{Content, DisplayName, NewMessage, RoomId, Timestamp, User, UserId};
use divan::Bencher;
use divan::counter::ItemsCount;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// The number of concurrent callers.
const CALLERS: [u64; 4] = [1, 8, 64, 512];

fn main() {
    divan::main();
}

/// Each message has a room of its own, so that all go into one batch.
#[divan::bench(args = CALLERS)]
fn rooms_of_their_own(bencher: Bencher<'_, '_>, callers: u64) {
    appended(bencher, callers, |n| n + 1);
}

/// All messages are in one room, which is in one batch at a time.
#[divan::bench(args = CALLERS)]
fn one_room(bencher: Bencher<'_, '_>, callers: u64) {
    appended(bencher, callers, |_| 1);
}

fn appended(bencher: Bencher<'_, '_>, callers: u64, room: impl Fn(u64) -> u64 + Sync) {
    let runtime = runtime();
    let commits = runtime.block_on(async { GroupCommit::start(4) });
    bencher
        .counter(ItemsCount::new(callers))
        .with_inputs(|| (0..callers).map(|n| message(room(n))).collect::<Vec<_>>())
        .bench_local_values(|messages| {
            runtime.block_on(async {
                let mut waiting = JoinSet::new();
                for message in messages {
                    let commits = commits.clone();
                    waiting.spawn(async move { commits.append(message).await.is_ok() });
                }
                let stored = waiting.join_all().await;
                assert!(stored.into_iter().all(|is_stored| is_stored));
            });
        });
}

/// Creates a runtime with one thread: the benchmark measures work, not the waking of
/// threads.
fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime starts")
}

fn message(room: u64) -> NewMessage {
    NewMessage {
        room_id: RoomId::new(room).expect("a valid room id"),
        author: User {
            id: UserId::new("42").expect("a valid user id"),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::new("hello").expect("a valid content"),
        client_message_id: None,
        created_at: Timestamp::from_unix_millis(1_769_860_800_000),
    }
}
