//! The rooms that a connection has to leave because a change of their rules excludes its user.
//!
//! The change may come in the middle of anything that the connection does. What it sends to
//! the client and what it answers from a room take turns here, so that nothing from the room
//! follows `leftRoom`.

use std::collections::BTreeSet;
use std::sync::Mutex;

use chat_domain::{Membership, RoomId};

use crate::lock;

/// The rooms from which a connection was excluded, until its events notice.
#[derive(Default)]
pub(crate) struct Exclusions(Mutex<BTreeSet<RoomId>>);

impl Exclusions {
    /// Excludes the connection from a room: `exclude` ends the delivery and says so. Nothing is
    /// answered from the room meanwhile, nor afterwards.
    pub(crate) fn add(&self, room_id: RoomId, exclude: impl FnOnce() -> bool) {
        let mut excluded = lock(&self.0);
        if exclude() {
            excluded.insert(room_id);
        }
    }

    /// Answers from a room, unless the connection was excluded from it meanwhile. Returns
    /// whether it answered.
    pub(crate) fn unless_excluded(&self, room_id: RoomId, answer: impl FnOnce()) -> bool {
        self.unless_excluded_from_any([room_id], answer)
    }

    /// Answers from these rooms, unless the connection was excluded from one of them meanwhile.
    /// Returns whether it answered.
    pub(crate) fn unless_excluded_from_any(
        &self,
        rooms: impl IntoIterator<Item = RoomId>,
        answer: impl FnOnce(),
    ) -> bool {
        let excluded = lock(&self.0);
        let may_answer = !rooms.into_iter().any(|room_id| excluded.contains(&room_id));
        if may_answer {
            answer();
        }
        may_answer
    }

    /// Notes in the connection's membership what it was excluded from, before its next event.
    pub(crate) fn apply(&self, membership: &mut Membership) {
        for room_id in std::mem::take(&mut *lock(&self.0)) {
            membership.leave(room_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::Permit;

    use super::*;

    #[test]
    fn an_excluded_connection_gets_no_answer_from_the_room_until_it_may_join_again() {
        let (one, two) = (RoomId::new(1).unwrap(), RoomId::new(2).unwrap());
        let mut membership = Membership::default();
        membership.join(one, Permit::OPEN);
        let exclusions = Exclusions::default();
        exclusions.add(one, || true);
        // A room that it has not joined: nothing is noted.
        exclusions.add(two, || false);
        assert!(!exclusions.unless_excluded(one, || unreachable!("it is excluded")));
        assert!(exclusions.unless_excluded(two, || ()));
        assert!(!exclusions.unless_excluded_from_any([two, one], || unreachable!("one is")));
        assert!(exclusions.unless_excluded_from_any([two], || ()));
        exclusions.apply(&mut membership);
        assert!(!membership.has_joined(one));
        assert!(exclusions.unless_excluded(one, || ()));
    }
}
