//! What group commit itself costs: the queue, the batches and the answers, over a store that
//! does nothing.

use std::sync::Arc;

use chat_adapters::bench::GroupCommit;
use chat_domain::NewMessage;
use tokio::task::JoinSet;

use crate::piece::{Entry, Piece};
use crate::samples::{TYPICAL, new_message, paused_runtime, room};

/// How often all callers append a message.
const ROUNDS: u64 = 20;
const LANES: usize = 4;

pub(crate) const PIECES: &[Entry] = &[
    Entry("group_commit_of_1", || group_commit(1, |_| 1)),
    Entry("group_commit_of_64", || {
        group_commit(64, |caller| caller + 1)
    }),
    // All messages are in one room, which is in one batch at a time.
    Entry("group_commit_of_64_in_one_room", || group_commit(64, |_| 1)),
];

/// Appends a message of each caller at the same time.
fn group_commit(callers: u64, room_of: fn(u64) -> u64) -> Piece {
    let runtime = paused_runtime();
    let template = new_message(room(1), TYPICAL);
    let commits = Arc::new(runtime.block_on(async { GroupCommit::start(LANES) }));
    Piece::new((ROUNDS * callers) as usize, move || {
        runtime.block_on(async {
            for _ in 0..ROUNDS {
                let mut waiting = JoinSet::new();
                for caller in 0..callers {
                    let commits = commits.clone();
                    let message = NewMessage {
                        extras: None,
                        room_id: room(room_of(caller)),
                        ..template.clone()
                    };
                    waiting.spawn(async move { commits.append(message).await.is_ok() });
                }
                let stored = waiting.join_all().await;
                assert!(stored.into_iter().all(|is_stored| is_stored));
            }
        });
    })
}
