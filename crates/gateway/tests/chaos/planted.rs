//! Controls: gateways with a planted bug. The judge must find each of them, and nothing in the
//! same program without a bug. `cargo xtask chaos --controls` builds the program.

use crate::checker::Violation;
use crate::fault::{self, Fault};
use crate::several_nodes::LATER;
use crate::stage::{Cabled, Setup, Stage, summary};
use crate::support::Database;

/// Opens a stage with two nodes that have a planted bug.
async fn open<'a>(fault: Fault, database: &'a Database, bug: &'static str) -> Stage<'a> {
    let setup = Setup {
        nodes: 2,
        cabled: Some(Cabled::Database),
        backoff: LATER,
        planted: Some(bug),
        ..Setup::default()
    };
    let mut stage = Stage::open(fault, database, setup).await;
    stage.begin_round();
    stage
}

/// Tears connections between nodes with a planted bug and the database, in this number of
/// strikes, and returns what the judge finds.
async fn torn(bug: &'static str, strikes: usize) -> Vec<Violation> {
    let database = Database::postgres();
    let mut stage = open(fault::DATABASE_TORN, &database, bug).await;
    for strike in 0..strikes {
        stage.tear(strike % 2, 50, 500).await;
        stage.acknowledged(50).await;
    }
    let violations = stage.finish().await.violations;
    println!("chaos: planted {bug}: {} violations", violations.len());
    violations
}

fn assert_found(violations: &[Violation], is_expected: fn(&Violation) -> bool) {
    assert!(
        violations.iter().any(is_expected),
        "{}",
        summary(violations)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a gateway with planted bugs; `cargo xtask chaos --controls` builds and runs it"]
async fn nothing_is_found_without_a_bug() {
    let violations = torn("none", 20).await;
    assert!(violations.is_empty(), "{}", summary(&violations));
}

/// Lets clients use one node with a planted bug while rules change, and returns what the judge
/// finds.
async fn ruled(bug: &'static str) -> Vec<Violation> {
    let database = Database::sqlite();
    let setup = Setup {
        planted: Some(bug),
        ..Setup::default()
    };
    let mut stage = Stage::open(fault::NONE, &database, setup).await;
    stage.begin_round();
    stage.changed_rules(50).await;
    let violations = stage.finish().await.violations;
    println!("chaos: planted {bug}: {} violations", violations.len());
    violations
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a gateway with planted bugs; `cargo xtask chaos --controls` builds and runs it"]
async fn nothing_is_found_in_rooms_with_rules_without_a_bug() {
    let violations = ruled("none").await;
    assert!(violations.is_empty(), "{}", summary(&violations));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a gateway with planted bugs; `cargo xtask chaos --controls` builds and runs it"]
async fn a_message_that_is_stored_by_outdated_rules_is_found() {
    let violations = ruled("rules_are_not_compared").await;
    assert_found(&violations, |found| {
        matches!(found, Violation::ForbiddenButStored { .. })
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a gateway with planted bugs; `cargo xtask chaos --controls` builds and runs it"]
async fn an_excluded_member_that_stays_is_found() {
    let violations = ruled("an_excluded_member_stays").await;
    assert_found(&violations, |found| {
        matches!(found, Violation::ReachedExcluded { .. })
    });
    assert_found(&violations, |found| {
        matches!(found, Violation::NotExcluded { .. })
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a gateway with planted bugs; `cargo xtask chaos --controls` builds and runs it"]
async fn an_acknowledgement_before_the_commit_is_found() {
    let bug = "acknowledged_before_the_commit";
    let database = Database::postgres();
    let mut stage = open(fault::BACKENDS_TERMINATED, &database, bug).await;
    for _ in 0..5 {
        stage.terminate_backends();
        stage.acknowledged(50).await;
    }
    let violations = stage.finish().await.violations;
    assert_found(&violations, |found| {
        matches!(found, Violation::AcknowledgedNotStored { .. })
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a gateway with planted bugs; `cargo xtask chaos --controls` builds and runs it"]
async fn a_missing_fence_after_a_broken_connection_is_found() {
    let violations = torn("no_fence", 20).await;
    assert_found(&violations, |found| {
        matches!(found, Violation::OwnOrder { .. })
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a gateway with planted bugs; `cargo xtask chaos --controls` builds and runs it"]
async fn a_hint_that_is_trusted_without_its_number_is_found() {
    let violations = torn("a_hint_is_trusted", 1).await;
    assert_found(&violations, |found| {
        matches!(found, Violation::OutOfOrder { .. })
    });
    assert_found(&violations, |found| {
        matches!(found, Violation::NeverReceived { .. })
    });
}
