//! The code that the documentation shows: it runs, or the page says that it does not, and this
//! file why.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chat_test_support::{ChildProcess, run};
use serde_json::Value;

use super::book::pages;
use super::{read, root};
use crate::support::{Gateway, PROGRAM, SECRET, token};

const DEADLINE: Duration = Duration::from_secs(60);
const KEY: &str = "a-key-of-the-server-api-for-tests-0123456789";

/// What a JavaScript block finds that is not a whole program: a connection of Ada, who has joined
/// room 1. A request that is refused fails the test.
const PRELUDE: &str = "
import { io } from 'socket.io-client';
const token = process.env.TOKEN;
const socket = io(process.env.CHAT_URL, { auth: { token } });
const show = () => {};
await new Promise((done, failed) => socket.once('connect', done).once('connect_error', failed));
await socket.emitWithAck('joinRoom', { roomId: 1 });
socket.on('error', error => { console.error(error); process.exitCode = 1; });
";
const END: &str = "
await socket.emitWithAck('listMessages', { roomId: 1 });
socket.disconnect();
";

/// Whole programs, which do not end by themselves: the page, the language, and what shows that the
/// program works.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("README.md", "js", "stored as number"),
    ("docs/clients.md", "python", "stored as number"),
    ("docs/clients.md", "js", " is now "),
    ("docs/presence.md", "js", " here"),
    ("docs/from-nestjs.md", "js", "Ada: hello"),
];

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
];

/// Pages whose blocks other tests run, or nothing does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("docs/access-hook.md", "clients/access_hook.rs runs it"),
    ("docs/server-api.md", "clients/first_requests.rs runs them"),
    (
        "docs/webhooks.md",
        "servers; clients/webhooks.mjs verifies in the same way",
    ),
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

struct Block {
    /// What follows the fence: the language, and how the block runs.
    info: String,
    text: String,
    line: usize,
}

