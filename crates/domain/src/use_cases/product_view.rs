//! The product reads rooms. Their rules do not bind it.

use std::sync::Arc;

use super::{
    ChangesRead, ListChanges, ListMessages, ListMessagesError, Page, PageLimit, PageStart, Permits,
    RoomView,
};
use crate::ports::{
    MemberPage, RoomPage, RoomRepository, RoomSnapshot, SanctionKind, SanctionPage,
};
use crate::{Access, Permit, Rev, RoomId, Seq, StorageError, UserId};

/// Reads rooms for the product's backend. A room exists if it has a message or settings.
#[derive(Clone)]
pub struct ProductView {
    permits: Permits,
    rooms: Arc<dyn RoomRepository>,
    list_messages: ListMessages,
    list_changes: ListChanges,
}

/// Why the product does not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ProductViewError {
    /// The room has neither messages nor settings.
    #[error("room not found")]
    NotFound,
    /// Storage failed.
    #[error("the room cannot be read now")]
    Storage(#[from] StorageError),
}

impl ProductView {
    /// Creates the use case over these rules, rooms and messages.
    pub fn new(
        permits: Permits,
        rooms: Arc<dyn RoomRepository>,
        list_messages: ListMessages,
        list_changes: ListChanges,
    ) -> Self {
        Self {
            permits,
            rooms,
            list_messages,
            list_changes,
        }
    }

    /// Returns a room.
    ///
    /// # Errors
    /// [`ProductViewError`].
    pub async fn room(&self, room_id: RoomId) -> Result<RoomView, ProductViewError> {
        let snapshot = self.existing(room_id).await?;
        Ok(RoomView {
            rules: self.permits.rules_of(&snapshot),
            settings: snapshot.settings,
        })
    }

    /// Returns the snapshot of a room that exists and is not being deleted.
    async fn existing(&self, room_id: RoomId) -> Result<RoomSnapshot, ProductViewError> {
        let snapshot = self.permits.snapshot(room_id, &[]).await?;
        if snapshot.is_closed() {
            return Err(ProductViewError::NotFound);
        }
        if snapshot.settings.is_none() {
            self.require_message(room_id).await?;
        }
        Ok(snapshot)
    }

    /// Returns the rooms with settings after this one.
    ///
    /// # Errors
    /// [`ProductViewError::Storage`].
    pub async fn rooms(
        &self,
        after: Option<RoomId>,
        limit: PageLimit,
    ) -> Result<RoomPage, ProductViewError> {
        Ok(self.permits.directory().rooms(after, limit.get()).await?)
    }

    /// Returns a room's members after this user.
    ///
    /// # Errors
    /// [`ProductViewError`].
    pub async fn members(
        &self,
        room_id: RoomId,
        after: Option<UserId>,
        limit: PageLimit,
    ) -> Result<MemberPage, ProductViewError> {
        let page = self.permits.members(room_id, after, limit.get()).await?;
        self.existing(room_id).await?;
        Ok(page)
    }

    /// Returns the users that a room has banned or muted, after this user.
    ///
    /// # Errors
    /// [`ProductViewError`].
    pub async fn sanctions(
        &self,
        room_id: RoomId,
        kind: SanctionKind,
        after: Option<UserId>,
        limit: PageLimit,
    ) -> Result<SanctionPage, ProductViewError> {
        let directory = self.permits.directory();
        let page = directory.sanctions(room_id, kind, after, limit.get());
        let page = page.await?;
        self.existing(room_id).await?;
        Ok(page)
    }

    /// Returns a page of a room's messages.
    ///
    /// # Errors
    /// [`ProductViewError`].
    pub async fn messages(
        &self,
        room_id: RoomId,
        start: PageStart,
        limit: PageLimit,
    ) -> Result<Page, ProductViewError> {
        let access = self.access(room_id).await?;
        let list = &self.list_messages;
        let page = list.execute(access, None, room_id, start, limit).await;
        page.map_err(ProductViewError::of)
    }

    /// Returns a page of a room's messages that changed after this number.
    ///
    /// # Errors
    /// [`ProductViewError`].
    pub async fn changes(
        &self,
        room_id: RoomId,
        after: Rev,
        limit: PageLimit,
    ) -> Result<ChangesRead, ProductViewError> {
        let access = self.access(room_id).await?;
        let list = &self.list_changes;
        let page = list.execute(access, None, room_id, after, limit).await;
        page.map_err(ProductViewError::of)
    }

    async fn access(&self, room_id: RoomId) -> Result<Access, ProductViewError> {
        Ok(Access::Joined(Permit {
            generation: self.existing(room_id).await?.generation,
            ..Permit::OPEN
        }))
    }

    async fn require_message(&self, room_id: RoomId) -> Result<(), ProductViewError> {
        let found = self.rooms.newest(&[room_id]).await?;
        match found.iter().any(|room| room.newest > Seq::START) {
            true => Ok(()),
            false => Err(ProductViewError::NotFound),
        }
    }
}

impl ProductViewError {
    fn of(error: ListMessagesError) -> Self {
        match error {
            ListMessagesError::Storage(error) => Self::Storage(error),
            // The room has been deleted meanwhile.
            ListMessagesError::Denied(_) => Self::NotFound,
        }
    }
}
