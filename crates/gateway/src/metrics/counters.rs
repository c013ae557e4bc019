//! Counters with one label whose values are known.

use std::marker::PhantomData;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::labels::{ApiStatus, EventName, Label, Outcome};
use super::register;
use crate::api::Operation;

/// One counter for each value of a label.
pub(super) struct Counters<L> {
    by_value: Box<[IntCounter]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Counters<L> {
    pub(super) fn new(registry: &Registry, name: &str, help: &str) -> Self {
        let all = IntCounterVec::new(Opts::new(name, help), &[L::NAME]);
        let all = register(registry, all);
        Self::from_values(|value| all.with_label_values(&[value]))
    }

    fn from_values(counter: impl Fn(&str) -> IntCounter) -> Self {
        let values = L::all().into_iter().map(|value| counter(&value.value()));
        Self {
            by_value: values.collect(),
            label: PhantomData,
        }
    }

    pub(super) fn count(&self, value: L) {
        self.add(value, 1);
    }

    pub(super) fn add(&self, value: L, count: u64) {
        if let Some(counter) = self.by_value.get(value.index()) {
            counter.inc_by(count);
        }
    }
}

/// Returns the counters of all events, by name and outcome.
pub(super) fn of_events(registry: &Registry) -> Box<[Counters<Outcome>]> {
    let options = Opts::new(
        "chat_events_total",
        "Events of clients, by name and by the code of their answer.",
    );
    let all = IntCounterVec::new(options, &[EventName::NAME, Outcome::NAME]);
    let all = register(registry, all);
    let events = EventName::all().into_iter().map(|event| {
        Counters::from_values(|outcome| all.with_label_values(&[&*event.value(), outcome]))
    });
    events.collect()
}

/// Returns the counters of all requests of the server API, by operation and status.
pub(super) fn of_api_requests(registry: &Registry) -> Box<[Counters<ApiStatus>]> {
    let options = Opts::new(
        "chat_api_requests_total",
        "Requests of the server API, by operation and HTTP status.",
    );
    let all = IntCounterVec::new(options, &[Operation::NAME, ApiStatus::NAME]);
    let all = register(registry, all);
    let operations = Operation::all().into_iter().map(|operation| {
        Counters::from_values(|status| all.with_label_values(&[&*operation.value(), status]))
    });
    operations.collect()
}

/// Returns a counter without labels.
pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}
