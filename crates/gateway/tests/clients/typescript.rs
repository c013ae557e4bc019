//! The TypeScript client: its types follow the contract, its own tests pass, and its package suits
//! those who install it.

use std::process::Command;
use std::time::Duration;

use chat_test_support::run;

use super::provided;

/// How long a step may take. The unit tests compute for half a minute, beside other tests.
const DEADLINE: Duration = Duration::from_secs(300);

#[test]
fn the_contract_types_of_the_typescript_client_are_current() {
    succeeds(&["scripts/types.mjs", "--check"]);
}

#[test]
fn the_typescript_client_type_checks() {
    succeeds(&["node_modules/typescript/bin/tsc", "--noEmit"]);
}

#[test]
fn the_unit_tests_of_the_typescript_client_pass() {
    succeeds(&["node_modules/vitest/vitest.mjs", "run"]);
}

#[test]
fn the_typescript_package_can_be_imported_and_required_as_its_readme_shows() {
    succeeds(&["scripts/consumers.mjs"]);
}

#[test]
fn the_typescript_client_is_small() {
    succeeds(&["scripts/size.mjs"]);
}

/// Runs Node.js with these arguments in the folder of the package. Shows its output if it fails.
fn succeeds(arguments: &[&str]) {
    let mut node = Command::new(provided("TEST_NODE"));
    node.current_dir(provided("TEST_TYPESCRIPT_CLIENT"))
        .env("NO_COLOR", "1")
        .args(arguments);
    let output = run(&mut node, DEADLINE).unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
