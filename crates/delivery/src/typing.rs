//! Which users are typing in a room, handed out at the promised pace.
//!
//! Every node that serves the room keeps this for itself, from the same hints. A user that does
//! not repeat that it is typing stops by itself, also if the node to which it was connected is
//! gone. Nothing is stored, and a member that does not keep up misses what it cannot take.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_domain::ports::Hint;
use chat_domain::{ConnectionId, Generation, RoomEntry, RoomId, TypingSignal, User, UserId};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::batch::join;
use crate::claim::{Claim, Job};
use crate::encoder::Encoder;
use crate::lock;
use crate::pace::{Budget, Forgetting, PAUSE};
use crate::recipient::Recipient;
use crate::room::Room;
use crate::rooms::Rooms;

/// How long a user is typing unless it repeats that it is.
const LIFETIME: Duration = Duration::from_secs(6);
/// How many users a room remembers. Beyond that, users whose last update is more than a second
/// ago are forgotten; if that is not enough, the signals of further users are lost.
const MAX_REMEMBERED: usize = 10_000;

/// The typing users of one room, as far as this node has heard of them.
#[derive(Default)]
pub(crate) struct Typing {
    users: HashMap<UserId, Typist>,
    /// The users with an update to hand out, in the order in which it came.
    waiting: VecDeque<UserId>,
    /// When which user stops by itself: one entry for each that is typing.
    expiries: BTreeSet<(Instant, UserId)>,
    budget: Budget,
    forgetting: Forgetting,
    /// When updates should be looked for again.
    next_look: Option<Instant>,
    /// The connections of this node that are typing, and until when: each is in the room.
    own: HashMap<ConnectionId, (User, Instant)>,
}

struct Typist {
    user: User,
    /// Until when the user is typing, if it is.
    until: Option<Instant>,
    is_waiting: bool,
    /// What the members were told last.
    told: Option<(Instant, bool)>,
}

impl Typist {
    fn is_shown(&self) -> bool {
        matches!(self.told, Some((_, true)))
    }
}

/// Updates that are handed out together.
struct Updates {
    list: Vec<(UserId, Bytes)>,
    /// All their frames.
    frames: Bytes,
}

impl Typing {
    /// Takes a signal in. The newest wins.
    pub(crate) fn note(&mut self, signal: &TypingSignal) {
        let now = Instant::now();
        let user_id = &signal.user.id;
        if !self.users.contains_key(user_id) && self.users.len() >= MAX_REMEMBERED {
            if self.forgetting.is_due(now) {
                self.forget(now);
            }
            if self.users.len() >= MAX_REMEMBERED {
                return;
            }
        }
        let typist = self.users.entry(user_id.clone());
        let typist = typist.or_insert_with(|| Typist {
            user: signal.user.clone(),
            until: None,
            is_waiting: false,
            told: None,
        });
        typist.user.clone_from(&signal.user);
        if let Some(until) = typist.until.take() {
            self.expiries.remove(&(until, user_id.clone()));
        }
        if signal.typing {
            typist.until = Some(now + LIFETIME);
            self.expiries.insert((now + LIFETIME, user_id.clone()));
        }
        // What was never shown need not end.
        if !typist.is_waiting && (signal.typing || typist.is_shown()) {
            typist.is_waiting = true;
            self.waiting.push_back(user_id.clone());
        }
    }

    /// Returns whether an update waits, or a user will stop by itself.
    pub(crate) fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.expiries.is_empty()
    }

    /// Takes the updates that may be handed out now to this many members.
    fn take_due(&mut self, members: usize) -> Vec<(User, bool)> {
        let now = Instant::now();
        self.expire(now);
        let mut next_look = self.expiries.first().map(|(until, _)| *until);
        let mut look_at = |at: Instant| {
            next_look = Some(next_look.map_or(at, |next| next.min(at)));
        };
        let mut due = Vec::new();
        for _ in 0..self.waiting.len() {
            if !self.budget.allows(now, members) {
                look_at(self.budget.next(now));
                break;
            }
            let Some(user_id) = self.waiting.pop_front() else {
                break;
            };
            let Some(typist) = self.users.get_mut(&user_id) else {
                continue;
            };
            let typing = typist.until.is_some();
            if !typing && !typist.is_shown() {
                typist.is_waiting = false;
                continue;
            }
            if let Some((at, _)) = typist.told
                && now < at + PAUSE
            {
                look_at(at + PAUSE);
                self.waiting.push_back(user_id);
                continue;
            }
            typist.is_waiting = false;
            typist.told = Some((now, typing));
            self.budget.spend(now, members);
            due.push((typist.user.clone(), typing));
        }
        self.next_look = next_look;
        due
    }

    /// Ends the typing of users that have not repeated it.
    fn expire(&mut self, now: Instant) {
        while let Some((until, _)) = self.expiries.first()
            && *until <= now
            && let Some((_, user_id)) = self.expiries.pop_first()
        {
            let Some(typist) = self.users.get_mut(&user_id) else {
                continue;
            };
            typist.until = None;
            if !typist.is_waiting && typist.is_shown() {
                typist.is_waiting = true;
                self.waiting.push_back(user_id);
            }
        }
    }

    /// Forgets the users about whom there is nothing to say.
    fn forget(&mut self, now: Instant) {
        self.users.retain(|_, typist| {
            let is_recent = typist.told.is_some_and(|(at, _)| now < at + PAUSE);
            typist.is_waiting || typist.until.is_some() || typist.is_shown() || is_recent
        });
    }

    /// Notes what a connection of this node does. Returns whether the room has to know.
    fn set_own(&mut self, connection: ConnectionId, user: &User, typing: bool) -> bool {
        if typing {
            let until = Instant::now() + LIFETIME;
            self.own.insert(connection, (user.clone(), until));
            return true;
        }
        self.own.remove(&connection).is_some()
    }

    /// Notes that a connection of this node has left the room. Returns its user, if that was
    /// typing there.
    pub(crate) fn leave(&mut self, connection: ConnectionId) -> Option<User> {
        let (user, until) = self.own.remove(&connection)?;
        (Instant::now() < until).then_some(user)
    }
}

