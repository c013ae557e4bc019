//! A user watches the rooms in which it has membership.

use std::sync::Arc;

use crate::ports::Inbox;
use crate::{Identity, StorageError};

/// Begins to watch a user's inbox.
#[derive(Clone)]
pub struct WatchRooms {
    inbox: Arc<dyn Inbox>,
}

/// Why rooms are not watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchRoomsError {
    /// The rooms could not be read.
    #[error("the rooms cannot be read now")]
    Storage(#[source] StorageError),
}

impl WatchRooms {
    /// Creates the use case over this inbox.
    pub fn new(inbox: Arc<dyn Inbox>) -> Self {
        Self { inbox }
    }

    /// Begins to watch, then returns the number of unread messages in all rooms of the user that
    /// its token allows: what changes after that number was read is not missed.
    ///
    /// # Errors
    /// [`WatchRoomsError`], also if `begin` fails.
    pub async fn execute(
        &self,
        identity: &Identity,
        begin: impl Future<Output = Result<(), StorageError>>,
    ) -> Result<u64, WatchRoomsError> {
        begin.await.map_err(WatchRoomsError::Storage)?;
        let (user_id, access) = (&identity.user.id, &identity.rooms);
        let unread = self.inbox.unread_total(user_id, access).await;
        unread.map_err(WatchRoomsError::Storage)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::ports::MockInbox;
    use crate::use_cases::permits::tests::identity;

    #[pollster::test]
    async fn the_watch_begins_before_the_number_is_read() {
        static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
        let mut inbox = MockInbox::new();
        inbox
            .expect_unread_total()
            .once()
            .returning(|user, access| {
                assert!(HAS_BEGUN.load(Ordering::SeqCst));
                assert_eq!((user, access), (&identity().user.id, &identity().rooms));
                Ok(7)
            });
        let begin = async {
            HAS_BEGUN.store(true, Ordering::SeqCst);
            Ok(())
        };
        let watch = WatchRooms::new(Arc::new(inbox));
        let unread = watch.execute(&identity(), begin).await;
        assert_eq!(unread.unwrap(), 7);
    }

    #[pollster::test]
    async fn nothing_is_read_if_the_watch_cannot_begin() {
        let watch = WatchRooms::new(Arc::new(MockInbox::new()));
        let begin = async { Err(StorageError::unavailable("gone")) };
        let failed = watch.execute(&identity(), begin).await;
        let Err(WatchRoomsError::Storage(StorageError::Unavailable(_))) = failed else {
            panic!("{failed:?}");
        };
    }
}
