//! Changes of a room's rules: the listener learns of them, and then the members do.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chat_domain::{ChangeSubject, RoomId, RulesNumber, StoredChange, UserId};
use tokio::task::yield_now;

use crate::batch::join;
use crate::claim::{Claim, Job};
use crate::encoder::Encoder;
use crate::lock;
use crate::recipient::Recipient;
use crate::room::{Room, State};
use crate::rooms::Rooms;

/// How many changes of one room may wait to be handed out. Beyond that, the members miss the
/// oldest, as a member does that does not keep up.
/// One request of the server API adds up to a thousand members.
const MAX_WAITING: usize = 1024;
/// For how many users a room remembers the newest change that was handed out. Beyond that,
/// what arrives late is dropped, because it may be older than what the members have.
const MAX_REMEMBERED: usize = 1000;

/// Acts on changes of the rules of active rooms, for example by
/// [excluding](Rooms::exclude) connections.
pub trait RulesListener: Send + Sync + 'static {
    /// Called when a room's rules are found to have this number or a newer one: at most once
    /// for each number while the room is active, in ascending order, and before any member
    /// receives the change. A number covers those before it, which may be skipped. `user` is
    /// the only one whose standing can have changed since the previous call; without it, any
    /// user's may have.
    ///
    /// After a comparison with the log, it may also be called for rules that were in force
    /// when the room became active.
    ///
    /// It is called under the room's lock: it must neither block nor call [`Rooms`].
    fn rules_changed(&self, room_id: RoomId, number: RulesNumber, user: Option<&UserId>);

    /// Called when a room here is found to have been closed, because it is being deleted or was:
    /// its members have to be [excluded](Rooms::exclude_closed). Called as
    /// [`rules_changed`](Self::rules_changed) is.
    fn room_closed(&self, room_id: RoomId);
}

/// Ignores all changes.
impl RulesListener for () {
    fn rules_changed(&self, _: RoomId, _: RulesNumber, _: Option<&UserId>) {}

    fn room_closed(&self, _: RoomId) {}
}

/// The rules of one room, as far as this node has heard of them.
#[derive(Default)]
pub(crate) struct Rules {
    /// The newest number.
    known: RulesNumber,
    /// The newest change of each subject that was taken in.
    newest: HashMap<ChangeSubject, RulesNumber>,
    /// Changes of other subjects up to this number are too old.
    forgotten: RulesNumber,
    /// To be handed out.
    waiting: VecDeque<Bytes>,
}

impl Rules {
    /// Returns the newest number.
    pub(crate) fn known(&self) -> RulesNumber {
        self.known
    }

    /// Notes a number. If it is newer than the one that was known, returns that one.
    fn reaches(&mut self, number: RulesNumber) -> Option<RulesNumber> {
        (number > self.known).then(|| std::mem::replace(&mut self.known, number))
    }

    /// Takes in a change that a hint brought, to be handed out. Hints arrive in any order: a
    /// change that is not newer than the last one of the same subject is dropped.
    fn offer(&mut self, number: RulesNumber, change: &StoredChange, encoder: &dyn Encoder) {
        let newest = self.newest.get(change.subject()).copied();
        if number <= newest.unwrap_or(self.forgotten) {
            return;
        }
        if newest.is_none() && self.newest.len() >= MAX_REMEMBERED {
            self.newest.clear();
            // Changes of several users may have one number.
            self.forgotten = match number == self.known {
                true => RulesNumber::new(number.get() - 1),
                false => self.known,
            };
        }
        self.newest.insert(change.subject().clone(), number);
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(encoder.rules_change(change));
    }

    /// Takes the frames of all changes that wait; `None` if none does.
    fn take(&mut self) -> Option<Bytes> {
        let frames: Vec<_> = self.waiting.drain(..).collect();
        (!frames.is_empty()).then(|| join(&frames))
    }
}

impl<R: Recipient> Rooms<R> {
    /// Notes the number of a room's rules. `user` is the only one whom the change with this
    /// number concerns, if that is known.
    pub(crate) fn note_rules(
        &self,
        room_id: RoomId,
        state: &mut State<R>,
        number: RulesNumber,
        user: Option<&UserId>,
    ) {
        if let Some(before) = state.rules.reaches(number) {
            // What lies between may concern other users.
            let user = user.filter(|_| number.get() == before.get() + 1);
            self.rules.rules_changed(room_id, number, user);
        }
    }

    /// Takes in a change that a hint brought.
    pub(crate) fn change_rules(
        &self,
        room: &Arc<Room<R>>,
        state: &mut State<R>,
        number: RulesNumber,
        change: &StoredChange,
    ) {
        let user = match change.subject() {
            ChangeSubject::Room => None,
            ChangeSubject::Member(user_id) => Some(user_id),
        };
        self.note_rules(room.id, state, number, user);
        state.rules.offer(number, change, &*self.encoder);
        if let Some(claim) = Claim::take(room, state, Job::HandOutChanges) {
            self.spawn(|this| this.hand_out_changes(room.clone(), claim));
        }
    }

    /// Hands out changes as long as any wait.
    async fn hand_out_changes(self: Arc<Self>, room: Arc<Room<R>>, claim: Claim<R>) {
        loop {
            let (frames, groups) = {
                let mut state = lock(&room.state);
                let frames = match state.is_closed {
                    true => None,
                    false => state.rules.take(),
                };
                let Some(frames) = frames else {
                    return claim.release(&mut state);
                };
                (frames, state.members.snapshot())
            };
            for group in groups {
                for member in group.iter() {
                    member.hand_out_changes(&frames);
                }
                yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::{ReactionKey, StoredMessage};

    use super::*;

    struct Plain;

    impl Encoder for Plain {
        fn message(&self, message: &StoredMessage) -> Bytes {
            Bytes::copy_from_slice(message.encoded().as_bytes())
        }

        fn logged_message(&self, _: chat_domain::Message, _: &[ReactionKey]) -> Bytes {
            Bytes::new()
        }

        fn changed_message(
            &self,
            _: RoomId,
            _: chat_domain::ChangedMessage,
            _: bool,
            _: &[ReactionKey],
        ) -> Bytes {
            unreachable!("nothing changes")
        }

        fn read_pointer(&self, _: RoomId, _: &UserId, _: chat_domain::Seq) -> Bytes {
            Bytes::new()
        }

        fn typing(&self, _: RoomId, _: &chat_domain::User, _: bool) -> Bytes {
            Bytes::new()
        }

        fn rules_change(&self, change: &StoredChange) -> Bytes {
            Bytes::copy_from_slice(change.encoded().as_bytes())
        }
    }

    fn offer(rules: &mut Rules, number: u64, user: usize) -> bool {
        let number = RulesNumber::new(number);
        rules.reaches(number);
        let subject = ChangeSubject::Member(UserId::new(user.to_string()).unwrap());
        rules.offer(number, &StoredChange::new(subject, "{}".into()), &Plain);
        rules.take().is_some()
    }

    #[test]
    fn changes_of_many_users_under_one_number_are_handed_out_beyond_what_is_remembered() {
        let mut rules = Rules::default();
        assert!((0..MAX_REMEMBERED / 2).all(|user| offer(&mut rules, 5, user)));
        let many = MAX_REMEMBERED..2 * MAX_REMEMBERED;
        assert!(many.clone().all(|user| offer(&mut rules, 6, user)));
        // What is older than the newest number is dropped, also if it was forgotten.
        assert!(!offer(&mut rules, 5, 0));
        assert!(offer(&mut rules, 7, 0));
    }
}
