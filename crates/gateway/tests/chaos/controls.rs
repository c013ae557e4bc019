//! Controls: a judge that cannot find anything proves nothing, and neither does a fault that
//! does not strike.

use crate::checker::Violation;
use crate::fault::{FAULTS, TAMPERING};
use crate::proxy::ProxyFault;
use crate::proxy::tampering::Tampering;
use crate::stage::{Setup, Stage};
use crate::support::Database;

/// Tampers with one message on its way to a client, and returns its number and what the judge
/// finds.
async fn tampered_with(tampering: Tampering) -> (u64, Vec<Violation>) {
    let database = Database::sqlite();
    let setup = Setup {
        proxy: Some(ProxyFault::Tampers {
            tampering,
            after: 400,
        }),
        without_visitors: true,
        ..Setup::default()
    };
    let mut stage = Stage::open(TAMPERING, &database, setup).await;
    let (_, seq) = stage.tampered().await;
    stage.acknowledged(300).await;
    (seq, stage.finish().await.violations)
}

/// Returns the expected and the actual number of each message that arrived out of order.
fn out_of_order(violations: &[Violation]) -> Vec<(u64, u64)> {
    violations
        .iter()
        .filter_map(|violation| match violation {
            Violation::OutOfOrder { expected, seq, .. } => Some((*expected, *seq)),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_dropped_on_its_way_is_found() {
    let (seq, violations) = tampered_with(Tampering::Drops).await;
    assert_eq!(
        out_of_order(&violations),
        [(seq, seq + 1)],
        "{violations:?}"
    );
    let never = |found: &Violation| matches!(found, Violation::NeverReceived { seq: never, .. } if *never == seq);
    assert!(violations.iter().any(never), "{violations:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_arrives_twice_is_found() {
    let (seq, violations) = tampered_with(Tampering::Doubles).await;
    assert_eq!(
        out_of_order(&violations)[0],
        (seq + 1, seq),
        "{violations:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messages_that_change_places_are_found() {
    let (seq, violations) = tampered_with(Tampering::Swaps).await;
    assert_eq!(
        out_of_order(&violations)[..2],
        [(seq, seq + 1), (seq + 2, seq)],
        "{violations:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_arrives_late_is_found() {
    let (seq, violations) = tampered_with(Tampering::Delays).await;
    let late =
        |found: &Violation| matches!(found, Violation::Late { seq: late, .. } if *late == seq);
    assert!(violations.iter().any(late), "{violations:?}");
    assert_eq!(out_of_order(&violations), []);
}

/// The clients are under load, and no fault strikes.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_does_nothing_fails_its_test() {
    let database = Database::sqlite();
    let mut stage = Stage::open(TAMPERING, &database, Setup::default()).await;
    for _ in 0..2 {
        stage.begin_round();
        stage.acknowledged(100).await;
    }
    let outcome = stage.finish().await;
    assert_eq!(outcome.violations, []);
    let mut figures = outcome.figures;
    for fault in FAULTS {
        assert!(!fault.shortfalls(&figures).is_empty(), "{}", fault.name);
    }
    // Nor is it enough that a strike was counted, if it shows no effect.
    figures.strikes = vec![1, 1];
    for fault in FAULTS {
        assert!(!fault.shortfalls(&figures).is_empty(), "{}", fault.name);
    }
}
