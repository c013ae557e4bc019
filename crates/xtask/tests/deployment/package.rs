//! The release that `cargo xtask dist` makes: its bytes, and the package, which is installed,
//! upgraded, removed and purged on a machine of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use chat_test_support::run;
use tempfile::TempDir;

use super::machine::{Machine, SETTINGS};
use super::service::KEY;
use super::unit::Unit;
use super::{DEADLINE, differences, found, gateway, output_of};

pub(super) const DATA: &str = "/var/lib/chat-gateway";
/// A version that is newer than any.
pub(super) const NEWER: &str = "99.1.0";

/// The files of a release, in a folder that is removed at the end.
pub(super) struct Dist(TempDir);

impl Dist {
    /// Packages the binary that the tests use.
    pub(super) fn of_version(version: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        xtask
            .args(["dist", "--profile", "dev", "--version", version, "--binary"])
            .arg(gateway())
            // A copy of the repository without its history has no commit to ask for.
            .env("SOURCE_DATE_EPOCH", "1767225600")
            .arg("--output")
            .arg(folder.path());
        let output = run(&mut xtask, DEADLINE).unwrap();
        assert!(output.status.success(), "{output:?}");
        Self(folder)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap()
    }

    pub(super) fn file(&self, extension: &str) -> PathBuf {
        let mut files = fs::read_dir(self.0.path()).unwrap().map(|it| it.unwrap());
        files
            .find(|file| file.path().to_str().unwrap().ends_with(extension))
            .unwrap_or_else(|| panic!("no file {extension}"))
            .path()
    }
}

#[test]
fn the_package_can_be_installed_upgraded_removed_and_purged() {
    if found("TEST_DPKG_DEB").is_none() {
        return;
    }
    let builds = [NEWER, "0.1.0", "0.1.0"].map(|it| thread::spawn(|| Dist::of_version(it)));
    let [newer, older, again] = builds.map(|build| build.join().unwrap());

    let sums = older.read("SHA256SUMS");
    assert_eq!(sums.lines().count(), 3, "{sums}");
    assert_eq!(sums, again.read("SHA256SUMS"), "the bytes differ");
    let check = ["--check", "--strict", "SHA256SUMS"];
    let mut check_sums = Command::new("sha256sum");
    check_sums.args(check).current_dir(older.0.path());
    let output = run(&mut check_sums, DEADLINE).unwrap();
    assert!(output.status.success(), "{output:?}");
    let name = format!(
        "chat-gateway-0.1.0-{}-unknown-linux-gnu",
        std::env::consts::ARCH
    );
    let tar = output_of(
        Command::new("tar")
            .arg("--list")
            .arg("--file")
            .arg(older.file(".tar.gz")),
    );
    for file in [
        "chat-gateway",
        "chat-gateway.service",
        "chat-gateway.env",
        "LICENSE",
    ] {
        assert!(
            tar.lines().any(|line| line == format!("{name}/{file}")),
            "{tar}"
        );
    }
    assert_eq!(differences("cyclonedx", &[older.file(".cdx.json")]), "");

    let Some(machine) = Machine::start(&[
        ("older.deb", older.file(".deb")),
        ("newer.deb", newer.file(".deb")),
    ]) else {
        return;
    };
    installed_package_works(&machine);
}

fn installed_package_works(machine: &Machine) {
    machine.run("dpkg --install /dist/older.deb");
    assert_eq!(
        machine.run(&format!("stat --format '%a %U:%G' {SETTINGS} {DATA}")),
        "640 root:chat-gateway\n750 chat-gateway:chat-gateway\n"
    );
    assert_eq!(machine.run("dpkg --verify chat-gateway"), "");
    assert_eq!(
        machine.systemctl_calls(),
        ["daemon-reload"],
        "it is not started"
    );

    // As it is installed, it lacks a secret: started again, it would lack it again.
    let unit = Unit::of(&machine.run("cat /usr/lib/systemd/system/chat-gateway.service"));
    let refused = machine.start_service(&unit).ended();
    assert_eq!(refused.code, Some(78), "{}", refused.output);
    assert!(
        refused.output.contains("is not set: set it to the secret"),
        "{}",
        refused.output
    );
    assert_eq!(unit.value("RestartPreventExitStatus"), "78");
    // A database that does not answer may answer later.
    let keys = format!("backend:{KEY}");
    let settings = [
        ("JWT_SECRET", "a secret of the tests, of 32 bytes and more"),
        ("API_KEYS", &keys),
        ("PORT", "0"),
        ("DATABASE_URL", "postgres://chat@127.0.0.1:1/chat"),
    ];
    for (name, value) in settings {
        machine.set(name, Some(value));
    }
    let failed = machine.start_service(&unit).ended();
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    machine.set("DATABASE_URL", None);

    let gateway = machine.start_service(&unit);
    gateway.store("before the upgrade");
    assert_eq!(gateway.uid(), machine.run("id --user chat-gateway").trim());
    let settings = machine.run(&format!("cat {SETTINGS}"));

    // It serves until systemd restarts it, which is the last step.
    machine.systemctl_calls();
    machine.run("dpkg --install /dist/newer.deb");
    assert_eq!(
        machine.systemctl_calls(),
        ["daemon-reload", "try-restart chat-gateway.service"]
    );
    let version = machine.run("dpkg-query --show --showformat '${Version}' chat-gateway");
    assert_eq!(version, format!("{NEWER}-1"));
    assert_eq!(machine.run(&format!("cat {SETTINGS}")), settings);
    gateway.store("during the upgrade");
    assert_eq!(gateway.stopped().code, Some(0));
    let gateway = machine.start_service(&unit);
    gateway.store("after the upgrade");
    let messages = [
        "before the upgrade",
        "during the upgrade",
        "after the upgrade",
    ];
    assert_eq!(gateway.messages(), messages);
    assert_eq!(gateway.stopped().code, Some(0));

    // The scripts may be run again, as dpkg does after a failure.
    machine.run(&format!(
        "/var/lib/dpkg/info/chat-gateway.postinst configure {NEWER}-1"
    ));
    machine.systemctl_calls();
    machine.run("dpkg --remove chat-gateway");
    assert_eq!(
        machine.systemctl_calls(),
        ["stop chat-gateway.service", "daemon-reload"]
    );
    machine.run("test ! -e /usr/bin/chat-gateway");
    assert_eq!(machine.run(&format!("cat {SETTINGS}")), settings);
    machine.run(&format!("test -s {DATA}/chat.db"));

    machine.run("dpkg --install /dist/newer.deb");
    let gateway = machine.start_service(&unit);
    assert_eq!(gateway.messages(), messages);
    assert_eq!(gateway.stopped().code, Some(0));

    // As `systemctl enable` does.
    let wants = "/etc/systemd/system/multi-user.target.wants";
    let link = &format!("{wants}/chat-gateway.service");
    machine.run(&format!(
        "mkdir -p {wants} && ln -s /usr/lib/systemd/system/chat-gateway.service {link}"
    ));
    machine.run("cp /var/lib/dpkg/info/chat-gateway.postrm /postrm");
    machine.run("dpkg --purge chat-gateway && sh /postrm purge");
    for left in [
        DATA,
        "/etc/chat-gateway",
        "/usr/share/doc/chat-gateway",
        link,
    ] {
        machine.run(&format!("test ! -e {left} && test ! -L {left}"));
    }
}
