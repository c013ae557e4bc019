//! An operator or the product closes a user's connections.

use std::sync::Arc;

use super::{EveryNode, Imposed};
use crate::ports::{NodeCommand, Sanctions};
use crate::{Disconnection, StorageError, UserId};

/// Closes the connections of a user on all nodes. The user may connect again.
#[derive(Clone)]
pub struct DisconnectUser {
    sanctions: Arc<dyn Sanctions>,
    nodes: EveryNode,
}

impl DisconnectUser {
    /// Creates the use case, which stores disconnections and tells these nodes about them.
    pub fn new(sanctions: Arc<dyn Sanctions>, nodes: EveryNode) -> Self {
        Self { sanctions, nodes }
    }

    /// Stores the disconnection, then tells the nodes. A node closes the connections that the
    /// user has when it learns of it. Those that are known to be newer than the disconnection are
    /// left alone.
    ///
    /// # Errors
    /// [`StorageError`]: it may not be stored, and no node was told.
    pub async fn execute(&self, user_id: &UserId) -> Result<Imposed<Disconnection>, StorageError> {
        let stored = self.sanctions.disconnect(user_id).await?;
        let command = NodeCommand::DisconnectUser(stored.clone());
        let told = self.nodes.tell(command).await;
        Ok(Imposed { stored, told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{
        MockNodeCommandListener, MockNodeCommands, MockSanctions, NodesUnreachable,
    };

    fn stored() -> Disconnection {
        Disconnection {
            user_id: UserId::new("42").unwrap(),
            number: Some(7),
        }
    }

    fn sanctions(outcome: fn() -> Result<Disconnection, StorageError>) -> Arc<MockSanctions> {
        let mut sanctions = MockSanctions::new();
        sanctions
            .expect_disconnect()
            .once()
            .withf(|user_id| user_id.as_str() == "42")
            .returning(move |_| outcome());
        Arc::new(sanctions)
    }

    /// Expects to be told once.
    fn this_node() -> Arc<MockNodeCommandListener> {
        let mut this = MockNodeCommandListener::new();
        this.expect_on_command()
            .once()
            .withf(|command| *command == NodeCommand::DisconnectUser(stored()))
            .return_const(());
        Arc::new(this)
    }

    #[pollster::test]
    async fn this_node_is_told_even_if_the_others_cannot_be() {
        for reached in [Some(2), None] {
            let mut nodes = MockNodeCommands::new();
            nodes
                .expect_send()
                .once()
                .withf(|command| *command == NodeCommand::DisconnectUser(stored()))
                .returning(move |_| reached.ok_or_else(|| NodesUnreachable("cut off".into())));
            let nodes = EveryNode::new(Some(this_node()), Some(Arc::new(nodes)));
            let disconnect = DisconnectUser::new(sanctions(|| Ok(stored())), nodes);
            let user_id = UserId::new("42").unwrap();
            let imposed = disconnect.execute(&user_id).await.unwrap();
            assert_eq!(imposed.stored, stored());
            assert_eq!(imposed.told.ok(), reached);
        }
    }

    #[pollster::test]
    async fn a_node_without_others_is_told() {
        let nodes = EveryNode::new(Some(this_node()), None);
        let disconnect = DisconnectUser::new(sanctions(|| Ok(stored())), nodes);
        let imposed = disconnect.execute(&UserId::new("42").unwrap()).await;
        assert_eq!(imposed.unwrap().told.unwrap(), 1);
    }

    #[pollster::test]
    async fn no_node_is_told_what_was_not_stored() {
        let nodes = EveryNode::new(
            Some(Arc::new(MockNodeCommandListener::new())),
            Some(Arc::new(MockNodeCommands::new())),
        );
        let failing = sanctions(|| Err(StorageError::unavailable("gone")));
        let disconnect = DisconnectUser::new(failing, nodes);
        let outcome = disconnect.execute(&UserId::new("42").unwrap()).await;
        assert!(matches!(outcome, Err(StorageError::Unavailable(_))));
    }
}