impl<R: Recipient> Rooms<R> {
    /// Announces that the user of a connection in the room is typing, or has stopped.
    pub(crate) fn announce_typing(
        &self,
        room_id: RoomId,
        connection: ConnectionId,
        user: &User,
        typing: bool,
    ) {
        let Some(room) = self.find(room_id) else {
            return;
        };
        let mut state = lock(&room.state);
        if !state.is_closed
            && state.members.contains(connection)
            && state.typing.set_own(connection, user, typing)
        {
            let generation = state.generation;
            drop(state);
            self.announce_signal(room_id, generation, user.clone(), typing);
        }
    }

    /// Announces that the user of a connection that has left the room is not typing any more.
    pub(crate) fn announce_end_of_typing(
        &self,
        room_id: RoomId,
        generation: Generation,
        user: User,
    ) {
        self.announce_signal(room_id, generation, user, false);
    }

    fn announce_signal(&self, room_id: RoomId, generation: Generation, user: User, typing: bool) {
        let signal = TypingSignal { user, typing };
        self.announce(Hint {
            room_id,
            generation,
            entry: RoomEntry::Typing(Arc::new(signal)),
        });
    }

    /// Takes a signal in that a hint brought.
    pub(crate) fn note_typing(&self, room: &Arc<Room<R>>, signal: &TypingSignal) {
        let mut state = lock(&room.state);
        state.typing.note(signal);
        if state.typing.has_work()
            && let Some(claim) = Claim::take(room, &mut state, Job::PaceTyping)
        {
            self.spawn(|this| this.pace_typing(room.clone(), claim));
        }
        drop(state);
        room.typing_changed.notify_one();
    }

    /// Hands out who is typing, at the promised pace, until no user is.
    async fn pace_typing(self: Arc<Self>, room: Arc<Room<R>>, claim: Claim<R>) {
        loop {
            let (due, groups, next_look) = {
                let mut state = lock(&room.state);
                if !state.typing.has_work() || state.is_idle() || state.is_closed {
                    state.typing.forget(Instant::now());
                    claim.release(&mut state);
                    return;
                }
                let members = state.members.len();
                let due = state.typing.take_due(members);
                (due, state.members.snapshot(), state.typing.next_look)
            };
            let Some(updates) = encode(room.id, due, &*self.encoder) else {
                // Waits for a pause, the next interval, or a user that stops by itself.
                let changed = room.typing_changed.notified();
                match next_look {
                    Some(next_look) => {
                        tokio::time::timeout_at(next_look, changed).await.ok();
                    }
                    None => yield_now().await,
                }
                continue;
            };
            for group in groups {
                for member in group.iter() {
                    if let Some(frames) = updates.for_others(&*member.recipient) {
                        member.hand_out_changes(&frames);
                    }
                }
                yield_now().await;
            }
        }
    }
}

impl Updates {
    /// Returns the frames of all users but the recipient's own.
    fn for_others(&self, recipient: &impl Recipient) -> Option<Bytes> {
        let is_own = |(user_id, _): &(UserId, Bytes)| recipient.is_of(user_id);
        if !self.list.iter().any(is_own) {
            return Some(self.frames.clone());
        }
        let others = self.list.iter().filter(|update| !is_own(update));
        let frames: Vec<_> = others.map(|(_, frame)| frame.clone()).collect();
        (!frames.is_empty()).then(|| join(&frames))
    }
}

