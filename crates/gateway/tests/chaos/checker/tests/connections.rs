//! Connections that end.

use super::*;

#[test]
fn a_connection_that_ends_without_a_fault_is_found() {
    for event in [Event::Disconnected, Event::NotConnected] {
        let violations = forged(|evidence| evidence.insert(ADA, 3000, [event]));
        let disconnected = Violation::Disconnected {
            client: "ada".to_owned(),
            at: millis(3000),
        };
        assert_eq!(violations, [disconnected]);
    }
}

#[test]
fn a_connection_that_ends_by_a_fault_that_breaks_none_is_found() {
    finds(
        |found| matches!(found, Violation::Disconnected { client, .. } if client == "ada"),
        |evidence| evidence.explains.breaks = Breaks::Nothing,
    );
}

#[test]
fn a_connection_of_a_client_that_the_fault_does_not_affect_is_found() {
    let violations = forged(|evidence| {
        evidence.windows[0].reach = Reach::Clients(vec!["grace".to_owned()]);
    });
    let disconnected = Violation::Disconnected {
        client: "ada".to_owned(),
        at: millis(80),
    };
    assert_eq!(violations, [disconnected]);
}

#[test]
fn more_ended_connections_than_the_proxy_broke_are_found() {
    let broken = |broken| {
        forged(move |evidence| {
            evidence.explains.breaks = Breaks::ByProxy;
            evidence.broken = broken;
        })
    };
    assert_eq!(broken(2), []);
    let too_often = Violation::DisconnectedTooOften {
        ended: 2,
        broken: 1,
    };
    assert_eq!(broken(1), [too_often]);
}

/// Ada's connection ends at 80 ms, when b and c are not answered.
#[test]
fn a_shutdown_that_leaves_a_send_unanswered_is_found() {
    let shuts_down = |forge: fn(&mut Evidence)| {
        forged(|evidence| {
            evidence.windows[0].is_graceful = true;
            forge(evidence);
        })
    };
    // Both may have been on their way.
    assert_eq!(shuts_down(|_| {}), []);
    // c is answered, so b had arrived.
    let violations = shuts_down(|evidence| evidence.insert(ADA, 75, refused(3, "unavailable")));
    let is_found = |found: &Violation| matches!(found, Violation::Unanswered { content, .. } if content == "b");
    assert!(violations.iter().any(is_found), "{violations:#?}");
    // Both were sent long before.
    let violations = shuts_down(|evidence| {
        let later = |at: Duration| {
            if at > millis(70) {
                at + millis(1100)
            } else {
                at
            }
        };
        for history in &mut evidence.histories {
            for entry in &mut history.entries {
                entry.at = later(entry.at);
            }
        }
        let window = &mut evidence.windows[0];
        (window.begin, window.end) = (later(window.begin), later(window.end));
    });
    let unanswered = violations.iter().filter(|found| {
        matches!(found, Violation::Unanswered { content, .. } if content == "b" || content == "c")
    });
    assert_eq!(unanswered.count(), 2, "{violations:#?}");
}
