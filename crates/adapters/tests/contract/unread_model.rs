//! Random histories, in which both databases must report as unread what a simple model does.

mod model;

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use chat_adapters::{postgres, sqlite};
use chat_domain::ports::{
    Inbox, LeaseRequest, NextDelivery, OutboxEntry, OutboxKind, OutboxKinds, OutboxPlace,
    RoomChange, RoomDirectory, RoomRepository, Settlement,
};
use chat_domain::{Generation, Notify, Role, RoomId, UserId};

use self::model::{Model, NOTIFY_AFTER};
use crate::changed_rows::on_each_database_with_sql;
use crate::inbox_model::Random;
use crate::message_extras::mentions;
use crate::outbox::{ONE, Store as OutboxStore, request};
use crate::room_directory::{ban, number, remove, set, unban, user};
use crate::{append, by, room, seq, under};

on_each_database_with_sql!(random_histories_lead_to_the_reports_of_a_model);

const USERS: [&str; 5] = ["1", "ada", "Ada", "é", "it's \"1\" \\ {é}"];
const ROOMS: u64 = 4;
const STEPS: usize = 200;
/// How many numbers of rooms a history may use.
const HISTORY: u64 = 1000;
/// Histories of these seeds, and of one that differs in each run.
const SEEDS: [u64; 3] = [1, 2, 3];

trait Store: OutboxStore + Inbox + RoomRepository {
    /// What an operator runs to make an hour pass for what waits.
    const AN_HOUR_PASSES: &str;
}

impl Store for sqlite::Database {
    const AN_HOUR_PASSES: &str = "UPDATE unread_rooms SET \
         stored_at = strftime('%Y-%m-%dT%H:%M:%fZ', stored_at, '-1 hour'), \
         newest_at = strftime('%Y-%m-%dT%H:%M:%fZ', newest_at, '-1 hour')";
}

impl Store for postgres::Database {
    const AN_HOUR_PASSES: &str = "UPDATE unread_rooms SET \
         stored_at = stored_at - interval '1 hour', newest_at = newest_at - interval '1 hour'";
}

/// What happens, and how often relative to the others.
#[derive(Debug, Clone, Copy)]
enum Step {
    Send,
    MarkRead,
    SetMember,
    RemoveMember,
    Ban,
    Unban,
    SetNotify,
    DeleteRoom,
    AnHourPasses,
    Deliver,
    Retry,
}

const FREQUENCIES: [(Step, u64); 11] = [
    (Step::Send, 30),
    (Step::MarkRead, 20),
    (Step::SetMember, 20),
    (Step::RemoveMember, 4),
    (Step::Ban, 2),
    (Step::Unban, 2),
    (Step::SetNotify, 12),
    (Step::DeleteRoom, 1),
    (Step::AnHourPasses, 20),
    (Step::Deliver, 25),
    (Step::Retry, 2),
];

/// What may happen between the moment when a report is due and its delivery.
const MEANWHILE: [Step; 5] = [
    Step::Send,
    Step::MarkRead,
    Step::RemoveMember,
    Step::SetMember,
    Step::SetNotify,
];

async fn random_histories_lead_to_the_reports_of_a_model(store: &impl Store, sql: impl Fn(&str)) {
    store.record(OutboxKinds::from_iter([OutboxKind::MessagesUnread]));
    // A failed history can be repeated.
    let seeds = match std::env::var("UNREAD_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => [&SEEDS[..], &[RandomState::new().hash_one(())]].concat(),
    };
    let expected = 5 * seeds.len();
    let mut reports = 0;
    for (history, seed) in (0..).zip(seeds) {
        println!("UNREAD_SEED={seed}");
        let mut world = World {
            store,
            sql: &sql,
            model: Model::default(),
            random: Random(seed),
            rooms: (1..=ROOMS).map(|n| history * HISTORY + n).collect(),
            next_room: history * HISTORY + ROOMS + 1,
        };
        for _ in 0..STEPS {
            let step = world.any_step();
            match step {
                Step::Deliver => world.deliver().await,
                _ => world.take(step).await,
            }
        }
        reports += world.model.reports;
    }
    assert!(reports > expected, "only {reports} reports");
}

/// One history, in rooms of its own.
struct World<'a, S, F> {
    store: &'a S,
    sql: &'a F,
    model: Model,
    random: Random,
    /// The rooms that exist, or may.
    rooms: Vec<u64>,
    next_room: u64,
}

