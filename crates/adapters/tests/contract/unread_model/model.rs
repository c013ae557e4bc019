//! Who has to be told of which messages.

use std::collections::{BTreeMap, BTreeSet};

use chat_domain::ports::{OutboxPlace, UnreadReport};
use chat_domain::{Message, Notify};

/// How many hours after a message was stored it is due.
pub(super) const NOTIFY_AFTER: u64 = 2;

#[derive(Default)]
pub(super) struct Model {
    rooms: BTreeMap<u64, Room>,
    hour: u64,
    /// How many reports with members were compared.
    pub(super) reports: usize,
}

#[derive(Default)]
struct Room {
    newest: u64,
    members: BTreeMap<String, Notify>,
    pointers: BTreeMap<String, u64>,
    mentions: BTreeSet<(u64, String)>,
    waiting: Option<Waiting>,
    /// In their order.
    reports: Vec<Report>,
    /// Whether the room's next call is only due after a retry.
    is_blocked: bool,
    is_deleted: bool,
}

/// Messages whose report is due later: first that of one, then that of the newest.
struct Waiting {
    after: u64,
    seq: u64,
    hour: u64,
    newest: u64,
    newest_hour: u64,
}

#[derive(Debug)]
struct Report {
    after: u64,
    seq: u64,
    users: BTreeSet<String>,
    is_parked: bool,
    /// Known once it was compared; the same ever after.
    place: Option<OutboxPlace>,
}

impl Room {
    /// Returns whether the user is to be told of the messages in this range; and if so, whether one
    /// of them mentions the user.
    fn tells(&self, user: &str, after: u64, seq: u64) -> Option<bool> {
        let notify = self.members.get(user)?;
        let read = self.pointers.get(user).copied().unwrap_or_default();
        let mut mentions = self.mentions.iter();
        let is_mentioned = mentions
            .any(|(at, mentioned)| mentioned == user && *at > after.max(read) && *at <= seq);
        let is_told = match notify {
            Notify::All => read < seq,
            Notify::Mentions => is_mentioned,
            Notify::None => false,
        };
        is_told.then_some(is_mentioned)
    }

    fn report(&mut self, hour: u64) {
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        if self.is_blocked || waiting.hour + NOTIFY_AFTER > hour {
            return;
        }
        let mut after = waiting.after;
        let seq = match waiting.newest_hour + NOTIFY_AFTER > hour {
            true => waiting.seq,
            false => waiting.newest,
        };
        if seq == waiting.newest {
            self.waiting = None;
        } else {
            (waiting.after, waiting.seq, waiting.hour) = (seq, waiting.newest, waiting.newest_hour);
        }
        let superseded = self.reports.iter().filter(|report| !report.is_parked);
        after = superseded.map(|report| report.after).fold(after, u64::min);
        self.reports.retain(|report| report.is_parked);
        let users = self.members.keys();
        let users = users.filter(|user| self.tells(user, after, seq).is_some());
        let users: BTreeSet<String> = users.cloned().collect();
        if !users.is_empty() {
            self.reports.push(Report {
                after,
                seq,
                users,
                is_parked: false,
                place: None,
            });
        }
    }
}

impl Model {
    fn room(&mut self, number: u64) -> &mut Room {
        self.rooms.entry(number).or_default()
    }

    pub(super) fn newest(&self, number: u64) -> u64 {
        self.rooms.get(&number).map_or(0, |room| room.newest)
    }

    pub(super) fn is_known(&self, number: u64) -> bool {
        self.rooms.contains_key(&number)
    }

    pub(super) fn send(&mut self, message: Message) {
        let hour = self.hour;
        let room = self.room(message.room_id.get());
        room.newest += 1;
        let seq = room.newest;
        assert_eq!(message.seq.get(), seq);
        room.pointers.insert(message.author.id.to_string(), seq);
        for user in message.extras.iter().flat_map(|extras| &extras.mentions) {
            room.mentions.insert((seq, user.to_string()));
        }
        let waiting = room.waiting.get_or_insert(Waiting {
            after: seq - 1,
            seq,
            hour,
            newest: seq,
            newest_hour: hour,
        });
        (waiting.newest, waiting.newest_hour) = (seq, hour);
    }

