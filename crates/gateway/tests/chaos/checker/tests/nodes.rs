//! What a fault of one node explains, and what it does not.

use super::*;

/// Ada is connected to node 0, Grace to node 1, and the fault strikes node 0.
fn on_two_nodes(forge: impl FnOnce(&mut Evidence)) -> Vec<Violation> {
    forged(|evidence| {
        evidence.entries(GRACE).insert(
            0,
            Entry {
                at: millis(0),
                event: Event::Connecting { node: 1 },
            },
        );
        // Grace reconnects at 180 ms.
        evidence.windows = vec![on_node(0, 75, 95), on_node(1, 175, 185)];
        forge(evidence);
    })
}

fn on_node(node: usize, begin: u64, end: u64) -> Window {
    Window {
        reach: Reach::Node(node),
        ..window(begin, end)
    }
}

#[test]
fn a_connection_that_ends_because_another_node_is_struck_is_found() {
    assert_eq!(on_two_nodes(|_| {}), []);
    let violations = on_two_nodes(|evidence| evidence.windows[0].reach = Reach::Node(1));
    let disconnected = Violation::Disconnected {
        client: "ada".to_owned(),
        at: millis(80),
    };
    assert_eq!(violations, [disconnected]);
}

#[test]
fn a_refusal_because_another_node_is_struck_is_found() {
    let refused_on = |node| {
        on_two_nodes(|evidence| {
            evidence.insert(ADA, 172, [Event::Disconnected]);
            evidence.insert(ADA, 173, [Event::Connecting { node }, Event::Connected]);
            evidence.insert(ADA, 174, [joining(3), joined(3, 3)]);
            evidence.insert(ADA, 180, [sent(6, "d")]);
            evidence.insert(ADA, 190, refused(6, "unavailable"));
            // Long after the strike on node 0.
            evidence.windows = vec![on_node(0, 75, 95), on_node(1, 3000, 3100)];
            for history in &mut evidence.histories {
                for entry in &mut history.entries {
                    if entry.at >= millis(180) {
                        entry.at += millis(2850);
                    }
                }
            }
        })
    };
    assert_eq!(refused_on(1), []);
    let unexplained = |found: &Violation| matches!(found, Violation::Unexplained { .. });
    assert_eq!(
        refused_on(0)
            .iter()
            .filter(|found| unexplained(found))
            .count(),
        2
    );
}

#[test]
fn a_message_that_a_member_on_another_node_receives_late_is_found() {
    let received_after = |node, delay: u64| {
        on_two_nodes(|evidence| {
            evidence.grace_stays();
            let d = evidence.add(3000, 6, "d");
            evidence.insert(ADA, 3010, [acknowledged(6, &d)]);
            evidence.remove(GRACE, 3010);
            evidence.insert(GRACE, 3010 + delay, [received(&d)]);
            // The node that acknowledged the message is killed, or the other one.
            evidence.windows.push(on_node(node, 3011, 4500));
        })
    };
    assert_eq!(received_after(0, 1000), []);
    assert_eq!(received_after(1, 2400), []);
    let violations = received_after(0, 1001);
    let late = |found: &Violation| matches!(found, Violation::Late { client, seq: 4, .. } if client == "grace");
    assert!(
        matches!(&violations[..], [found] if late(found)),
        "{violations:#?}"
    );
}

#[test]
fn a_client_that_waits_in_vain_for_a_node_that_is_not_struck_is_found() {
    let gives_up = |node, lag: Option<u64>| {
        forged(|evidence| {
            evidence.patience = Some(millis(2000));
            evidence.windows.push(on_node(node, 2000, 3500));
            evidence.lags.extend(lag.map(|lag| Lag {
                begin: millis(2000),
                end: millis(2000 + lag),
            }));
            evidence.insert(ADA, 180, [Event::Disconnected]);
            evidence.windows.push(window(180, 180));
            evidence.insert(ADA, 1000, [Event::Connecting { node: 0 }]);
            evidence.insert(ADA, 3000, [Event::GaveUp]);
        })
    };
    assert_eq!(gives_up(0, None), []);
    let in_vain = Violation::WaitedInVain {
        client: "ada".to_owned(),
        at: millis(3000),
    };
    assert_eq!(gives_up(1, None), std::slice::from_ref(&in_vain));
    assert_eq!(gives_up(1, Some(200)), [in_vain]);
    // The machine itself was late.
    assert_eq!(gives_up(1, Some(201)), []);
}

#[test]
fn the_shutdown_of_another_node_leaves_no_send_unanswered() {
    let unanswered_on = |node| {
        let violations = on_two_nodes(|evidence| {
            evidence.windows[0].is_graceful = true;
            evidence.windows[0].reach = Reach::Node(node);
            evidence.insert(ADA, 75, refused(3, "unavailable"));
        });
        let unanswered = |found: &&Violation| matches!(found, Violation::Unanswered { .. });
        violations.iter().filter(unanswered).count()
    };
    assert_eq!((unanswered_on(0), unanswered_on(1)), (1, 0));
}
