//! The contract of [`RoomEvents`]. A hint may be lost or overtaken; while nothing is wrong, none
//! is lost, and those of one room keep their order.

use std::sync::{Arc, Weak};
use std::time::Duration;

use chat_adapters::LocalRoomEvents;
use chat_domain::ports::{Hint, HintListener, RoomEvents};
use chat_domain::{Generation, RoomEntry, UserId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{room, seq};

/// Declares a test with each adapter for each `async fn(Arc<impl RoomEvents>)`.
macro_rules! on_each_carrier {
    ($($test:ident),* $(,)?) => {
        mod within_one_process {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let events = std::sync::Arc::new(super::LocalRoomEvents::default());
                super::$test(events).await;
            })*
        }
        mod on_one_node_with_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let node = crate::redis_nodes::Node::start(&crate::redis_nodes::shared_options());
                node.until("it is connected", |status| status.is_connected).await;
                super::$test(node.exchange).await;
            })*
        }
    };
}

/// Declares a test across two nodes for each `async fn(Arc<impl RoomEvents>)` that serves its
/// rooms all the time: a subscription takes a while.
macro_rules! across_nodes {
    ($($test:ident),* $(,)?) => {
        mod across_nodes_with_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let nodes = crate::redis_nodes::TwoNodes::start().await;
                super::$test(std::sync::Arc::new(nodes)).await;
            })*
        }
    };
}

on_each_carrier!(
    a_hint_reaches_every_listener,
    hints_of_one_task_about_a_room_arrive_in_the_order_of_their_announcement,
    a_listener_that_was_dropped_disturbs_no_other,
    a_listener_may_call_every_method,
    a_room_may_be_served_repeatedly_and_again_after_its_release,
    hints_of_many_threads_all_arrive_while_listeners_come_and_go,
);

across_nodes!(
    a_hint_reaches_every_listener,
    hints_of_one_task_about_a_room_arrive_in_the_order_of_their_announcement,
    a_listener_that_was_dropped_disturbs_no_other,
    a_listener_may_call_every_method,
    hints_of_many_threads_all_arrive_while_listeners_come_and_go,
);

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn hint(room_number: u64, position: u64) -> Hint {
    Hint {
        room_id: room(room_number),
        generation: Generation::FIRST,
        entry: RoomEntry::ReadPointer {
            user_id: UserId::new("42").unwrap(),
            seq: seq(position),
        },
    }
}

pub(crate) fn position(hint: &Hint) -> u64 {
    match &hint.entry {
        RoomEntry::ReadPointer { seq, .. } => seq.get(),
        entry => panic!("{entry:?} was not announced"),
    }
}

/// Passes hints on to a test.
pub(crate) struct Listener(mpsc::UnboundedSender<Hint>);

impl HintListener for Listener {
    fn on_hint(&self, hint: Hint) {
        self.0.send(hint).ok();
    }
}

/// A subscribed listener, and the hints that it receives.
pub(crate) struct Subscription {
    listener: Arc<Listener>,
    hints: mpsc::UnboundedReceiver<Hint>,
}

impl Subscription {
    pub(crate) fn new(events: &impl RoomEvents) -> Self {
        let (sender, hints) = mpsc::unbounded_channel();
        let listener = Arc::new(Listener(sender));
        let weak: Weak<Listener> = Arc::downgrade(&listener);
        events.subscribe(weak);
        Self { listener, hints }
    }

    /// Returns the next hint if it has arrived.
    pub(crate) fn try_next(&mut self) -> Option<Hint> {
        self.hints.try_recv().ok()
    }

    pub(crate) async fn next(&mut self) -> Hint {
        let hint = timeout(DEADLINE, self.hints.recv()).await;
        hint.expect("a hint is missing").unwrap()
    }
}

async fn a_hint_reaches_every_listener(events: Arc<impl RoomEvents>) {
    events.serve(room(1));
    let mut subscriptions = [0; 3].map(|_| Subscription::new(&*events));
    for position in 1..=3 {
        events.announce(hint(1, position));
        for subscription in &mut subscriptions {
            assert_eq!(subscription.next().await, hint(1, position));
        }
    }
}

