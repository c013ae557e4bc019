//! A machine for packages: a mount namespace whose root is an overlay over this machine's files.
//! What is written there is in memory, and gone at the end.
//!
//! systemd does not run in it. A program in place of `systemctl` writes down what it is told, and
//! the service is started as its unit says: its user, environment, working directory and command.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use chat_test_support::ChildProcess;
use serde_json::{Value, json};

use super::unit::Unit;
use super::{DEADLINE, SETTINGS, output_of};

const KEY: &str = "a-key-of-the-server-api-for-tests-0123456789";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the machine below $1, with the folder $2 as /dist, and keeps it until its input ends.
const SETUP: &str = r#"
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount --rbind /proc proc
mount --rbind /dev dev
mkdir dist
mount --bind "$2" dist
mkdir -p run/systemd/system usr/local/bin
rm -f usr/local/bin/systemctl
printf '#!/bin/sh\necho "$*" >>/systemctl-calls\n' >usr/local/bin/systemctl
chmod 0755 usr/local/bin/systemctl
: >systemctl-calls
echo ready
cat
"#;

pub(super) struct Machine {
    /// The process that keeps the namespace.
    holder: ChildProcess,
    root: PathBuf,
    folder: tempfile::TempDir,
}

impl Machine {
    /// Starts a machine with these files in /dist, or says that it cannot be started.
    pub(super) fn start(files: &[(&str, PathBuf)]) -> Option<Self> {
        if std::env::var_os("TEST_PACKAGE").is_none() {
            eprintln!("NOT RUN: the installation of the package, which needs root and dpkg");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (machine, dist) = (folder.path().join("machine"), folder.path().join("dist"));
        std::fs::create_dir(&machine).unwrap();
        std::fs::create_dir(&dist).unwrap();
        for (name, file) in files {
            std::fs::copy(file, dist.join(name)).unwrap();
        }
        let mut unshare = Command::new("unshare");
        unshare
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                SETUP,
                "sh",
            ])
            .args([&machine, &dist]);
        let mut holder = ChildProcess::start(&mut unshare).unwrap();
        assert_eq!(holder.next_line(DEADLINE).unwrap(), "ready");
        Some(Self {
            holder,
            root: machine.join("root"),
            folder,
        })
    }

    /// Returns a command that runs on this machine.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg("chroot")
            .arg(&self.root)
            .arg(program)
            .current_dir(self.folder.path())
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a line of shell, which must succeed, and returns what it printed.
    pub(super) fn run(&self, line: &str) -> String {
        output_of(self.command("sh").args(["-ec", line]))
    }

    /// Returns with which arguments systemctl has been called since the last time.
    pub(super) fn systemctl_calls(&self) -> Vec<String> {
        let calls = self.run("cat /systemctl-calls; : >/systemctl-calls");
        calls.lines().map(str::to_owned).collect()
    }

    /// Changes one of the service's settings; nothing unsets it.
    pub(super) fn set(&self, name: &str, value: Option<&str>) {
        self.run(&format!("sed --in-place '/^{name}=/d' {SETTINGS}"));
        if let Some(value) = value {
            self.run(&format!("echo '{name}={value}' >>{SETTINGS}"));
        }
    }

    /// Starts the service as systemd does.
    pub(super) fn start_service(&self, unit: &Unit) -> Service {
        let settings = self.run(&format!("cat {}", unit.value("EnvironmentFile")));
        let user = unit.value("User");
        let mut command = self.command("setpriv");
        command
            .args(["--reuid", &user, "--regid", &unit.value("Group")])
            .args(["--init-groups", "--no-new-privs", "--bounding-set=-all"])
            .args(["env", "--ignore-environment"])
            .arg(format!("--chdir={}", unit.value("WorkingDirectory")))
            .arg(format!("PATH={PATH}"))
            .args(unit.values("Environment"))
            .args(
                settings
                    .lines()
                    .filter(|it| !it.is_empty() && !it.starts_with('#')),
            )
            .args(unit.command("ExecStart"));
        Service(ChildProcess::start(&mut command).unwrap())
    }
}

/// The gateway as a service.
pub(super) struct Service(ChildProcess);

/// How it ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) output: String,
}

impl Service {
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
        let (status, answer) = self.ask("POST", &body);
        assert_eq!(status, "201", "{answer}");
    }

    /// Returns the contents of all messages.
    pub(super) fn messages(&self) -> Vec<String> {
        let (status, answer) = self.ask("GET", "");
        assert_eq!(status, "200", "{answer}");
        let messages = answer["messages"].as_array().unwrap();
        let contents = messages.iter().map(|message| &message["content"]);
        contents.map(|it| it.as_str().unwrap().to_owned()).collect()
    }

    /// Waits until it listens, sends a request about the messages of a room and returns the status
    /// and the answer.
    fn ask(&self, method: &str, body: &str) -> (String, Value) {
        let address = self
            .0
            .wait_for_output("the address", DEADLINE, address_of)
            .unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!(
            "{method} /api/v1/rooms/1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        (status, serde_json::from_str(body).unwrap())
    }
}

fn address_of(log: &str) -> Option<SocketAddr> {
    log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        match line["message"].as_str()? {
            "listening" => line["address"].as_str()?.parse().ok(),
            _ => None,
        }
    })
}
