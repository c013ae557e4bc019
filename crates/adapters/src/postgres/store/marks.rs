//! Moves a batch of read pointers: one transaction, one round trip.

use chat_domain::ports::MarkedRead;
use chat_domain::{ReadState, StorageError};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::error::{CallError, Progress, unavailable};
use super::session::{Session, in_time};
use super::statements::{BEGIN, BEGIN_MARKS};
use crate::group_commit::{Mark, StoreError};
use crate::postgres::rows;

/// How often pointers are tried again that another transaction has moved meanwhile.
const ATTEMPTS: usize = 3;

/// The result of one mark.
enum Moved {
    To(MarkedRead),
    /// The room is of another generation.
    Nowhere,
    /// Another transaction moved the pointer after this one read it, and at least as far.
    Overtaken,
}

impl Session {
    pub(super) async fn mark(&self, marks: &[Mark]) -> Result<Vec<Option<MarkedRead>>, CallError> {
        // A room without messages has no row, and so no result.
        let unmoved = MarkedRead {
            state: ReadState::default(),
            moved: false,
        };
        let mut marked = vec![Some(unmoved); marks.len()];
        let mut places: Vec<usize> = (0..marks.len()).collect();
        for _ in 0..ATTEMPTS {
            let mut overtaken = Vec::new();
            for row in self.move_pointers(marks, &places).await? {
                let (place, moved) = result(&row, &places)
                    .map_err(|error| CallError::Refused(StoreError::Whole(error)))?;
                match moved {
                    Moved::To(to) => marked[place] = Some(to),
                    Moved::Nowhere => marked[place] = None,
                    Moved::Overtaken => overtaken.push(place),
                }
            }
            if overtaken.is_empty() {
                return Ok(marked);
            }
            overtaken.sort_unstable();
            places = overtaken;
        }
        let reason = "other transactions keep moving the same read pointers";
        Err(CallError::Refused(unavailable(reason)))
    }

    /// Moves the pointers of the marks in these places, in one transaction.
    async fn move_pointers(&self, marks: &[Mark], places: &[usize]) -> Result<Vec<Row>, CallError> {
        let marks = || places.iter().map(|place| &marks[*place]);
        let rooms: Vec<_> = marks().map(|m| rows::number(m.room_id.get())).collect();
        let users: Vec<_> = marks().map(|m| m.user_id.as_str()).collect();
        let positions: Vec<_> = marks().map(|m| rows::number(m.position.get())).collect();
        let generations = marks().map(|m| rows::number(m.generation.get()));
        let generations: Vec<_> = generations.collect();
        let parameters: [&(dyn ToSql + Sync); 4] = [&rooms, &users, &positions, &generations];
        let begin = self.client.batch_execute(match places.len() {
            1 => BEGIN,
            _ => BEGIN_MARKS,
        });
        let mark = self.client.query(&self.mark, &parameters);
        let commit = self.client.batch_execute("COMMIT");
        // All are sent before the first is answered.
        let all = async { Ok::<_, Error>(tokio::join!(biased; begin, mark, commit)) };
        // A pointer may be moved twice without harm, so every step is like the first.
        let failed = |error| CallError::new(error, Progress::Harmless);
        let (begun, moved, committed) = match in_time(all).await {
            Ok(all) => all.map_err(failed)?,
            Err(error) => {
                let unknown = StorageError::outcome_unknown(error);
                return Err(CallError::Broken(StoreError::Whole(unknown)));
            }
        };
        begun.map_err(failed)?;
        let moved = moved.map_err(failed)?;
        committed.map_err(failed)?;
        Ok(moved)
    }
}

/// Converts a row: `place, newest, read, moved, overtaken, is_current`.
fn result(row: &Row, places: &[usize]) -> Result<(usize, Moved), StorageError> {
    let place: i64 = row.get(0);
    let place = usize::try_from(place - 1).map_err(StorageError::unavailable)?;
    let moved = match (row.get(5), row.get(4)) {
        (false, _) => Moved::Nowhere,
        (true, true) => Moved::Overtaken,
        (true, false) => Moved::To(MarkedRead {
            state: rows::read_state(Some((row.get(1), Some(row.get(2)))))?,
            moved: row.get(3),
        }),
    };
    Ok((places[place], moved))
}
