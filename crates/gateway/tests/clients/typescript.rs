//! The TypeScript client: its types follow the contract, its own tests pass, and its package suits
//! those who install it.

use super::node_succeeds;

#[test]
fn the_contract_types_of_the_typescript_client_are_current() {
    node_succeeds("TEST_TYPESCRIPT_CLIENT", &["scripts/types.mjs", "--check"]);
}

#[test]
fn the_typescript_client_type_checks() {
    node_succeeds(
        "TEST_TYPESCRIPT_CLIENT",
        &["node_modules/typescript/bin/tsc", "--noEmit"],
    );
}

#[test]
fn the_unit_tests_of_the_typescript_client_pass() {
    node_succeeds(
        "TEST_TYPESCRIPT_CLIENT",
        &["node_modules/vitest/vitest.mjs", "run"],
    );
}

#[test]
fn the_typescript_package_can_be_imported_and_required_as_its_readme_shows() {
    node_succeeds("TEST_TYPESCRIPT_CLIENT", &["scripts/consumers.mjs"]);
}

#[test]
fn the_typescript_client_is_small() {
    node_succeeds("TEST_TYPESCRIPT_CLIENT", &["scripts/size.mjs"]);
}
