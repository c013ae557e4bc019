//! The read pointers of a room's users, handed out at the promised pace.
//!
//! At most one update per second is handed out for each user and room, the newest. The
//! total is bounded as well: a thousand members that read the same message would cause a
//! million packets. What exceeds the bound waits its turn, and is replaced by what the user
//! reads meanwhile.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use chat_domain::{RoomId, Seq, UserId};
use tokio::time::Instant;

use crate::batch::join;
use crate::encoder::Encoder;
use crate::pace::{Budget, Forgetting, PAUSE};

/// How many users a room remembers while it is active. A hint that arrives late must not
/// follow a newer one; beyond this number, users whose last update is more than [`PAUSE`]
/// ago are forgotten.
const MAX_REMEMBERED: usize = 10_000;

/// The read pointers of one room, as far as this node has heard of them.
#[derive(Default)]
pub(crate) struct ReadPointers {
    users: HashMap<UserId, Pointer>,
    /// The users with an update to hand out, in the order in which it came.
    waiting: VecDeque<UserId>,
    budget: Budget,
    forgetting: Forgetting,
}

#[derive(Default)]
struct Pointer {
    /// To be handed out.
    waiting: Option<Seq>,
    handed_out: Option<(Instant, Seq)>,
}

/// A user's pointer, as all members receive it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) seq: Seq,
    pub(crate) frame: Bytes,
}

/// Read pointers that are handed out together.
pub(crate) struct Updates {
    pub(crate) list: Vec<(UserId, Update)>,
    /// All their frames.
    pub(crate) frames: Bytes,
    /// The newest message that they name.
    pub(crate) newest: Seq,
}

impl ReadPointers {
    /// Takes a pointer that has moved. Hints arrive in any order: an older one changes
    /// nothing.
    pub(crate) fn note(&mut self, user_id: UserId, seq: Seq) {
        if self.users.len() >= MAX_REMEMBERED && self.forgetting.is_due(Instant::now()) {
            self.forget();
        }
        let pointer = self.users.entry(user_id.clone()).or_default();
        if pointer.handed_out.is_some_and(|(_, newest)| seq <= newest) {
            return;
        }
        match &mut pointer.waiting {
            Some(waiting) => *waiting = seq.max(*waiting),
            None => {
                pointer.waiting = Some(seq);
                self.waiting.push_back(user_id);
            }
        }
    }

    /// Returns whether any update waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the updates that may be handed out now to this many members: none that names a
    /// message which has not been `released`.
    pub(crate) fn take_due(&mut self, released: Seq, members: usize) -> Vec<(UserId, Seq)> {
        let now = Instant::now();
        let mut due = Vec::new();
        for _ in 0..self.waiting.len() {
            if !self.budget.allows(now, members) {
                break;
            }
            let Some(user_id) = self.waiting.pop_front() else {
                break;
            };
            let Some(pointer) = self.users.get_mut(&user_id) else {
                continue;
            };
            let Some(seq) = pointer.waiting else { continue };
            let is_early = pointer.handed_out.is_some_and(|(at, _)| now < at + PAUSE);
            if seq > released || is_early {
                self.waiting.push_back(user_id);
                continue;
            }
            pointer.waiting = None;
            pointer.handed_out = Some((now, seq));
            self.budget.spend(now, members);
            due.push((user_id, seq));
        }
        due
    }

    /// Returns when updates should be looked for again; an earlier change wakes the task.
    pub(crate) fn next_look(&self) -> Instant {
        self.budget.next(Instant::now())
    }

    fn forget(&mut self) {
        let now = Instant::now();
        self.users.retain(|_, pointer| {
            let is_recent = pointer.handed_out.is_some_and(|(at, _)| now < at + PAUSE);
            pointer.waiting.is_some() || is_recent
        });
    }
}

