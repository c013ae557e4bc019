//! What happens in a simulated world, step by step.

use std::sync::Arc;
use std::time::Duration;

use chat_delivery::Recipient as _;
use chat_domain::ports::Hint;
use chat_domain::{
    ChangeSubject, Generation, RoomEntry, RoomId, RulesNumber, StoredChange, StoredMessage, UserId,
};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::changes::{Edit, rev};
use crate::client::{Act, Client, From, Pace};
use crate::frames::frame;
use crate::log::{Reads, message, seq};
use crate::views::Claim;
use crate::world::World;

impl World {
    /// Where a client, or the next connection of one that has vanished, asks to catch up from.
    pub(crate) fn from(&mut self, room_id: RoomId, client: Option<u64>) -> From {
        let (newest, rev) = (self.log.newest(room_id), self.log.rev(room_id));
        let earlier = match self.vanished.is_empty() {
            true => client,
            false => client.or(Some(self.random.pick(&self.vanished))),
        };
        match (self.random.within(0..10), earlier) {
            (0..3, _) => From::Nowhere,
            (3..6, Some(earlier)) => From::View(earlier),
            _ => From::Claim(Claim {
                after: self.random.within(0..newest + 2),
                rev: match self.random.percent(75) {
                    true => Some(self.random.within(0..rev + 2)),
                    false => None,
                },
            }),
        }
    }

    /// Stores a message and announces it.
    pub(crate) fn append(&mut self, room_id: RoomId) {
        let n = self.log.append(room_id);
        self.announce(room_id, n);
    }

    /// Changes a message, often one of the newest, and announces it.
    pub(crate) fn change_message(&mut self, room_id: RoomId) {
        if !self.changes_messages {
            return;
        }
        let newest = self.log.newest(room_id);
        let oldest = match self.random.percent(50) {
            true => newest.saturating_sub(3),
            false => 0,
        };
        let n = self.random.within(oldest..newest + 1);
        let edit = Edit::random(&mut self.random);
        let by = self.random.percent(90).then(|| self.random.within(1..5));
        let Some(number) = self.log.change(room_id, n, edit, by) else {
            return;
        };
        self.judge.note(format_args!(
            "room {room_id}: {edit:?} of {n} is change {number}"
        ));
        self.announce_entry(room_id, RoomEntry::Changes { rev: rev(number) });
    }

    pub(crate) fn step(&mut self) {
        let room_id = self.random.pick(&self.room_ids);
        match self.random.within(0..140) {
            0..50 => {
                for _ in 0..self.random.within(1..6) {
                    self.append(room_id);
                }
                if self.random.percent(20) {
                    self.read_at_once(room_id);
                }
                if self.random.percent(10) {
                    self.exclude(room_id);
                }
            }
            50..53 => {
                let n = self.random.within(0..self.log.newest(room_id) + 1);
                self.judge
                    .note(format_args!("room {room_id}: {n} is deleted"));
                self.log.delete(room_id, n);
            }
            53..60 => {
                let n = self.random.within(0..self.log.newest(room_id) + 1);
                self.read(room_id, n);
            }
            60..62 => self.connect(),
            62..78 => self.act(room_id),
            78..92 => {
                let paces = [
                    Pace::AtOnce,
                    Pace::AtOnce,
                    Pace::Slow(1),
                    Pace::Slow(5),
                    Pace::Stopped,
                ];
                let pace = self.random.pick(&paces);
                if let Some((client, _)) = self.any_client() {
                    client.set_pace(pace);
                }
            }
            92..96 => self.exclude(room_id),
            96..102 => {
                self.change_rules(room_id);
                if self.random.percent(30) {
                    self.exclude(room_id);
                }
            }
            110..140 => {
                let count = match self.random.percent(10) {
                    true => 40,
                    false => self.random.within(1..5),
                };
                for _ in 0..count {
                    self.change_message(room_id);
                }
            }
            _ => {
                let reads = [
                    Reads::Well,
                    Reads::Well,
                    Reads::Slow(Duration::from_millis(400)),
                    Reads::Fail,
                    Reads::OnlyChanges,
                    Reads::Stale,
                ];
                let reads = self.random.pick(&reads);
                self.judge.note(format_args!("reads: {reads:?}"));
                self.log.set_reads(reads);
            }
        }
    }

