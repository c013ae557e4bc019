//! Messages whose room's rules have changed since they were decided.

use super::*;

fn under(rules: u64, message: NewMessage) -> NewMessage {
    NewMessage {
        extras: None,
        rules: RulesNumber::new(rules),
        ..message
    }
}

fn change(database: &Database, room_id: RoomId, rules: u64) {
    let number = RulesNumber::new(rules);
    database.state().rules.insert(room_id, number);
}

fn is_changed(outcome: &Result<Appended, AppendError>) -> bool {
    matches!(outcome, Err(AppendError::RulesChanged))
}

fn is_stored(outcome: &Result<Appended, AppendError>, number: u64) -> bool {
    matches!(outcome, Ok(Appended::Stored(m)) if m.seq == seq(number))
}

#[tokio::test]
async fn a_message_under_changed_rules_is_tried_once_and_harms_no_other() {
    let (commits, database) = MemoryStore::start(1);
    change(&database, room(1), 3);
    let (outdated, other, second) = tokio::join!(
        commits.append(under(2, message(room(1), "outdated"))),
        commits.append(message(room(2), "other")),
        commits.append(under(2, message(room(1), "second"))),
    );
    assert!(is_changed(&outdated) && is_changed(&second));
    assert!(is_stored(&other, 1));
    assert_eq!(
        database.state().batches,
        [["outdated", "other", "second"]],
        "they are not tried again"
    );
    let next = commits.append(under(3, message(room(1), "next"))).await;
    assert!(is_stored(&next, 1));
}

#[tokio::test]
async fn of_one_room_only_messages_with_the_largest_number_are_tried() {
    let (commits, database) = MemoryStore::start(1);
    change(&database, room(1), 3);
    let (old, first, other, none, second) = tokio::join!(
        commits.append(under(2, message(room(1), "old"))),
        commits.append(under(3, message(room(1), "first"))),
        commits.append(message(room(2), "other")),
        commits.append(message(room(1), "none")),
        commits.append(under(3, message(room(1), "second"))),
    );
    assert!(is_changed(&old) && is_changed(&none));
    assert!(is_stored(&first, 1) && is_stored(&other, 1) && is_stored(&second, 2));
    assert_eq!(database.state().batches, [["first", "other", "second"]]);
}

#[tokio::test]
async fn a_repeat_under_changed_rules_is_not_a_repeat() {
    let (commits, database) = MemoryStore::start(1);
    let original = with_id(message(room(1), "original"), "original");
    let kept = with_id(message(room(2), "kept"), "kept");
    commits.append(original.clone()).await.unwrap();
    commits.append(kept.clone()).await.unwrap();
    change(&database, room(1), 1);

    // The second round looks the ids up before it stores.
    for lookups in 1..=2 {
        let (outdated, repeat, again) = tokio::join!(
            commits.append(original.clone()),
            commits.append(kept.clone()),
            commits.append(original.clone()),
        );
        assert!(is_changed(&outdated) && is_changed(&again));
        assert!(matches!(repeat, Ok(Appended::Repeat(_))), "{repeat:?}");
        assert_eq!(database.state().lookups, lookups);
    }
    let repeat = commits.append(under(1, original)).await;
    assert!(matches!(repeat, Ok(Appended::Repeat(_))), "{repeat:?}");
}

#[tokio::test]
async fn a_message_of_a_locked_room_is_compared_once_the_room_is_free() {
    let (commits, database) = MemoryStore::start(2);
    database.state().fault = Fault::Locked;
    let mut waiting = pin!(async {
        tokio::join!(
            commits.append(message(room(1), BAD)),
            commits.append(message(room(2), "free")),
        )
    });
    let free = commits.append(message(room(2), "free"));
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("the room is locked"),
        stored = free => stored.unwrap(),
    };
    change(&database, room(1), 1);
    database.gate.add_permits(1);
    let (locked, free) = waiting.await;
    assert!(is_changed(&locked));
    assert!(is_stored(&free, 1));
    let next = commits.append(under(1, message(room(1), "next"))).await;
    assert!(is_stored(&next, 1), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_batch_with_an_unknown_outcome_is_compared_after_it() {
    let (commits, database) = MemoryStore::start(2);
    database.state().fault = Fault::Unknown;
    commits.append(message(room(1), BAD)).await.unwrap_err();
    database.state().fault = Fault::None;
    let mut waiting = pin!(async {
        tokio::join!(
            commits.append(message(room(1), "none")),
            commits.append(under(1, message(room(1), "one"))),
            commits.append(message(room(1), "none")),
        )
    });
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("the batch has not ended"),
        stored = commits.append(message(room(2), "free")) => stored.unwrap(),
    };
    change(&database, room(1), 1);
    database.gate.add_permits(1);
    let (before, current, after) = waiting.await;
    assert!(is_changed(&before) && is_changed(&after));
    assert!(is_stored(&current, 1), "{current:?}");
}
