//! Where webhooks are sent, and from what they are made.

use std::sync::Arc;

use chat_adapters::SystemClock;
use chat_adapters::webhooks::WebhookReceiver;
use chat_domain::{BoxError, one_line};

use super::Ports;
use crate::config::WebhookConfig;
use crate::metrics::Metrics;
use crate::webhooks::{Calls, Sources, Webhooks};

/// Returns what sends webhooks.
pub(super) fn sender(
    config: &WebhookConfig,
    ports: &Ports,
    metrics: Arc<Metrics>,
) -> Result<Webhooks, BoxError> {
    Ok(Webhooks {
        sources: Sources {
            outbox: ports.outbox.clone(),
            messages: ports.messages.clone(),
            changes: ports.changes.clone(),
            directory: ports.directory.clone(),
        },
        calls: Calls::start(webhook_receiver(config)?)?,
        clock: Arc::new(SystemClock),
        metrics,
        notify_after: config.notify_after,
        first_holder: getrandom::u64()?.cast_signed(),
    })
}

/// Returns where webhooks are sent.
///
/// # Errors
/// They can never be sent.
pub(crate) fn webhook_receiver(config: &WebhookConfig) -> Result<WebhookReceiver, BoxError> {
    let url = &config.url;
    let receiver = WebhookReceiver::new(url.clone(), config.signer.clone())
        .map_err(|error| format!("WEBHOOK_URL: {}", one_line(&*error)))?;
    if url.is_exposed() {
        tracing::warn!(
            %url,
            "webhooks are sent without TLS: others on the network can read and change them"
        );
    }
    Ok(receiver)
}