async fn hints_of_one_task_about_a_room_arrive_in_the_order_of_their_announcement(
    events: Arc<impl RoomEvents>,
) {
    for number in 1..=3 {
        events.serve(room(number));
    }
    let mut subscription = Subscription::new(&*events);
    let announced: Vec<_> = (1..=300).map(|n| hint(1 + n % 3, n)).collect();
    for hint in &announced {
        events.announce(hint.clone());
    }
    let mut arrived = Vec::new();
    for _ in &announced {
        arrived.push(subscription.next().await);
    }
    for number in 1..=3 {
        let of_room = |hints: &[Hint]| -> Vec<Hint> {
            let hints = hints.iter().filter(|hint| hint.room_id == room(number));
            hints.cloned().collect()
        };
        assert_eq!(of_room(&arrived), of_room(&announced));
    }
}

async fn a_listener_that_was_dropped_disturbs_no_other(events: Arc<impl RoomEvents>) {
    events.serve(room(1));
    let mut first = Subscription::new(&*events);
    let Subscription {
        listener,
        hints: mut dropped,
    } = Subscription::new(&*events);
    let mut last = Subscription::new(&*events);
    drop(listener);
    events.announce(hint(1, 1));
    assert_eq!(first.next().await, hint(1, 1));
    assert_eq!(last.next().await, hint(1, 1));
    let nothing = timeout(DEADLINE, dropped.recv()).await;
    assert_eq!(nothing, Ok(None), "nothing keeps the listener");
}

/// For each hint, announces the next position and calls the other methods.
struct Echo<E> {
    events: Arc<E>,
    another: Arc<Listener>,
}

impl<E: RoomEvents> HintListener for Echo<E> {
    fn on_hint(&self, received: Hint) {
        let weak: Weak<Listener> = Arc::downgrade(&self.another);
        self.events.subscribe(weak);
        self.events.serve(room(1));
        self.events.release(room(2));
        if position(&received) < 10 {
            self.events.announce(hint(1, position(&received) + 1));
        }
    }
}

async fn a_listener_may_call_every_method(events: Arc<impl RoomEvents + 'static>) {
    events.serve(room(1));
    let mut subscription = Subscription::new(&*events);
    let (another, _) = mpsc::unbounded_channel();
    let echo = Arc::new(Echo {
        events: events.clone(),
        another: Arc::new(Listener(another)),
    });
    let weak = Arc::downgrade(&echo);
    events.subscribe(weak as Weak<dyn HintListener>);
    // On a thread of its own: a deadlock must fail the test instead of stopping it.
    std::thread::spawn(move || events.announce(hint(1, 1)));
    let mut positions = Vec::new();
    for _ in 0..10 {
        positions.push(position(&subscription.next().await));
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..=10).collect::<Vec<_>>());
}

async fn a_room_may_be_served_repeatedly_and_again_after_its_release(events: Arc<impl RoomEvents>) {
    let mut subscription = Subscription::new(&*events);
    events.release(room(1));
    events.serve(room(1));
    events.serve(room(1));
    events.serve(room(2));
    assert!(
        subscription.hints.is_empty(),
        "only an announcement is a hint"
    );
    events.announce(hint(1, 1));
    assert_eq!(subscription.next().await, hint(1, 1));
    events.release(room(1));
    events.announce(hint(2, 2));
    assert_eq!(subscription.next().await, hint(2, 2));
    events.serve(room(1));
    events.announce(hint(1, 3));
    assert_eq!(subscription.next().await, hint(1, 3));
}

async fn hints_of_many_threads_all_arrive_while_listeners_come_and_go(
    events: Arc<impl RoomEvents + 'static>,
) {
    const THREADS: u64 = 8;
    const EACH: u64 = 500;
    let mut subscription = Subscription::new(&*events);
    let mut threads = JoinSet::new();
    for thread in 1..=THREADS {
        events.serve(room(thread));
        let events = events.clone();
        threads.spawn_blocking(move || {
            for position in 1..=EACH {
                drop(Subscription::new(&*events));
                events.announce(hint(thread, position));
            }
        });
    }
    // Each thread's hints in their order.
    let mut last = [0; THREADS as usize];
    for _ in 0..THREADS * EACH {
        let hint = subscription.next().await;
        let last = &mut last[hint.room_id.get() as usize - 1];
        *last += 1;
        assert_eq!(position(&hint), *last, "in {:?}", hint.room_id);
    }
    timeout(DEADLINE, threads.join_all()).await.unwrap();
}
