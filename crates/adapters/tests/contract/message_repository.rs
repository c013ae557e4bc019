//! The contract of [`MessageRepository`]: what an append stores, and what is read of it.

use std::sync::Arc;

use chat_domain::ports::{AppendError, Appended, MessageRepository, RoomRepository};
use chat_domain::{Message, Seq, UserId};

use crate::{append, append_at_once, by, hello, room, seq, up_to, with_id};

crate::on_each_database!(
    the_first_message_of_a_room_is_number_1,
    a_stored_message_is_read_as_it_was_sent,
    any_text_is_stored_unchanged,
    numbers_have_no_gaps_under_concurrency,
    the_order_of_one_caller_is_kept,
    a_log_is_read_forwards_from_any_position,
    the_latest_name_is_read,
    the_largest_room_number_is_a_room,
    a_log_is_read_backwards_from_any_position,
    a_repeat_is_the_stored_message_and_leaves_no_gap,
    an_id_is_unique_per_user_and_room,
    different_content_under_the_same_id_is_a_conflict,
    twenty_repeats_at_once_are_stored_once,
    sending_moves_the_senders_own_pointer,
);

async fn the_first_message_of_a_room_is_number_1(log: &impl MessageRepository) {
    assert_eq!(append(log, hello(room(1))).await.unwrap().seq, seq(1));
    assert_eq!(append(log, hello(room(2))).await.unwrap().seq, seq(1));
    assert_eq!(append(log, hello(room(1))).await.unwrap().seq, seq(2));
}

async fn a_stored_message_is_read_as_it_was_sent(log: &impl MessageRepository) {
    let stored = append(log, hello(room(1))).await.unwrap();
    assert_eq!(stored, hello(room(1)).stored(stored.id, seq(1)));
    let read = log
        .after(room(1), Seq::START, up_to(10))
        .await
        .unwrap()
        .messages;
    assert_eq!(read, [stored]);
}

async fn any_text_is_stored_unchanged(log: &impl MessageRepository) {
    let texts = [
        "  spaces around  ".to_owned(),
        "👨‍👩‍👧‍👦 e\u{301} \u{202e}abc \u{fffe} \u{10ffff}".to_owned(),
        "line\r\nline\t\u{1}\u{7f}".to_owned(),
        r#"'; DROP TABLE messages; -- "quoted" \ %s $1 {}"#.to_owned(),
        "🦀".repeat(4000),
    ];
    for text in &texts {
        append(log, by("4'2", "A\"da", room(1), text))
            .await
            .unwrap();
    }
    let read = log
        .after(room(1), Seq::START, up_to(10))
        .await
        .unwrap()
        .messages;
    let read: Vec<_> = read.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(read, texts);
}

