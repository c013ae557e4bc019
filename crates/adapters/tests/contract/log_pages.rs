//! The contract of [`MessageRepository`]'s reads: what a page contains, and how fresh it is.

use std::sync::atomic::{AtomicBool, Ordering};

use chat_domain::Seq;
use chat_domain::ports::{LogPage, MessageRepository, ReadLimit};
use diesel::connection::SimpleConnection as _;

use crate::databases::{Postgres, Sqlite};
use crate::{append, append_at_once, by, hello, room, seq, up_to};

crate::on_each_database!(
    a_page_contains_at_least_one_message_however_small_the_limit,
    a_page_ends_before_its_bytes_are_exceeded,
    bytes_are_counted_in_utf8,
    has_more_is_exact_at_the_limit_of_messages,
    has_more_is_exact_at_the_limit_of_bytes,
    a_page_of_an_empty_room_is_empty,
    newest_is_the_rooms_own_and_does_not_depend_on_the_page,
    a_complete_page_contains_everything_up_to_newest_during_appends,
);

fn limit(messages: usize, bytes: usize) -> ReadLimit {
    ReadLimit { messages, bytes }
}

fn numbers(page: &LogPage) -> Vec<u64> {
    page.messages.iter().map(|m| m.seq.get()).collect()
}

/// Reads the room 1 from its start, and from its end, and returns the numbers of the
/// messages and whether there are more.
async fn read_both(log: &impl MessageRepository, limit: ReadLimit) -> [(Vec<u64>, bool); 2] {
    let after = log.after(room(1), Seq::START, limit).await.unwrap();
    let before = log.before(room(1), None, limit).await.unwrap();
    [after, before].map(|page| (numbers(&page), page.has_more))
}

/// Fills the room 1 with messages of these texts.
async fn fill(log: &impl MessageRepository, texts: impl IntoIterator<Item = &str>) {
    for text in texts {
        append(log, by("42", "Ada", room(1), text)).await.unwrap();
    }
}

async fn a_page_contains_at_least_one_message_however_small_the_limit(
    log: &impl MessageRepository,
) {
    fill(log, ["xxxxxxxxxx"; 2]).await;
    for limit in [limit(10, 0), limit(10, 9), limit(0, 100), limit(0, 0)] {
        assert_eq!(
            read_both(log, limit).await,
            [(vec![1], true), (vec![2], true)],
            "{limit:?}"
        );
    }
    let last = log.after(room(1), seq(1), limit(10, 0)).await.unwrap();
    assert_eq!((numbers(&last), last.has_more), (vec![2], false));
    let first = log.before(room(1), Some(seq(2)), limit(10, 0)).await;
    let first = first.unwrap();
    assert_eq!((numbers(&first), first.has_more), (vec![1], false));
}

async fn a_page_ends_before_its_bytes_are_exceeded(log: &impl MessageRepository) {
    fill(log, ["xxxxxxxxxx"; 5]).await;
    for (bytes, first, last) in [
        (19, vec![1], vec![5]),
        (20, vec![1, 2], vec![4, 5]),
        (29, vec![1, 2], vec![4, 5]),
        (30, vec![1, 2, 3], vec![3, 4, 5]),
    ] {
        let read = read_both(log, limit(10, bytes)).await;
        assert_eq!(read, [(first, true), (last, true)], "{bytes} bytes");
    }
    // The budget counts from where the read begins, in its direction.
    let page = log.after(room(1), seq(3), limit(10, 20)).await.unwrap();
    assert_eq!((numbers(&page), page.has_more), (vec![4, 5], false));
    let page = log.before(room(1), Some(seq(3)), limit(10, 20)).await;
    let page = page.unwrap();
    assert_eq!((numbers(&page), page.has_more), (vec![1, 2], false));
}

async fn bytes_are_counted_in_utf8(log: &impl MessageRepository) {
    // Ten bytes each: three characters or ten.
    fill(log, ["🦀🦀é"; 2]).await;
    fill(log, ["aaaaaaaaaa"; 2]).await;
    assert_eq!(
        read_both(log, limit(10, 29)).await,
        [(vec![1, 2], true), (vec![3, 4], true)]
    );
    assert_eq!(
        read_both(log, limit(10, 30)).await,
        [(vec![1, 2, 3], true), (vec![2, 3, 4], true)]
    );
}

async fn has_more_is_exact_at_the_limit_of_messages(log: &impl MessageRepository) {
    fill(log, ["x"; 3]).await;
    let all = vec![1, 2, 3];
    assert_eq!(
        read_both(log, limit(2, 100)).await,
        [(vec![1, 2], true), (vec![2, 3], true)]
    );
    for messages in [3, 4, usize::MAX] {
        assert_eq!(
            read_both(log, limit(messages, usize::MAX)).await,
            [(all.clone(), false), (all.clone(), false)]
        );
    }
}

