//! The contract of [`Outbox`].

mod recording;

use std::time::Duration;

use chat_adapters::{postgres, sqlite};
use chat_domain::RoomId;
use chat_domain::ports::{
    ChangeRepository, LeaseHolder, LeaseRequest, MessageRepository, NextDelivery, Outbox,
    OutboxEntry, OutboxKind, OutboxKinds, OutboxLease, OutboxPlace, RoomDeletion, RoomDirectory,
    Settlement,
};

use crate::change_repository::{change, edit};
use crate::{append_at_once, hello, on_each_database, room};

/// What the outbox needs, and what records.
pub(crate) trait Store:
    MessageRepository + ChangeRepository + RoomDirectory + RoomDeletion + Outbox
{
    fn record(&self, kinds: OutboxKinds);
}

impl Store for sqlite::Database {
    fn record(&self, kinds: OutboxKinds) {
        Self::record(self, kinds);
    }
}

impl Store for postgres::Database {
    fn record(&self, kinds: OutboxKinds) {
        Self::record(self, kinds);
    }
}

on_each_database!(
    a_room_is_held_by_one_node_until_its_lease_expires,
    no_more_rooms_are_held_than_may_be_in_flight,
    rooms_that_fail_leave_leases_for_the_others,
    what_was_delivered_is_removed_and_the_rest_is_kept,
    a_failed_delivery_is_due_after_its_pause,
    a_parked_entry_is_kept_and_delivered_first_after_a_retry,
    a_retry_makes_failing_rooms_due,
    a_pause_lasts_until_it_is_ended,
);

pub(crate) const NO_ROOMS: [u64; 0] = [];
pub(crate) const ONE: LeaseHolder = LeaseHolder(1);
pub(crate) const TWO: LeaseHolder = LeaseHolder(2);

pub(crate) fn record_all(store: &impl Store) {
    store.record(OutboxKinds::from_iter(OutboxKind::REPORTED));
}

pub(crate) fn request(holder: LeaseHolder) -> LeaseRequest {
    LeaseRequest {
        holder,
        most: 100,
        in_flight: 100,
        in_retry: 100,
        time: Duration::from_secs(60),
        notify_after: Duration::from_secs(30),
    }
}

/// Returns the rooms that are leased now, in ascending order.
pub(crate) async fn lease(store: &impl Store, request: LeaseRequest) -> Vec<u64> {
    let leases = store.lease(request).await.unwrap();
    let mut rooms: Vec<u64> = leases.iter().map(|lease| lease.room_id.get()).collect();
    rooms.sort_unstable();
    rooms
}

async fn settle(
    store: &impl Store,
    room_id: RoomId,
    delivered: Option<(OutboxPlace, OutboxPlace)>,
    next: NextDelivery,
) -> bool {
    let settlement = Settlement {
        holder: ONE,
        room_id,
        delivered,
        next,
    };
    store.settle(settlement).await.unwrap()
}

fn failed(attempts: u32, after: Duration) -> NextDelivery {
    NextDelivery::Retry {
        attempts,
        after,
        reason: "the response has status 500".into(),
    }
}

/// Returns a place in the entry.
fn place(entry: &OutboxEntry, number: u64) -> OutboxPlace {
    OutboxPlace {
        number,
        ..entry.first.clone()
    }
}

/// Returns the kinds of the entries of room 1, each with its range and its user.
pub(crate) async fn found(
    store: &impl Store,
    room_id: RoomId,
) -> Vec<(OutboxKind, u64, u64, String)> {
    let entries = store.entries(room_id, 100).await.unwrap();
    let found = entries.into_iter();
    let found = found.map(|entry| {
        (
            entry.kind,
            entry.first.number,
            entry.last,
            entry.first.user_id,
        )
    });
    found.collect()
}

/// Merges consecutive ranges of messages.
fn merged(found: Vec<(OutboxKind, u64, u64, String)>) -> Vec<(OutboxKind, u64, u64, String)> {
    let mut merged: Vec<(OutboxKind, u64, u64, String)> = Vec::new();
    for entry in found {
        match merged.last_mut() {
            Some(last)
                if entry.0 == OutboxKind::MessageCreated
                    && last.0 == entry.0
                    && last.2 + 1 == entry.1 =>
            {
                last.2 = entry.2;
            }
            _ => merged.push(entry),
        }
    }
    merged
}

