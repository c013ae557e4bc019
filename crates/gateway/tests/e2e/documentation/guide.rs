//! A page whose code blocks run as a reader would run them.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chat_test_support::{ChildProcess, run};

use super::blocks::{Block, blocks};
use super::{read, root};
use crate::support::{Gateway, PROGRAM, SECRET, token};

const DEADLINE: Duration = Duration::from_secs(60);
const KEY: &str = "a-key-of-the-server-api-for-tests-0123456789";
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// How a receiver of webhooks listens.
const RECEIVER: &str = ".listen(4000)";
/// Causes a webhook.
const SEND: &str = "curl -sS --fail-with-body -X POST -H \"Authorization: Bearer $CHAT_API_KEY\" \
    -H 'Content-Type: application/json' \"$CHAT_URL/api/v1/rooms/1/messages\" \
    --data '{ \"userId\": \"1\", \"content\": \"hello\" }'";

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
    ("docs/webhooks.md", "js", "message.created"),
];

/// A page whose blocks run, with its gateway on SQLite.
pub(super) struct Guide {
    page: &'static str,
    blocks: Vec<Block>,
    folder: tempfile::TempDir,
    port: String,
    /// Where the page's receiver of webhooks listens, if it has one.
    receiver: Option<String>,
    /// Whether the page itself says how the gateway gets its keys, and starts it.
    starts_it: bool,
    gateway: Option<Gateway>,
}

impl Guide {
    pub(super) fn new(page: &'static str) -> Self {
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
            port: free_port(),
            receiver: text.contains(RECEIVER).then(free_port),
            starts_it: text.contains("API_KEYS_FILE"),
            gateway: None,
        }
    }

    pub(super) fn run(mut self) {
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
        if let Some(port) = &self.receiver {
            command
                .env("WEBHOOK_SECRET", WEBHOOK_SECRET)
                .env("WEBHOOK_URL", format!("http://127.0.0.1:{port}/"));
        }
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
        let text = match &self.receiver {
            Some(port) => text.replace(RECEIVER, &format!(".listen({port})")),
            None => text,
        };
        self.write(file, &text);
        if self.receiver.is_some() {
            // It is sent until the program listens.
            self.succeeds(SEND, &at);
        }
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

fn free_port() -> String {
    chat_test_support::free_port().unwrap().to_string()
}
