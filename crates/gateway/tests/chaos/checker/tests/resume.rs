//! Resume points and `missed`.

use super::*;

#[test]
fn a_replay_that_ends_before_the_resume_point_is_found() {
    finds(
        |found| {
            matches!(
                found,
                Violation::ResumePoint {
                    connection: 2,
                    expected: 1,
                    ..
                }
            )
        },
        |evidence| evidence.remove(ADA, 110),
    );
}

#[test]
fn a_replay_beyond_the_resume_point_is_found() {
    finds(
        |found| matches!(found, Violation::ResumePoint { expected: 2, joined, .. } if joined.seq == 1),
        |evidence| evidence.replace(ADA, 120, joined(1, 1)),
    );
}

#[test]
fn an_after_seq_beyond_the_newest_message_may_skip_messages() {
    let violations = forged(|evidence| {
        evidence.replace(ADA, 100, joining(7));
        evidence.remove(ADA, 110);
    });
    assert_eq!(violations, []);
}

#[test]
fn a_resume_point_below_after_seq_is_found_if_the_room_is_further() {
    finds(
        |found| matches!(found, Violation::ResumeBounds { at_least: 3, joined, .. } if joined.seq == 2),
        |evidence| evidence.replace(GRACE, 210, joined(2, 2)),
    );
}

#[test]
fn a_join_without_after_seq_resumes_between_what_was_known_and_what_exists() {
    let resumes_at = |seq: u64| {
        forged(move |evidence| {
            evidence.grace_stays();
            for earlier in [200, 210, 220, 230] {
                evidence.remove(GRACE, earlier);
            }
            evidence.insert(GRACE, 400, [joining(None)]);
            evidence.insert(GRACE, 410, [joined(seq, 2)]);
        })
    };
    assert_eq!(resumes_at(3), []);
    for wrong in [2, 4] {
        let violations = resumes_at(wrong);
        let is_found = |found: &Violation| {
            matches!(
                found,
                Violation::ResumeBounds {
                    at_least: 3,
                    at_most: 3,
                    ..
                }
            )
        };
        assert!(violations.iter().any(is_found), "{violations:#?}");
    }
}

#[test]
fn a_resume_point_without_a_join_is_found() {
    finds(
        |found| matches!(found, Violation::ResumePoint { connection: 2, .. }),
        |evidence| evidence.insert(GRACE, 260, [joined(3, 2)]),
    );
    finds(
        |found| matches!(found, Violation::ResumePoint { expected: 2, .. }),
        |evidence| evidence.insert(GRACE, 97, [joined(2, 2)]),
    );
}

#[test]
fn a_missed_range_that_starts_too_early_or_too_late_is_found() {
    for from in [0, 2] {
        let mut evidence = many_missed(1500);
        evidence.replace(GRACE, 50, missed(from, 1500, 0));
        let violations = check(&evidence);
        let is_found =
            |found: &Violation| matches!(found, Violation::ResumePoint { expected: 0, .. });
        assert!(violations.iter().any(is_found), "{violations:#?}");
    }
}

#[test]
fn missed_instead_of_a_replay_of_a_thousand_messages_is_found() {
    let violations = check(&many_missed(1000));
    assert!(
        matches!(violations[..], [Violation::FewMissed { .. }]),
        "{violations:#?}"
    );
}

#[test]
fn a_replay_may_end_early_while_reads_fail() {
    let mut evidence = many_missed(1000);
    evidence.explains.failed_reads = true;
    evidence.windows = vec![window(30, 45)];
    assert_eq!(check(&evidence), []);
    // But not long after the fault.
    for entry in evidence.entries(GRACE) {
        entry.at += millis(2000);
    }
    let violations = check(&evidence);
    assert!(
        matches!(violations[..], [Violation::FewMissed { .. }]),
        "{violations:#?}"
    );
}

#[test]
fn a_member_that_falls_behind_may_receive_missed() {
    let mut evidence = many_missed(1001);
    // Grace has joined before, and falls behind.
    let grace = evidence.entries(GRACE);
    grace[0].at = millis(0);
    grace[1].at = millis(1);
    evidence.insert(GRACE, 2, [joined(0, 0)]);
    assert_eq!(check(&evidence), []);
}