async fn numbers_have_no_gaps_under_concurrency(log: &(impl MessageRepository + Clone + 'static)) {
    const WRITERS: u64 = 50;
    const EACH: u64 = 10;
    let log = Arc::new(log.clone());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 0..EACH {
                    let text = format!("{writer} {n}");
                    let room = room(1 + (writer + n) % 2);
                    append(&*log, by(&writer.to_string(), "x", room, &text))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut total = 0;
    for number in [1, 2] {
        let read = log
            .after(room(number), Seq::START, up_to(1000))
            .await
            .unwrap()
            .messages;
        let seqs: Vec<_> = read.iter().map(|m| m.seq.get()).collect();
        assert_eq!(seqs, (1..=read.len() as u64).collect::<Vec<_>>());
        total += read.len() as u64;
        // No message is stored twice.
        let mut texts: Vec<_> = read.iter().map(|m| m.content.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), read.len());
    }
    assert_eq!(total, WRITERS * EACH);
}

async fn the_order_of_one_caller_is_kept(log: &impl MessageRepository) {
    for n in 0..50 {
        append(log, by("42", "Ada", room(1), &n.to_string()))
            .await
            .unwrap();
    }
    let read = log
        .after(room(1), Seq::START, up_to(100))
        .await
        .unwrap()
        .messages;
    let read: Vec<_> = read.iter().map(|m| m.content.as_str().to_owned()).collect();
    assert_eq!(read, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

async fn a_log_is_read_forwards_from_any_position(log: &impl MessageRepository) {
    for _ in 0..5 {
        append(log, hello(room(1))).await.unwrap();
        append(log, hello(room(2))).await.unwrap();
    }
    let numbers = |read: Vec<Message>| read.iter().map(|m| m.seq.get()).collect::<Vec<_>>();
    let after = async |from, limit| {
        numbers(
            log.after(room(1), seq(from), up_to(limit))
                .await
                .unwrap()
                .messages,
        )
    };
    assert_eq!(after(0, 10).await, [1, 2, 3, 4, 5]);
    assert_eq!(after(2, 2).await, [3, 4]);
    assert_eq!(after(5, 10).await, [0; 0]);
    assert_eq!(after(99, 10).await, [0; 0]);
    assert!(
        log.after(room(3), Seq::START, up_to(10))
            .await
            .unwrap()
            .messages
            .is_empty()
    );
}

async fn the_latest_name_is_read(log: &impl MessageRepository) {
    for name in ["Ada", "Ada", "Countess"] {
        let stored = append(log, by("42", name, room(1), "hello")).await.unwrap();
        assert_eq!(stored.author.name.as_str(), name);
    }
    for message in log
        .after(room(1), Seq::START, up_to(10))
        .await
        .unwrap()
        .messages
    {
        assert_eq!(message.author.name.as_str(), "Countess");
    }
}

async fn the_largest_room_number_is_a_room(log: &impl MessageRepository) {
    let largest = room(chat_domain::MAX_NUMBER);
    assert_eq!(append(log, hello(largest)).await.unwrap().seq, seq(1));
    assert_eq!(
        log.after(largest, Seq::START, up_to(10))
            .await
            .unwrap()
            .messages[0]
            .room_id,
        largest
    );
}

async fn a_log_is_read_backwards_from_any_position(log: &impl MessageRepository) {
    for _ in 0..5 {
        append(log, hello(room(1))).await.unwrap();
        append(log, hello(room(2))).await.unwrap();
    }
    let before = async |position: Option<u64>, limit| {
        let read = log
            .before(room(1), position.map(seq), up_to(limit))
            .await
            .unwrap()
            .messages;
        read.iter().map(|m| m.seq.get()).collect::<Vec<_>>()
    };
    assert_eq!(before(None, 2).await, [4, 5]);
    assert_eq!(before(None, 10).await, [1, 2, 3, 4, 5]);
    assert_eq!(before(Some(4), 2).await, [2, 3]);
    assert_eq!(before(Some(1), 10).await, [0; 0]);
    assert_eq!(before(Some(99), 1).await, [5]);
}

async fn a_repeat_is_the_stored_message_and_leaves_no_gap(log: &impl MessageRepository) {
    let sent = with_id(hello(room(1)), "c0ffee-1");
    let stored = append(log, sent.clone()).await.unwrap();
    assert_eq!(stored.client_message_id, sent.client_message_id);
    for _ in 0..3 {
        let repeat = log.append(sent.clone()).await.unwrap();
        assert_eq!(repeat, Appended::Repeat(stored.clone()));
    }
    let next = append(log, with_id(hello(room(1)), "c0ffee-2"))
        .await
        .unwrap();
    assert_eq!(next.seq, seq(2));
    // Without an id, a retry is a new message.
    assert_eq!(append(log, hello(room(1))).await.unwrap().seq, seq(3));
    assert_eq!(append(log, hello(room(1))).await.unwrap().seq, seq(4));
    let read = log
        .after(room(1), Seq::START, up_to(10))
        .await
        .unwrap()
        .messages;
    assert_eq!((read.len(), &read[0]), (4, &stored));
}

async fn an_id_is_unique_per_user_and_room(log: &impl MessageRepository) {
    for message in [
        by("1", "Ada", room(1), "x"),
        by("2", "Grace", room(1), "x"),
        by("1", "Ada", room(2), "x"),
    ] {
        append(log, with_id(message, "same")).await.unwrap();
    }
}

async fn different_content_under_the_same_id_is_a_conflict(log: &impl MessageRepository) {
    append(log, with_id(by("1", "Ada", room(1), "x"), "same"))
        .await
        .unwrap();
    let other = with_id(by("1", "Ada", room(1), "y"), "same");
    let refused = log.append(other).await;
    assert!(matches!(refused, Err(AppendError::Conflict)), "{refused:?}");
    // Contents are compared exactly.
    let spaced = with_id(by("1", "Ada", room(1), "x "), "same");
    assert!(matches!(
        log.append(spaced).await,
        Err(AppendError::Conflict)
    ));
    assert_eq!(append(log, hello(room(1))).await.unwrap().seq, seq(2));
}

async fn twenty_repeats_at_once_are_stored_once(log: &impl MessageRepository) {
    for round in 0..5 {
        let sent = with_id(hello(room(1)), &format!("round-{round}"));
        let mut stored = 0;
        for outcome in append_at_once(log, vec![sent; 20]).await {
            let (message, is_new) = match outcome.unwrap() {
                Appended::Stored(message) => (message, 1),
                Appended::Repeat(message) => (message, 0),
            };
            assert_eq!(message.seq, seq(round + 1));
            stored += is_new;
        }
        assert_eq!(stored, 1);
    }
}

async fn sending_moves_the_senders_own_pointer(store: &(impl MessageRepository + RoomRepository)) {
    let state = async |user: &str| {
        let found = store
            .read_state(room(1), &UserId::new(user).unwrap())
            .await
            .unwrap()
            .read;
        (found.newest.get(), found.read.get(), found.unread())
    };
    assert_eq!(state("1").await, (0, 0, 0));
    append(store, by("1", "Ada", room(1), "x")).await.unwrap();
    append(store, by("1", "Ada", room(1), "y")).await.unwrap();
    assert_eq!(state("1").await, (2, 2, 0));
    assert_eq!(state("2").await, (2, 0, 2));
    append(store, by("2", "Grace", room(1), "z")).await.unwrap();
    assert_eq!((state("1").await, state("2").await), ((3, 2, 1), (3, 3, 0)));
}
