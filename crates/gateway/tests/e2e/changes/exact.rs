//! Once a change of rules is acknowledged, no node stores an edit or a reaction that it forbids.

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::nodes::group::Group;
use crate::rules::{ROOM, call, create};
use crate::support::client::Client;
use crate::support::{Database, Gateway};

crate::on_each_database!(nothing_changes_after_a_rule_forbids_it);

/// How often each rule is made.
const TIMES: usize = 30;

async fn nothing_changes_after_a_rule_forbids_it(database: &Database) {
    let gateway = Gateway::start(database);
    check(database, &gateway, &gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changes_on_another_node_after_a_rule_forbids_it() {
    let group = Group::start(2).await;
    check(&group.database, &group.nodes[0], &group.nodes[1]).await;
}

/// The same while the nodes exchange no hints.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_changes_on_another_node_after_a_rule_forbids_it_without_redis() {
    let group = Group::start_on("redis://127.0.0.1:1", 2);
    check(&group.database, &group.nodes[0], &group.nodes[1]).await;
}

/// A user edits and reacts without pause, on two connections, while another bans, mutes, demotes
/// and removes it and freezes the room, and takes that back.
async fn check(database: &Database, of_owner: &Gateway, of_user: &Gateway) {
    create(database, "private", &[("ada", "owner"), ("eve", "member")]);
    let mut ada = of_owner.connect("ada").await;
    ada.join(ROOM).await;
    ada.send(ROOM, "of ada").await;
    let mut eve = of_user.connect("eve").await;
    eve.join(ROOM).await;
    assert_eq!(eve.send(ROOM, "of eve").await["message"]["seq"], 2);
    let (stop, stopped) = watch::channel(false);
    let reacting = of_user.connect("eve").await;
    let changing = [
        tokio::spawn(change_without_pause(eve, edit, stopped.clone())),
        tokio::spawn(change_without_pause(reacting, react, stopped)),
    ];
    let user = json!({"userId": "eve"});
    let member = json!({"userId": "eve", "role": "member"});
    let reader = json!({"userId": "eve", "role": "reader"});
    let unban = vec![("unbanMember", user.clone()), ("setMember", member.clone())];
    let rules = [
        ("banMember", user.clone(), unban),
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
    until_changed(&mut ada, 0).await;
    for _ in 0..TIMES {
        for (event, fields, back) in &rules {
            let answer = call(&mut ada, event, fields.clone()).await;
            assert_eq!(answer["ok"], true, "{event}: {answer}");
            // What has changed now is all that there will be until it is allowed again.
            let at_rule = newest(&mut ada).await;
            let later = newest(&mut ada).await;
            assert_eq!(at_rule, later, "{event}");
            for (event, fields) in back {
                let answer = call(&mut ada, event, fields.clone()).await;
                assert_eq!(answer["ok"], true, "{event}: {answer}");
            }
            // The user has noticed.
            until_changed(&mut ada, later).await;
        }
    }
    stop.send(true).unwrap();
    let mut made = 0;
    for task in changing {
        let of_task = task.await.unwrap();
        assert!(of_task > 0);
        made += of_task;
    }
    // What was acknowledged is stored, each with a number of its own.
    assert_eq!(made, newest(&mut ada).await);
}

async fn newest(client: &mut Client) -> u64 {
    let page = call(client, "listChanges", json!({"afterRev": 0})).await;
    let messages = page["messages"].as_array().unwrap();
    messages.last().map_or(0, |m| m["rev"].as_u64().unwrap())
}

async fn until_changed(client: &mut Client, known: u64) {
    while newest(client).await == known {}
    client.take_events();
}

fn edit(n: u64) -> (&'static str, Value) {
    (
        "editMessage",
        json!({"seq": 2, "content": format!("edit {n}")}),
    )
}

fn react(n: u64) -> (&'static str, Value) {
    let on = n.is_multiple_of(2);
    ("setReaction", json!({"seq": 1, "key": "+", "on": on}))
}

/// Makes changes, and joins again whenever it has to. Returns how many were made.
async fn change_without_pause(
    mut client: Client,
    change: impl Fn(u64) -> (&'static str, Value),
    stopped: watch::Receiver<bool>,
) -> u64 {
    let mut made = 0;
    while !*stopped.borrow() {
        let (event, fields) = change(made);
        let answer = call(&mut client, event, fields).await;
        match answer["error"]["code"].as_str() {
            None => made += 1,
            Some("not_in_room" | "not_found") => {
                call(&mut client, "joinRoom", json!({})).await;
            }
            Some("forbidden") => {}
            Some(other) => panic!("{other}: {answer}"),
        }
        client.take_events();
    }
    made
}
