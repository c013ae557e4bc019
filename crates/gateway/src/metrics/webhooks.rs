//! What is counted of webhooks.

use std::borrow::Cow;

use chat_domain::ports::Backlog;
use prometheus::{IntGauge, Registry};

use super::counters::Counters;
use super::labels::Label;
use super::register;

/// What became of a call to the product's backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WebhookOutcome {
    Delivered,
    Failed,
    Gone,
}

impl Label for WebhookOutcome {
    const NAME: &'static str = "outcome";

    fn all() -> Vec<Self> {
        vec![Self::Delivered, Self::Failed, Self::Gone]
    }

    fn value(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Gone => "gone",
        })
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// The metrics of webhooks. All are 0 if there are none.
pub(super) struct WebhookMetrics {
    deliveries: Counters<WebhookOutcome>,
    pending: IntGauge,
    parked: IntGauge,
    age: IntGauge,
    paused: IntGauge,
}

impl WebhookMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauge = |name, help| register(registry, IntGauge::new(name, help));
        Self {
            deliveries: Counters::new(
                registry,
                "chat_webhook_deliveries_total",
                "Calls to the receiver of webhooks that this node has made, by outcome.",
            ),
            pending: gauge(
                "chat_webhook_backlog",
                "Webhooks that wait to be delivered, by whichever node.",
            ),
            parked: gauge(
                "chat_webhooks_parked",
                "Webhooks that were given up and are kept.",
            ),
            age: gauge(
                "chat_webhook_backlog_age_seconds",
                "For how long the oldest webhook that is not parked has waited.",
            ),
            paused: gauge(
                "chat_webhooks_paused",
                "Whether the receiver has answered 410 and webhooks are paused: 1 or 0.",
            ),
        }
    }

    pub(super) fn delivery(&self, outcome: WebhookOutcome) {
        self.deliveries.count(outcome);
    }

    pub(super) fn backlog(&self, backlog: &Backlog) {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.pending.set(signed(backlog.pending));
        self.parked.set(signed(backlog.parked));
        self.age.set(signed(backlog.age.as_secs()));
        self.paused.set(i64::from(backlog.is_paused));
    }
}
