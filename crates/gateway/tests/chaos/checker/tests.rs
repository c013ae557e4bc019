//! Forged histories: one without a violation, and a forgery of it for each kind of violation.

use super::{Violation, check};
use crate::record::{Event, Evidence, History, Message, Missed};

fn row(seq: u64, user: &str, content: &str) -> Message {
    Message {
        id: seq,
        room: 1,
        seq,
        user: user.to_owned(),
        client_message_id: Some(format!("id-{content}")),
        content: content.to_owned(),
    }
}

fn sent(attempt: u64, content: &str) -> Event {
    Event::Sent {
        attempt,
        room: 1,
        client_message_id: Some(format!("id-{content}")),
        content: content.to_owned(),
    }
}

fn refused(attempt: u64, code: &str) -> Event {
    let code = code.to_owned();
    Event::Refused { attempt, code }
}

fn joining(after: impl Into<Option<u64>>) -> Event {
    let after = after.into();
    Event::Joining { room: 1, after }
}

fn joined(seq: u64) -> Event {
    let missed = None;
    Event::Joined {
        room: 1,
        seq,
        missed,
    }
}

/// Returns evidence without a violation. Ada sends a, b and c. Her connection breaks before b
/// and c are answered, and she repeats them. Grace receives all three, the last one by paging.
fn valid_evidence() -> Evidence {
    let rows: Vec<_> = [(1, "a"), (2, "b"), (3, "c")]
        .into_iter()
        .map(|(seq, content)| row(seq, "ada", content))
        .collect();
    let [a, b, c] = [0, 1, 2].map(|n: usize| rows[n].clone());
    let acknowledged = |attempt, message: &Message| {
        let message = message.clone();
        Event::Acknowledged { attempt, message }
    };
    let received = |message: &Message| Event::Received(message.clone());
    let ada = vec![
        Event::Connected,
        joining(0),
        joined(0),
        sent(1, "a"),
        received(&a),
        acknowledged(1, &a),
        sent(2, "b"),
        sent(3, "c"),
        Event::Connected,
        joining(1),
        received(&b),
        joined(2),
        sent(4, "b"),
        sent(5, "c"),
        acknowledged(4, &b),
        received(&c),
        acknowledged(5, &c),
    ];
    let missed = Some(Missed { from: 3, to: 3 });
    let grace = vec![
        Event::Connected,
        joining(0),
        joined(0),
        received(&a),
        received(&b),
        Event::MarkedRead {
            room: 1,
            user: "grace".to_owned(),
            seq: 2,
        },
        Event::Connected,
        joining(2),
        Event::Joined {
            room: 1,
            seq: 3,
            missed,
        },
        Event::Listed {
            room: 1,
            after: 2,
            messages: vec![c],
        },
        Event::Left { room: 1 },
    ];
    let history = |client: &str, events| History {
        client: client.to_owned(),
        user: client.to_owned(),
        events,
    };
    Evidence {
        histories: vec![history("ada", ada), history("grace", grace)],
        rows,
        counters: vec![(1, 3)],
    }
}

const ADA: usize = 0;
const GRACE: usize = 1;

/// Changes the valid evidence and returns the violations that the checker finds.
fn forged(forge: impl FnOnce(&mut Evidence)) -> Vec<Violation> {
    let mut evidence = valid_evidence();
    forge(&mut evidence);
    check(&evidence)
}

/// Checks that the checker finds the expected violation, possibly with others that follow
/// from it.
#[track_caller]
fn finds(expected: fn(&Violation) -> bool, forge: impl FnOnce(&mut Evidence)) {
    let violations = forged(forge);
    assert!(violations.iter().any(expected), "{violations:?}");
}

fn events(evidence: &mut Evidence, client: usize) -> &mut Vec<Event> {
    &mut evidence.histories[client].events
}

#[test]
fn valid_evidence_has_no_violation() {
    assert_eq!(forged(|_| {}), []);
}

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
fn an_acknowledgement_with_another_number_is_found() {
    finds(
        |found| matches!(found, Violation::AcknowledgedNotStored { message, .. } if message.seq == 2),
        |evidence| {
            let Event::Acknowledged { message, .. } = &mut events(evidence, ADA)[5] else {
                panic!("the valid evidence has changed");
            };
            message.seq = 2;
        },
    );
}

#[test]
fn an_acknowledgement_of_another_message_is_found() {
    finds(
        |found| matches!(found, Violation::AcknowledgedNotStored { message, .. } if message.content == "b"),
        |evidence| {
            let other = evidence.rows[1].clone();
            let Event::Acknowledged { message, .. } = &mut events(evidence, ADA)[5] else {
                panic!("the valid evidence has changed");
            };
            *message = other;
        },
    );
}

#[test]
fn a_received_message_that_is_not_stored_is_found() {
    finds(
        |found| matches!(found, Violation::ReceivedNotStored { message, .. } if message.content == "ghost"),
        |evidence| {
            let ghost = row(4, "ada", "ghost");
            events(evidence, ADA).push(Event::Received(ghost));
        },
    );
}

