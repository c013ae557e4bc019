//! How a use case reaches every node with what it has stored.

use std::sync::Arc;

use crate::ports::{NodeCommand, NodeCommandListener, NodeCommands, NodesUnreachable};

/// This node, if the process is one, and the others.
///
/// What is sent was stored before: a node that cannot be reached finds it there.
#[derive(Clone, Default)]
pub struct EveryNode {
    this: Option<Arc<dyn NodeCommandListener>>,
    nodes: Option<Arc<dyn NodeCommands>>,
}

impl EveryNode {
    /// `this` carries out commands in this process, whether the nodes can be reached or not;
    /// `nodes` reaches all of them. A command that reaches this node both ways must have its
    /// effect once.
    pub fn new(
        this: Option<Arc<dyn NodeCommandListener>>,
        nodes: Option<Arc<dyn NodeCommands>>,
    ) -> Self {
        Self { this, nodes }
    }

    pub(super) async fn tell(&self, command: NodeCommand) -> Result<u64, NodesUnreachable> {
        if let Some(this) = &self.this {
            this.on_command(command.clone());
        }
        match &self.nodes {
            Some(nodes) => nodes.send(command).await,
            None => Ok(self.this.iter().count() as u64),
        }
    }
}

/// What was stored, and which nodes already know.
#[derive(Debug)]
pub struct Imposed<T> {
    /// What is stored.
    pub stored: T,
    /// How many nodes were told. The others, and all of them in case of an error, find it in the
    /// storage within seconds.
    pub told: Result<u64, NodesUnreachable>,
}
