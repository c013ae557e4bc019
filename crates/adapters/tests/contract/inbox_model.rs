//! Random histories, after which both databases must return what a simple model of an inbox
//! returns.

mod model;

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

use chat_domain::ports::{
    Inbox, MessageRepository, RoomChange, RoomDeletion, RoomDirectory, RoomRepository,
    SettingsPatch,
};
use chat_domain::{Generation, Metadata, Notify, Role, RoomAccess, RoomKind, RoomName, UserId};

use self::model::Model;
use crate::changed_rows::on_each_database_with_sql;
use crate::inbox::now;
use crate::message_extras::mentions;
use crate::room_directory::{ban, number, remove, set, unban, user};
use crate::{append, by, room, seq, under};

on_each_database_with_sql!(random_histories_lead_to_the_inboxes_of_a_model);

const USERS: [&str; 4] = ["1", "ada", "Ada", "é"];
const ROOMS: u64 = 7;
const STEPS: usize = 150;
/// How many numbers of rooms a history may use.
const HISTORY: u64 = 1000;
/// Histories of these seeds, and of one that differs in each run.
const SEEDS: [u64; 3] = [1, 2, 3];

trait Store: Inbox + MessageRepository + RoomDeletion + RoomDirectory + RoomRepository {}
impl<T> Store for T where
    T: Inbox + MessageRepository + RoomDeletion + RoomDirectory + RoomRepository
{
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
    SetRoom,
    SetNotify,
    DeleteRoom,
    /// The newest messages of all rooms precede the column `active_at`.
    ForgetActivity,
}

const FREQUENCIES: [(Step, u64); 10] = [
    (Step::Send, 30),
    (Step::MarkRead, 15),
    (Step::SetMember, 20),
    (Step::RemoveMember, 5),
    (Step::Ban, 3),
    (Step::Unban, 3),
    (Step::SetRoom, 8),
    (Step::SetNotify, 10),
    (Step::DeleteRoom, 2),
    (Step::ForgetActivity, 1),
];

async fn random_histories_lead_to_the_inboxes_of_a_model(store: &impl Store, sql: impl Fn(&str)) {
    // A failed history can be repeated.
    let seeds = match std::env::var("INBOX_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => [&SEEDS[..], &[RandomState::new().hash_one(())]].concat(),
    };
    for (history, seed) in (0..).zip(seeds) {
        println!("INBOX_SEED={seed}");
        let mut world = World {
            store,
            sql: &sql,
            model: Model::default(),
            random: Random(seed),
            rooms: (1..=ROOMS).map(|n| history * HISTORY + n).collect(),
            next_room: history * HISTORY + ROOMS + 1,
            prefix: format!("{history}."),
        };
        for step in 0..STEPS {
            world.step().await;
            if step % 5 == 4 {
                world.compare().await;
            }
        }
    }
}

/// One history, in rooms and of users of its own.
struct World<'a, S, F> {
    store: &'a S,
    sql: &'a F,
    model: Model,
    random: Random,
    /// The rooms that exist, or may.
    rooms: Vec<u64>,
    next_room: u64,
    prefix: String,
}

