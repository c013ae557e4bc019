//! Webhooks, verified by the libraries of Standard Webhooks.

use std::process::Command;

use chat_test_support::ChildProcess;

use super::support::receiver::WEBHOOK_SECRET;
use super::support::{Database, Gateway};
use super::{DEADLINE, finish, program};

/// Not the current secret: what it signs is verified during a rotation.
const PREVIOUS: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const MESSAGES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn the_library_of_npm_verifies_webhooks() {
    for secret in [WEBHOOK_SECRET, PREVIOUS] {
        are_verified(program("TEST_NODE", "webhooks.mjs"), secret).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_of_pypi_verifies_webhooks() {
    for secret in [WEBHOOK_SECRET, PREVIOUS] {
        are_verified(program("TEST_PYTHON", "webhooks.py"), secret).await;
    }
}

async fn are_verified(mut receiver: Command, secret: &str) {
    receiver
        .env("WEBHOOK_SECRET", secret)
        .env("WEBHOOKS", MESSAGES.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let mut receiver = ChildProcess::start(&mut receiver).unwrap();
    let url = receiver.next_line_with("listening on ", DEADLINE).unwrap();
    let database = Database::sqlite();
    let settings = [
        ("WEBHOOK_URL", url.as_str()),
        ("WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("WEBHOOK_SECRET_PREVIOUS", PREVIOUS),
    ];
    let gateway = Gateway::start_with(&database, &settings);
    let mut client = gateway.connect("ada").await;
    client.join(1).await;
    for _ in 0..MESSAGES {
        client.send(1, "hello €").await;
    }
    finish(receiver);
}