fn created(first: u64, last: u64) -> (OutboxKind, u64, u64, String) {
    (OutboxKind::MessageCreated, first, last, String::new())
}

/// Stores this many messages in the room.
async fn store_messages(store: &impl Store, room_number: u64, count: usize) {
    let messages = (0..count).map(|_| hello(room(room_number)));
    for outcome in append_at_once(store, messages).await {
        outcome.unwrap();
    }
}

async fn a_room_is_held_by_one_node_until_its_lease_expires(store: &impl Store) {
    record_all(store);
    store_messages(store, 1, 1).await;
    let briefly = LeaseRequest {
        time: Duration::ZERO,
        ..request(TWO)
    };
    assert_eq!(lease(store, briefly).await, [1]);
    // The lease has expired.
    assert_eq!(lease(store, request(ONE)).await, [1]);
    assert_eq!(lease(store, request(TWO)).await, NO_ROOMS);
    let late = Settlement {
        holder: TWO,
        room_id: room(1),
        delivered: None,
        next: NextDelivery::Now,
    };
    assert!(!store.settle(late).await.unwrap());
    assert_eq!(lease(store, request(TWO)).await, NO_ROOMS);
    assert!(settle(store, room(1), None, NextDelivery::Now).await);
    assert_eq!(lease(store, request(TWO)).await, [1]);
}

async fn no_more_rooms_are_held_than_may_be_in_flight(store: &impl Store) {
    record_all(store);
    for number in 1..=6 {
        store_messages(store, number, 1).await;
    }
    let limited = |holder, most| LeaseRequest {
        most,
        in_flight: 4,
        ..request(holder)
    };
    let first = lease(store, limited(ONE, 3)).await;
    assert_eq!(first.len(), 3);
    let second = lease(store, limited(TWO, 3)).await;
    assert_eq!(second.len(), 1);
    assert!(!first.contains(&second[0]));
    assert_eq!(lease(store, limited(TWO, 3)).await, NO_ROOMS);
    settle(store, room(first[0]), None, NextDelivery::Now).await;
    assert_eq!(lease(store, limited(TWO, 3)).await.len(), 1);
}

async fn rooms_that_fail_leave_leases_for_the_others(store: &impl Store) {
    record_all(store);
    for number in 1..=4 {
        store_messages(store, number, 1).await;
    }
    assert_eq!(lease(store, request(ONE)).await, [1, 2, 3, 4]);
    for number in 1..=3 {
        settle(store, room(number), None, failed(1, Duration::ZERO)).await;
    }
    settle(store, room(4), None, NextDelivery::Now).await;
    let limited = LeaseRequest {
        in_flight: 3,
        in_retry: 1,
        ..request(TWO)
    };
    let leased = lease(store, limited).await;
    assert_eq!(leased.len(), 2, "{leased:?}");
    assert!(leased.contains(&4), "{leased:?}");
    assert_eq!(lease(store, limited).await, NO_ROOMS);
}

async fn what_was_delivered_is_removed_and_the_rest_is_kept(store: &impl Store) {
    record_all(store);
    store_messages(store, 1, 5).await;
    change(store, room(1), 1, edit("hi")).await.unwrap();
    lease(store, request(ONE)).await;
    let entries = store.entries(room(1), 100).await.unwrap();
    let first = entries.first().unwrap();
    let of_second = entries
        .iter()
        .rfind(|entry| entry.kind == OutboxKind::MessageCreated && entry.first.number <= 2);
    let delivered = (first.first.clone(), place(of_second.unwrap(), 2));
    settle(store, room(1), Some(delivered), NextDelivery::Now).await;
    let left = merged(found(store, room(1)).await);
    let changed = (OutboxKind::MessageChanged, 1, 1, String::new());
    assert_eq!(left, [created(3, 5), changed]);
    assert_eq!(store.backlog().await.unwrap().pending, 4);

    // What follows is recorded as before.
    store_messages(store, 1, 1).await;
    assert_eq!(lease(store, request(ONE)).await, [1]);
    let entries = store.entries(room(1), 100).await.unwrap();
    let (first, last) = (entries.first().unwrap(), entries.last().unwrap());
    let delivered = (first.first.clone(), place(last, last.last));
    settle(store, room(1), Some(delivered), NextDelivery::Now).await;
    assert_eq!(found(store, room(1)).await, []);
    assert_eq!(lease(store, request(ONE)).await, NO_ROOMS);
    store_messages(store, 1, 1).await;
    assert_eq!(lease(store, request(ONE)).await, [1]);
    assert_eq!(found(store, room(1)).await, [created(7, 7)]);
}

