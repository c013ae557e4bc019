//! The example backend, `examples/backend/server.mjs`, with two users in front of it.

use std::process::Command;

use chat_test_support::{ChildProcess, free_port};

use super::server_api::KEY;
use super::support::example::project_of;
use super::support::{Database, Gateway};
use super::{DEADLINE, finish, program, provided};

#[test]
fn the_example_backend_posts_and_bans_on_sqlite() {
    posts_and_bans(&Database::sqlite());
}

#[test]
fn the_example_backend_posts_and_bans_on_postgres() {
    posts_and_bans(&Database::postgres());
}

fn posts_and_bans(database: &Database) {
    let project = project_of("backend/server.mjs");
    let port = free_port().unwrap().to_string();
    let gateway = format!("http://127.0.0.1:{port}");
    let mut backend = Command::new(provided("TEST_NODE"));
    backend
        .arg("server.mjs")
        .current_dir(&project)
        .env("CHAT_URL", &gateway)
        .env("CHAT_API_KEY", KEY)
        .env("PORT", "0");
    let mut backend = ChildProcess::start(&mut backend).unwrap();
    let url = backend.next_line_with("listening on ", DEADLINE).unwrap();
    let mut browser = program("TEST_NODE", "example_backend.mjs");
    browser.env("GATEWAY_URL", gateway).env("BACKEND_URL", url);
    let mut browser = ChildProcess::start(&mut browser).unwrap();
    browser.next_line_with("creating", DEADLINE).unwrap();
    let keys = format!("backend:{KEY}");
    let _gateway = Gateway::start_with(database, &[("PORT", &port), ("API_KEYS", &keys)]);
    finish(browser);
}
