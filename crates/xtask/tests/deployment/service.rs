//! The gateway as a running service, however it was started.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use chat_test_support::ChildProcess;
use serde_json::{Value, json};

use super::{DEADLINE, output_of};

pub(super) const KEY: &str = "a-key-of-the-server-api-for-tests-0123456789";

/// The gateway, killed when it is dropped.
pub(super) struct Service(ChildProcess);

/// How it ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) output: String,
}

impl Service {
    pub(super) fn start(command: &mut Command) -> Self {
        Self(ChildProcess::start(command).unwrap())
    }

    pub(super) fn ended(mut self) -> Ended {
        let status = self.0.wait(DEADLINE).unwrap();
        Ended {
            code: status.code(),
            output: self.0.output(),
        }
    }

    /// Stops it as systemd does. Every program before it has replaced itself by the next one, so
    /// that its process is the one that was started.
    pub(super) fn stopped(self) -> Ended {
        output_of(Command::new("kill").arg(self.0.id().to_string()));
        self.ended()
    }

    /// Returns the user id of the process.
    pub(super) fn uid(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    }

    /// Stores a message.
    pub(super) fn store(&self, content: &str) {
        let body = json!({ "userId": "1", "content": content }).to_string();
        let (status, answer) = self.ask("POST", "/api/v1/rooms/1/messages", &body);
        assert_eq!(status, "201", "{answer}");
    }

    /// Returns the contents of all messages.
    pub(super) fn messages(&self) -> Vec<String> {
        let (status, answer) = self.ask("GET", "/api/v1/rooms/1/messages", "");
        assert_eq!(status, "200", "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let messages = answer["messages"].as_array().unwrap();
        let contents = messages.iter().map(|message| &message["content"]);
        contents.map(|it| it.as_str().unwrap().to_owned()).collect()
    }

    /// Waits until it listens, sends a request and returns the status and the body.
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let address = self
            .0
            .wait_for_output("the address", DEADLINE, address_of)
            .unwrap();
        ask(address, method, path, body)
    }
}

/// Returns the address at which a gateway with this log listens.
pub(super) fn address_of(log: &str) -> Option<SocketAddr> {
    log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        match line["message"].as_str()? {
            "listening" => line["address"].as_str()?.parse().ok(),
            _ => None,
        }
    })
}

/// Sends a request and returns the status and the body.
pub(super) fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (String, String) {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (status, body.to_owned())
}
