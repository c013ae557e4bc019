//! What a connection receives, and in which order.

use super::*;

#[test]
fn a_gap_on_a_connection_is_found() {
    finds(
        |found| {
            matches!(
                found,
                Violation::OutOfOrder {
                    connection: 1,
                    expected: 1,
                    seq: 2,
                    ..
                }
            )
        },
        |evidence| evidence.remove(GRACE, 45),
    );
}

#[test]
fn a_duplicate_on_a_connection_is_found() {
    finds(
        |found| {
            matches!(
                found,
                Violation::OutOfOrder {
                    expected: 3,
                    seq: 2,
                    ..
                }
            )
        },
        |evidence| evidence.insert(GRACE, 92, [received(&row(2, "ada", "b"))]),
    );
}

#[test]
fn a_replay_that_does_not_start_after_after_seq_is_found() {
    finds(
        |found| {
            matches!(
                found,
                Violation::OutOfOrder {
                    connection: 2,
                    expected: 1,
                    seq: 2,
                    ..
                }
            )
        },
        |evidence| evidence.replace(ADA, 100, joining(0)),
    );
}

/// Grace joins again, and c arrives before the gateway has read the request.
#[test]
fn a_join_of_a_joined_room_may_replay_what_arrived_after_the_request() {
    let c = row(3, "ada", "c");
    let joins_again = |replayed: Vec<Event>| {
        let c = c.clone();
        forged(move |evidence| {
            for at in [100, 105, 170] {
                evidence.remove(GRACE, at);
            }
            evidence.insert(GRACE, 155, [joining(2)]);
            evidence.insert(GRACE, 165, [received(&c)]);
            evidence.insert(GRACE, 170, replayed);
        })
    };
    assert_eq!(joins_again(vec![received(&c), joined(3, 2)]), []);
    // What looks live may have been the replay.
    assert_eq!(joins_again(vec![joined(3, 2)]), []);
    // The gateway read the room's position before c was stored, and c belongs to both stays.
    assert_eq!(joins_again(vec![joined(2, 2), received(&c)]), []);
    let twice = joins_again(vec![received(&c), received(&c), joined(3, 2)]);
    let is_found = |found: &Violation| {
        matches!(
            found,
            Violation::OutOfOrder {
                expected: 4,
                seq: 3,
                ..
            }
        )
    };
    assert!(twice.iter().any(is_found), "{twice:#?}");
}

#[test]
fn a_refused_join_of_a_joined_room_changes_nothing() {
    let refused = |event: &str| {
        let operation = Operation::Join { room: 1 };
        let code = "unavailable".to_owned();
        [
            error(event, "unavailable"),
            Event::Refused { operation, code },
        ]
    };
    let violations = forged(|evidence| {
        evidence.remove(GRACE, 105);
        evidence.insert(GRACE, 105, refused("joinRoom"));
    });
    assert_eq!(violations, []);
    finds(
        |found| matches!(found, Violation::NotAMember { connection: 1, .. }),
        |evidence| {
            evidence.remove(GRACE, 20);
            evidence.insert(GRACE, 20, refused("joinRoom"));
        },
    );
}

#[test]
fn a_message_for_a_client_that_never_joined_is_found() {
    finds(
        |found| matches!(found, Violation::NotAMember { connection: 1, .. }),
        |evidence| {
            let mut other = row(1, "ada", "elsewhere");
            other.room = 2;
            evidence.rows.push(other.clone());
            evidence.insert(GRACE, 30, [Event::Received(other)]);
        },
    );
}

#[test]
fn a_message_after_leaving_is_found() {
    finds(
        |found| matches!(found, Violation::NotAMember { connection: 2, .. }),
        |evidence| evidence.insert(GRACE, 260, [received(&row(3, "ada", "c"))]),
    );
}

#[test]
fn a_message_before_the_resume_point_of_a_join_without_replay_is_found() {
    finds(
        |found| matches!(found, Violation::NotAMember { connection: 2, .. }),
        |evidence| evidence.replace(ADA, 100, joining(None)),
    );
}

#[test]
fn a_message_that_a_client_never_received_is_found() {
    finds(
        |found| matches!(found, Violation::NeverReceived { client, seq: 3, .. } if client == "grace"),
        |evidence| {
            evidence.remove(GRACE, 170);
            evidence.replace(GRACE, 200, joining(2));
            evidence.remove(GRACE, 230);
        },
    );
}
