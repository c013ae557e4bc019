//! Once a change of rules is acknowledged, no node stores what it forbids.

use serde_json::json;
use tokio::sync::watch;

use super::{ROOM, call, create};
use crate::nodes::group::Group;
use crate::support::client::Client;
use crate::support::{Database, Gateway};

/// How often each change is made.
const TIMES: usize = 50;

/// A user that sends without pause on a node of its own, while another bans, mutes, demotes,
/// removes it and freezes the room, and takes that back.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_after_a_change_forbids_it() {
    let group = Group::start(2).await;
    check(&group.database, &group.nodes[0], &group.nodes[1]).await;
}

/// The same while the nodes exchange no hints.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_after_a_change_forbids_it_without_redis() {
    let group = Group::start_on("redis://127.0.0.1:1", 2);
    check(&group.database, &group.nodes[0], &group.nodes[1]).await;
}

async fn check(database: &Database, of_owner: &Gateway, of_sender: &Gateway) {
    create(database, "private", &[("ada", "owner"), ("eve", "member")]);
    let mut ada = of_owner.connect("ada").await;
    ada.join(ROOM).await;
    let (stop, stopped) = watch::channel(false);
    let eve = of_sender.connect("eve").await;
    let sending = tokio::spawn(send_without_pause(eve, stopped));
    let user = json!({"userId": "eve"});
    let member = json!({"userId": "eve", "role": "member"});
    let reader = json!({"userId": "eve", "role": "reader"});
    let changes = [
        (
            "banMember",
            user.clone(),
            vec![("unbanMember", user.clone()), ("setMember", member.clone())],
        ),
        (
            "muteMember",
            user.clone(),
            vec![("unmuteMember", user.clone())],
        ),
        ("setMember", reader, vec![("setMember", member.clone())]),
        (
            "setRoom",
            json!({"frozen": true}),
            vec![("setRoom", json!({"frozen": false}))],
        ),
        ("removeMember", user, vec![("setMember", member)]),
    ];
    for _ in 0..TIMES {
        for (event, fields, back) in &changes {
            assert_eq!(
                call(&mut ada, event, fields.clone()).await["ok"],
                true,
                "{event}"
            );
            // What is stored now is all that there will be until it is allowed again.
            let at_change = newest(&mut ada).await;
            let later = newest(&mut ada).await;
            assert_eq!(at_change, later, "{event}");
            for (event, fields) in back {
                assert_eq!(
                    call(&mut ada, event, fields.clone()).await["ok"],
                    true,
                    "{event}"
                );
            }
            // The sender has noticed, and writes again.
            let mut now = later;
            while now == later {
                now = newest(&mut ada).await;
            }
            ada.take_events();
        }
    }
    stop.send(true).unwrap();
    let acknowledged = sending.await.unwrap();
    assert!(acknowledged as u64 <= newest(&mut ada).await);
}

async fn newest(client: &mut Client) -> u64 {
    let page = call(client, "listMessages", json!({"limit": 1})).await;
    page["messages"][0]["seq"].as_u64().unwrap_or(0)
}

/// Sends, and joins again whenever it has to. Returns how many messages were stored.
async fn send_without_pause(mut client: Client, stopped: watch::Receiver<bool>) -> usize {
    let mut stored = 0;
    while !*stopped.borrow() {
        let sent = client.send(ROOM, "x").await;
        match sent["error"]["code"].as_str() {
            None => stored += 1,
            Some("not_in_room" | "not_found") => {
                call(&mut client, "joinRoom", json!({})).await;
            }
            Some("forbidden") => {}
            Some(other) => panic!("{other}: {sent}"),
        }
        client.take_events();
    }
    stored
}
