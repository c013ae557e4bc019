//! The rooms in which a user has membership are listed, for the user or for the product.

use std::sync::Arc;

use super::{ListMessages, PageLimit};
use crate::ports::{Inbox, InboxPosition};
use crate::{Identity, RoomAccess, RoomId, StorageError, Summary, UserId};

/// Returns pages of a user's inbox.
#[derive(Clone)]
pub struct ListRooms {
    inbox: Arc<dyn Inbox>,
    encode: EncodeSummary,
}

/// Encodes a summary in the form that clients receive.
pub type EncodeSummary = fn(&Summary) -> Box<str>;

/// The maximum number of rooms in a page: 1 to [`InboxLimit::MAX`], by default 50.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxLimit(usize);

impl InboxLimit {
    /// The largest limit.
    pub const MAX: usize = 100;

    /// Creates a limit; `None` for 0 and above [`Self::MAX`].
    pub fn new(limit: usize) -> Option<Self> {
        (1..=Self::MAX).contains(&limit).then_some(Self(limit))
    }
}

impl Default for InboxLimit {
    fn default() -> Self {
        Self(50)
    }
}

/// A page of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomsPage {
    /// The rooms, those with the newest activity first.
    pub rooms: Vec<EncodedSummary>,
    /// Where the next page begins, if there is one.
    pub next: Option<InboxPosition>,
    /// The number of unread messages in all rooms of the inbox.
    pub unread_total: u64,
}

/// A room's summary in the form that clients receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedSummary {
    /// The room.
    pub room_id: RoomId,
    /// The summary.
    pub encoded: Box<str>,
}

/// Why rooms are not returned.
#[derive(Debug, thiserror::Error)]
pub enum ListRoomsError {
    /// The rooms could not be read.
    #[error("the rooms cannot be read now")]
    Storage(#[source] StorageError),
}

impl ListRooms {
    /// The maximum size of a page, in bytes of encoded summaries. A page that would exceed it
    /// ends early. One summary may exceed it.
    pub const MAX_PAGE_BYTES: usize = ListMessages::MAX_PAGE_BYTES;

    /// Creates the use case over this inbox.
    pub fn new(inbox: Arc<dyn Inbox>, encode: EncodeSummary) -> Self {
        Self { inbox, encode }
    }

    /// Returns the rooms after this position. Those that the user's token does not allow do not
    /// exist for the user: they are neither listed nor counted.
    ///
    /// # Errors
    /// [`ListRoomsError`].
    pub async fn execute(
        &self,
        identity: &Identity,
        after: Option<InboxPosition>,
        limit: InboxLimit,
    ) -> Result<RoomsPage, ListRoomsError> {
        self.page(&identity.user.id, &identity.rooms, after, limit)
            .await
    }

    /// Returns the rooms of any user after this position, as the product sees them: it presents no
    /// token that could hide some. A page has at most [`InboxLimit::MAX`] of them, also if the
    /// limit is larger.
    ///
    /// # Errors
    /// [`ListRoomsError`].
    pub async fn execute_for_product(
        &self,
        user_id: &UserId,
        after: Option<InboxPosition>,
        limit: PageLimit,
    ) -> Result<RoomsPage, ListRoomsError> {
        let limit = InboxLimit(limit.get().min(InboxLimit::MAX));
        self.page(user_id, &RoomAccess::All, after, limit).await
    }

    /// Returns the number of unread messages in all rooms of any user, as the product sees them.
    ///
    /// # Errors
    /// [`ListRoomsError`].
    pub async fn unread_total_for_product(&self, user_id: &UserId) -> Result<u64, ListRoomsError> {
        let total = self.inbox.unread_total(user_id, &RoomAccess::All).await;
        total.map_err(ListRoomsError::Storage)
    }