    fn any_client(&mut self) -> Option<(Arc<Client>, mpsc::UnboundedSender<Act>)> {
        if self.clients.is_empty() {
            return None;
        }
        let index = self.random.within(0..self.clients.len() as u64) as usize;
        Some(self.clients[index].clone())
    }

    fn act(&mut self, room_id: RoomId) {
        let Some((client, acts)) = self.any_client() else {
            return;
        };
        let act = match self.random.within(0..10) {
            0..6 => Act::Join {
                room_id,
                from: self.from(room_id, Some(client.number)),
            },
            6..9 => Act::Leave { room_id },
            _ => {
                client.disconnect();
                self.clients
                    .retain(|(other, _)| other.number != client.number);
                self.vanished.push(client.number);
                Act::Vanish
            }
        };
        acts.send(act).ok();
    }

    /// Excludes a client, perhaps while messages are being handed out.
    fn exclude(&mut self, room_id: RoomId) {
        let Some((client, _)) = self.any_client() else {
            return;
        };
        let (rooms, judge) = (self.rooms.clone(), self.judge.clone());
        let turns = self.random.within(0..12);
        tokio::spawn(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            // One that has disconnected receives no farewell.
            if client.is_connected() {
                judge.exclude(client.number, room_id, || {
                    rooms.exclude(room_id, client.id(), format!("x:{room_id};").into())
                });
            }
        });
    }

    /// Changes a room's rules, for a user or for all, and announces it like a message.
    fn change_rules(&mut self, room_id: RoomId) {
        let number = self.log.change_rules(room_id);
        let user = self.random.within(0..3);
        let subject = match user {
            0 => ChangeSubject::Room,
            _ => ChangeSubject::Member(UserId::new(user.to_string()).unwrap()),
        };
        let encoded = format!("c:{room_id}:{user}:{number};").into();
        self.announce_entry(
            room_id,
            RoomEntry::Rules {
                number: RulesNumber::new(number),
                change: Arc::new(StoredChange::new(subject, encoded)),
            },
        );
    }

    /// Announces a message.
    fn announce(&mut self, room_id: RoomId, n: u64) {
        let message = StoredMessage::new(seq(n), frame(&message(room_id, n)).into());
        self.announce_entry(room_id, RoomEntry::Message(Arc::new(message)));
    }

    /// Announces a change: at once, late, twice, or never.
    fn announce_entry(&mut self, room_id: RoomId, entry: RoomEntry) {
        let delays: &[u64] = match self.random.within(0..100) {
            0..70 => &[0],
            70..80 => &[],
            80..90 => &[self.random.within(1..300)],
            90..95 => &[0, self.random.within(1..50)],
            _ => &[self.random.within(1..20), self.random.within(1..20)],
        };
        self.deliver(hint(room_id, entry), delays);
    }

    /// Announces that a user has read the newest message, while it is being handed out.
    fn read_at_once(&mut self, room_id: RoomId) {
        let (events, turns) = (self.events.clone(), self.random.within(0..12));
        let entry = RoomEntry::ReadPointer {
            user_id: UserId::new("9").unwrap(),
            seq: seq(self.log.newest(room_id)),
        };
        tokio::spawn(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            events.deliver(hint(room_id, entry));
        });
    }

    /// Announces that a user has read a room up to a message.
    fn read(&mut self, room_id: RoomId, n: u64) {
        if n == 0 {
            return;
        }
        let user = self.random.within(1..5);
        let entry = RoomEntry::ReadPointer {
            user_id: UserId::new(user.to_string()).unwrap(),
            seq: seq(n),
        };
        let delay = self.random.pick(&[0, 0, 0, 30, 900]);
        self.deliver(hint(room_id, entry), &[delay]);
    }

    fn deliver(&self, hint: Hint, delays: &[u64]) {
        for delay in delays {
            let (events, hint, delay) = (self.events.clone(), hint.clone(), *delay);
            match delay {
                0 => events.deliver(hint),
                _ => {
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(delay)).await;
                        events.deliver(hint);
                    });
                }
            }
        }
    }
}

fn hint(room_id: RoomId, entry: RoomEntry) -> Hint {
    Hint {
        room_id,
        generation: Generation::FIRST,
        entry,
    }
}
