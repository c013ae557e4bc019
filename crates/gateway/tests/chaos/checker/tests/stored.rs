//! Messages that are stored, or are not.

use super::*;

#[test]
fn an_acknowledged_message_that_is_not_stored_is_found() {
    finds(
        |found| matches!(found, Violation::AcknowledgedNotStored { message, .. } if message.seq == 3),
        |evidence| {
            evidence.rows.pop();
        },
    );
}

#[test]
fn an_acknowledgement_with_another_field_is_found() {
    let changes: [fn(&mut Message); 4] = [
        |message| message.seq = 2,
        |message| message.id = 7,
        |message| message.name = "Another name".to_owned(),
        |message| message.created_at = "2026-01-31T12:00:01.000Z".to_owned(),
    ];
    for change in changes {
        finds(
            |found| matches!(found, Violation::AcknowledgedNotStored { .. }),
            |evidence| {
                let mut message = evidence.rows[0].clone();
                change(&mut message);
                evidence.replace(ADA, 50, acknowledged(1, &message));
            },
        );
    }
}

#[test]
fn an_acknowledgement_of_another_message_is_found() {
    finds(
        |found| matches!(found, Violation::AcknowledgedNotStored { message, .. } if message.content == "b"),
        |evidence| {
            let other = evidence.rows[1].clone();
            evidence.replace(ADA, 50, acknowledged(1, &other));
        },
    );
}

#[test]
fn a_received_message_that_is_not_stored_is_found() {
    finds(
        |found| matches!(found, Violation::ReceivedNotStored { message, .. } if message.content == "ghost"),
        |evidence| evidence.insert(ADA, 180, [received(&row(4, "ada", "ghost"))]),
    );
}

#[test]
fn a_received_message_under_another_name_is_found() {
    finds(
        |found| matches!(found, Violation::ReceivedNotStored { message, .. } if message.seq == 3),
        |evidence| {
            let mut message = evidence.rows[2].clone();
            message.name = "Grace".to_owned();
            evidence.replace(GRACE, 170, received(&message));
        },
    );
}

#[test]
fn a_refused_message_that_is_stored_is_found() {
    let refused_every_time = |code: &'static str| {
        move |evidence: &mut Evidence| {
            evidence.grace_stays();
            evidence.add(260, 6, "d");
            evidence.insert(ADA, 280, refused(6, "unavailable"));
            evidence.insert(ADA, 290, [sent(7, "d")]);
            evidence.insert(ADA, 300, refused(7, code));
        }
    };
    finds(
        |found| matches!(found, Violation::RefusedButStored { content, .. } if content == "d"),
        refused_every_time("rate_limited"),
    );
    // After an unknown outcome, the message may be stored.
    assert_eq!(forged(refused_every_time("outcome_unknown")), []);
}

#[test]
fn a_message_that_another_connection_stored_may_be_refused() {
    let violations = forged(|evidence| {
        evidence.grace_stays();
        evidence.add(260, 6, "d");
        let other = [
            (250, Event::Connected),
            (260, sent(1, "d")),
            (270, error("sendMessage", "unavailable")),
            (
                270,
                Event::Refused {
                    operation: Operation::Send { attempt: 1 },
                    code: "unavailable".to_owned(),
                },
            ),
        ];
        let mut other = history("ada-2", other);
        other.user = "ada".to_owned();
        evidence.histories.push(other);
    });
    assert_eq!(violations, []);
}

#[test]
fn a_row_that_no_client_sent_is_found() {
    finds(
        |found| matches!(found, Violation::NeverSent { row } if row.seq == 4),
        |evidence| evidence.rows.push(row(4, "ada", "never sent")),
    );
}

#[test]
fn a_message_stored_under_another_user_is_found() {
    finds(
        |found| matches!(found, Violation::NeverSent { row } if row.user == "grace"),
        |evidence| evidence.rows[2].user = "grace".to_owned(),
    );
}

#[test]
fn a_second_row_for_one_message_is_found() {
    finds(
        |found| matches!(found, Violation::StoredTwice { row } if row.seq == 4),
        |evidence| evidence.rows.push(row(4, "ada", "c")),
    );
    // A row with the same id and different content is also a second row of the message.
    finds(
        |found| matches!(found, Violation::StoredTwice { row } if row.seq == 4),
        |evidence| {
            let mut repeat = row(4, "ada", "c");
            repeat.content = "c again".to_owned();
            evidence.rows.push(repeat);
        },
    );
}

#[test]
fn a_gap_in_the_numbers_is_found() {
    let gap = Violation::Gap {
        room: 1,
        expected: 2,
        row: 3,
    };
    let violations = forged(|evidence| {
        evidence.rows.remove(1);
    });
    assert!(violations.contains(&gap), "{violations:#?}");
}

#[test]
fn a_number_assigned_twice_is_found() {
    let gap = Violation::Gap {
        room: 1,
        expected: 4,
        row: 3,
    };
    let violations = forged(|evidence| evidence.rows.push(row(3, "ada", "d")));
    assert!(violations.contains(&gap), "{violations:#?}");
}

#[test]
fn a_counter_that_is_not_the_newest_number_is_found() {
    let counter = Violation::Counter {
        room: 1,
        counter: 4,
        newest: 3,
    };
    let violations = forged(|evidence| evidence.counters = vec![(1, 4)]);
    assert_eq!(violations, [counter]);
}