    pub(super) fn mark_read(&mut self, number: u64, user: &str, to: u64) {
        let room = self.room(number);
        let to = to.min(room.newest);
        let pointer = room.pointers.entry(user.to_owned()).or_default();
        *pointer = to.max(*pointer);
    }

    pub(super) fn set_member(&mut self, number: u64, user: &str) {
        let room = self.room(number);
        room.members.entry(user.to_owned()).or_insert(Notify::All);
    }

    pub(super) fn remove_member(&mut self, number: u64, user: &str) {
        self.room(number).members.remove(user);
    }

    pub(super) fn set_notify(&mut self, number: u64, user: &str, notify: Notify) {
        if let Some(known) = self.room(number).members.get_mut(user) {
            *known = notify;
        }
    }

    pub(super) fn delete_room(&mut self, number: u64) {
        let room = self.room(number);
        room.waiting = None;
        room.is_deleted = true;
    }

    pub(super) fn an_hour_passes(&mut self) {
        self.hour += 1;
    }

    /// Reports what is due.
    pub(super) fn report(&mut self) {
        for room in self.rooms.values_mut() {
            room.report(self.hour);
        }
    }

    /// Returns the rooms with something to deliver.
    pub(super) fn due(&self) -> Vec<u64> {
        let due = self.rooms.iter().filter(|(_, room)| {
            !room.is_blocked && room.reports.iter().any(|report| !report.is_parked)
        });
        due.map(|(number, _)| *number).collect()
    }

    /// Compares the entries of a room, each with who is to be told now.
    pub(super) fn compare(&mut self, number: u64, found: &[(OutboxPlace, Option<UnreadReport>)]) {
        let mut told = 0;
        let mut room = self.rooms.remove(&number).unwrap();
        let mut reports = std::mem::take(&mut room.reports);
        let open = reports.iter_mut().filter(|report| !report.is_parked);
        let open: Vec<&mut Report> = open.collect();
        assert_eq!(open.len(), found.len(), "{open:?} {found:?}");
        for (expected, (place, found)) in open.into_iter().zip(found) {
            assert_eq!(expected.place.get_or_insert_with(|| place.clone()), place);
            let users = expected.users.iter().filter_map(|user| {
                let is_mentioned = room.tells(user, expected.after, expected.seq)?;
                Some((user.as_str(), is_mentioned))
            });
            let users: Vec<(&str, bool)> = match room.is_deleted {
                true => Vec::new(),
                false => users.collect(),
            };
            let Some(found) = found else {
                assert_eq!(users, [], "room {number}");
                continue;
            };
            told += 1;
            assert_eq!(found.seq.get(), expected.seq, "room {number}");
            let all: Vec<&str> = users.iter().map(|(user, _)| *user).collect();
            let mentioned = users.iter().filter(|(_, is_mentioned)| *is_mentioned);
            let mentioned: Vec<&str> = mentioned.map(|(user, _)| *user).collect();
            let ids = |users: &[chat_domain::UserId]| -> Vec<String> {
                users.iter().map(ToString::to_string).collect()
            };
            assert_eq!(ids(&found.user_ids), all, "room {number}");
            assert_eq!(ids(&found.mentioned), mentioned, "room {number}");
        }
        room.reports = reports;
        self.rooms.insert(number, room);
        self.reports += told;
    }

    pub(super) fn has_delivered(&mut self, number: u64) {
        let room = self.room(number);
        room.reports.retain(|report| report.is_parked);
        room.is_blocked = false;
    }

    pub(super) fn has_succeeded(&mut self, number: u64) {
        self.room(number).is_blocked = false;
    }

    pub(super) fn has_failed(&mut self, number: u64, is_blocked: bool) {
        self.room(number).is_blocked = is_blocked;
    }

    /// The first one is parked.
    pub(super) fn has_parked(&mut self, number: u64) {
        let room = self.room(number);
        let mut open = room.reports.iter_mut().filter(|report| !report.is_parked);
        open.next().unwrap().is_parked = true;
        room.is_blocked = false;
    }

    /// Returns how many reports were parked.
    pub(super) fn retry(&mut self) -> u64 {
        let mut parked = 0;
        for room in self.rooms.values_mut() {
            room.is_blocked = false;
            for report in &mut room.reports {
                parked += u64::from(report.is_parked);
                report.is_parked = false;
            }
        }
        parked
    }
}
