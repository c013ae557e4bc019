//! Messages that arrive late.

use super::*;

/// Ada sends d at 3 s, long after the fault; it is acknowledged at once.
fn with_d_received_after(delay: u64) -> Evidence {
    let mut evidence = valid_evidence();
    evidence.grace_stays();
    let d = evidence.add(3000, 6, "d");
    evidence.insert(ADA, 3010, [acknowledged(6, &d)]);
    evidence.remove(GRACE, 3010);
    evidence.insert(GRACE, 3010 + delay, [received(&d)]);
    evidence
}

fn late(violations: &[Violation]) -> Vec<(&str, u64, Duration)> {
    violations
        .iter()
        .map(|violation| match violation {
            Violation::Late {
                client, seq, after, ..
            } => (client.as_str(), *seq, *after),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_message_that_takes_longer_than_a_second_is_found() {
    assert_eq!(check(&with_d_received_after(1000)), []);
    let violations = check(&with_d_received_after(1001));
    assert_eq!(late(&violations), [("grace", 4, millis(1001))]);
}

#[test]
fn a_member_that_stays_without_a_message_is_found() {
    let without_d = |ends_at| {
        let mut evidence = with_d_received_after(0);
        evidence.remove(GRACE, 3010);
        evidence.insert(GRACE, ends_at, [Event::Disconnected]);
        // Later she has it.
        evidence.insert(GRACE, ends_at + 10, [Event::Connected, joining(3)]);
        let d = evidence.rows[3].clone();
        evidence.insert(GRACE, ends_at + 20, [received(&d), joined(4, 2)]);
        evidence.windows.push(window(ends_at, ends_at));
        check(&evidence)
    };
    assert_eq!(without_d(3900), []);
    assert_eq!(late(&without_d(4500)), [("grace", 4, millis(1490))]);
}

#[test]
fn the_second_begins_after_a_fault_that_affects_the_member() {
    let with_fault = |client: &str, received: u64| {
        let mut evidence = with_d_received_after(received - 3010);
        evidence.windows.push(Window {
            reach: Reach::Clients(vec![client.to_owned()]),
            ..window(3500, 5000)
        });
        check(&evidence)
    };
    assert_eq!(with_fault("grace", 5900), []);
    assert_eq!(
        late(&with_fault("grace", 6100)),
        [("grace", 4, millis(1100))]
    );
    assert_eq!(late(&with_fault("ada", 5900)), [("grace", 4, millis(2890))]);
}

#[test]
fn a_machine_that_was_late_itself_is_taken_into_account() {
    let with_lag = |begin: u64, length: u64| {
        let mut evidence = with_d_received_after(1200);
        let begin = millis(begin);
        let end = begin + millis(length);
        evidence.lags = vec![Lag { begin, end }];
        check(&evidence)
    };
    assert_eq!(with_lag(3500, 50), []);
    let is_late = [("grace", 4, millis(1200))];
    assert_eq!(late(&with_lag(3500, 30)), is_late);
    // At another time.
    assert_eq!(late(&with_lag(1500, 50)), is_late);
}