async fn a_failed_delivery_is_due_after_its_pause(store: &impl Store) {
    record_all(store);
    store_messages(store, 1, 1).await;
    lease(store, request(ONE)).await;
    settle(store, room(1), None, failed(1, Duration::ZERO)).await;
    let leases = store.lease(request(ONE)).await.unwrap();
    assert!(
        matches!(leases[..], [OutboxLease { attempts: 1, .. }]),
        "{leases:?}"
    );
    settle(store, room(1), None, failed(2, Duration::from_secs(60))).await;
    assert_eq!(lease(store, request(ONE)).await, NO_ROOMS);
    // A new message does not change that.
    store_messages(store, 1, 1).await;
    assert_eq!(lease(store, request(ONE)).await, NO_ROOMS);
}

async fn a_parked_entry_is_kept_and_delivered_first_after_a_retry(store: &impl Store) {
    record_all(store);
    store_messages(store, 1, 3).await;
    lease(store, request(ONE)).await;
    let entries = store.entries(room(1), 1).await.unwrap();
    let first = entries.first().unwrap().first.clone();
    let park = NextDelivery::Park {
        place: first.clone(),
        reason: "the response has status 500".into(),
    };
    settle(store, room(1), None, park).await;
    assert_eq!(merged(found(store, room(1)).await), [created(2, 3)]);
    let parked = store.parked(10).await.unwrap();
    let listed: Vec<_> = parked
        .iter()
        .map(|entry| (entry.room_id, entry.kind, entry.number, &*entry.reason))
        .collect();
    let reason = "the response has status 500";
    let kind = OutboxKind::MessageCreated;
    assert_eq!(listed, [(room(1), kind, 1, reason)]);
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.pending, backlog.parked), (2, 1));

    // A node that has delivered the rest meanwhile does not remove it.
    assert_eq!(lease(store, request(ONE)).await, [1]);
    let rest = store.entries(room(1), 10).await.unwrap();
    assert_eq!(store.retry().await.unwrap(), 1);
    assert_eq!(store.parked(10).await.unwrap(), []);
    let last = rest.last().unwrap();
    let delivered = (rest[0].first.clone(), place(last, last.last));
    settle(store, room(1), Some(delivered), NextDelivery::Now).await;
    assert_eq!(found(store, room(1)).await, [created(1, 1)]);
    assert_eq!(lease(store, request(ONE)).await, [1]);
    let entries = store.entries(room(1), 1).await.unwrap();
    assert_eq!(entries[0].first, first);
}

async fn a_retry_makes_failing_rooms_due(store: &impl Store) {
    record_all(store);
    store_messages(store, 1, 1).await;
    lease(store, request(ONE)).await;
    settle(store, room(1), None, failed(4, Duration::from_secs(60))).await;
    assert_eq!(store.retry().await.unwrap(), 0);
    let leases = store.lease(request(ONE)).await.unwrap();
    assert!(
        matches!(leases[..], [OutboxLease { attempts: 0, .. }]),
        "{leases:?}"
    );
}

async fn a_pause_lasts_until_it_is_ended(store: &impl Store) {
    record_all(store);
    for end in 0..2 {
        store_messages(store, 1, 1).await;
        store.pause().await.unwrap();
        store.pause().await.unwrap();
        assert!(store.backlog().await.unwrap().is_paused);
        assert_eq!(lease(store, request(ONE)).await, NO_ROOMS);
        match end {
            0 => store.resume().await.unwrap(),
            _ => drop(store.retry().await.unwrap()),
        }
        assert_eq!(lease(store, request(ONE)).await, [1]);
        settle(store, room(1), None, NextDelivery::Now).await;
        assert!(!store.backlog().await.unwrap().is_paused);
    }
}
