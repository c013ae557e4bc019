//! The systemd unit: as systemd itself judges it, and as the tests read it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use chat_test_support::run;

use super::{DEADLINE, found, workspace};

/// The exposure that the unit must stay below, of 100: systemd's own "2.0".
const THRESHOLD: &str = "19";

/// A unit's settings, in their order.
pub(super) struct Unit(Vec<(String, String)>);

impl Unit {
    pub(super) fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let settings = lines.filter_map(|line| line.split_once('='));
        Self(
            settings
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    pub(super) fn values(&self, name: &str) -> Vec<String> {
        let settings = self.0.iter().filter(|(it, _)| it == name);
        settings.map(|(_, value)| value.clone()).collect()
    }

    /// Returns the value of a setting that the unit has once.
    pub(super) fn value(&self, name: &str) -> String {
        let values = self.values(name);
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values[0].clone()
    }

    /// Returns the arguments of `/bin/sh -c '…'`.
    pub(super) fn command(&self, name: &str) -> [String; 3] {
        let command = self.value(name);
        let script = command
            .strip_prefix("/bin/sh -c '")
            .and_then(|script| script.strip_suffix('\''))
            .unwrap_or_else(|| panic!("{command}"));
        // What systemd would replace.
        assert!(!script.contains(['%', '\\']), "{script}");
        ["/bin/sh", "-c", script].map(str::to_owned)
    }
}

fn unit_file() -> PathBuf {
    workspace().join("deploy/chat-gateway.service")
}

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    let Some(program) = found("TEST_SYSTEMD_ANALYZE") else {
        return;
    };
    let mut verify = Command::new(program);
    verify.args(["verify", "--man=no"]).arg(unit_file());
    let output = run(&mut verify, DEADLINE).unwrap();
    let remarks = String::from_utf8_lossy(&output.stderr);
    // It also remarks on units of this machine.
    let remarks: Vec<_> = remarks
        .lines()
        .filter(|line| line.contains("chat-gateway"))
        .collect();
    assert!(output.status.success() && remarks.is_empty(), "{remarks:?}");
}

#[test]
fn the_unit_is_exposed_to_little_and_the_judge_would_notice_more() {
    let Some(program) = found("TEST_SYSTEMD_ANALYZE") else {
        return;
    };
    let judge = |unit: &PathBuf| {
        let mut security = Command::new(&program);
        security
            .args([
                "security",
                "--offline=true",
                "--no-pager",
                "--threshold",
                THRESHOLD,
            ])
            .arg(unit);
        let output = run(&mut security, DEADLINE).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let verdict = text.lines().find(|line| line.contains("Overall exposure"));
        let verdict = verdict.unwrap_or_else(|| panic!("{output:?}")).to_owned();
        println!("{verdict}");
        (output.status.success(), verdict)
    };
    let (is_fine, verdict) = judge(&unit_file());
    assert!(is_fine, "{verdict}");

    let folder = tempfile::tempdir().unwrap();
    let weaker = folder.path().join("chat-gateway.service");
    let unit = fs::read_to_string(unit_file()).unwrap();
    fs::write(&weaker, unit.replace("CapabilityBoundingSet=\n", "")).unwrap();
    let (is_fine, verdict) = judge(&weaker);
    assert!(!is_fine, "{verdict}");
}

#[test]
fn the_unit_gives_the_gateway_time_to_stop_and_restarts_it_only_if_that_helps() {
    let unit = Unit::of(&fs::read_to_string(unit_file()).unwrap());
    // The gateway stops within ten seconds: see docs/configuration.md, Signals.
    assert!(unit.value("TimeoutStopSec").parse::<u32>().unwrap() > 10);
    assert_eq!(unit.value("Restart"), "on-failure");
    // A database may be away for longer than any number of attempts.
    assert_eq!(unit.value("StartLimitIntervalSec"), "0");
    // It does not notify systemd.
    assert_eq!(unit.value("Type"), "exec");
}

#[test]
fn a_reload_without_keys_does_not_end_the_gateway() {
    let unit = Unit::of(&fs::read_to_string(unit_file()).unwrap());
    let [_, _, script] = unit.command("ExecReload");
    // `sleep` ends at a SIGHUP, like the gateway without keys; 128 and the signal is its exit code.
    let line =
        "sleep 60 & export MAINPID=$!; /bin/sh -c \"$1\"; code=$?; kill $!; wait $!; echo $code $?";
    let reload = |keys: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line, "sh", &script])
            .env_remove("API_KEYS")
            .env("API_KEYS_FILE", keys);
        let output = run(&mut shell, DEADLINE).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(reload("/run/keys"), "0 129\n");
    assert_eq!(reload(""), "1 143\n");
}

#[test]
fn the_documentation_does_not_repeat_the_unit() {
    let page = fs::read_to_string(workspace().join("docs/deployment.md")).unwrap();
    assert!(page.contains("(../deploy/chat-gateway.service)"));
    assert!(!page.contains("ExecStart="));
}
