//! What is counted about the access hook.

use std::borrow::Cow;

use chat_adapters::access_hook::{AccessHookObserver, AnsweredBy, CallOutcome};
use prometheus::{IntGauge, Registry};

use super::counters::Counters;
use super::labels::Label;
use super::{Metrics, register};

/// The metrics of the access hook, which are 0 without one.
pub(super) struct AccessMetrics {
    calls: Counters<CallOutcome>,
    joins: Counters<AnsweredBy>,
    breaker_open: IntGauge,
}

impl AccessMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            calls: Counters::new(
                registry,
                "chat_access_hook_calls_total",
                "Calls of the access hook, by outcome.",
            ),
            joins: Counters::new(
                registry,
                "chat_access_hook_joins_total",
                "Joins that needed an answer of the access hook, by what it came from.",
            ),
            breaker_open: register(
                registry,
                IntGauge::new(
                    "chat_access_hook_breaker_open",
                    "Whether the access hook is not called because it has not answered: 1 or 0.",
                ),
            ),
        }
    }
}

impl AccessHookObserver for Metrics {
    fn called(&self, outcome: CallOutcome) {
        self.access.calls.count(outcome);
    }

    fn asked(&self, answered_by: AnsweredBy) {
        self.access.joins.count(answered_by);
    }

    fn breaker(&self, is_open: bool) {
        self.access.breaker_open.set(i64::from(is_open));
    }
}

impl Label for CallOutcome {
    const NAME: &'static str = "outcome";

    fn all() -> Vec<Self> {
        vec![
            Self::Allowed,
            Self::Denied,
            Self::Timeout,
            Self::Connection,
            Self::Status,
            Self::Body,
        ]
    }

    fn value(self) -> Cow<'static, str> {
        let value = match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Status => "status",
            Self::Body => "body",
        };
        value.into()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for AnsweredBy {
    const NAME: &'static str = "answered_by";

    fn all() -> Vec<Self> {
        vec![
            Self::Cache,
            Self::SharedCall,
            Self::Call,
            Self::Breaker,
            Self::Overload,
        ]
    }

    fn value(self) -> Cow<'static, str> {
        let value = match self {
            Self::Cache => "cache",
            Self::SharedCall => "shared_call",
            Self::Call => "call",
            Self::Breaker => "breaker",
            Self::Overload => "overload",
        };
        value.into()
    }

    fn index(self) -> usize {
        self as usize
    }
}
