//! Stores a batch of messages: one transaction, two round trips.
//!
//! 1. `BEGIN`, and with it the rooms: their counters are locked, in the order of their ids
//!    on every node, and moved by the number of messages that the batch has for them.
//! 2. One statement for the rest: new or renamed authors, read pointers and messages; and
//!    with it `COMMIT`. The statement joins nothing, so that its plan does not depend on
//!    the tables' sizes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chat_domain::{MessageId, NewMessage, Seq, StorageError};
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::error::{Step, TransactionError, unavailable};
use super::session::{Session, in_time};
use super::statements::{BEGIN, BEGIN_PATIENTLY, Columns};
use crate::group_commit::StoreError;
use crate::postgres::rows;

/// How long a transaction waits for the rooms' locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockWait {
    /// A short time, because the other messages of the batch wait too.
    Short,
    /// As long as a sender waits.
    Long,
}

impl Session {
    pub(super) async fn store(
        &self,
        batch: &[Arc<NewMessage>],
        wait: LockWait,
    ) -> Result<Vec<(MessageId, Seq)>, TransactionError> {
        let seqs = self.count(batch, wait).await?;
        // After the commit it would be too late to refuse a counter that is not valid.
        let positions: Result<Vec<_>, _> = seqs.iter().map(|seq| rows::position(*seq)).collect();
        let positions =
            positions.map_err(|error| TransactionError::Refused(StoreError::row(error)))?;
        let columns = Columns::new(batch, &seqs);
        let count = rows::number(batch.len() as u64);
        let parameters: [&(dyn ToSql + Sync); 12] = [
            &columns.users,
            &columns.names,
            &columns.pointer_rooms,
            &columns.pointer_users,
            &columns.pointers,
            &columns.rooms,
            &seqs,
            &columns.authors,
            &columns.contents,
            &columns.client_message_ids,
            &columns.times,
            &count,
        ];
        let insert = self.client.query(&self.insert, &parameters);
        let commit = self.client.batch_execute("COMMIT");
        // Both are sent before either is answered.
        let both = async { Ok::<_, Error>(tokio::join!(biased; insert, commit)) };
        let (inserted, committed) = match in_time(both).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return Err(TransactionError::new(error, Step::Commit)),
            Err(error) => {
                let unknown = StorageError::outcome_unknown(error);
                return Err(TransactionError::Broken(StoreError::Whole(unknown)));
            }
        };
        let inserted = inserted.map_err(|error| TransactionError::new(error, Step::Insert))?;
        committed.map_err(|error| TransactionError::new(error, Step::Commit))?;
        // The order of the rows is not guaranteed.
        let ids: HashMap<(i64, i64), i64> = inserted
            .iter()
            .map(|row| ((row.get(1), row.get(2)), row.get(0)))
            .collect();
        let stored = columns.rooms.iter().zip(&seqs).zip(positions);
        let stored = stored.map(|((room_id, seq), position)| {
            let id = ids.get(&(*room_id, *seq)).copied().unwrap_or_default();
            (MessageId::new(id), position)
        });
        Ok(stored.collect())
    }

    /// Begins the transaction, and takes a number for each message.
    async fn count(
        &self,
        batch: &[Arc<NewMessage>],
        wait: LockWait,
    ) -> Result<Vec<i64>, TransactionError> {
        let mut rooms = BTreeMap::<i64, i64>::new();
        for message in batch {
            *rooms
                .entry(rows::number(message.room_id.get()))
                .or_default() += 1;
        }
        let (ids, counts): (Vec<i64>, Vec<i64>) = rooms.iter().unzip();
        let begin = match wait {
            LockWait::Short => BEGIN,
            LockWait::Long => BEGIN_PATIENTLY,
        };
        let begin = self.client.batch_execute(begin);
        let parameters: [&(dyn ToSql + Sync); 2] = [&ids, &counts];
        let count = self.client.query(&self.count, &parameters);
        // Both are sent before either is answered.
        let both = async { Ok(tokio::join!(biased; begin, count)) };
        let counted = match in_time::<_, Error>(both).await {
            Ok(Ok((Ok(()), Ok(counted)))) => counted,
            Ok(Ok((Err(error), _) | (Ok(()), Err(error))) | Err(error)) => {
                return Err(TransactionError::new(error, Step::Begin));
            }
            Err(error) => return Err(TransactionError::Broken(unavailable(error))),
        };
        // From a room's newest number to its first new one.
        for row in &counted {
            let (id, newest): (i64, i64) = (row.get(0), row.get(1));
            if let Some(number) = rooms.get_mut(&id) {
                *number = newest - *number + 1;
            }
        }
        if counted.len() != rooms.len() {
            let reason = "a room's counter was not moved";
            return Err(TransactionError::Refused(StoreError::row(reason)));
        }
        let seqs = batch.iter().map(|message| {
            let next = rooms
                .entry(rows::number(message.room_id.get()))
                .or_default();
            *next += 1;
            *next - 1
        });
        Ok(seqs.collect())
    }
}