async fn has_more_is_exact_at_the_limit_of_bytes(log: &impl MessageRepository) {
    fill(log, ["xxxx"; 3]).await;
    let all = vec![1, 2, 3];
    assert_eq!(
        read_both(log, limit(10, 11)).await,
        [(vec![1, 2], true), (vec![2, 3], true)]
    );
    assert_eq!(
        read_both(log, limit(10, 12)).await,
        [(all.clone(), false), (all, false)]
    );
}

async fn a_page_of_an_empty_room_is_empty(log: &impl MessageRepository) {
    append(log, hello(room(2))).await.unwrap();
    let after = log.after(room(1), Seq::START, up_to(10)).await.unwrap();
    assert_eq!(after, LogPage::default());
    let before = log.before(room(1), None, up_to(10)).await.unwrap();
    assert_eq!(before, LogPage::default());
}

async fn newest_is_the_rooms_own_and_does_not_depend_on_the_page(log: &impl MessageRepository) {
    fill(log, ["x"; 5]).await;
    append(log, hello(room(2))).await.unwrap();
    for position in [0, 3, 5, 99] {
        let page = log.after(room(1), seq(position), up_to(1)).await.unwrap();
        assert_eq!(page.newest, seq(5), "after {position}");
    }
    for position in [Some(1), Some(3), Some(99), None] {
        let page = log.before(room(1), position.map(seq), up_to(1)).await;
        assert_eq!(page.unwrap().newest, seq(5), "before {position:?}");
    }
}

async fn a_complete_page_contains_everything_up_to_newest_during_appends(
    log: &(impl MessageRepository + Clone + 'static),
) {
    const MESSAGES: u64 = 400;
    let is_done = AtomicBool::new(false);
    let writing = async {
        for _ in 0..MESSAGES / 20 {
            for stored in append_at_once(log, (0..20).map(|_| hello(room(1)))).await {
                stored.unwrap();
            }
        }
        is_done.store(true, Ordering::Release);
    };
    let reading = async |limit| {
        loop {
            let is_last = is_done.load(Ordering::Acquire);
            let mut position = Seq::START;
            // Pages follow each other until one is complete.
            let newest = loop {
                let page = log.after(room(1), position, limit).await.unwrap();
                let first = position.get() + 1;
                let last = position.get() + page.messages.len() as u64;
                assert_eq!(numbers(&page), (first..=last).collect::<Vec<_>>());
                position = seq(last);
                if !page.has_more {
                    break page.newest;
                }
            };
            assert!(position >= newest, "{position:?} is behind {newest:?}");
            let page = log.before(room(1), None, limit).await.unwrap();
            let last = page.messages.last().map_or(Seq::START, |m| m.seq);
            assert!(last >= page.newest && page.newest >= newest);
            if is_last {
                break assert_eq!(newest, seq(MESSAGES));
            }
        }
    };
    tokio::join!(
        writing,
        reading(up_to(1000)),
        reading(up_to(7)),
        reading(limit(1000, 50)),
    );
}

async fn newest_counts_deleted_messages(log: &impl MessageRepository, sql: impl Fn(&str)) {
    fill(log, ["x"; 5]).await;
    sql("DELETE FROM messages WHERE room_id = 1 AND seq IN (2, 5)");
    let page = log.after(room(1), Seq::START, up_to(3)).await.unwrap();
    assert_eq!((numbers(&page), page.has_more), (vec![1, 3, 4], false));
    assert_eq!(page.newest, seq(5));
    let page = log.before(room(1), None, up_to(2)).await.unwrap();
    assert_eq!((numbers(&page), page.has_more), (vec![3, 4], true));
    assert_eq!(page.newest, seq(5));
    sql("DELETE FROM messages WHERE room_id = 1");
    let page = log.after(room(1), Seq::START, up_to(3)).await.unwrap();
    assert_eq!((numbers(&page), page.has_more), (vec![], false));
    assert_eq!(page.newest, seq(5));
    assert_eq!(append(log, hello(room(1))).await.unwrap().seq, seq(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_counts_deleted_messages_on_postgres() {
    let postgres = Postgres::fresh().await;
    let sql = |sql: &str| drop(postgres.server.psql(sql).unwrap());
    newest_counts_deleted_messages(&postgres.database, sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_counts_deleted_messages_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    let sql = |sql: &str| sqlite.other().batch_execute(sql).unwrap();
    newest_counts_deleted_messages(&sqlite.database, sql).await;
}

/// The rest of a long room costs a read nothing: it stops one message beyond its page.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_read_no_further_than_it_reaches_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    fill(&sqlite.database, ["xxxxxxxxxx"; 4]).await;
    let spoil = "UPDATE messages SET created_at = 'never' WHERE seq IN (1, 4)";
    sqlite.other().batch_execute(spoil).unwrap();
    let page = sqlite.database.after(room(1), seq(1), limit(1000, 10));
    assert_eq!(numbers(&page.await.unwrap()), [2]);
    let page = sqlite
        .database
        .before(room(1), Some(seq(4)), limit(1000, 10));
    assert_eq!(numbers(&page.await.unwrap()), [3]);
    let whole = sqlite.database.after(room(1), seq(1), up_to(1000)).await;
    assert!(whole.is_err(), "a spoiled message is an error");
}
