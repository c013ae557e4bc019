//! What all clients together knew at each time. Their times come from one clock, so that what
//! one client had seen bounds what another one may be shown later.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::record::{Event, Evidence, Message};

pub(super) struct Knowledge<'a> {
    by_place: HashMap<(u64, u64), &'a Message>,
    by_content: HashMap<&'a str, &'a Message>,
    by_id: HashMap<(&'a str, u64, &'a str), &'a Message>,
    /// The contents that several clients sent.
    shared: HashSet<&'a str>,
    /// When a client first knew that the message is stored.
    first_known: HashMap<(u64, u64), Duration>,
    /// For each room, the newest message that a client had seen.
    newest_known: HashMap<u64, Timeline>,
    /// For each room, when the messages that were stored had been sent.
    sent: HashMap<u64, Vec<Duration>>,
    /// By room and user.
    pointers: HashMap<u64, HashMap<&'a str, PointerKnowledge>>,
}

/// What is known of one user's read pointer in one room.
#[derive(Default)]
pub(super) struct PointerKnowledge {
    /// What a client had been shown, or what follows from a stored message.
    shown: Timeline,
    /// Where the user's own messages may have moved it.
    sent: Timeline,
    /// Where the user's requests may have moved it.
    marked: Timeline,
}

/// A number that grows with time.
#[derive(Default)]
pub(super) struct Timeline(Vec<(Duration, u64)>);

impl Timeline {
    fn note(&mut self, at: Duration, number: u64) {
        self.0.push((at, number));
    }

    fn finish(&mut self) {
        self.0.sort_unstable();
        let mut highest = 0;
        for (_, number) in &mut self.0 {
            highest = highest.max(*number);
            *number = highest;
        }
    }

