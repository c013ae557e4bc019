//! Watching inboxes: what is told, at which pace, and that nothing is missed.

mod beginning;
mod inboxes;

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::inboxes::{World, room, token, user};
use crate::client::Client;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_first_change_is_told_at_once_and_the_last_one_a_second_later() {
    let world = World::with_rooms("ada", 1..=2);
    let ada = world.watching(1, "ada").await;
    let began = Instant::now();
    world.send(1);
    ada.until(|all| all == "1@2/0;").await;
    assert!(began.elapsed() < SECOND / 10);
    for _ in 0..1000 {
        world.send(1);
        tokio::task::yield_now().await;
    }
    world.read(1, "ada", 7);
    assert_eq!(ada.received(), "1@2/0;");
    // Another room does not wait for it.
    world.send(2);
    ada.until(|all| all == "1@2/0;2@2/0;").await;
    assert!(began.elapsed() < SECOND / 10);
    ada.until(|all| all == "1@2/0;2@2/0;1@1002/7;").await;
    assert!(began.elapsed() >= SECOND && began.elapsed() < SECOND * 11 / 10);
    sleep(5 * SECOND).await;
    assert_eq!(ada.received(), "1@2/0;2@2/0;1@1002/7;");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_never_rests_is_told_once_a_second() {
    let world = World::with_rooms("ada", 1..=1);
    let ada = world.watching(1, "ada").await;
    let mut times = Vec::new();
    let mut received = 0;
    for _ in 0..1000 {
        world.send(1);
        sleep(SECOND / 100).await;
        let now = ada.received().matches(';').count();
        if now > received {
            times.push(Instant::now());
            received = now;
        }
    }
    assert!((10..=11).contains(&received), "{received}");
    let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.min() >= Some(SECOND), "{times:?}");
    ada.until(|all| all.ends_with("1@1001/0;")).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_reported_and_changes_nothing_is_not_told() {
    let world = World::with_rooms("ada", 1..=3);
    world.store_member(1, "eve");
    let ada = world.watching(1, "ada").await;
    // Of a room that the user does not have, not even in the first reports.
    for _ in 0..2 {
        world.report(&[9], &[(1, "eve")]);
        world.report_pointer(9, "ada");
        sleep(SECOND).await;
    }
    for _ in 0..3 {
        world.report(&[1, 2, 77], &[(1, "ada"), (3, "ada"), (9, "ada")]);
        sleep(2 * SECOND).await;
    }
    world.read(1, "eve", 1);
    sleep(2 * SECOND).await;
    assert_eq!(ada.received(), "");
    // Nor is anything read that is not watched.
    let read = world.inboxes.views_read.load(Ordering::SeqCst);
    world.report(&[7, 8, 9], &[(1, "eve"), (2, "eve")]);
    sleep(2 * SECOND).await;
    assert_eq!(world.inboxes.views_read.load(Ordering::SeqCst), read);
}

/// The room is to be looked at for all who watch it, and for a user who does not yet.
#[tokio::test(start_paused = true)]
async fn a_new_member_is_told_of_a_room_that_others_watch() {
    let world = World::with_rooms("eve", 1..=1);
    world.store_member(2, "ada");
    let eve = world.watching(1, "eve").await;
    let ada = world.watching(2, "ada").await;
    world.store_member(1, "ada");
    world.store_message(1);
    world.report(&[1], &[(1, "ada")]);
    eve.until(|all| all == "1@2/0;").await;
    ada.until(|all| all.contains("1@2/0;")).await;
}

#[tokio::test(start_paused = true)]
async fn every_connection_of_a_user_is_told() {
    let world = World::with_rooms("ada", 1..=1);
    let (one, other) = (
        world.watching(1, "ada").await,
        world.watching(2, "ada").await,
    );
    world.send(1);
    for client in [&one, &other] {
        client.until(|all| all == "1@2/0;").await;
    }
    assert_eq!(world.watchers.counts(), (2, 1));
    world.end(&one);
    world.read(1, "ada", 2);
    other.until(|all| all == "1@2/0;1@2/2;").await;
    assert_eq!(one.received(), "1@2/0;");
    world.end(&other);
    assert_eq!(world.watchers.counts(), (0, 0));
}

/// It costs no more than the rooms that it is owed.
#[tokio::test(start_paused = true)]
async fn a_slow_connection_gets_the_newest_summary_of_each_room_when_it_can_take_it() {
    let world = World::with_rooms("ada", 1..=40);
    let (slow, quick) = (
        world.watching(1, "ada").await,
        world.watching(2, "ada").await,
    );
    slow.set_space(false);
    for round in 0..3 {
        for number in 1..=40 {
            world.send(number);
        }
        quick
            .until(|all| all.matches(&format!("@{}/", round + 2)).count() == 40)
            .await;
    }
    let before = slow.waits.load(Ordering::SeqCst);
    assert_eq!((slow.received().as_str(), before), ("", 1));
    slow.set_space(true);
    slow.until(|all| all.matches("@4/0;").count() == 40).await;
    sleep(3 * SECOND).await;
    assert_eq!(slow.received().matches(';').count(), 40);
    // It goes on as before.
    world.send(1);
    slow.until(|all| all.ends_with("1@5/0;")).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_connection_is_told_of_a_room_that_it_has_lost() {
    let world = World::with_rooms("ada", 1..=1);
    let slow = world.watching(1, "ada").await;
    slow.set_space(false);
    world.send(1);
    sleep(SECOND).await;
    world.store_removal(1, "ada");
    world.report(&[1], &[(1, "ada")]);
    sleep(3 * SECOND).await;
    slow.set_space(true);
    slow.until(|all| all == "-1 removed;").await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_read_again() {
    let world = World::with_rooms("ada", 1..=2);
    let ada = world.watching(1, "ada").await;
    world.inboxes.failing.store(5, Ordering::SeqCst);
    world.send(1);
    sleep(SECOND).await;
    world.read(2, "ada", 1);
    assert_eq!(ada.received(), "");
    ada.until(|all| all.contains("1@2/0;") && all.contains("2@1/1;"))
        .await;
    assert_eq!(ada.received().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_not_valid_harms_no_other() {
    let world = World::with_rooms("ada", 1..=50);
    let ada = world.watching(1, "ada").await;
    world.inboxes.corrupt.store(7, Ordering::SeqCst);
    (1..=50).for_each(|number| world.send(number));
    ada.until(|all| all.matches("@2/0;").count() == 49).await;
    world.inboxes.corrupt.store(0, Ordering::SeqCst);
    world.send(7);
    ada.until(|all| all.ends_with("7@3/0;")).await;
}

#[tokio::test(start_paused = true)]
async fn memberships_that_begin_and_end_are_told_with_the_reason() {
    let world = World::with_rooms("ada", 1..=3);
    world.store_member(4, "eve");
    let ada = world.watching(1, "ada").await;
    world.store_member(4, "ada");
    world.report(&[4], &[(4, "ada")]);
    ada.until(|all| all == "+4@1/0;").await;
    world.send(4);
    ada.until(|all| all.ends_with(";4@2/0;")).await;
    world.store_removal(1, "ada");
    world.report(&[1], &[(1, "ada")]);
    ada.until(|all| all.ends_with(";-1 removed;")).await;
    world.ban(2, "ada");
    world.report(&[2], &[(2, "ada")]);
    ada.until(|all| all.ends_with(";-2 banned;")).await;
    world.close(3);
    world.report(&[3], &[]);
    ada.until(|all| all.ends_with(";-3 closed;")).await;
    let all = ada.received();
    // Nothing follows.
    (1..=2).for_each(|number| world.send(number));
    sleep(3 * SECOND).await;
    assert_eq!(ada.received(), all);
    assert_eq!(world.watchers.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn unknown_changes_are_found_by_looking_at_everything() {
    let world = World::with_rooms("ada", 1..=300);
    let ada = world.watching(1, "ada").await;
    // It does not begin now.
    world.report(&[], &[]);
    world.report(&[], &[]);
    world.store_message(3);
    world.store_pointer(200, "ada", 1);
    world.store_removal(5, "ada");
    world.store_member(301, "ada");
    sleep(3 * SECOND).await;
    assert_eq!(ada.received(), "");
    world.inboxes.failing.store(3, Ordering::SeqCst);
    world.report_unknown();
    ada.until(|all| all.matches(';').count() == 4).await;
    for expected in ["3@2/0;", "200@1/1;", "-5 removed;", "+301@1/0;"] {
        assert!(ada.received().contains(expected), "{expected}");
    }
    world.report_unknown();
    sleep(5 * SECOND).await;
    assert_eq!(ada.received().matches(';').count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_token_hides_the_rooms_that_it_does_not_allow() {
    let world = World::with_rooms("ada", 1..=2);
    let (all, some) = (world.watching(1, "ada").await, Client::new(2));
    world.watch(&some, &token("ada", Some(&[1, 3]))).await;
    for number in [1, 2] {
        world.send(number);
        all.until(|all| all.contains(&format!("{number}@2/0;")))
            .await;
    }
    for number in [3, 4] {
        world.store_member(number, "ada");
        world.report(&[], &[(number, "ada")]);
        all.until(|all| all.contains(&format!("+{number}@1/0;")))
            .await;
    }
    world.store_removal(2, "ada");
    world.report(&[], &[(2, "ada")]);
    all.until(|all| all.ends_with("-2 removed;")).await;
    assert_eq!(some.received(), "1@2/0;+3@1/0;");
}

#[tokio::test(start_paused = true)]
async fn a_renewed_token_takes_rooms_away_and_gives_others() {
    let world = World::with_rooms("ada", 1..=3);
    let ada = Client::new(1);
    world.watch(&ada, &token("ada", Some(&[1, 2]))).await;
    world.send(1);
    ada.until(|all| all == "1@2/0;").await;
    sleep(SECOND).await;
    // What changes at this moment is not told.
    world.send(1);
    world.watchers.renew(
        chat_domain::ConnectionId::new(1),
        &token("ada", Some(&[2, 3])),
    );
    ada.until(|all| all.contains("-1 removed;") && all.contains("3@1/0;"))
        .await;
    world.send(1);
    world.send(2);
    world.send(3);
    ada.until(|all| all.contains("2@2/0;") && all.contains("3@2/0;"))
        .await;
    sleep(3 * SECOND).await;
    assert_eq!(
        ada.received().matches("1@").count(),
        1,
        "{}",
        ada.received()
    );
    // Every room.
    world
        .watchers
        .renew(chat_domain::ConnectionId::new(1), &token("ada", None));
    ada.until(|all| all.ends_with("1@4/0;")).await;
}

/// What was read before a change of rules is not told after it.
#[tokio::test(start_paused = true)]
async fn nothing_that_was_read_before_a_change_of_rules_is_told_after_it() {
    let world = World::with_rooms("ada", 1..=3);
    let ada = world.watching(1, "ada").await;
    let gate = world.inboxes.gate.acquire().await.unwrap();
    world.send(1);
    world.send(2);
    world.send(3);
    // The summaries are read, and do not arrive yet.
    sleep(SECOND).await;
    assert_eq!(world.inboxes.views_read.load(Ordering::SeqCst), 3);
    world.store_removal(1, "ada");
    world.watchers.recheck(room(1), [&user("ada")]);
    world.store_removal(3, "ada");
    world.watchers.recheck_room(room(3));
    drop(gate);
    ada.until(|all| all == "2@2/0;-1 removed;-3 removed;").await;
    sleep(3 * SECOND).await;
    assert_eq!(ada.received(), "2@2/0;-1 removed;-3 removed;");
}

/// The rooms beyond the most recent ones are watched when they become recent.
#[tokio::test(start_paused = true)]
async fn a_room_that_becomes_recent_enters_the_window() {
    let world = World::with_rooms("ada", 1..=1300);
    let ada = world.watching(1, "ada").await;
    assert_eq!(world.watchers.counts(), (1, 1000));
    world.send(1300);
    ada.until(|all| all == "1300@2/0;").await;
    world.send(7);
    sleep(15 * SECOND).await;
    assert_eq!(ada.received(), "1300@2/0;7@2/0;");
    world.send(7);
    ada.until(|all| all.ends_with(";7@3/0;")).await;
    // It is not added, and a room that is added beyond the window is.
    world.store_member(2000, "ada");
    world.report(&[2000], &[(2000, "ada")]);
    ada.until(|all| all.contains("2000@1/0;")).await;
    for number in 1..=200 {
        world.send(number);
    }
    sleep(15 * SECOND).await;
    for number in 1..=200 {
        let expected = format!(";{number}@{}/0;", if number == 7 { 4 } else { 2 });
        assert!(ada.received().contains(&expected), "{expected}");
    }
    let pages = world.inboxes.pages_read.load(Ordering::SeqCst);
    sleep(60 * SECOND).await;
    let pages = world.inboxes.pages_read.load(Ordering::SeqCst) - pages;
    assert!((5..=7).contains(&pages), "{pages} pages in a minute");
}
