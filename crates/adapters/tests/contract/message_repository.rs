//! The contract of [`MessageRepository`].

use std::sync::Arc;

use chat_domain::ports::MessageRepository;
use chat_domain::{Message, Seq};

use crate::{by, hello, room, seq};

crate::on_each_database!(
    the_first_message_of_a_room_is_number_1,
    what_was_stored_is_read_as_it_was_sent,
    any_text_survives,
    numbers_have_no_holes_under_concurrency,
    one_callers_order_is_kept,
    a_log_is_read_from_any_position,
    the_latest_name_is_read,
    the_greatest_room_number_is_a_room,
);

async fn the_first_message_of_a_room_is_number_1(log: &impl MessageRepository) {
    assert_eq!(log.append(hello(room(1))).await.unwrap().seq, seq(1));
    assert_eq!(log.append(hello(room(2))).await.unwrap().seq, seq(1));
    assert_eq!(log.append(hello(room(1))).await.unwrap().seq, seq(2));
}

async fn what_was_stored_is_read_as_it_was_sent(log: &impl MessageRepository) {
    let stored = log.append(hello(room(1))).await.unwrap();
    assert_eq!(stored, hello(room(1)).stored(stored.id, seq(1)));
    let read = log.after(room(1), Seq::START, 10).await.unwrap();
    assert_eq!(read, [stored]);
}

async fn any_text_survives(log: &impl MessageRepository) {
    let texts = [
        "  spaces around  ".to_owned(),
        "👨‍👩‍👧‍👦 e\u{301} \u{202e}abc \u{fffe} \u{10ffff}".to_owned(),
        "line\r\nline\t\u{1}\u{7f}".to_owned(),
        r#"'; DROP TABLE messages; -- "quoted" \ %s $1 {}"#.to_owned(),
        "🦀".repeat(4000),
    ];
    for text in &texts {
        log.append(by("4'2", "A\"da", room(1), text)).await.unwrap();
    }
    let read = log.after(room(1), Seq::START, 10).await.unwrap();
    let read: Vec<_> = read.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(read, texts);
}

async fn numbers_have_no_holes_under_concurrency(log: &(impl MessageRepository + Clone + 'static)) {
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
                    log.append(by(&writer.to_string(), "x", room, &text))
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
        let read = log.after(room(number), Seq::START, 1000).await.unwrap();
        let seqs: Vec<_> = read.iter().map(|m| m.seq.get()).collect();
        assert_eq!(seqs, (1..=read.len() as u64).collect::<Vec<_>>());
        total += read.len() as u64;
        // Nothing twice.
        let mut texts: Vec<_> = read.iter().map(|m| m.content.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), read.len());
    }
    assert_eq!(total, WRITERS * EACH);
}

async fn one_callers_order_is_kept(log: &impl MessageRepository) {
    for n in 0..50 {
        log.append(by("42", "Ada", room(1), &n.to_string()))
            .await
            .unwrap();
    }
    let read = log.after(room(1), Seq::START, 100).await.unwrap();
    let read: Vec<_> = read.iter().map(|m| m.content.as_str().to_owned()).collect();
    assert_eq!(read, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

async fn a_log_is_read_from_any_position(log: &impl MessageRepository) {
    for _ in 0..5 {
        log.append(hello(room(1))).await.unwrap();
        log.append(hello(room(2))).await.unwrap();
    }
    let numbers = |read: Vec<Message>| read.iter().map(|m| m.seq.get()).collect::<Vec<_>>();
    let after = async |from, limit| numbers(log.after(room(1), seq(from), limit).await.unwrap());
    assert_eq!(after(0, 10).await, [1, 2, 3, 4, 5]);
    assert_eq!(after(2, 2).await, [3, 4]);
    assert_eq!(after(5, 10).await, [0; 0]);
    assert_eq!(after(99, 10).await, [0; 0]);
    assert!(log.after(room(3), Seq::START, 10).await.unwrap().is_empty());
}

async fn the_latest_name_is_read(log: &impl MessageRepository) {
    for name in ["Ada", "Ada", "Countess"] {
        let stored = log.append(by("42", name, room(1), "hello")).await.unwrap();
        assert_eq!(stored.author.name.as_str(), name);
    }
    for message in log.after(room(1), Seq::START, 10).await.unwrap() {
        assert_eq!(message.author.name.as_str(), "Countess");
    }
}

async fn the_greatest_room_number_is_a_room(log: &impl MessageRepository) {
    let greatest = room(chat_domain::MAX_NUMBER);
    assert_eq!(log.append(hello(greatest)).await.unwrap().seq, seq(1));
    assert_eq!(
        log.after(greatest, Seq::START, 10).await.unwrap()[0].room_id,
        greatest
    );
}
