//! Deletes what closed rooms contain, in the background: batch by batch, with pauses, so that
//! others keep most of the database's time.

use std::sync::Arc;
use std::time::Duration;

use chat_domain::ports::{DeletedBatch, RoomDeletion};
use chat_domain::{StorageError, one_line};
use tokio::time::{Instant, sleep};

use crate::limits::{
    DELETION_BATCH_TIME, DELETION_MAX_ROWS, DELETION_MIN_ROWS, DELETION_PAUSE_FACTOR,
    DELETION_POLL_INTERVAL,
};
use crate::metrics::Metrics;

/// Deletes what closed rooms contain. Every node does so; a room is deleted by one of them at a
/// time. Runs until it is dropped.
pub(crate) async fn delete_closed_rooms(deletion: Arc<dyn RoomDeletion>, metrics: Arc<Metrics>) {
    let mut size = DELETION_MIN_ROWS;
    let mut counted: Option<Instant> = None;
    loop {
        if counted.is_none_or(|counted| counted.elapsed() >= DELETION_POLL_INTERVAL) {
            counted = Some(Instant::now());
            if let Ok(rooms) = deletion.closed_rooms().await {
                metrics.closed_rooms(rooms);
            }
        }
        let began = Instant::now();
        let outcome = deletion.delete_batch(size).await;
        let took = began.elapsed();
        match outcome {
            Ok(Some(batch)) => {
                note(&metrics, &batch);
                size = next_size(size, took);
                sleep(took * DELETION_PAUSE_FACTOR).await;
            }
            Ok(None) => sleep(DELETION_POLL_INTERVAL).await,
            Err(error) => {
                log_failure(&error);
                size = DELETION_MIN_ROWS;
                sleep(DELETION_POLL_INTERVAL).await;
            }
        }
    }
}

fn note(metrics: &Metrics, batch: &DeletedBatch) {
    metrics.deleted_rows(batch.rows);
    if batch.is_first {
        tracing::info!(room = %batch.room_id, "deleting a room");
    }
    if batch.is_last {
        tracing::info!(room = %batch.room_id, "room deleted");
    }
}

/// During an outage, this is one line of many, and the others say more.
fn log_failure(error: &StorageError) {
    tracing::debug!(error = %one_line(error), "a part of a closed room cannot be deleted now");
}

/// Returns the size of the next batch, so that it takes about as long as it should.
fn next_size(size: usize, took: Duration) -> usize {
    let next = if took > DELETION_BATCH_TIME {
        size / 2
    } else if took < DELETION_BATCH_TIME / 2 {
        size + size / 2
    } else {
        size
    };
    next.clamp(DELETION_MIN_ROWS, DELETION_MAX_ROWS)
}

#[cfg(test)]
mod tests {
    use chat_domain::RoomId;
    use chat_domain::ports::MockRoomDeletion;
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn the_size_of_batches_follows_the_time_that_they_take() {
        let slow = DELETION_BATCH_TIME * 2;
        let (mut size, mut sizes) = (DELETION_MIN_ROWS, Vec::new());
        while size < DELETION_MAX_ROWS {
            sizes.push(size);
            size = next_size(size, Duration::ZERO);
            assert!(sizes.len() < 20);
        }
        assert_eq!(next_size(size, Duration::ZERO), DELETION_MAX_ROWS);
        assert_eq!(next_size(size, DELETION_BATCH_TIME), size);
        assert_eq!(next_size(size, slow), size / 2);
        assert_eq!(next_size(DELETION_MIN_ROWS, slow), DELETION_MIN_ROWS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_fails_is_tried_again_after_a_pause() {
        let (called, mut calls) = mpsc::unbounded_channel();
        let mut deletion = MockRoomDeletion::new();
        deletion.expect_closed_rooms().returning(|| Ok(1));
        deletion.expect_delete_batch().returning(move |rows| {
            called.send((Instant::now(), rows)).unwrap();
            Err(StorageError::unavailable("gone"))
        });
        let metrics = Arc::new(Metrics::default());
        let task = tokio::spawn(delete_closed_rooms(Arc::new(deletion), metrics));
        let (first, _) = calls.recv().await.unwrap();
        let (second, rows) = calls.recv().await.unwrap();
        assert_eq!(second - first, DELETION_POLL_INTERVAL);
        assert_eq!(rows, DELETION_MIN_ROWS);
        task.abort();
    }

    /// Each batch takes 10 ms, however large it is.
    struct Slow;

    #[async_trait::async_trait]
    impl RoomDeletion for Slow {
        async fn close(&self, _: RoomId) -> Result<chat_domain::ports::Closing, StorageError> {
            unreachable!("the worker closes no room")
        }

        async fn delete_batch(&self, rows: usize) -> Result<Option<DeletedBatch>, StorageError> {
            sleep(Duration::from_millis(10)).await;
            Ok(Some(DeletedBatch {
                room_id: RoomId::new(1).unwrap(),
                rows: rows as u64,
                is_first: false,
                is_last: false,
            }))
        }

        async fn closed_rooms(&self) -> Result<u64, StorageError> {
            Ok(1)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn batches_take_a_fraction_of_the_time() {
        let metrics = Arc::new(Metrics::default());
        let task = tokio::spawn(delete_closed_rooms(Arc::new(Slow), metrics.clone()));
        sleep(Duration::from_secs(10)).await;
        task.abort();
        let families = metrics.gather();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name);
            let metric = &family.unwrap().get_metric()[0];
            metric.get_counter().get_value() + metric.get_gauge().get_value()
        };
        assert_eq!(value("chat_closed_rooms"), 1.0);
        let factor = f64::from(DELETION_PAUSE_FACTOR + 1);
        let most = 10_000.0 / 10.0 / factor * DELETION_MAX_ROWS as f64;
        let rows = value("chat_deleted_rows_total");
        assert!(rows > 0.0 && rows <= most, "{rows} rows, at most {most}");
    }
}