impl<S: Store, F: Fn(&str)> World<'_, S, F> {
    fn any_step(&mut self) -> Step {
        let mut at = self
            .random
            .below(FREQUENCIES.iter().map(|(_, often)| often).sum());
        let step = FREQUENCIES.iter().find(|(_, often)| {
            let is_here = at < *often;
            at = at.saturating_sub(*often);
            is_here
        });
        step.unwrap().0
    }

    async fn take(&mut self, step: Step) {
        let room_number = self.rooms[self.random.below(ROOMS) as usize];
        let user_id = self.any_user();
        let id = user_id.as_str();
        println!("{step:?} room {room_number} user {id}");
        match step {
            Step::Send => self.send(room_number, &user_id).await,
            Step::MarkRead => {
                let to = 1 + self.random.below(self.model.newest(room_number) + 2);
                let (id, first) = (room(room_number), Generation::FIRST);
                let marking = self.store.mark_read(id, first, &user_id, seq(to));
                marking.await.unwrap();
                self.model.mark_read(room_number, user_id.as_str(), to);
            }
            Step::SetMember => {
                let role = self.random.pick(&[Role::Reader, Role::Member, Role::Owner]);
                self.change(room_number, set(id, role)).await;
                self.model.set_member(room_number, id);
            }
            Step::RemoveMember => {
                self.change(room_number, remove(id)).await;
                self.model.remove_member(room_number, id);
            }
            Step::Ban => {
                self.change(room_number, ban(id, None)).await;
                self.model.remove_member(room_number, id);
            }
            Step::Unban => self.change(room_number, unban(id)).await,
            Step::SetNotify => {
                let notify = self.random.pick(&Notify::ALL);
                let setting = self.store.set_notify(room(room_number), &user_id, notify);
                setting.await.unwrap();
                self.model.set_notify(room_number, id, notify);
            }
            Step::DeleteRoom => {
                self.store.close(room(room_number)).await.unwrap();
                self.model.delete_room(room_number);
                // What waits there is still to be passed over.
                self.rooms.retain(|number| *number != room_number);
                self.rooms.push(self.next_room);
                self.next_room += 1;
            }
            Step::AnHourPasses => {
                (self.sql)(S::AN_HOUR_PASSES);
                self.model.an_hour_passes();
            }
            Step::Retry => {
                let parked = self.store.retry().await.unwrap();
                assert!(parked >= self.model.retry());
            }
            Step::Deliver => unreachable!(),
        }
    }

    async fn change(&mut self, room_number: u64, change: RoomChange) {
        let id = room(room_number);
        let decided_by = number(self.store, id).await;
        let changed = RoomDirectory::change(self.store, id, decided_by, &change, None);
        changed.await.unwrap();
    }

    async fn send(&mut self, room_number: u64, author: &UserId) {
        let id = room(room_number);
        let rules = number(self.store, id).await.get();
        let mut message = by(author.as_str(), "Ada", id, "hello");
        let mentioned: BTreeSet<_> = (0..self.random.below(3)).map(|_| self.any_user()).collect();
        message.extras = mentions(mentioned).boxed();
        let stored = append(self.store, under(rules, message)).await.unwrap();
        self.model.send(stored);
        self.sort().await;
    }

    /// Sorts what was recorded. What is sorted together counts as stored at once.
    async fn sort(&self) {
        let nothing = LeaseRequest {
            most: 0,
            ..request(ONE)
        };
        assert_eq!(self.store.lease(nothing).await.unwrap(), []);
    }

    /// Delivers what is due, while other things happen.
    async fn deliver(&mut self) {
        println!("Deliver");
        let due = LeaseRequest {
            notify_after: Duration::from_secs(90 * 60),
            ..request(ONE)
        };
        assert_eq!(NOTIFY_AFTER, 2, "of full hours");
        let leases = self.store.lease(due).await.unwrap();
        self.model.report();
        let leased: BTreeSet<u64> = leases.iter().map(|lease| lease.room_id.get()).collect();
        for room_number in self.model.due() {
            assert!(leased.contains(&room_number), "room {room_number}");
        }
        for _ in 0..self.random.below(4) {
            let step = self.random.pick(&MEANWHILE);
            self.take(step).await;
        }
        for lease in leases {
            self.deliver_room(lease.room_id).await;
        }
    }

    async fn deliver_room(&mut self, room_id: RoomId) {
        let room_number = room_id.get();
        let entries = self.store.entries(room_id, 100).await.unwrap();
        let places = entries.iter().map(|entry| entry.first.clone());
        let places: Vec<OutboxPlace> = places.collect();
        let mut delivered = places.first().cloned().zip(places.last().cloned());
        let mut next = NextDelivery::Now;
        if self.model.is_known(room_number) {
            let unread: Vec<&OutboxEntry> = entries
                .iter()
                .filter(|entry| entry.kind == OutboxKind::MessagesUnread)
                .collect();
            let mut reports = Vec::new();
            for entry in &unread {
                let report = self.store.unread(room_id, &entry.first).await.unwrap();
                reports.push((entry.first.clone(), report));
            }
            self.model.compare(room_number, &reports);
            if let Some(entry) = unread.first() {
                let place = entry.first.clone();
                (delivered, next) = self.any_outcome(room_number, delivered, place);
            } else {
                self.model.has_succeeded(room_number);
            }
        }
        let settlement = Settlement {
            holder: ONE,
            room_id,
            delivered,
            next,
        };
        assert!(self.store.settle(settlement).await.unwrap());
    }

    fn any_outcome(
        &mut self,
        room_number: u64,
        delivered: Option<(OutboxPlace, OutboxPlace)>,
        place: OutboxPlace,
    ) -> (Option<(OutboxPlace, OutboxPlace)>, NextDelivery) {
        let reason = "the response has status 500".to_owned();
        let retry = |after| NextDelivery::Retry {
            attempts: 1,
            after,
            reason: reason.clone(),
        };
        match self.random.below(6) {
            0 => {
                self.model.has_failed(room_number, false);
                (None, retry(Duration::ZERO))
            }
            1 => {
                self.model.has_failed(room_number, true);
                (None, retry(Duration::from_secs(3600)))
            }
            2 => {
                self.model.has_parked(room_number);
                (None, NextDelivery::Park { place, reason })
            }
            _ => {
                self.model.has_delivered(room_number);
                (delivered, NextDelivery::Now)
            }
        }
    }

    fn any_user(&mut self) -> UserId {
        user(self.random.pick(&USERS))
    }
}
