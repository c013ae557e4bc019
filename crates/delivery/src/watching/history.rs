//! What has changed lately, so that a connection that begins to watch learns what its client
//! cannot know.

use std::collections::HashMap;

use chat_domain::ports::{Changes, MemberChange, MemberPart, RoomPosition};
use chat_domain::{RoomId, UserId};

/// A moment between two reports of changes, as the number of the reports so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Returns the moment after this many more reports.
    pub(super) fn plus(self, reports: u64) -> Self {
        Self(self.0 + reports)
    }
}

/// After so many changes a new generation begins, so that the history takes a few MiB at most.
const CHANGES_PER_GENERATION: usize = 20_000;
/// After so many reports it begins, too: two a second.
const REPORTS_PER_GENERATION: u64 = 20;

/// The rooms and members that the last reports named. It has two generations: when the older
/// one is dropped, what changed at that time is not known any more.
#[derive(Default)]
pub(super) struct History {
    now: Moment,
    newer: Generation,
    older: Generation,
}

#[derive(Default)]
struct Generation {
    /// Everything that was reported after this moment is in this generation or a newer one.
    since: Moment,
    rooms: HashMap<RoomId, Moment>,
    pointers: HashMap<UserId, HashMap<RoomId, Moment>>,
    memberships: HashMap<UserId, HashMap<RoomId, Moment>>,
    changes: usize,
}

impl History {
    /// Returns the present moment. What is committed after that is reported later.
    pub(super) fn now(&self) -> Moment {
        self.now
    }

    /// Notes a part of the next report.
    pub(super) fn note(&mut self, rooms: &[RoomPosition], members: &[MemberChange]) {
        let reported = self.now.plus(1);
        let newer = &mut self.newer;
        newer.changes += rooms.len() + members.len();
        let rooms = rooms.iter().map(|position| (position.room_id, reported));
        newer.rooms.extend(rooms);
        for member in members {
            let users = match member.part {
                MemberPart::ReadPointer => &mut newer.pointers,
                MemberPart::Membership => &mut newer.memberships,
            };
            let rooms = users.entry(member.user_id.clone()).or_default();
            rooms.insert(member.room_id, reported);
        }
    }

    /// Notes that a report is complete, or that it does not say what has changed.
    pub(super) fn reported(&mut self, changes: &Changes) {
        self.now = self.now.plus(1);
        let is_full = self.newer.changes >= CHANGES_PER_GENERATION
            || self.now >= self.newer.since.plus(REPORTS_PER_GENERATION);
        if changes.rooms.is_none() {
            self.newer = Generation::since(self.now);
            self.older = Generation::since(self.now);
        } else if is_full {
            let full = std::mem::replace(&mut self.newer, Generation::since(self.now));
            self.older = full;
        }
    }

    /// Returns whether everything that was reported after this moment is known.
    pub(super) fn knows(&self, moment: Moment) -> bool {
        self.older.since <= moment
    }

    /// Returns whether the room was reported after this moment.
    pub(super) fn has_changed(&self, room_id: RoomId, after: Moment) -> bool {
        let generations = [&self.newer, &self.older].into_iter();
        let mut reported = generations.filter_map(|found| found.rooms.get(&room_id));
        reported.any(|reported| *reported > after)
    }

    /// Returns the rooms in which this part of the user was reported after this moment.
    pub(super) fn of_member(
        &self,
        user_id: &UserId,
        part: MemberPart,
        after: Moment,
    ) -> Vec<RoomId> {
        let generations = [&self.newer, &self.older].into_iter();
        let users = generations.map(|generation| match part {
            MemberPart::ReadPointer => &generation.pointers,
            MemberPart::Membership => &generation.memberships,
        });
        let rooms = users.filter_map(|users| users.get(user_id)).flatten();
        let rooms = rooms.filter(|(_, reported)| **reported > after);
        rooms.map(|(room_id, _)| *room_id).collect()
    }
}

impl Generation {
    fn since(since: Moment) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::ports::LogCursor;
    use chat_domain::{RulesNumber, Seq};

    use super::*;

    fn room(number: u64) -> RoomId {
        RoomId::new(number).unwrap()
    }

    fn report(history: &mut History, rooms: std::ops::Range<u64>, members: &[MemberChange]) {
        let rooms: Vec<_> = rooms
            .map(|number| RoomPosition {
                rev: chat_domain::Rev::START,
                generation: None,
                room_id: room(number),
                newest: Seq::START,
                rules: RulesNumber::NONE,
            })
            .collect();
        history.note(&rooms, members);
        history.reported(&changes(Some(rooms)));
    }

    fn changes(rooms: Option<Vec<RoomPosition>>) -> Changes {
        Changes {
            cursor: LogCursor::new(String::new()),
            rooms,
            members: Vec::new(),
        }
    }

    #[test]
    fn what_was_reported_after_a_moment_is_known_for_a_while() {
        let mut history = History::default();
        let ada = UserId::new("ada").unwrap();
        let first = history.now();
        let change = MemberChange {
            room_id: room(7),
            user_id: ada.clone(),
            part: MemberPart::Membership,
        };
        report(&mut history, 1..2, &[change]);
        let second = history.now();
        report(&mut history, 2..3, &[]);
        assert!(history.has_changed(room(1), first) && !history.has_changed(room(1), second));
        assert!(history.has_changed(room(2), second));
        let of_ada = |part, after| history.of_member(&ada, part, after);
        assert_eq!(of_ada(MemberPart::Membership, first), [room(7)]);
        assert_eq!(of_ada(MemberPart::ReadPointer, first), []);
        assert_eq!(of_ada(MemberPart::Membership, second), []);
        for _ in 0..REPORTS_PER_GENERATION {
            report(&mut history, 3..4, &[]);
            assert!(history.knows(first) && history.has_changed(room(1), first));
        }
        for _ in 0..REPORTS_PER_GENERATION {
            report(&mut history, 3..4, &[]);
        }
        assert!(!history.knows(first));
        assert!(history.knows(history.now()));
    }

    #[test]
    fn very_many_changes_and_unknown_ones_are_forgotten() {
        let mut history = History::default();
        let first = history.now();
        for _ in 0..2 {
            report(&mut history, 1..CHANGES_PER_GENERATION as u64 + 1, &[]);
        }
        assert!(!history.knows(first));
        let later = history.now();
        history.reported(&changes(None));
        assert!(!history.knows(later));
        assert!(history.knows(history.now()));
    }
}
