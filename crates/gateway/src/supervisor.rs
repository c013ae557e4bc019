//! The tasks that must run as long as the gateway: if one ends, the gateway is not alive.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use tokio::task::{Id, JoinError, JoinSet};

/// Whether every task that must run is running.
#[derive(Debug, Default, Clone)]
pub(crate) struct Liveness(Arc<OnceLock<&'static str>>);

impl Liveness {
    /// Returns the name of the task that has ended, if one has.
    pub(crate) fn failure(&self) -> Option<&'static str> {
        self.0.get().copied()
    }
}

/// Owns the tasks that must run. Dropping it stops them.
#[derive(Default)]
pub(crate) struct Supervisor {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    liveness: Liveness,
}

impl Supervisor {
    /// Creates a supervisor that reports to `liveness`.
    pub(crate) fn new(liveness: Liveness) -> Self {
        Self {
            liveness,
            ..Self::default()
        }
    }

    /// Starts a task that must never end.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(task);
        self.names.insert(task.id(), name);
    }

    /// Completes when one of the tasks has ended, and returns its name.
    pub(crate) async fn failed(&mut self) -> &'static str {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, error) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (JoinError::id(&error), Some(error)),
        };
        let name = self.names.get(&id).copied().unwrap_or("a task");
        tracing::error!(
            task = name,
            error = error.map(tracing::field::display),
            "a task that must keep running has ended"
        );
        self.liveness.0.set(name).ok();
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_is_reported_by_name() {
        async fn panics() {
            panic!("on purpose");
        }
        for (name, panicking) in [("ends", false), ("panics", true)] {
            let liveness = Liveness::default();
            let mut supervisor = Supervisor::new(liveness.clone());
            supervisor.spawn("runs", std::future::pending());
            assert_eq!(liveness.failure(), None);
            match panicking {
                false => supervisor.spawn(name, async {}),
                true => supervisor.spawn(name, panics()),
            }
            assert_eq!(supervisor.failed().await, name);
            assert_eq!(liveness.failure(), Some(name));
        }
    }
}