fn blocks(page: &str) -> Vec<Block> {
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

/// A page whose blocks run, with its gateway on SQLite.
struct Guide {
    page: &'static str,
    blocks: Vec<Block>,
    folder: tempfile::TempDir,
    port: String,
    /// Whether the page itself says how the gateway gets its keys, and starts it.
    starts_it: bool,
    gateway: Option<Gateway>,
}

impl Guide {
    fn new(page: &'static str) -> Self {
        let text = read(page);
        let folder = tempfile::tempdir().unwrap();
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let modules = clients.join("node_modules");
        std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
        let client = root().join("examples/javascript/client.mjs");
        std::fs::copy(client, folder.path().join("client.mjs")).unwrap();
        Self {
            page,
            blocks: blocks(&text),
            folder,
            port: chat_test_support::free_port().unwrap().to_string(),
            starts_it: text.contains("API_KEYS_FILE"),
            gateway: None,
        }
    }

    fn run(mut self) {
        if !self.starts_it {
            self.start("chat-gateway serve");
            self.write_history();
        }
        let blocks = std::mem::take(&mut self.blocks);
        let is_program = |block: &Block| block.text.contains("import ");
        let (programs, steps): (Vec<_>, Vec<_>) = blocks.into_iter().partition(is_program);
        for Block { info, text, line } in &steps {
            let at = format!("{}:{line}", self.page);
            match info.as_str() {
                "sh,server" => self.start(text.trim()),
                "sh,stop" => {
                    self.stop();
                    self.shell(text, &at);
                }
                "sh" => self.shell(text, &at),
                "js" => self.fragment(text, &at),
                _ => {}
            }
        }
        for program in &programs {
            self.program(program);
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs a command line, with what the page has exported so far.
    fn command(&self, script: &str) -> Command {
        let programs = Path::new(PROGRAM).parent().unwrap();
        let path = env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        let script = script
            .replace("http://localhost:3001", &self.url())
            .replace("http://127.0.0.1:3001", &self.url());
        command
            .args([
                "-euc",
                &format!("[ ! -f exported ] || . ./exported\n{script}"),
            ])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("HOME", self.folder.path())
            .env("HOST", "127.0.0.1")
            .env("PORT", &self.port)
            .env("DATABASE_URL", "sqlite://data/chat.db")
            .env("JWT_SECRET", SECRET)
            .env("CHAT_URL", self.url())
            .env("CHAT_API_KEY", KEY)
            .env("TOKEN", token("1", "Ada"))
            .env("PYTHONUNBUFFERED", "1");
        if !self.starts_it {
            command.env("API_KEYS", format!("backend:{KEY}"));
        }
        command
    }

    fn start(&mut self, command: &str) {
        self.stop();
        let serve = self.command(&format!("exec {command}"));
        self.gateway = Some(Gateway::spawn(serve));
    }

    fn stop(&mut self) {
        if let Some(mut gateway) = self.gateway.take() {
            gateway.signal("TERM");
            assert!(gateway.wait().success(), "{}", gateway.log());
        }
    }

    fn shell(&self, text: &str, at: &str) {
        self.succeeds(&format!("{text}\nexport -p > exported"), at);
    }

    fn succeeds(&self, script: &str, at: &str) {
        let done = run(&mut self.command(script), DEADLINE).unwrap();
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(done.status.success(), "{at}: {said}");
    }

    /// Runs JavaScript that needs a connection.
    fn fragment(&self, text: &str, at: &str) {
        self.write("fragment.mjs", &[PRELUDE, text, END].concat());
        self.succeeds(&format!("exec {} fragment.mjs", provided("TEST_NODE")), at);
    }

    /// Runs a whole program until it shows that it works.
    fn program(&self, Block { info, text, line }: &Block) {
        let at = format!("{}:{line}", self.page);
        let (file, interpreter, text) = match info.as_str() {
            "js" => (
                "program.mjs",
                "TEST_NODE",
                format!("globalThis.token = process.env.TOKEN;\n{text}"),
            ),
            "python" => ("program.py", "TEST_PYTHON", text.clone()),
            "js,ignore" => return,
            other => panic!("{at}: a program in {other:?}"),
        };
        let shows = PROGRAMS.iter().find(|it| (it.0, it.1) == (self.page, info));
        let (.., shows) = shows.unwrap_or_else(|| panic!("{at}: what shows that it works?"));
        let text = text
            .replace("http://localhost:3001", &self.url())
            .replace("http://127.0.0.1:3001", &self.url());
        self.write(file, &text);
        let mut command = self.command(&format!("exec {} {file}", provided(interpreter)));
        let program = ChildProcess::start(&mut command).unwrap();
        let shown =
            program.wait_for_output(&at, DEADLINE, |said| said.contains(shows).then_some(()));
        shown.unwrap_or_else(|error| panic!("{at}: {error}: {}", program.output()));
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
    }

    /// Writes 60 messages of Ada and Grace, in turn, into the rooms 1 and 7.
    fn write_history(&self) {
        let message = |n| {
            let (id, name) = if n % 2 == 1 {
                ("1", "Ada")
            } else {
                ("2", "Grace")
            };
            format!(
                "{{\"userId\":\"{id}\",\"name\":\"{name}\",\"content\":\"message {n}\",\
                 \"createdAt\":\"2026-01-31T12:00:00.000Z\"}}\n"
            )
        };
        self.write("history.ndjson", &(1..=60).map(message).collect::<String>());
        for room in [1, 7] {
            let import = format!(
                "curl -sS --fail-with-body -X POST -H \"Authorization: Bearer $CHAT_API_KEY\" \
                 -H 'Content-Type: application/x-ndjson' -T history.ndjson \
                 \"$CHAT_URL/api/v1/rooms/{room}/import\""
            );
            self.succeeds(&import, "the history");
        }
    }
}

impl Drop for Guide {
    fn drop(&mut self) {
        // Before its folder is removed.
        self.gateway = None;
    }
}

/// Returns the program that `cargo xtask test` provides in this environment variable.
fn provided(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`"))
}
