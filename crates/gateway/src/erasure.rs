//! Erases users whose erasure was requested, in the background: step by step, with pauses, so that
//! others keep most of the database's time.

use std::sync::Arc;
use std::time::Duration;

use chat_domain::use_cases::{Actor, ErasureStep, RulesRequest};
use chat_domain::{StorageError, one_line};
use tokio::time::{Instant, sleep};

use crate::clients::Clients;
use crate::gateway::Gateway;
use crate::limits::{
    DELETION_BATCH_TIME, DELETION_PAUSE_FACTOR, ERASURE_MAX_ROWS, ERASURE_MIN_ROWS,
    ERASURE_POLL_INTERVAL,
};
use crate::rules;

/// Carries out erasures. Every node does so; a user is erased by one of them at a time. Runs until
/// it is dropped.
pub(crate) async fn erase_users(gateway: Arc<Gateway>, clients: Arc<Clients>) {
    let mut size = ERASURE_MIN_ROWS;
    loop {
        let began = Instant::now();
        let outcome = gateway.erase_user.step(size).await;
        let took = began.elapsed();
        match outcome {
            Ok(Some(step)) => {
                notify(&gateway, &clients, step).await;
                size = next_size(size, took);
                sleep(took * DELETION_PAUSE_FACTOR).await;
            }
            Ok(None) => sleep(ERASURE_POLL_INTERVAL).await,
            Err(error) => {
                log_failure(&error);
                size = ERASURE_MIN_ROWS;
                sleep(ERASURE_POLL_INTERVAL).await;
            }
        }
    }
}

/// Lets the end of memberships, bans and mutes take effect, as if the product had ended them.
async fn notify(gateway: &Gateway, clients: &Clients, step: ErasureStep) {
    for ended in step.ended {
        let request = RulesRequest::User {
            user_id: step.user_id.clone(),
            change: ended.change,
        };
        rules::changed(
            gateway,
            clients,
            Actor::Product,
            ended.room_id,
            &request,
            &ended.changed,
        )
        .await;
    }
    if step.is_over {
        // Without the id: a log must not keep what was erased.
        tracing::info!("user erased");
    }
}

/// During an outage, this is one line of many, and the others say more.
fn log_failure(error: &StorageError) {
    tracing::debug!(error = %one_line(error), "a part of a user cannot be erased now");
}

/// Returns the size of the next batch, so that it takes about as long as it should.
fn next_size(size: usize, took: Duration) -> usize {
    let next = if took > DELETION_BATCH_TIME {
        size / 2
    } else if took < DELETION_BATCH_TIME / 2 {
        size + size / 2
    } else {
        size
    };
    next.clamp(ERASURE_MIN_ROWS, ERASURE_MAX_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_batches_follows_the_time_that_they_take() {
        let slow = DELETION_BATCH_TIME * 2;
        let mut size = ERASURE_MIN_ROWS;
        for _ in 0..20 {
            size = next_size(size, Duration::ZERO);
        }
        assert_eq!(size, ERASURE_MAX_ROWS);
        assert_eq!(next_size(size, DELETION_BATCH_TIME), size);
        assert_eq!(next_size(size, slow), size / 2);
        assert_eq!(next_size(ERASURE_MIN_ROWS, slow), ERASURE_MIN_ROWS);
    }
}
