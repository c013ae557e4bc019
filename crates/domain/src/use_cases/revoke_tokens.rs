//! An operator or the product revokes a user's tokens, or lifts the revocation.

use std::sync::Arc;
use std::time::Duration;

use super::{EveryNode, Imposed};
use crate::ports::{Clock, NodeCommand, NodesUnreachable, Sanctions};
use crate::{Revocation, StorageError, Timestamp, UserId};

/// Determines which tokens of a user are refused on all nodes, and closes the connections that
/// use them.
#[derive(Clone)]
pub struct RevokeTokens {
    sanctions: Arc<dyn Sanctions>,
    nodes: EveryNode,
    clock: Arc<dyn Clock>,
}

/// Why tokens are not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeTokensError {
    /// The time is not one at which tokens were issued.
    #[error("issuedBefore must be between 1970 and now")]
    OutOfRange,
    /// The storage failed: it may not be stored, and no node was told.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl RevokeTokens {
    /// How far `issued_before` may be ahead of this node's clock: the clocks of the product and
    /// of the nodes differ. Further ahead is a mistake, for example one of units, which would
    /// lock the user out.
    pub const MAX_AHEAD: Duration = Duration::from_secs(60);

    /// Creates the use case, which stores revocations and tells these nodes about them.
    pub fn new(sanctions: Arc<dyn Sanctions>, nodes: EveryNode, clock: Arc<dyn Clock>) -> Self {
        Self {
            sanctions,
            nodes,
            clock,
        }
    }

    /// Revokes the user's tokens that were issued before a time, by default now, and those that
    /// do not state when they were issued. Returns what is revoked then: if more was revoked
    /// already, it stays revoked.
    ///
    /// # Errors
    /// [`RevokeTokensError`].
    pub async fn execute(
        &self,
        user_id: &UserId,
        issued_before: Option<Timestamp>,
    ) -> Result<Imposed<Revocation>, RevokeTokensError> {
        let now = self.clock.now();
        let issued_before = issued_before.unwrap_or(now);
        let ahead = issued_before
            .unix_millis()
            .saturating_sub(now.unix_millis());
        if issued_before.unix_millis() < 0
            || i128::from(ahead) > Self::MAX_AHEAD.as_millis() as i128
        {
            return Err(RevokeTokensError::OutOfRange);
        }
        let stored = self.sanctions.revoke(user_id, issued_before).await?;
        let told = self.tell(&stored).await;
        Ok(Imposed { stored, told })
    }

    /// Lifts the revocation: the user's tokens are accepted again until they expire. Returns
    /// `None` if nothing was revoked.
    ///
    /// # Errors
    /// [`StorageError`]: it may not be lifted, and no node was told.
    pub async fn lift(
        &self,
        user_id: &UserId,
    ) -> Result<Option<Imposed<Revocation>>, StorageError> {
        let Some(stored) = self.sanctions.lift(user_id).await? else {
            return Ok(None);
        };
        let told = self.tell(&stored).await;
        Ok(Some(Imposed { stored, told }))
    }

    async fn tell(&self, stored: &Revocation) -> Result<u64, NodesUnreachable> {
        let command = NodeCommand::RevokeTokens(stored.clone());
        self.nodes.tell(command).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{MockClock, MockNodeCommandListener, MockSanctions};

    const NOW: i64 = 1_769_860_800_500;

    fn ada() -> UserId {
        UserId::new("42").unwrap()
    }

    fn revocation(issued_before: Option<i64>) -> Revocation {
        Revocation {
            user_id: ada(),
            number: 3,
            issued_before: issued_before.map(Timestamp::from_unix_millis),
        }
    }

    /// Revokes on a node that expects to be told so.
    fn revoke_tokens(sanctions: MockSanctions, told: Option<Revocation>) -> RevokeTokens {
        let mut clock = MockClock::new();
        clock
            .expect_now()
            .return_const(Timestamp::from_unix_millis(NOW));
        let mut this = MockNodeCommandListener::new();
        if let Some(told) = told {
            this.expect_on_command()
                .once()
                .withf(move |command| *command == NodeCommand::RevokeTokens(told.clone()))
                .return_const(());
        }
        let nodes = EveryNode::new(Some(Arc::new(this)), None);
        RevokeTokens::new(Arc::new(sanctions), nodes, Arc::new(clock))
    }

    /// Returns what is asked of the storage for a time.
    async fn asked(issued_before: Option<i64>) -> Result<i64, RevokeTokensError> {
        let mut sanctions = MockSanctions::new();
        let stored = revocation(Some(NOW + 99));
        let answer = stored.clone();
        let (asked, was_asked) = std::sync::mpsc::channel();
        sanctions.expect_revoke().returning(move |_, before| {
            asked.send(before.unix_millis()).unwrap();
            Ok(answer.clone())
        });
        let told = match issued_before {
            Some(before) if !(0..=NOW + 60_000).contains(&before) => None,
            _ => Some(stored.clone()),
        };
        let revoke_tokens = revoke_tokens(sanctions, told);
        let before = issued_before.map(Timestamp::from_unix_millis);
        // What is in force is returned, also if it is more than what was asked for.
        let imposed = revoke_tokens.execute(&ada(), before).await?;
        assert_eq!(imposed.stored, stored);
        Ok(was_asked.recv().unwrap())
    }

    #[pollster::test]
    async fn tokens_are_revoked_as_of_now_or_of_a_time_that_is_not_in_the_future() {
        assert_eq!(asked(None).await.unwrap(), NOW);
        for before in [0, NOW - 1, NOW, NOW + 60_000] {
            assert_eq!(asked(Some(before)).await.unwrap(), before);
        }
        for before in [i64::MIN, -1, NOW + 60_001, NOW * 1000, i64::MAX] {
            let outcome = asked(Some(before)).await;
            assert!(
                matches!(outcome, Err(RevokeTokensError::OutOfRange)),
                "{before} {outcome:?}"
            );
        }
    }

    #[pollster::test]
    async fn a_lifted_revocation_is_told_and_one_that_does_not_exist_is_not() {
        let mut sanctions = MockSanctions::new();
        sanctions
            .expect_lift()
            .returning(|_| Ok(Some(revocation(None))));
        let lifted = revoke_tokens(sanctions, Some(revocation(None)));
        let imposed = lifted.lift(&ada()).await.unwrap().unwrap();
        assert_eq!(imposed.stored, revocation(None));

        let mut sanctions = MockSanctions::new();
        sanctions.expect_lift().returning(|_| Ok(None));
        let none = revoke_tokens(sanctions, None);
        assert!(none.lift(&ada()).await.unwrap().is_none());
    }

    #[pollster::test]
    async fn no_node_is_told_what_was_not_stored() {
        let mut sanctions = MockSanctions::new();
        sanctions
            .expect_revoke()
            .returning(|_, _| Err(StorageError::outcome_unknown("gone")));
        let outcome = revoke_tokens(sanctions, None).execute(&ada(), None).await;
        assert!(matches!(outcome, Err(RevokeTokensError::Storage(_))));
    }
}
