//! Stores what operators impose on users.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Disconnection, Revocation, StorageError, Timestamp, UserId};

/// Stores revocations of tokens and disconnections of users, and tells every node about them.
///
/// Revocations stay until they are lifted. Disconnections are of interest for a while only: they
/// may be forgotten after [`DISCONNECTION_LIFETIME`].
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Sanctions: Send + Sync {
    /// Revokes the user's tokens that were issued before a time between 1970 and 9999, and
    /// returns what is revoked then: a revocation never becomes a smaller one. It is stored when
    /// this returns.
    ///
    /// # Errors
    /// [`StorageError`]. After [`StorageError::OutcomeUnknown`], a repetition is safe.
    async fn revoke(
        &self,
        user_id: &UserId,
        issued_before: Timestamp,
    ) -> Result<Revocation, StorageError>;

    /// Lifts a user's revocation. Returns the state after that, or `None` if nothing was revoked.
    ///
    /// # Errors
    /// As [`revoke`](Self::revoke).
    async fn lift(&self, user_id: &UserId) -> Result<Option<Revocation>, StorageError>;

    /// Notes that the user's connections are to be closed. It is stored when this returns.
    ///
    /// # Errors
    /// As [`revoke`](Self::revoke).
    async fn disconnect(&self, user_id: &UserId) -> Result<Disconnection, StorageError>;

    /// Returns at most `limit` revocations in the order of their users' ids, after that of a
    /// user, including those that are lifted. A shorter page is the last one.
    ///
    /// # Errors
    /// [`StorageError`].
    async fn revocations(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Revocation>, StorageError>;

    /// Returns what was imposed or lifted since an earlier call returned this cursor. Whatever is
    /// committed when this is called is in its answer, or was in that of an earlier call; it may
    /// be in several.
    ///
    /// Without a cursor, or with one that means nothing to this storage (for example since it was
    /// restored or restarted), the revocations are unknown, and the caller has to read all of
    /// them after this call. The disconnections are then all that storage has.
    ///
    /// # Errors
    /// [`StorageError`].
    async fn sanctions_since(
        &self,
        cursor: Option<SanctionsCursor>,
    ) -> Result<RecentSanctions, StorageError>;
}

/// How long a disconnection is kept at least. A node that cannot read it for so long does not
/// carry it out.
pub const DISCONNECTION_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// A point in the history of sanctions, as storage represents it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SanctionsCursor(Box<str>);

impl SanctionsCursor {
    /// Wraps storage's representation.
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Self(value.into())
    }

    /// Returns storage's representation.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was imposed or lifted since a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentSanctions {
    /// For the next call.
    pub cursor: SanctionsCursor,
    /// The state of each revocation that has changed, in no order. `None`: it is unknown which
    /// have.
    pub revocations: Option<Vec<Revocation>>,
    /// The disconnections, in no order.
    pub disconnections: Vec<RecentDisconnection>,
}

/// A disconnection, and how long ago it was stored, by the clock of the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentDisconnection {
    /// The disconnection.
    pub disconnection: Disconnection,
    /// The time from when it was stored until it was read.
    pub age: Duration,
}
