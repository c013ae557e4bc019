//! The size of SQLite's write-ahead log, which cannot be reset while a read that began
//! earlier is in progress.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat_test_support::wait_until;
use diesel::connection::SimpleConnection;
use tokio::task::spawn_blocking;

use crate::databases::Sqlite;
use crate::{append_at_once, by, room};

const MIB: u64 = 1 << 20;

impl Sqlite {
    fn log_size(&self) -> u64 {
        let log = PathBuf::from(format!("{}-wal", self.path.display()));
        log.metadata().map_or(0, |log| log.len())
    }

    /// Stores messages of this size in total, and returns the largest size that the log
    /// had in the meantime.
    async fn fill(&self, bytes: u64) -> u64 {
        const TEXT: usize = 4000;
        const BATCH: u64 = 100;
        let text = "x".repeat(TEXT);
        let mut largest = 0;
        for _ in 0..bytes.div_ceil(TEXT as u64 * BATCH) {
            let messages = (0..BATCH).map(|_| by("42", "Ada", room(1), &text));
            for stored in append_at_once(&self.database, messages).await {
                stored.unwrap();
            }
            largest = largest.max(self.log_size());
        }
        largest
    }
}

/// Reads on two connections in turn: each read begins before the other one ends.
fn read_without_a_pause(sqlite: &Sqlite, is_done: &AtomicBool) {
    let begin = "BEGIN; SELECT sum(length(content)) FROM messages \
                 WHERE room_id = 1 AND seq < 100";
    let (mut current, mut next) = (sqlite.other(), sqlite.other());
    current.batch_execute(begin).unwrap();
    while !is_done.load(Ordering::Relaxed) {
        next.batch_execute(begin).unwrap();
        current.batch_execute("ROLLBACK").unwrap();
        std::mem::swap(&mut current, &mut next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_small_while_reads_overlap_without_a_pause() {
    let sqlite = Arc::new(Sqlite::fresh().await);
    sqlite.fill(MIB).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let reading = spawn_blocking({
        let (sqlite, is_done) = (sqlite.clone(), is_done.clone());
        move || read_without_a_pause(&sqlite, &is_done)
    });
    let largest = sqlite.fill(40 * MIB).await;
    is_done.store(true, Ordering::Relaxed);
    reading.await.unwrap();
    assert!(largest < 16 * MIB, "the log grew to {largest} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_shrinks_when_a_long_read_has_ended_though_nothing_is_written() {
    let sqlite = Sqlite::fresh().await;
    let mut other = sqlite.other();
    let begin = "BEGIN; SELECT count(*) FROM messages";
    other.batch_execute(begin).unwrap();
    sqlite.fill(20 * MIB).await;
    let size = sqlite.log_size();
    assert!(size > 20 * MIB, "the read needs the log of {size} bytes");
    other.batch_execute("ROLLBACK").unwrap();
    wait_until(Duration::from_secs(30), "the log shrinks", || {
        Ok((sqlite.log_size() < MIB).then_some(()))
    })
    .unwrap();
}
