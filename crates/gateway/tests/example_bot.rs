//! The example bot, `examples/python/bot.py`, answers each command once and in order while it and
//! the gateway are killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chat_test_support::{ChildProcess, signal};
use serde_json::{Value, json};

use support::client::Client;
use support::{Database, Gateway, PROGRAM, SECRET, token};

const DEADLINE: Duration = Duration::from_secs(60);
const ROOM: u64 = 7;
/// How many commands each round sends. The first of them are answered when something is killed.
const COMMANDS: usize = 20;
const ANSWERED_BEFORE_A_KILL: usize = 4;
/// Messages, all of them changed, while the bot is down: more than the limits of replays.
const CROWD: usize = 1100;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_bot_answers_each_command_once_on_sqlite() {
    answers_each_command_once(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_bot_answers_each_command_once_on_postgres() {
    answers_each_command_once(&Database::postgres()).await;
}

/// What the example asks its users to install is what is tested.
#[test]
fn the_example_bot_requires_what_is_tested() {
    let tested = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/requirements.txt");
    let tested = std::fs::read_to_string(tested).unwrap();
    let required = std::fs::read_to_string(example("requirements.txt")).unwrap();
    assert!(!required.is_empty());
    for package in required.lines() {
        assert!(tested.lines().any(|line| line == package), "{package}");
    }
}

async fn answers_each_command_once(database: &Database) {
    // While the gateway is down, the kernel does not assign this port to an outgoing
    // connection.
    let port = chat_test_support::free_port().unwrap().to_string();
    let start = || Gateway::start_with(database, &[("PORT", &port), ("MESSAGE_RATE", "0")]);
    let mut gateway = start();
    let folder = tempfile::tempdir().unwrap();
    let mut bot = start_bot(folder.path(), &gateway);
    bot.next_line_with("joined room 8", DEADLINE).unwrap();

    for (round, killed) in ["bot", "gateway", "both", "bot", "gateway"]
        .iter()
        .enumerate()
    {
        let mut user = join(&gateway).await;
        let sent = send_commands(&mut user, round).await;
        let answered = sent[ANSWERED_BEFORE_A_KILL];
        user_receives_answer_to(&mut user, answered).await;
        if *killed != "gateway" {
            kill(&mut bot);
            // One that is answered, and the last, which hardly is.
            for seq in [sent[0], sent[COMMANDS - 1]] {
                let content = format!("!echo {round}, edited");
                let edit = json!({ "roomId": ROOM, "seq": seq, "content": content });
                let answer = user.call("editMessage", &edit).await;
                assert_eq!(answer["ok"], true, "{answer}");
            }
        }
        if *killed != "bot" {
            gateway.signal("KILL");
            gateway.wait();
            gateway = start();
        }
        if *killed != "gateway" {
            bot = start_bot(folder.path(), &gateway);
        }
    }

    let mut user = join(&gateway).await;
    kill(&mut bot);
    crowd(&mut user).await;
    let mut bot = start_bot(folder.path(), &gateway);
    is_answered(&mut user).await;
    // The token of this connection expires. The bot asks for another one and goes on.
    bot.next_line_with("disconnected", DEADLINE).unwrap();
    user.send(ROOM, "!echo with another token").await;
    is_answered(&mut user).await;
    kill(&mut bot);
}

fn example(file: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/python");
    examples.join(file)
}

fn start_bot(folder: &Path, gateway: &Gateway) -> ChildProcess {
    let python = std::env::var_os("TEST_PYTHON")
        .unwrap_or_else(|| panic!("TEST_PYTHON is not set: run `cargo xtask test`"));
    let mut bot = Command::new(python);
    bot.arg(example("bot.py"))
        .current_dir(folder)
        .env("CHAT_URL", gateway.url())
        .env("ROOMS", format!("{ROOM},8"))
        .env("JWT_SECRET", SECRET)
        .env(
            "TOKEN_COMMAND",
            format!("{PROGRAM} token --user bot --ttl 10s"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1");
    ChildProcess::start(&mut bot).unwrap()
}

fn kill(bot: &mut ChildProcess) {
    signal(bot.id(), "KILL").unwrap();
    bot.wait(DEADLINE).unwrap();
}

async fn join(gateway: &Gateway) -> Client {
    let mut user = Client::connect(gateway.address, &token("1", "Ada")).await;
    user.join(ROOM).await;
    user
}

/// Sends commands between other messages, and returns the commands' numbers.
async fn send_commands(user: &mut Client, round: usize) -> Vec<u64> {
    let contents = (0..COMMANDS)
        .flat_map(|n| [format!("!echo {round}, {n}"), format!("about !echo {n}")])
        .collect();
    let sent = send_all(user, contents).await;
    sent.into_iter().step_by(2).collect()
}

/// Sends messages concurrently and returns their numbers.
async fn send_all(user: &mut Client, contents: Vec<String>) -> Vec<u64> {
    let message = |content| json!({ "roomId": ROOM, "content": content });
    let answers = call_all(user, "sendMessage", contents.into_iter().map(message)).await;
    let seq = |answer: &Value| answer["message"]["seq"].as_u64().unwrap();
    answers.iter().map(seq).collect()
}

async fn call_all(
    user: &mut Client,
    event: &str,
    payloads: impl Iterator<Item = Value>,
) -> Vec<Value> {
    let mut answers = Vec::new();
    // At most as many as may be in progress.
    for batch in payloads.collect::<Vec<_>>().chunks(100) {
        let mut sent = Vec::new();
        for payload in batch {
            sent.push(user.start(event, payload).await);
        }
        for id in sent {
            let answer = user.ack(id).await;
            assert_eq!(answer["ok"], true, "{answer}");
            answers.push(answer);
        }
    }
    answers
}

/// Writes more than is replayed, with a few commands in it, and changes all of it.
async fn crowd(user: &mut Client) {
    let content = |n| match n % 100 {
        50 => format!("!echo from the crowd, {n}"),
        _ => format!("message {n}"),
    };
    let sent = send_all(user, (0..CROWD).map(content).collect()).await;
    let edit = json!({ "roomId": ROOM, "seq": 1, "content": "!echo the first, edited" });
    call_all(user, "editMessage", [edit].into_iter()).await;
    let reaction = |seq| json!({ "roomId": ROOM, "seq": seq, "key": "👀", "on": true });
    call_all(user, "setReaction", (1..=sent[0]).map(reaction)).await;
    call_all(user, "setReaction", sent.iter().copied().map(reaction)).await;
}

async fn user_receives_answer_to(user: &mut Client, seq: u64) {
    loop {
        let message = user.event("newMessage").await;
        if message["userId"] == "bot" && message["replyTo"] == seq {
            return;
        }
    }
}

/// Waits until every command has its answer. Until then, no answer is a second one, or before that
/// to an earlier command.
async fn is_answered(user: &mut Client) {
    loop {
        let messages = everything(user).await;
        let commands: Vec<_> = messages.iter().filter_map(command).collect();
        let answers: Vec<_> = messages.iter().filter(|it| it["userId"] == "bot").collect();
        for (answer, (seq, _)) in answers.iter().zip(&commands) {
            assert_eq!(answer["replyTo"], *seq, "the next answer is {answer}");
        }
        assert!(answers.len() <= commands.len(), "{answers:?}");
        let wanted = commands.iter().map(|(_, text)| *text);
        if wanted.eq(answers
            .iter()
            .map(|answer| answer["content"].as_str().unwrap()))
        {
            return;
        }
        // An answer, or its edit.
        loop {
            let (name, event) = user.any_event().await;
            let (author, by) = (&event["userId"], &event["by"]);
            if name == "newMessage" && author == "bot" || name == "messageChanged" && by == "bot" {
                break;
            }
        }
    }
}

/// Returns the number of a command, and the answer that it asks for.
fn command(message: &Value) -> Option<(u64, &str)> {
    let text = message["content"].as_str()?.strip_prefix("!echo ")?;
    let seq = message["seq"].as_u64()?;
    (message["userId"] == "1").then_some((seq, text))
}

async fn everything(user: &mut Client) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    loop {
        let after = messages.last().map_or(json!(0), |last| last["seq"].clone());
        let request = json!({ "roomId": ROOM, "afterSeq": after, "limit": 200 });
        let page = user.call("listMessages", &request).await;
        messages.extend(page["messages"].as_array().unwrap().iter().cloned());
        if page["hasMore"] == false {
            return messages;
        }
    }
}
