//! The members of a room, in groups.

use std::collections::HashMap;
use std::sync::Arc;

use chat_domain::ConnectionId;

use crate::member::{Member, Seam, Start};
use crate::recipient::Recipient;

/// How many members are in one group. A change of the members copies one group, and a task
/// that walks a room yields after each.
pub(crate) const GROUP: usize = 128;

/// A part of a room's members.
pub(crate) type Group<R> = Arc<Vec<Arc<Member<R>>>>;

/// The members of a room, in groups. No operation here takes longer the more members there
/// are, because the room is locked meanwhile; only a snapshot grows, by one pointer per
/// group.
pub(crate) struct Members<R> {
    /// The group of each member.
    groups_by_id: HashMap<ConnectionId, usize>,
    groups: Vec<Group<R>>,
}

impl<R> Default for Members<R> {
    fn default() -> Self {
        Self {
            groups_by_id: HashMap::new(),
            groups: Vec::new(),
        }
    }
}

impl<R: Recipient> Members<R> {
    pub(crate) fn len(&self) -> usize {
        self.groups_by_id.len()
    }

    pub(crate) fn contains(&self, id: ConnectionId) -> bool {
        self.groups_by_id.contains_key(&id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups_by_id.is_empty()
    }

    /// Adds a member that has everything up to the seam. An earlier stay of the same connection
    /// ends.
    pub(crate) fn enter(&mut self, recipient: Arc<R>, seam: Seam, start: Start) -> Arc<Member<R>> {
        let id = recipient.id();
        self.leave(id);
        let member = Arc::new(Member::enter(recipient, seam, start));
        if self.groups.last().is_none_or(|group| group.len() == GROUP) {
            self.groups.push(Arc::default());
        }
        if let Some(group) = self.groups.last_mut() {
            Arc::make_mut(group).push(member.clone());
        }
        self.groups_by_id.insert(id, self.groups.len() - 1);
        member
    }

    /// Removes a member and returns it; `None` if it is not here. When this returns, nothing
    /// from the room is handed to it any more.
    pub(crate) fn leave(&mut self, id: ConnectionId) -> Option<Arc<Member<R>>> {
        let index = self.groups_by_id.remove(&id)?;
        let group = Arc::make_mut(&mut self.groups[index]);
        let place = group.iter().position(|m| m.recipient.id() == id);
        let left = place.map(|place| group.swap_remove(place));
        if let Some(left) = &left {
            left.leave();
        }
        // The last group alone may have space, so that it is where members enter.
        let last = self.groups.len() - 1;
        let moved = Arc::make_mut(&mut self.groups[last]).pop();
        if let Some(moved) = moved {
            self.groups_by_id.insert(moved.recipient.id(), index);
            Arc::make_mut(&mut self.groups[index]).push(moved);
        }
        if self.groups.last().is_some_and(|group| group.is_empty()) {
            self.groups.pop();
        }
        left
    }

    /// Returns the members of a room that has few.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Member<R>>> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// Returns all present members, to be walked without the room's lock.
    pub(crate) fn snapshot(&self) -> Vec<Group<R>> {
        self.groups.clone()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::recipient::{Gone, LiveGive};

    struct Silent(ConnectionId);

    impl Recipient for Silent {
        fn id(&self) -> ConnectionId {
            self.0
        }

        fn give(&self, _: Bytes) {}

        fn give_live(&self, _: &Bytes) -> LiveGive {
            LiveGive::Taken
        }

        async fn space(&self) -> Result<(), Gone> {
            Ok(())
        }

        fn is_gone(&self) -> bool {
            false
        }
    }

    fn enter(members: &mut Members<Silent>, id: u64) {
        let recipient = Silent(ConnectionId::new(id));
        members.enter(Arc::new(recipient), Seam::default(), Start::Live);
    }

    #[test]
    fn every_group_but_the_last_is_full_whatever_member_leaves() {
        let mut members = Members::default();
        let sizes = |members: &Members<Silent>| -> Vec<usize> {
            members.snapshot().iter().map(|group| group.len()).collect()
        };
        let size = GROUP as u64;
        for id in 0..2 * size + 2 {
            enter(&mut members, id);
        }
        assert_eq!(sizes(&members), [GROUP, GROUP, 2]);
        for (id, expected) in [
            (0, vec![GROUP, GROUP, 1]),
            (2 * size, vec![GROUP, GROUP]),
            (2 * size + 1, vec![GROUP, GROUP - 1]),
            (2 * size - 1, vec![GROUP, GROUP - 2]),
        ] {
            members.leave(ConnectionId::new(id));
            assert_eq!(sizes(&members), expected, "{id} leaves");
        }
        assert_eq!(members.len(), members.iter().count());
        for id in 0..2 * size {
            members.leave(ConnectionId::new(id));
        }
        assert!(members.is_empty() && sizes(&members).is_empty());
    }
}
