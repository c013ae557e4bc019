use super::*;

const SENT: u64 = 1_000_000;

/// A room with two members: `0` sends and `1` only receives.
struct TestRoom {
    ledger: Ledger,
    views: [View; 2],
}

impl TestRoom {
    fn new() -> Self {
        let mut ledger = Ledger::new(7, 2);
        ledger.measure(0..u64::MAX);
        let views = [(); 2].map(|()| ledger.joined(1, br#"42["joinedRoom",{"seq":0}]"#));
        Self { ledger, views }
    }

    fn send(&mut self) -> String {
        let mut content = String::new();
        self.ledger.sending(1, 0, SENT, &mut content);
        content
    }

    fn deliver(&mut self, to: u32, seq: Option<u64>, content: &str) -> Delivery {
        self.deliver_in(1, to, seq, content)
    }

    fn deliver_in(&mut self, room: u32, to: u32, seq: Option<u64>, content: &str) -> Delivery {
        let seq = seq.map_or(String::new(), |seq| format!("\"seq\":{seq},"));
        let packet = format!(r#"42["newMessage",{{"roomId":{room},{seq}"content":"{content}"}}]"#);
        let views = std::slice::from_mut(&mut self.views[to as usize]);
        self.ledger
            .delivered(to, 1, views, packet.as_bytes(), SENT + 1_000_000)
    }

    fn deliver_to_all(&mut self, seq: u64, content: &str) {
        for to in [0, 1] {
            self.deliver(to, Some(seq), content);
        }
    }

    fn refuse(&mut self, code: &str) {
        let packet = format!(r#"42["error",{{"message":"no","code":"{code}"}}]"#);
        let error = ErrorEvent::parse(packet.as_bytes());
        self.ledger.refused(0, 1..2, &error);
    }

    /// Closes the accounts and returns the faults by name.
    fn faults(&mut self) -> Vec<(&'static str, u64)> {
        self.ledger.close_accounts(SENT + 5_000_000_000);
        let views = self.views.iter().map(|view| (1, view));
        let missing = self.ledger.audit(views).missing;
        let counts = self.ledger.counts;
        let faults = [
            ("missing", missing),
            ("doubled", counts.doubled),
            ("misordered", counts.misordered),
            ("misrouted", counts.misrouted),
            ("refused", counts.refused),
            (
                "delivered although refused",
                counts.delivered_although_refused,
            ),
            ("unanswered", counts.unanswered),
            ("other errors", counts.other_errors),
        ];
        faults.into_iter().filter(|fault| fault.1 > 0).collect()
    }
}

#[test]
fn messages_that_arrive_once_and_in_order_are_clean_with_and_without_seq() {
    for has_seq in [true, false] {
        let mut room = TestRoom::new();
        for n in 1..=100 {
            let content = room.send();
            let seq = has_seq.then_some(n);
            assert_eq!(room.deliver(0, seq, &content), Delivery::Own);
            assert_eq!(room.deliver(1, seq, &content), Delivery::Other);
        }
        assert_eq!(room.faults(), []);
        assert_eq!(room.ledger.counts.acknowledged, 100);
        assert_eq!(room.ledger.outstanding(), 0);
        assert_eq!(room.ledger.latency.percentiles().unwrap().max, 1.0);
    }
}

#[test]
fn missing_repeated_and_late_messages_are_told_apart() {
    for has_seq in [true, false] {
        let mut room = TestRoom::new();
        let contents = [(); 4].map(|()| room.send());
        for n in [1, 2, 3, 4] {
            room.deliver(0, has_seq.then_some(n as u64), &contents[n - 1]);
        }
        for n in [1, 3, 2, 2] {
            room.deliver(1, has_seq.then_some(n as u64), &contents[n - 1]);
        }
        let faults = [("missing", 1), ("doubled", 1), ("misordered", 1)];
        assert_eq!(room.faults(), faults, "{has_seq}");
    }
}

#[test]
fn a_message_that_was_stored_twice_counts_as_repeated() {
    let mut room = TestRoom::new();
    let content = room.send();
    room.deliver_to_all(1, &content);
    room.deliver_to_all(2, &content);
    assert_eq!(room.faults(), [("doubled", 2)]);
}

#[test]
fn members_that_see_different_orders_are_detected() {
    let mut room = TestRoom::new();
    let contents = [room.send(), room.send()];
    for n in [1, 2] {
        room.deliver(0, Some(n), &contents[n as usize - 1]);
        room.deliver(1, Some(n), &contents[2 - n as usize]);
    }
    assert_eq!(room.faults(), [("misordered", 2)]);
}

#[test]
fn a_refused_message_must_reach_no_member() {
    let mut room = TestRoom::new();
    room.send();
    room.refuse("internal");
    room.deliver(1, Some(1), "the message of another client");
    room.deliver(0, Some(1), "the message of another client");
    let content = room.send();
    room.deliver_to_all(2, &content);
    assert_eq!(room.faults(), [("refused", 1)]);
    assert_eq!(room.ledger.outstanding(), 0);
}

#[test]
fn a_refused_message_that_is_delivered_does_not_cancel_one_that_is_lost() {
    let mut room = TestRoom::new();
    let content = room.send();
    room.refuse("internal");
    room.send();
    room.deliver_to_all(1, &content);
    let faults = [
        ("missing", 2),
        ("refused", 1),
        ("delivered although refused", 1),
        ("unanswered", 1),
    ];
    assert_eq!(room.faults(), faults);
}

#[test]
fn a_refused_message_that_is_delivered_later_is_detected() {
    let mut room = TestRoom::new();
    let content = room.send();
    room.refuse("internal");
    assert_eq!(room.faults(), [("refused", 1)]);
    room.deliver_to_all(1, &content);
    let faults = [("refused", 1), ("delivered although refused", 1)];
    assert_eq!(room.faults(), faults);
}

#[test]
fn a_message_with_an_unknown_outcome_reaches_all_members_or_none() {
    let mut room = TestRoom::new();
    let content = room.send();
    room.refuse("outcome_unknown");
    assert_eq!(room.faults(), [("refused", 1)]);
    room.deliver(1, Some(1), &content);
    assert_eq!(room.faults(), [("missing", 1), ("refused", 1)]);
    room.deliver(0, Some(1), &content);
    assert_eq!(room.faults(), [("refused", 1)]);
    assert_eq!(room.ledger.outstanding(), 0);
}

#[test]
fn a_message_in_another_room_is_misrouted_and_missing_in_its_own() {
    let mut room = TestRoom::new();
    let content = room.send();
    room.deliver(0, Some(1), &content);
    room.deliver_in(2, 1, Some(1), &content);
    assert_eq!(room.faults(), [("missing", 1), ("misrouted", 1)]);

    let mut room = TestRoom::new();
    let mut content = String::new();
    room.ledger.sending(2, 5, SENT, &mut content);
    room.deliver(1, Some(1), &content);
    let faults = [("misrouted", 1), ("unanswered", 1)];
    assert_eq!(room.faults(), faults);
}

#[test]
fn a_number_that_the_server_left_out_is_missing_once() {
    let mut room = TestRoom::new();
    let content = room.send();
    room.deliver_to_all(2, &content);
    assert_eq!(room.faults(), [("missing", 2)]);

    // With a message that has reached no member, the gap is explained.
    let mut room = TestRoom::new();
    room.send();
    let content = room.send();
    room.deliver_to_all(2, &content);
    assert_eq!(room.faults(), [("missing", 2), ("unanswered", 1)]);
}

#[test]
fn a_lost_connection_is_expected_to_have_received_no_more_but_without_a_gap() {
    let mut room = TestRoom::new();
    let contents = [(); 4].map(|()| room.send());
    for n in [1, 3] {
        room.deliver(1, Some(n), &contents[n as usize - 1]);
    }
    room.ledger.left(1, 1, &mut room.views[1]);
    for n in 1..=4 {
        room.deliver(0, Some(n), &contents[n as usize - 1]);
    }
    assert_eq!(room.ledger.outstanding(), 0);
    assert_eq!(room.faults(), [("missing", 1)]);
}

#[test]
fn what_a_lost_connection_has_sent_may_be_stored_or_not() {
    let mut room = TestRoom::new();
    let contents = [room.send(), room.send()];
    room.ledger.left(0, 1, &mut room.views[0]);
    assert_eq!(room.ledger.outstanding(), 0);
    room.deliver(1, Some(1), &contents[0]);
    assert_eq!(room.faults(), []);
}

#[test]
fn the_slowest_deliveries_of_the_measured_interval_are_not_left_out() {
    let mut room = TestRoom::new();
    room.ledger.measure(SENT..SENT + 1);
    let contents = [room.send(), room.send()];
    room.deliver(0, Some(1), &contents[0]);
    room.ledger.sending(1, 0, SENT + 1, &mut String::new());
    room.faults();
    // One delivery took a millisecond; three had not arrived after five seconds.
    assert_eq!(room.ledger.latency.count(), 4);
    let latency = room.ledger.latency.percentiles().unwrap();
    assert!(latency.max >= 5000.0, "{latency:?}");
    assert!(latency.p50 >= 5000.0, "{latency:?}");
}

#[test]
fn an_error_about_something_else_refuses_no_message() {
    let mut room = TestRoom::new();
    let content = room.send();
    let error = ErrorEvent::parse(br#"42["error",{"message":"no","event":"markRead"}]"#);
    room.ledger.refused(0, 1..2, &error);
    room.deliver_to_all(1, &content);
    assert_eq!(room.faults(), [("other errors", 1)]);
}

#[test]
fn deliveries_that_were_missing_when_accounts_were_closed_are_not_waited_for_again() {
    let mut room = TestRoom::new();
    let contents = [room.send(), room.send()];
    room.refuse("internal");
    room.deliver_to_all(1, &contents[0]);
    assert_eq!(room.ledger.outstanding(), 2);
    assert_eq!(room.faults(), [("refused", 1)]);
    assert_eq!(room.ledger.outstanding(), 0);

    let third = room.send();
    room.deliver_to_all(2, &contents[1]);
    assert_eq!(room.ledger.outstanding(), 2);
    room.deliver_to_all(3, &third);
    assert_eq!(room.ledger.outstanding(), 0);
}

#[test]
fn deliveries_on_the_senders_node_are_measured_apart_from_the_others() {
    let mut room = TestRoom::new();
    room.ledger.apart = Some(Apart::new(vec![0, 1]));
    let content = room.send();
    room.deliver(0, Some(1), &content);
    let latency = |room: &TestRoom| {
        let apart = room.ledger.apart.as_ref().unwrap();
        [apart.local(), apart.remote()].map(|latency| latency.map(|latency| latency.max))
    };
    assert_eq!(latency(&room), [Some(1.0), None]);
    room.deliver(1, Some(1), &content);
    assert_eq!(latency(&room), [Some(1.0), Some(1.0)]);
    room.ledger.measure(0..u64::MAX);
    assert_eq!(latency(&room), [None, None]);
}
