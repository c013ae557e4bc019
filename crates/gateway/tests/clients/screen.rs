//! What the TypeScript client shows, under faults: short runs of its chaos, `clients/typescript/chaos`.

use std::process::Command;

use chat_test_support::ChildProcess;

use super::support::{Database, PROGRAM};
use super::{finish, provided};

#[test]
fn screens_never_contradict_the_gateway_under_faults_on_sqlite() {
    finish(ChildProcess::start(&mut faults()).unwrap());
}

#[test]
fn screens_never_contradict_the_gateway_under_faults_on_postgres() {
    let database = Database::postgres();
    finish(ChildProcess::start(faults().env("DATABASE_URL", database.url())).unwrap());
}

#[test]
fn what_a_killed_process_had_kept_is_sent_once_by_the_next() {
    finish(ChildProcess::start(&mut chaos("killed.mjs", "--rounds 3")).unwrap());
}

#[test]
fn the_judge_of_screens_finds_planted_bugs() {
    finish(ChildProcess::start(&mut chaos("controls.mjs", "")).unwrap());
}

/// How long a screen takes after waking up is measured on a machine that has nothing else to do.
#[test]
fn screens_in_a_page_and_a_worker_never_contradict_the_gateway() {
    let mut browser = chaos(
        "browser.mjs",
        "--messages 60 --cuts 4 --tabs 2 --wakes 1 --wake-limit 10000",
    );
    browser.env("TEST_CHROMIUM", provided("TEST_CHROMIUM"));
    finish(ChildProcess::start(&mut browser).unwrap());
}

fn faults() -> Command {
    chaos("run.mjs", "--messages 400 --cuts 10 --kills 1")
}

/// Returns a command that runs a program of the chaos with the gateway's binary.
fn chaos(script: &str, arguments: &str) -> Command {
    let mut node = Command::new(provided("TEST_NODE"));
    node.current_dir(provided("TEST_TYPESCRIPT_CLIENT"))
        .env("GATEWAY_BIN", PROGRAM)
        .env_remove("DATABASE_URL")
        .arg(format!("chaos/{script}"))
        .args(arguments.split_whitespace());
    node
}
