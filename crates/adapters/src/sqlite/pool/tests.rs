//! Cancelled, slow and failed reads, and the reads after them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;

use diesel::prelude::*;
use diesel::sql_types::Integer;
use tokio::sync::oneshot;

use super::*;

/// A query that ends on request.
struct Blocked {
    has_begun: oneshot::Receiver<()>,
    end: mpsc::Sender<()>,
}

fn blocking_query() -> (
    Blocked,
    impl FnOnce(&mut SqliteConnection) -> Result<i32, StorageError> + Send,
) {
    let (begin, has_begun) = oneshot::channel();
    let (end, ended) = mpsc::channel();
    let query = move |connection: &mut SqliteConnection| {
        begin.send(()).ok();
        ended.recv().ok();
        one(connection)
    };
    (Blocked { has_begun, end }, query)
}

fn one(connection: &mut SqliteConnection) -> Result<i32, StorageError> {
    diesel::dsl::sql::<Integer>("SELECT 1")
        .get_result(connection)
        .map_err(StorageError::unavailable)
}

/// Whether the connection has read before: temporary tables belong to a connection.
fn is_reused(connection: &mut SqliteConnection) -> Result<bool, StorageError> {
    let marked = diesel::sql_query("CREATE TEMPORARY TABLE mark (x)").execute(connection);
    Ok(marked.is_err())
}

fn pool(size: usize, deadline: Duration) -> (tempfile::TempDir, Pool) {
    let folder = tempfile::tempdir().unwrap();
    let file = DatabaseFile::new(folder.path().join("chat.db"));
    file.create().unwrap();
    (folder, Pool::with_deadline(file, size, deadline).unwrap())
}

async fn is_pending<T>(mut read: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
    poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn a_cancelled_read_keeps_its_connection_until_the_query_has_ended() {
    let (_folder, pool) = pool(1, DEADLINE);
    for _ in 0..20 {
        let (blocked, query) = blocking_query();
        tokio::select! {
            biased;
            begun = blocked.has_begun => begun.unwrap(),
            _ = pool.read(query) => panic!("the query ended by itself"),
        }
        let mut next = pin!(pool.read(one));
        assert!(is_pending(next.as_mut()).await);
        blocked.end.send(()).unwrap();
        assert_eq!(next.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_read_is_answered_at_its_deadline_and_its_connection_is_not_used_again() {
    let (_folder, pool) = pool(1, Duration::from_millis(200));
    assert!(!pool.read(is_reused).await.unwrap());
    assert!(pool.read(is_reused).await.unwrap());
    let (blocked, query) = blocking_query();
    let slow = pool.read(query).await;
    assert!(
        matches!(slow, Err(StorageError::Unavailable(_))),
        "{slow:?}"
    );
    // While it runs, the next read waits for its connection until the deadline.
    let waiting = pool.read(one).await;
    assert!(
        matches!(waiting, Err(StorageError::Unavailable(_))),
        "{waiting:?}"
    );
    blocked.end.send(()).unwrap();
    assert!(!pool.read(is_reused).await.unwrap());
}

#[tokio::test]
async fn a_connection_whose_query_failed_or_panicked_is_not_used_again() {
    let (_folder, pool) = pool(1, DEADLINE);
    let fails: fn(&mut SqliteConnection) -> Result<(), StorageError> =
        |_| Err(StorageError::unavailable("the file is broken"));
    for query in [fails, |_| panic!("a query that panics")] {
        pool.read(is_reused).await.unwrap();
        assert!(pool.read(is_reused).await.unwrap());
        assert!(pool.read(query).await.is_err());
        assert!(!pool.read(is_reused).await.unwrap());
    }
}

#[tokio::test]
async fn queries_that_were_abandoned_count_among_the_pools_connections() {
    let (_folder, pool) = pool(3, DEADLINE);
    let mut ends = Vec::new();
    for _ in 0..3 {
        let (blocked, query) = blocking_query();
        tokio::select! {
            biased;
            begun = blocked.has_begun => begun.unwrap(),
            _ = pool.read(query) => panic!("the query ended by itself"),
        }
        ends.push(blocked.end);
    }
    let mut fourth = pin!(pool.read(one));
    assert!(is_pending(fourth.as_mut()).await);
    drop(ends.pop());
    assert_eq!(fourth.await.unwrap(), 1);
}