#[test]
fn a_listed_message_that_is_not_stored_is_found() {
    finds(
        |found| matches!(found, Violation::ReceivedNotStored { message, .. } if message.content == "ghost"),
        |evidence| {
            let Event::Listed { messages, .. } = &mut events(evidence, GRACE)[9] else {
                panic!("the valid evidence has changed");
            };
            messages.push(row(4, "ada", "ghost"));
        },
    );
}

#[test]
fn a_refused_message_that_is_stored_is_found() {
    let refused_every_time = |code: &'static str| {
        move |evidence: &mut Evidence| {
            evidence.rows.push(row(4, "ada", "d"));
            evidence.counters = vec![(1, 4)];
            events(evidence, ADA).extend([
                sent(6, "d"),
                refused(6, "unavailable"),
                sent(7, "d"),
                refused(7, code),
                Event::Received(row(4, "ada", "d")),
            ]);
        }
    };
    finds(
        |found| matches!(found, Violation::RefusedButStored { content, .. } if content == "d"),
        refused_every_time("rate_limited"),
    );
    // After an unknown outcome, the message may be stored.
    let violations = forged(refused_every_time("outcome_unknown"));
    assert!(
        !violations
            .iter()
            .any(|found| matches!(found, Violation::RefusedButStored { .. })),
        "{violations:?}"
    );
}

#[test]
fn a_row_that_no_client_sent_is_found() {
    finds(
        |found| matches!(found, Violation::NeverSent { row } if row.seq == 4),
        |evidence| {
            evidence.rows.push(row(4, "ada", "never sent"));
        },
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
    finds(
        |found| {
            *found
                == Violation::Gap {
                    room: 1,
                    expected: 2,
                    row: 3,
                }
        },
        |evidence| {
            evidence.rows.remove(1);
        },
    );
}

#[test]
fn a_number_assigned_twice_is_found() {
    finds(
        |found| {
            *found
                == Violation::Gap {
                    room: 1,
                    expected: 4,
                    row: 3,
                }
        },
        |evidence| evidence.rows.push(row(3, "ada", "d")),
    );
}

#[test]
fn a_counter_that_is_not_the_newest_number_is_found() {
    finds(
        |found| {
            *found
                == Violation::Counter {
                    room: 1,
                    counter: 4,
                    newest: 3,
                }
        },
        |evidence| evidence.counters = vec![(1, 4)],
    );
}

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
        |evidence| {
            events(evidence, GRACE).remove(3);
        },
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
        |evidence| {
            let again = Event::Received(row(2, "ada", "b"));
            events(evidence, GRACE).insert(5, again);
        },
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
        |evidence| events(evidence, ADA)[9] = joining(0),
    );
}

#[test]
fn a_replay_that_ends_before_the_resume_point_is_found() {
    finds(
        |found| {
            matches!(
                found,
                Violation::ResumePoint {
                    connection: 2,
                    expected: 1,
                    seq: 2,
                    ..
                }
            )
        },
        |evidence| {
            events(evidence, ADA).remove(10);
        },
    );
}

#[test]
fn a_replay_beyond_the_resume_point_is_found() {
    finds(
        |found| {
            matches!(
                found,
                Violation::ResumePoint {
                    expected: 2,
                    seq: 1,
                    ..
                }
            )
        },
        |evidence| events(evidence, ADA)[11] = joined(1),
    );
}

#[test]
fn an_after_seq_beyond_the_newest_message_may_skip_messages() {
    let violations = forged(|evidence| {
        let ada = events(evidence, ADA);
        ada[9] = joining(7);
        ada.remove(10);
    });
    assert_eq!(violations, []);
}

#[test]
fn a_missed_range_that_starts_too_early_is_found() {
    finds(
        |found| {
            matches!(
                found,
                Violation::ResumePoint {
                    expected: 2,
                    seq: 3,
                    ..
                }
            )
        },
        |evidence| {
            events(evidence, GRACE)[8] = Event::Joined {
                room: 1,
                seq: 3,
                missed: Some(Missed { from: 2, to: 3 }),
            };
        },
    );
}

#[test]
fn a_resume_point_without_a_join_is_found() {
    finds(
        |found| matches!(found, Violation::ResumePoint { connection: 2, .. }),
        |evidence| events(evidence, GRACE).push(joined(3)),
    );
    finds(
        |found| {
            matches!(
                found,
                Violation::ResumePoint {
                    expected: 2,
                    seq: 3,
                    ..
                }
            )
        },
        |evidence| events(evidence, GRACE).insert(6, joined(3)),
    );
}

#[test]
fn a_member_that_falls_behind_may_receive_missed() {
    let violations = forged(|evidence| {
        let grace = events(evidence, GRACE);
        // Grace falls behind on her first connection instead of joining on a second one.
        grace.drain(6..8);
    });
    assert_eq!(violations, []);
}

