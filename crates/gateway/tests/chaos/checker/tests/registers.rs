//! Values of which is known only when they were replaced.

use super::super::register::Register;
use super::millis;

fn register(writes: &[(u8, u64, u64, bool)]) -> Register<u8> {
    let mut register = Register::new(0);
    for (value, begin, end, is_certain) in writes {
        register.add(*value, [millis(*begin), millis(*end)], *is_certain);
    }
    register.index();
    register
}

fn between(register: &Register<u8>, from: u64, to: u64) -> Vec<u8> {
    let values = register.between(millis(from), millis(to));
    let mut values: Vec<_> = values.map(|(value, _)| value).collect();
    values.sort_unstable();
    values
}

#[test]
fn a_value_is_possible_from_its_request_until_another_one_has_replaced_it() {
    let register = register(&[(1, 100, 200, true), (2, 300, 400, true)]);
    assert_eq!(between(&register, 0, 99), [0]);
    assert_eq!(between(&register, 100, 200), [0, 1]);
    assert_eq!(between(&register, 201, 299), [1]);
    assert_eq!(between(&register, 350, 350), [1, 2]);
    assert_eq!(between(&register, 401, 900), [2]);
    assert_eq!(between(&register, 0, 900), [0, 1, 2]);
}

#[test]
fn requests_at_the_same_time_have_either_order() {
    let register = register(&[(1, 100, 300, true), (2, 200, 400, true)]);
    assert_eq!(between(&register, 500, 500), [1, 2]);
}

#[test]
fn an_unanswered_request_replaces_nothing_for_certain() {
    let register = register(&[(1, 100, 900, false), (2, 300, 400, true)]);
    assert_eq!(between(&register, 200, 200), [0, 1]);
    assert_eq!(between(&register, 500, 500), [1, 2]);
    // It may have had its effect after the other one.
    assert_eq!(between(&register, 1000, 1000), [1, 2]);
}

#[test]
fn a_value_that_only_an_unanswered_request_explains_settles_it() {
    let writes = [(1, 100, 900, false)];
    let mut seen = register(&writes);
    seen.settle(1, millis(200), millis(250));
    assert_eq!(between(&seen, 300, 300), [1]);
    let mut unseen = register(&writes);
    unseen.settle(0, millis(200), millis(250));
    assert_eq!(between(&unseen, 300, 300), [0, 1]);
    let mut ambiguous = register(&[(1, 50, 60, true), (1, 100, 900, false), (2, 300, 310, true)]);
    ambiguous.settle(1, millis(200), millis(250));
    assert_eq!(between(&ambiguous, 400, 400), [1, 2]);
}
