//! Finds the items of a batch that are at fault.

use std::time::Instant;

use super::error::BatchError;
use super::{BATCH_DEADLINE, StoreError};

/// How often a batch fails before the rest of it is refused. It is enough to find three items
/// of any batch. If the server refuses whatever it is sent, more would only occupy it.
const FAILURES: usize = 32;

/// An item of the batches that a store carries out.
pub(super) trait Item<S>: Sized + Send + Sync {
    type Outcome: Send;

    /// Carries out all of these items, or none. Returns the outcome of each, in their order.
    fn carry_out(
        store: &mut S,
        items: &[Self],
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, StoreError>> + Send;

    fn answer(self, outcome: Result<Self::Outcome, &BatchError>);
}

/// Carries out a batch, in halves if one of its items is at fault, and answers each item. A
/// batch that fails otherwise is not tried again.
pub(super) async fn in_halves<S: Send, T: Item<S>>(store: &mut S, batch: Vec<T>) {
    let fail = |part: Vec<T>, error: &BatchError| {
        part.into_iter().for_each(|item| item.answer(Err(error)));
    };
    let (began, mut failures) = (Instant::now(), 0);
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        if began.elapsed() > BATCH_DEADLINE {
            fail(part, &BatchError::unavailable("the batch took too long"));
            continue;
        }
        let reason = match T::carry_out(store, &part).await {
            Ok(outcomes) => {
                for (item, outcome) in part.into_iter().zip(outcomes) {
                    item.answer(Ok(outcome));
                }
                continue;
            }
            Err(StoreError::Whole(error)) => {
                let error = BatchError::from(error);
                fail(part, &error);
                let error = error.for_untried();
                parts.drain(..).for_each(|part| fail(part, &error));
                continue;
            }
            Err(StoreError::Row(reason)) => reason,
            Err(StoreError::Repeat) => "a row exists already".into(),
        };
        failures += 1;
        if part.len() > 1 && failures < FAILURES {
            let second = part.split_off(part.len() / 2);
            parts.extend([second, part]);
        } else {
            fail(part, &BatchError::unavailable(reason));
        }
    }
}
