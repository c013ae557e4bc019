//! The example of push notifications, `examples/push/server.mjs`.

use std::process::Command;

use chat_test_support::ChildProcess;
use serde_json::{Value, json};

use super::support::example::project_of;
use super::support::receiver::WEBHOOK_SECRET;
use super::support::{Database, Gateway};
use super::{DEADLINE, finish, program, provided};

#[test]
fn the_example_notifies_the_devices_of_members_who_have_not_read() {
    let project = project_of("push/server.mjs");
    let mut receiver = Command::new(provided("TEST_NODE"));
    receiver
        .arg("server.mjs")
        .current_dir(&project)
        .env("WEBHOOK_SECRET", WEBHOOK_SECRET)
        .env("PORT", "0");
    let mut receiver = ChildProcess::start(&mut receiver).unwrap();
    let url = receiver.next_line_with("listening on ", DEADLINE).unwrap();
    let database = Database::sqlite();
    let webhooks = format!("{url}/webhooks");
    let settings = [
        ("WEBHOOK_URL", webhooks.as_str()),
        ("WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("NOTIFY_AFTER", "1"),
    ];
    let gateway = Gateway::start_with(&database, &settings);
    let mut users = program("TEST_NODE", "example_push.mjs");
    users
        .env("GATEWAY_URL", format!("http://{}", gateway.address))
        .env("RECEIVER_URL", url)
        .env("WEBHOOK_SECRET", WEBHOOK_SECRET);
    finish(ChildProcess::start(&mut users).unwrap());

    let phone = json!({"id": "é/1", "device": "a phone"});
    let tablet = json!({"id": "2", "device": "tablet"});
    for (user, title, seq) in [
        (&phone, "New messages", 2),
        // The repetition of the first call is ignored.
        (&phone, "New messages", 3),
        (&tablet, "You were mentioned", 1),
    ] {
        let pushed = receiver.next_line_with("push ", DEADLINE).unwrap();
        let pushed: Value = serde_json::from_str(&pushed).unwrap();
        let notification = json!({
            "title": title, "collapseKey": "room-7", "data": {"roomId": 7, "seq": seq},
        });
        assert_eq!(pushed, json!({"user": user, "notification": notification}));
    }
}