impl<S: Store, F: Fn(&str)> World<'_, S, F> {
    async fn step(&mut self) {
        let total = FREQUENCIES.iter().map(|(_, often)| often).sum();
        let mut at = self.random.below(total);
        let step = FREQUENCIES.iter().find(|(_, often)| {
            let is_here = at < *often;
            at = at.saturating_sub(*often);
            is_here
        });
        let (step, _) = *step.unwrap();
        let (room_number, user_id) = (self.any_room(), self.any_user());
        let id = user_id.as_str();
        println!("{step:?} room {room_number} user {id}");
        match step {
            Step::Send => self.send(room_number).await,
            Step::MarkRead => {
                let to = 1 + self.random.below(self.model.newest(room_number) + 2);
                let position = seq(to);
                let marking =
                    self.store
                        .mark_read(room(room_number), Generation::FIRST, &user_id, position);
                marking.await.unwrap();
                self.model.mark_read(room_number, id, to);
            }
            Step::SetMember => {
                let role = [Role::Reader, Role::Member, Role::Moderator, Role::Owner];
                let role = self.random.pick(&role);
                self.change(room_number, set(id, role)).await;
                self.model.set_member(room_number, id, role);
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
            Step::SetRoom => {
                let patch = self.any_settings();
                let settings = RoomChange::Settings(patch.clone());
                self.change(room_number, settings).await;
                self.model.set_room(room_number, &patch);
            }
            Step::SetNotify => {
                let notify = self.random.pick(&Notify::ALL);
                let setting = self.store.set_notify(room(room_number), &user_id, notify);
                let is_member = self.model.set_notify(room_number, id, notify);
                assert_eq!(setting.await.unwrap(), is_member);
            }
            Step::DeleteRoom => self.delete_room(room_number).await,
            Step::ForgetActivity => (self.sql)("UPDATE rooms SET active_at = NULL"),
        }
    }

    async fn change(&mut self, room_number: u64, change: RoomChange) {
        let id = room(room_number);
        let decided_by = number(self.store, id).await;
        let changed = self
            .store
            .change(id, decided_by, &change, None)
            .await
            .unwrap();
        if changed.has_changed {
            self.model.has_rules(room_number);
        }
    }

    /// Deletes a room; another one, with a new number, is used in its place.
    async fn delete_room(&mut self, room_number: u64) {
        self.store.close(room(room_number)).await.unwrap();
        self.model.delete_room(room_number);
        // What it contains is still there, and must not be counted.
        self.rooms.retain(|number| *number != room_number);
        self.rooms.push(self.next_room);
        self.next_room += 1;
    }

    async fn send(&mut self, room_number: u64) {
        let (id, author) = (room(room_number), self.any_user());
        let name = format!("name {}", self.random.below(3));
        let rules = number(self.store, id).await.get();
        let mut message = by(
            author.as_str(),
            &name,
            id,
            &format!("{}", self.random.next()),
        );
        message.created_at = now();
        let mentioned: BTreeSet<_> = (0..self.random.below(3)).map(|_| self.any_user()).collect();
        message.extras = mentions(mentioned).boxed();
        let stored = append(self.store, under(rules, message)).await.unwrap();
        self.model.send(stored);
    }

    /// Compares everything that the port returns with the model.
    async fn compare(&mut self) {
        for name in USERS {
            let id = user(&format!("{}{name}", self.prefix));
            let access = match self.random.below(2) {
                0 => RoomAccess::All,
                _ => RoomAccess::Only((0..4).map(|_| room(self.any_room())).collect()),
            };
            self.compare_pages(&id, &access).await;
        }
        let rooms: Vec<_> = self.rooms.iter().copied().map(room).collect();
        let mut overviews = self.store.overviews(&rooms).await.unwrap();
        overviews.sort_by_key(|overview| overview.room_id);
        let expected = self.rooms.iter().filter_map(|id| self.model.overview(*id));
        let mut expected: Vec<_> = expected.collect();
        expected.sort_by_key(|overview| overview.room_id);
        assert_eq!(overviews, expected);

        let pairs: Vec<_> = (0..40)
            .map(|_| (room(self.any_room()), self.any_user()))
            .collect();
        let views = self.store.views(&pairs).await.unwrap();
        let expected = pairs
            .iter()
            .map(|(room, user)| self.model.view(room.get(), user.as_str()));
        assert_eq!(views, expected.collect::<Vec<_>>());
    }

    /// Reads an inbox in pages, between which messages may arrive.
    async fn compare_pages(&mut self, id: &UserId, access: &RoomAccess) {
        let (mut after, mut listed, mut moved) = (None, Vec::new(), BTreeSet::new());
        let expected = self.model.inbox(id.as_str(), access);
        loop {
            let limit = 1 + self.random.below(4) as usize;
            let page = self.store.page(id, access, after, limit).await.unwrap();
            let total = self.model.unread_total(id.as_str(), access);
            assert_eq!(page.unread_total, total);
            let alone = self.store.unread_total(id, access).await.unwrap();
            assert_eq!(alone, total);
            assert!(page.rooms.len() == limit || !page.has_more, "{page:?}");
            for listed in &page.rooms {
                let summary = &listed.summary;
                let room_number = listed.position.room_id.get();
                assert_eq!(
                    Some(&*summary.room),
                    self.model.overview(room_number).as_ref()
                );
                let view = self.model.view(room_number, id.as_str());
                assert_eq!(Some(summary.member), view);
            }
            listed.extend(page.rooms.iter().map(|room| room.position));
            after = listed.last().copied();
            if !page.has_more {
                break;
            }
            if self.random.below(3) == 0 {
                let room_number = self.any_room();
                self.send(room_number).await;
                moved.insert(room_number);
            }
        }
        let order: Vec<_> = listed.iter().map(|at| (at.activity, at.room_id)).collect();
        assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
        let numbers: Vec<_> = listed.iter().map(|at| at.room_id.get()).collect();
        let rest = |numbers: &[u64]| -> Vec<u64> {
            let rest = numbers.iter().filter(|number| !moved.contains(number));
            rest.copied().collect()
        };
        // Rooms of one moment may have any order.
        let activity = |number: u64| listed.iter().find(|at| at.room_id.get() == number);
        let (found, expected) = (rest(&numbers), rest(&expected));
        for (found, expected) in found.iter().zip(&expected) {
            let is_same = found == expected
                || activity(*found).map(|at| at.activity)
                    == activity(*expected).map(|at| at.activity);
            assert!(is_same, "{numbers:?}");
        }
        let set = |numbers: Vec<u64>| numbers.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(found.len(), expected.len());
        assert_eq!(set(found), set(expected));
    }

    fn any_room(&mut self) -> u64 {
        self.rooms[self.random.below(ROOMS) as usize]
    }

    fn any_user(&mut self) -> UserId {
        user(&format!("{}{}", self.prefix, self.random.pick(&USERS)))
    }

    fn any_settings(&mut self) -> SettingsPatch {
        let any = self.random.next();
        let has = |bit: u32| any & (1 << bit) != 0;
        SettingsPatch {
            kind: has(0).then(|| self.random.pick(&[RoomKind::Open, RoomKind::Private])),
            name: has(1).then(|| RoomName::new(format!("room {}", any >> 60)).unwrap()),
            metadata: has(2).then(|| Metadata::new(format!(r#"{{"a":{}}}"#, any >> 60)).unwrap()),
            frozen: has(3).then_some(has(4)),
            ..SettingsPatch::default()
        }
    }
}

/// SplitMix64: its numbers depend on its seed alone.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}
