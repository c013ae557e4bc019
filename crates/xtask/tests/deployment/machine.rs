//! A machine for packages: a mount namespace whose root is an overlay over this machine's files.
//! What is written there is in memory, and gone at the end.
//!
//! systemd does not run in it. A program in place of `systemctl` writes down what it is told, and
//! the service is started as its unit says: its user, environment, working directory and command.

use std::path::PathBuf;
use std::process::Command;

use chat_test_support::ChildProcess;

use super::service::Service;
use super::unit::Unit;
use super::{DEADLINE, found, output_of};

pub(super) const SETTINGS: &str = "/etc/chat-gateway/chat-gateway.env";
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the machine below $1, with the folder $2 as /dist, and keeps it until its input ends.
const SETUP: &str = r#"
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount --rbind /proc proc
mount --rbind /dev dev
mkdir -p dist
mount --bind "$2" dist
mkdir -p run/systemd/system usr/local/bin
rm -f usr/local/bin/systemctl usr/sbin/policy-rc.d
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
    /// Starts a machine with these files in /dist, if this process may.
    pub(super) fn start(files: &[(&str, PathBuf)]) -> Option<Self> {
        found("TEST_PACKAGE")?;
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

    /// Returns what systemctl has been told to do since the last time.
    pub(super) fn systemctl_calls(&self) -> Vec<String> {
        let calls = self.run("cat /systemctl-calls; : >/systemctl-calls");
        let calls = calls.lines().filter(|call| !call.contains("is-enabled"));
        let calls = calls.map(|call| {
            let words = call.split(' ').filter(|word| !word.starts_with("--"));
            words.collect::<Vec<_>>().join(" ")
        });
        calls.collect()
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
        Service::start(&mut command)
    }
}