    /// Returns the highest number up to this time.
    fn at(&self, time: Duration) -> u64 {
        let later = self.0.partition_point(|(at, _)| *at <= time);
        later.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

impl PointerKnowledge {
    /// Returns the oldest and the newest position that the pointer may have when it is read
    /// after `from` and before `to`.
    pub(super) fn bounds(&self, from: Duration, to: Duration) -> [u64; 2] {
        [
            self.shown.at(from),
            self.sent.at(to).max(self.marked.at(to)),
        ]
    }

    pub(super) fn newest_marked(&self, at: Duration) -> u64 {
        self.marked.at(at)
    }
}

impl<'a> Knowledge<'a> {
    pub(super) fn new(evidence: &'a Evidence) -> Self {
        let rows = &evidence.rows;
        let mut knowledge = Self {
            by_place: rows.iter().map(|row| ((row.room, row.seq), row)).collect(),
            by_content: rows.iter().map(|row| (row.content.as_str(), row)).collect(),
            by_id: rows
                .iter()
                .filter_map(|row| {
                    let id = row.client_message_id.as_deref()?;
                    Some(((row.user.as_str(), row.room, id), row))
                })
                .collect(),
            shared: HashSet::new(),
            first_known: HashMap::new(),
            newest_known: HashMap::new(),
            sent: HashMap::new(),
            pointers: HashMap::new(),
        };
        let sent = knowledge.collect(evidence);
        for (content, at) in sent {
            if let Some(row) = knowledge.by_content.get(content).copied() {
                knowledge.sent.entry(row.room).or_default().push(at);
                let pointer = knowledge.pointer(row.room, &row.user);
                pointer.sent.note(at, row.seq);
            }
        }
        knowledge
            .sent
            .values_mut()
            .for_each(|sent| sent.sort_unstable());
        knowledge
            .newest_known
            .values_mut()
            .for_each(Timeline::finish);
        for pointer in knowledge
            .pointers
            .values_mut()
            .flat_map(HashMap::values_mut)
        {
            pointer.shown.finish();
            pointer.sent.finish();
            pointer.marked.finish();
        }
        knowledge
    }

    /// Collects what the histories say, and returns when each content was first sent.
    fn collect(&mut self, evidence: &'a Evidence) -> HashMap<&'a str, Duration> {
        let mut sent: HashMap<&str, (Duration, &str)> = HashMap::new();
        for history in &evidence.histories {
            for entry in &history.entries {
                let at = entry.at;
                match &entry.event {
                    Event::Sent { content, .. } => {
                        let first = sent.entry(content).or_insert((at, &history.client));
                        if first.1 != history.client {
                            self.shared.insert(content);
                        }
                        first.0 = first.0.min(at);
                    }
                    Event::Acknowledged { message, .. } | Event::Received(message) => {
                        self.saw(message, at);
                    }
                    Event::Listed { messages, .. } => {
                        messages.iter().for_each(|message| self.saw(message, at));
                    }
                    Event::Joined(joined) => {
                        self.pointer(joined.room, &history.user)
                            .shown
                            .note(at, joined.read);
                    }
                    Event::Marking { room, seq } => {
                        self.pointer(*room, &history.user).marked.note(at, *seq);
                    }
                    Event::Marked { room, seq, .. } => {
                        self.pointer(*room, &history.user).shown.note(at, *seq);
                    }
                    Event::MarkedRead { room, user, seq } => {
                        self.pointer(*room, user).shown.note(at, *seq);
                    }
                    _ => {}
                }
            }
        }
        sent.into_iter()
            .map(|(content, (at, _))| (content, at))
            .collect()
    }

    fn saw(&mut self, message: &'a Message, at: Duration) {
        let known = self.first_known.entry((message.room, message.seq));
        let known = known.or_insert(at);
        *known = at.min(*known);
        let newest = self.newest_known.entry(message.room).or_default();
        newest.note(at, message.seq);
        // A send moves its sender's pointer in the same transaction.
        self.pointer(message.room, &message.user)
            .shown
            .note(at, message.seq);
    }

    fn pointer(&mut self, room: u64, user: &'a str) -> &mut PointerKnowledge {
        let users = self.pointers.entry(room).or_default();
        users.entry(user).or_default()
    }

    pub(super) fn has(&self, message: &Message) -> bool {
        let row = self.by_place.get(&(message.room, message.seq));
        row.is_some_and(|row| *row == message)
    }

    /// Returns the row with this content.
    pub(super) fn row(&self, content: &str) -> Option<&'a Message> {
        self.by_content.get(content).copied()
    }

    /// Returns the row that a user stored under this id.
    pub(super) fn row_of_id(&self, user: &str, room: u64, id: &str) -> Option<&'a Message> {
        self.by_id.get(&(user, room, id)).copied()
    }

    /// Returns whether several clients sent this content.
    pub(super) fn is_shared(&self, content: &str) -> bool {
        self.shared.contains(content)
    }

    pub(super) fn first_known(&self, room: u64, seq: u64) -> Option<Duration> {
        self.first_known.get(&(room, seq)).copied()
    }

    /// Returns the oldest and the newest number that the room's newest message may have when
    /// it is read after `from` and before `to`.
    pub(super) fn newest(&self, room: u64, from: Duration, to: Duration) -> [u64; 2] {
        let known = self.newest_known.get(&room);
        // Numbers have no gaps: a room is not further than its number of messages sent.
        let sent = self.sent.get(&room);
        let sent = sent.map_or(0, |sent| sent.partition_point(|at| *at <= to));
        [known.map_or(0, |known| known.at(from)), sent as u64]
    }

    pub(super) fn pointer_of(&self, room: u64, user: &str) -> Option<&PointerKnowledge> {
        self.pointers.get(&room)?.get(user)
    }

    /// Returns every room and user of whose pointer something is known.
    pub(super) fn pointers(&self) -> impl Iterator<Item = (u64, &'a str)> {
        let rooms = self.pointers.iter();
        rooms.flat_map(|(room, users)| users.keys().map(|user| (*room, *user)))
    }
}