/// Encodes updates; `None` if there are none.
pub(crate) fn encode(
    room_id: RoomId,
    due: Vec<(UserId, Seq)>,
    encoder: &dyn Encoder,
) -> Option<Updates> {
    let newest = due.iter().map(|(_, seq)| *seq).max()?;
    let list: Vec<_> = due
        .into_iter()
        .map(|(user_id, seq)| {
            let frame = encoder.read_pointer(room_id, &user_id, seq);
            (user_id, Update { seq, frame })
        })
        .collect();
    let frames: Vec<_> = list
        .iter()
        .map(|(_, update)| update.frame.clone())
        .collect();
    Some(Updates {
        frames: join(&frames),
        list,
        newest,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pace::{INTERVAL, PACKETS_PER_INTERVAL};

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn user(n: usize) -> UserId {
        UserId::new(n.to_string()).unwrap()
    }

    fn due(pointers: &mut ReadPointers, released: u64, members: usize) -> Vec<(String, u64)> {
        let due = pointers.take_due(seq(released), members);
        due.into_iter()
            .map(|(user, seq)| (user.to_string(), seq.get()))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_has_one_update_per_second_and_the_newest_wins() {
        let mut pointers = ReadPointers::default();
        pointers.note(user(1), seq(1));
        assert_eq!(due(&mut pointers, 9, 2), [("1".to_owned(), 1)]);
        for n in [2, 4, 3] {
            pointers.note(user(1), seq(n));
        }
        assert_eq!(due(&mut pointers, 9, 2), []);
        tokio::time::advance(PAUSE).await;
        assert_eq!(due(&mut pointers, 9, 2), [("1".to_owned(), 4)]);
        pointers.note(user(1), seq(4));
        tokio::time::advance(PAUSE).await;
        assert_eq!(due(&mut pointers, 9, 2), [], "the room knows it");
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_never_precedes_the_message_that_it_names() {
        let mut pointers = ReadPointers::default();
        pointers.note(user(1), seq(5));
        assert_eq!(due(&mut pointers, 4, 2), []);
        assert_eq!(due(&mut pointers, 5, 2), [("1".to_owned(), 5)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_pointer_never_follows_a_newer_one_however_late_its_hint_is() {
        let mut pointers = ReadPointers::default();
        pointers.note(user(1), seq(7));
        assert_eq!(due(&mut pointers, 9, 2), [("1".to_owned(), 7)]);
        tokio::time::advance(Duration::from_secs(3600)).await;
        pointers.note(user(1), seq(6));
        assert_eq!(due(&mut pointers, 9, 2), []);
        assert!(!pointers.has_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_simultaneous_readers_take_turns() {
        let mut pointers = ReadPointers::default();
        for n in 0..1000 {
            pointers.note(user(n), seq(1));
        }
        let first = due(&mut pointers, 1, 1000);
        assert_eq!(first.len(), 10);
        assert_eq!(due(&mut pointers, 1, 1000), [], "in this interval");
        tokio::time::advance(INTERVAL).await;
        let next = due(&mut pointers, 1, 1000);
        assert_eq!(next.len(), 10);
        assert!(next.iter().all(|read| !first.contains(read)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_of_any_size_has_one_update_per_interval() {
        let mut pointers = ReadPointers::default();
        for n in 0..2 {
            pointers.note(user(n), seq(1));
        }
        for n in ["0", "1"] {
            let members = PACKETS_PER_INTERVAL + 1;
            assert_eq!(due(&mut pointers, 1, members), [(n.to_owned(), 1)]);
            tokio::time::advance(INTERVAL).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_look_is_at_the_end_of_the_interval_in_which_updates_were_handed_out() {
        let mut pointers = ReadPointers::default();
        let began = Instant::now();
        assert_eq!(pointers.next_look(), began + INTERVAL);
        pointers.note(user(1), seq(1));
        assert_eq!(due(&mut pointers, 1, 1).len(), 1);
        tokio::time::advance(INTERVAL / 5).await;
        assert_eq!(pointers.next_look(), began + INTERVAL);
        tokio::time::advance(INTERVAL / 5 * 4).await;
        assert_eq!(pointers.next_look(), began + 2 * INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_is_remembered_while_an_update_waits_or_is_recent() {
        let mut pointers = ReadPointers::default();
        for n in 0..MAX_REMEMBERED {
            pointers.note(user(n), seq(1));
        }
        pointers.note(user(0), seq(9));
        assert_eq!(due(&mut pointers, 1, 1).len(), MAX_REMEMBERED - 1);
        tokio::time::advance(PAUSE - Duration::from_millis(1)).await;
        pointers.note(user(MAX_REMEMBERED), seq(1));
        assert_eq!(pointers.users.len(), MAX_REMEMBERED + 1);
        // It was looked at all of them a moment ago.
        tokio::time::advance(Duration::from_millis(1)).await;
        pointers.note(user(1), seq(2));
        assert_eq!(pointers.users.len(), MAX_REMEMBERED + 1);
        tokio::time::advance(Forgetting::INTERVAL).await;
        pointers.note(user(2), seq(2));
        // Three wait, and one that was forgotten before.
        assert_eq!(pointers.users.len(), 4);
        assert_eq!(due(&mut pointers, 9, 1).len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_remembered_users_is_bounded() {
        let mut pointers = ReadPointers::default();
        for n in 0..3 * MAX_REMEMBERED {
            pointers.note(user(n), seq(1));
            assert_eq!(due(&mut pointers, 1, 1).len(), 1);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let since = Forgetting::INTERVAL.as_millis() as usize;
        assert!(pointers.users.len() <= MAX_REMEMBERED + since);
    }
}
