//! The code that the documentation shows: it runs, or the page says that it does not, and this
//! file why.

use std::collections::BTreeSet;

use serde_json::Value;

use super::book::pages;
use super::guide::Guide;
use super::read;

/// Blocks that do not run: the page, a part of the block, and the reason.
const IGNORED: &[(&str, &str, &str)] = &[
    (
        "docs/clients.md",
        "#pump()",
        "parts of the example client, which is tested as a whole",
    ),
    (
        "docs/from-nestjs.md",
        "this.jwt.sign",
        "belongs to a NestJS application",
    ),
    (
        "docs/from-nestjs.md",
        "psql",
        "reads the database of a NestJS application",
    ),
    (
        "docs/backup.md",
        "pg_dump --format",
        "needs PostgreSQL; the guides run on SQLite",
    ),
    (
        "docs/backup.md",
        "pg_restore",
        "needs PostgreSQL; the guides run on SQLite",
    ),
    (
        "docs/push-notifications.md",
        "node server.mjs",
        "clients/example_push.rs runs the example",
    ),
    (
        "docs/push-notifications.md",
        "WEBHOOK_EVENTS",
        "clients/example_push.rs runs the example",
    ),
    (
        "docs/users-and-import.md",
        "until [",
        "waits half a minute; e2e/api/erasure.rs waits for it",
    ),
    (
        "docs/webhooks.md",
        "await push",
        "continues the receiver above it",
    ),
];

/// Pages whose blocks other tests run, or nothing does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("docs/access-hook.md", "clients/access_hook.rs runs it"),
    ("docs/server-api.md", "clients/first_requests.rs runs them"),
    (
        "examples/python/README.md",
        "example_bot.rs runs the bot; pip needs the network",
    ),
];

/// Declares a test for each page whose blocks run.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        /// Pages whose blocks run, in the order of the page, in one folder.
        const RUN: &[&str] = &[$($page),*];
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            Guide::new($page).run();
        })*
    };
}

pages! {
    the_readme_runs: "README.md",
    backup_runs: "docs/backup.md",
    clients_runs: "docs/clients.md",
    from_nestjs_runs: "docs/from-nestjs.md",
    messages_runs: "docs/messages.md",
    moderation_runs: "docs/moderation.md",
    presence_runs: "docs/presence.md",
    push_notifications_runs: "docs/push-notifications.md",
    upgrade_runs: "docs/upgrade.md",
    users_and_import_runs: "docs/users-and-import.md",
    webhooks_runs: "docs/webhooks.md",
}

#[test]
fn every_block_runs_or_has_a_reason() {
    let mut reasons_used = BTreeSet::new();
    for page in pages() {
        let page = page.to_str().unwrap();
        for Block { info, text, line } in blocks(&read(page)) {
            let (language, mark) = info.split_once(',').unwrap_or((&info, ""));
            let reason = IGNORED
                .iter()
                .position(|(at, part, _)| *at == page && text.contains(part));
            let known = match (language, mark) {
                (_, "ignore") => reason.is_some(),
                ("sh", "" | "server" | "stop") | ("js" | "python", "") => {
                    RUN.contains(&page) || ELSEWHERE.iter().any(|(at, _)| *at == page)
                }
                ("sh" | "js" | "ts" | "python", _) => false,
                _ => mark.is_empty(),
            };
            assert!(
                known,
                "{page}:{line}: {info:?} neither runs nor has a reason"
            );
            reasons_used.extend(reason);
        }
    }
    assert_eq!(
        reasons_used.len(),
        IGNORED.len(),
        "a reason without a block"
    );
}

#[test]
fn every_json_block_is_json() {
    for page in pages() {
        let page = page.to_str().unwrap();
        for Block { info, text, line } in blocks(&read(page)) {
            let is_json = || serde_json::from_str::<Value>(&text).is_ok();
            let is_ndjson = || {
                text.lines()
                    .all(|it| serde_json::from_str::<Value>(it).is_ok())
            };
            if info == "json" {
                assert!(is_json() || is_ndjson(), "{page}:{line}");
            }
        }
    }
}

pub(super) struct Block {
    /// What follows the fence: the language, and how the block runs.
    pub(super) info: String,
    pub(super) text: String,
    pub(super) line: usize,
}

pub(super) fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut indent = None;
    for (n, line) in page.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, indent) {
            (Some(info), None) => {
                indent = Some(line.len() - line.trim_start().len());
                let (info, text) = (info.trim().to_owned(), String::new());
                found.push(Block {
                    info,
                    text,
                    line: n + 1,
                });
            }
            (Some(_), Some(_)) => indent = None,
            (None, Some(indent)) => {
                let text = &mut found.last_mut().unwrap().text;
                *text += line.get(indent..).unwrap_or_default();
                *text += "\n";
            }
            (None, None) => {}
        }
    }
    found
}