#[test]
fn a_message_for_a_client_that_never_joined_is_found() {
    finds(
        |found| matches!(found, Violation::NotAMember { connection: 1, .. }),
        |evidence| {
            let mut other = row(1, "ada", "elsewhere");
            other.room = 2;
            evidence.rows.push(other.clone());
            events(evidence, GRACE).insert(3, Event::Received(other));
        },
    );
}

#[test]
fn a_message_after_leaving_is_found() {
    finds(
        |found| matches!(found, Violation::NotAMember { connection: 2, .. }),
        |evidence| events(evidence, GRACE).push(Event::Received(row(3, "ada", "c"))),
    );
}

#[test]
fn a_message_after_a_refused_join_is_found() {
    finds(
        |found| matches!(found, Violation::NotAMember { connection: 1, .. }),
        |evidence| events(evidence, GRACE)[2] = Event::JoinRefused { room: 1 },
    );
}

#[test]
fn a_message_before_the_resume_point_of_a_join_without_replay_is_found() {
    finds(
        |found| matches!(found, Violation::NotAMember { connection: 2, .. }),
        |evidence| events(evidence, ADA)[9] = joining(None),
    );
}

#[test]
fn a_page_with_a_gap_is_found() {
    finds(
        |found| matches!(found, Violation::Page { after: 1, .. }),
        |evidence| {
            let Event::Listed { after, .. } = &mut events(evidence, GRACE)[9] else {
                panic!("the valid evidence has changed");
            };
            *after = 1;
        },
    );
}

#[test]
fn a_reversed_order_of_one_sender_is_found() {
    finds(
        |found| {
            matches!(found, Violation::OwnOrder { connection: 1, first, second, .. }
                if first == "b" && second == "c")
        },
        |evidence| {
            evidence.rows[1] = row(2, "ada", "c");
            evidence.rows[2] = row(3, "ada", "b");
        },
    );
}

/// Without an id, it is not repeated. The old connection may store it after the messages that
/// are repeated on the new one.
#[test]
fn a_message_without_an_answer_may_be_stored_in_any_order() {
    let violations = forged(|evidence| {
        let mut late = row(4, "ada", "late");
        late.client_message_id = None;
        evidence.rows.push(late.clone());
        evidence.counters = vec![(1, 4)];
        let sent = Event::Sent {
            attempt: 9,
            room: 1,
            client_message_id: None,
            content: late.content.clone(),
        };
        events(evidence, ADA).insert(6, sent);
        events(evidence, ADA).push(Event::Received(late.clone()));
        events(evidence, GRACE).insert(10, Event::Received(late));
    });
    assert_eq!(violations, []);
}

#[test]
fn a_refused_message_counts_as_sent_at_the_retry() {
    let with_d_and_e = |first_stored: &'static str, second_stored: &'static str| {
        forged(move |evidence| {
            let rows = [row(4, "ada", first_stored), row(5, "ada", second_stored)];
            evidence.rows.extend(rows.clone());
            evidence.counters = vec![(1, 5)];
            for client in [ADA, GRACE] {
                let received = rows.clone().map(Event::Received);
                let at = events(evidence, client).len() - client;
                events(evidence, client).splice(at..at, received);
            }
            let [first, second] = rows;
            let (d, e) = match first_stored {
                "d" => (first, second),
                _ => (second, first),
            };
            events(evidence, ADA).extend([
                sent(6, "d"),
                sent(7, "e"),
                refused(6, "unavailable"),
                sent(8, "d"),
                Event::Acknowledged {
                    attempt: 7,
                    message: e,
                },
                Event::Acknowledged {
                    attempt: 8,
                    message: d,
                },
            ]);
        })
    };
    assert_eq!(with_d_and_e("e", "d"), []);
    let violations = with_d_and_e("d", "e");
    assert!(
        violations
            .iter()
            .any(|found| matches!(found, Violation::OwnOrder { .. })),
        "{violations:?}"
    );
}

#[test]
fn a_message_that_a_client_never_received_is_found() {
    finds(
        |found| matches!(found, Violation::NeverReceived { client, seq: 3, .. } if client == "grace"),
        |evidence| {
            events(evidence, GRACE).remove(9);
        },
    );
}

#[test]
fn a_refusal_that_faults_do_not_explain_is_found() {
    finds(
        |found| matches!(found, Violation::UnexpectedRefusal { code, .. } if code == "internal"),
        |evidence| events(evidence, ADA).extend([sent(6, "d"), refused(6, "internal")]),
    );
}

#[test]
fn a_read_pointer_ahead_of_the_messages_or_moving_back_is_found() {
    let pointer = |seq| Event::MarkedRead {
        room: 1,
        user: "grace".to_owned(),
        seq,
    };
    finds(
        |found| matches!(found, Violation::ReadPointer { seq: 3, .. }),
        |evidence| events(evidence, GRACE)[5] = pointer(3),
    );
    finds(
        |found| matches!(found, Violation::ReadPointer { seq: 1, .. }),
        |evidence| events(evidence, GRACE).insert(6, pointer(1)),
    );
}
