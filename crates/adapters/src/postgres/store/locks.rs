//! Finds the rooms of a batch that another transaction has locked.

use std::sync::Arc;

use chat_domain::{NewMessage, RoomId};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row};

use super::session::Session;
use super::statements::{BEGIN_PROBE, FIND, FIND_FREE, TRY_NEW};
use crate::postgres::rows;

impl Session {
    /// Returns the rooms that another transaction has locked or is creating. Probes them in
    /// transactions that are rolled back, so that no room stays locked.
    pub(super) async fn find_locked(
        &self,
        batch: &[Arc<NewMessage>],
    ) -> Result<Vec<RoomId>, Error> {
        let mut rooms: Vec<_> = batch.iter().map(|message| message.room_id).collect();
        rooms.sort_unstable();
        rooms.dedup();
        let ids: Vec<i64> = rooms.iter().map(|id| rows::number(id.get())).collect();
        let id = |row: &Row| row.get::<_, i64>(0);
        self.client.batch_execute(BEGIN_PROBE).await?;
        let stored = self.client.query(FIND, &[&ids]).await;
        let free = self.client.query(FIND_FREE, &[&ids]).await;
        self.client.batch_execute("ROLLBACK").await?;
        let (Ok(stored), Ok(free)) = (stored, free) else {
            // The whole table is locked.
            return Ok(Vec::new());
        };
        let stored: Vec<i64> = stored.iter().map(id).collect();
        let free: Vec<i64> = free.iter().map(id).collect();
        let mut locked = Vec::new();
        for (room, id) in rooms.into_iter().zip(ids) {
            let is_locked = match stored.contains(&id) {
                true => !free.contains(&id),
                false => self.is_being_created(id).await?,
            };
            if is_locked {
                locked.push(room);
            }
        }
        Ok(locked)
    }

    async fn is_being_created(&self, id: i64) -> Result<bool, Error> {
        self.client.batch_execute(BEGIN_PROBE).await?;
        let tried = self.client.execute(TRY_NEW, &[&id]).await;
        self.client.batch_execute("ROLLBACK").await?;
        let code = tried.as_ref().err().and_then(Error::code);
        Ok(code == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }
}