/// Encodes updates; `None` if there are none.
fn encode(room_id: RoomId, due: Vec<(User, bool)>, encoder: &dyn Encoder) -> Option<Updates> {
    if due.is_empty() {
        return None;
    }
    let list: Vec<_> = due
        .into_iter()
        .map(|(user, typing)| {
            let frame = encoder.typing(room_id, &user, typing);
            (user.id, frame)
        })
        .collect();
    let frames: Vec<_> = list.iter().map(|(_, frame)| frame.clone()).collect();
    Some(Updates {
        frames: join(&frames),
        list,
    })
}

#[cfg(test)]
mod tests {
    use chat_domain::DisplayName;
    use tokio::time::advance;

    use super::*;
    use crate::pace::{INTERVAL, PACKETS_PER_INTERVAL};

    fn user(n: usize) -> User {
        User {
            id: UserId::new(n.to_string()).unwrap(),
            name: DisplayName::from_text("x"),
        }
    }

    fn note(typing: &mut Typing, n: usize, is_typing: bool) {
        typing.note(&TypingSignal {
            user: user(n),
            typing: is_typing,
        });
    }

    fn due(typing: &mut Typing, members: usize) -> Vec<(String, bool)> {
        let due = typing.take_due(members);
        due.into_iter()
            .map(|(user, typing)| (user.id.to_string(), typing))
            .collect()
    }

    fn one(n: usize, typing: bool) -> Vec<(String, bool)> {
        vec![(n.to_string(), typing)]
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_has_one_update_per_second_and_the_newest_wins() {
        let mut typing = Typing::default();
        note(&mut typing, 1, true);
        assert_eq!(due(&mut typing, 2), one(1, true));
        for is_typing in [false, true, false] {
            note(&mut typing, 1, is_typing);
            assert_eq!(due(&mut typing, 2), []);
        }
        assert_eq!(typing.next_look, Some(Instant::now() + PAUSE));
        advance(PAUSE).await;
        assert_eq!(due(&mut typing, 2), one(1, false));
        assert!(!typing.has_work());
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_that_does_not_repeat_it_stops_after_six_seconds() {
        let mut typing = Typing::default();
        note(&mut typing, 1, true);
        assert_eq!(due(&mut typing, 2), one(1, true));
        advance(Duration::from_secs(4)).await;
        note(&mut typing, 1, true);
        assert_eq!(due(&mut typing, 2), one(1, true));
        assert_eq!(typing.next_look, Some(Instant::now() + LIFETIME));
        advance(LIFETIME - Duration::from_millis(1)).await;
        assert_eq!(due(&mut typing, 2), []);
        advance(Duration::from_millis(1)).await;
        assert_eq!(due(&mut typing, 2), one(1, false));
        assert!(!typing.has_work());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_shown_does_not_end() {
        let mut typing = Typing::default();
        note(&mut typing, 1, false);
        assert!(!typing.has_work());
        note(&mut typing, 1, true);
        note(&mut typing, 1, false);
        assert_eq!(due(&mut typing, 2), []);
        assert!(!typing.has_work());
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_simultaneous_users_take_turns() {
        let mut typing = Typing::default();
        (0..1000).for_each(|n| note(&mut typing, n, true));
        let first = due(&mut typing, 1000);
        assert_eq!(first.len(), 10);
        assert_eq!(due(&mut typing, 1000), [], "in this interval");
        assert_eq!(typing.next_look, Some(Instant::now() + INTERVAL));
        advance(INTERVAL).await;
        let next = due(&mut typing, 1000);
        assert_eq!(next.len(), 10);
        assert!(next.iter().all(|update| !first.contains(update)));
        advance(INTERVAL).await;
        assert_eq!(due(&mut typing, PACKETS_PER_INTERVAL + 1).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_remembered_users_is_bounded() {
        let mut typing = Typing::default();
        (0..2 * MAX_REMEMBERED).for_each(|n| note(&mut typing, n, true));
        assert_eq!(typing.users.len(), MAX_REMEMBERED);
        assert_eq!(typing.expiries.len(), MAX_REMEMBERED);
        advance(LIFETIME).await;
        assert_eq!(due(&mut typing, 1), [], "none was shown");
        note(&mut typing, 2 * MAX_REMEMBERED, true);
        assert_eq!(typing.users.len(), 1);
        assert_eq!(due(&mut typing, 1).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_leaves_stops_typing_unless_that_has_expired() {
        let mut typing = Typing::default();
        let [one, two] = [1, 2].map(ConnectionId::new);
        assert!(!typing.set_own(one, &user(1), false));
        assert!(typing.set_own(one, &user(1), true));
        assert!(typing.set_own(one, &user(1), false));
        assert_eq!(typing.leave(one), None);
        assert!(typing.set_own(one, &user(1), true));
        assert_eq!(typing.leave(one), Some(user(1)));
        assert!(typing.set_own(two, &user(1), true));
        advance(LIFETIME).await;
        assert_eq!(typing.leave(two), None);
    }
}