    async fn page(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
        after: Option<InboxPosition>,
        limit: InboxLimit,
    ) -> Result<RoomsPage, ListRoomsError> {
        let page = self.inbox.page(user_id, access, after, limit.0).await;
        let page = page.map_err(ListRoomsError::Storage)?;
        let (mut rooms, mut bytes, mut last) = (Vec::new(), 0, None);
        let mut has_more = page.has_more;
        for room in page.rooms {
            let encoded = (self.encode)(&room.summary);
            bytes += encoded.len();
            if bytes > Self::MAX_PAGE_BYTES && !rooms.is_empty() {
                has_more = true;
                break;
            }
            last = Some(room.position);
            rooms.push(EncodedSummary {
                room_id: room.position.room_id,
                encoded,
            });
        }
        Ok(RoomsPage {
            rooms,
            next: last.filter(|_| has_more),
            unread_total: page.unread_total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{InboxPage, ListedRoom, MockInbox};
    use crate::use_cases::permits::tests::{identity, room};
    use crate::{MemberView, Metadata, Notify, Role, RoomKind, RoomOverview, Seq};

    fn position(number: u64) -> InboxPosition {
        InboxPosition {
            activity: 100 - number,
            room_id: room(number),
        }
    }

    fn listed(number: u64) -> ListedRoom {
        let overview = RoomOverview {
            room_id: room(number),
            kind: RoomKind::Private,
            name: None,
            metadata: Metadata::default(),
            newest: Seq::START,
            rev: crate::Rev::START,
            last_message: None,
        };
        let member = MemberView {
            role: Role::Member,
            notify: Notify::All,
            read: Seq::START,
            mentions: 0,
        };
        ListedRoom {
            position: position(number),
            summary: Summary {
                room: Arc::new(overview),
                member,
            },
        }
    }

    /// Lists an inbox of the rooms 1 to 3, of which one page of the port has these.
    async fn list(rooms: &[u64], encode: EncodeSummary) -> RoomsPage {
        let mut inbox = MockInbox::new();
        let page = InboxPage {
            rooms: rooms.iter().copied().map(listed).collect(),
            has_more: rooms.last().is_some_and(|number| *number < 3),
            unread_total: 7,
        };
        inbox
            .expect_page()
            .once()
            .withf(|user, access, after, limit| {
                let of = identity();
                (user, access, *after, *limit) == (&of.user.id, &of.rooms, Some(position(9)), 2)
            })
            .return_once(|_, _, _, _| Ok(page));
        let list = ListRooms::new(Arc::new(inbox), encode);
        let limit = InboxLimit::new(2).unwrap();
        list.execute(&identity(), Some(position(9)), limit)
            .await
            .unwrap()
    }

    fn number(summary: &Summary) -> Box<str> {
        summary.room.room_id.get().to_string().into()
    }

    /// Two of these fill a page.
    fn half(_: &Summary) -> Box<str> {
        "x".repeat(ListRooms::MAX_PAGE_BYTES / 2).into()
    }

    /// Two of these exceed a page.
    fn large(_: &Summary) -> Box<str> {
        "x".repeat(ListRooms::MAX_PAGE_BYTES / 2 + 1).into()
    }

    /// One of these exceeds a page.
    fn huge(_: &Summary) -> Box<str> {
        "x".repeat(ListRooms::MAX_PAGE_BYTES + 1).into()
    }

    #[pollster::test]
    async fn a_page_states_where_the_next_one_begins() {
        for (rooms, next) in [
            (&[1, 2][..], Some(2)),
            (&[2, 3], None),
            (&[3], None),
            (&[], None),
        ] {
            let page = list(rooms, number).await;
            let listed: Vec<_> = page.rooms.iter().map(|room| room.room_id.get()).collect();
            assert!(
                page.rooms
                    .iter()
                    .all(|room| *room.encoded == *room.room_id.to_string())
            );
            assert_eq!(listed, rooms);
            assert_eq!((page.next, page.unread_total), (next.map(position), 7));
        }
    }

    #[pollster::test]
    async fn a_page_of_large_summaries_ends_early() {
        for (encode, rooms, length, next) in [
            (half as EncodeSummary, [1, 2], 2, Some(2)),
            (half, [2, 3], 2, None),
            (large, [2, 3], 1, Some(2)),
            (huge, [2, 3], 1, Some(2)),
        ] {
            let page = list(&rooms, encode).await;
            assert_eq!((page.rooms.len(), page.next), (length, next.map(position)));
        }
        assert_eq!(list(&[3], huge).await.next, None);
    }

    #[pollster::test]
    async fn the_product_sees_all_rooms_in_pages_of_at_most_100() {
        for (limit, asked) in [(1, 1), (100, 100), (101, 100), (200, 100)] {
            let mut inbox = MockInbox::new();
            inbox
                .expect_page()
                .once()
                .withf(move |user_id, access, after, limit| {
                    let after_is_kept = *after == Some(position(9));
                    user_id.as_str() == "42"
                        && *access == RoomAccess::All
                        && after_is_kept
                        && *limit == asked
                })
                .return_once(|_, _, _, _| Ok(InboxPage::default()));
            inbox
                .expect_unread_total()
                .once()
                .withf(|user_id, access| user_id.as_str() == "42" && *access == RoomAccess::All)
                .return_once(|_, _| Ok(7));
            let list = ListRooms::new(Arc::new(inbox), number);
            let user_id = UserId::new("42").unwrap();
            let limit = PageLimit::new(limit).unwrap();
            let page = list.execute_for_product(&user_id, Some(position(9)), limit);
            assert!(page.await.unwrap().rooms.is_empty());
            let total = list.unread_total_for_product(&user_id).await;
            assert_eq!(total.unwrap(), 7);
        }
    }

    #[pollster::test]
    async fn unavailable_storage_is_an_error_and_not_an_empty_page() {
        let mut inbox = MockInbox::new();
        inbox
            .expect_page()
            .return_once(|_, _, _, _| Err(StorageError::unavailable("gone")));
        let list = ListRooms::new(Arc::new(inbox), number);
        let outcome = list.execute(&identity(), None, InboxLimit::default()).await;
        assert!(matches!(outcome, Err(ListRoomsError::Storage(_))));
    }

    #[test]
    fn a_limit_ranges_from_1_to_100() {
        assert!(InboxLimit::new(0).is_none() && InboxLimit::new(101).is_none());
        assert!(InboxLimit::new(1).is_some() && InboxLimit::new(100).is_some());
        assert_eq!(InboxLimit::default(), InboxLimit::new(50).unwrap());
    }
}
