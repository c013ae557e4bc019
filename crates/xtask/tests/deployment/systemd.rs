//! The package under systemd itself, which runs as the first process of namespaces of its own, over
//! this machine's files as in [`super::machine`]. It needs a kernel that mounts the version 2 of
//! control groups, and half a minute, and is not part of `cargo xtask test`:
//!
//!     cargo xtask test -p xtask --test deployment -- --ignored

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use chat_test_support::{ChildProcess, run, wait_until};

use super::machine::{PATH, SETTINGS};
use super::package::{DATA, Dist, NEWER};
use super::service::{KEY, address_of, ask};
use super::{DEADLINE, found, output_of};

/// Mounts the root below $1, with the folder $2 as /dist, in the control group $3, and becomes
/// systemd, which starts nothing by itself. It may not write to the kernel's settings.
const SETUP: &str = r#"
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : >dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm dev/mqueue dev/hugepages
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
rm -rf usr/lib/systemd/system/*.wants lib/systemd/system/*.wants etc/systemd/system/*.wants
rm -f usr/sbin/policy-rc.d
printf '[Unit]\nRequires=sysinit.target\n' >etc/systemd/system/test.target
mkdir -p dist old-root
mount --bind "$2" dist
pivot_root . old-root
umount -l old-root
mount --make-rshared /
exec env --ignore-environment container=other "PATH=$PATH" /lib/systemd/systemd \
    --unit=test.target --log-target=journal --show-status=no
"#;

/// Enters the control group $1 and becomes the rest.
const ENTER: &str = r#"mkdir "$1"; echo $$ >"$1/cgroup.procs"; shift; exec "$@""#;

struct Systemd {
    /// The process that made the namespaces; systemd ends with it.
    holder: ChildProcess,
    control_group: PathBuf,
    folder: tempfile::TempDir,
}

impl Systemd {
    fn start(files: &[(&str, PathBuf)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (machine, dist) = (folder.path().join("machine"), folder.path().join("dist"));
        fs::create_dir(&machine).unwrap();
        fs::create_dir(&dist).unwrap();
        for (name, file) in files {
            fs::copy(file, dist.join(name)).unwrap();
        }
        let control_group = own_control_group().join(format!("test-{}", std::process::id()));
        let mut enter = Command::new("sh");
        enter
            .args(["-ec", ENTER, "sh"])
            .arg(&control_group)
            .args([
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--cgroup",
            ])
            .args([
                "--uts",
                "--ipc",
                "--propagation",
                "private",
                "sh",
                "-c",
                SETUP,
                "sh",
            ])
            .args([&machine, &dist])
            .env("PATH", PATH);
        let systemd = Self {
            holder: ChildProcess::start(&mut enter).unwrap(),
            control_group,
            folder,
        };
        let is_up = || {
            let up = systemd.command(&["systemctl", "is-active", "test.target"]);
            Ok(up.filter(|up| up.status.success()))
        };
        wait_until(DEADLINE, "systemd is up", is_up).unwrap();
        systemd.run(&["systemctl", "start", "systemd-journald"]);
        systemd
    }

    /// Runs a program beside systemd; `None` while its namespaces are being made.
    fn command(&self, words: &[&str]) -> Option<Output> {
        let holder = self.holder.id();
        let children = fs::read_to_string(format!("/proc/{holder}/task/{holder}/children"));
        let children = children.unwrap_or_default();
        let systemd = children.split_whitespace().next()?;
        let mut enter = Command::new("nsenter");
        enter
            .args([
                "--target", systemd, "--mount", "--pid", "--uts", "--ipc", "--cgroup",
            ])
            .args(["env", "--ignore-environment", "LC_ALL=C"])
            .args([&format!("PATH={PATH}"), "DEBIAN_FRONTEND=noninteractive"])
            .args(words)
            .current_dir(self.folder.path());
        run(&mut enter, DEADLINE).ok()
    }

    /// Runs a program, which must succeed, and returns what it printed.
    fn run(&self, words: &[&str]) -> String {
        let output = self.command(words).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{words:?}: {text}{errors}{}",
            self.journal()
        );
        text
    }

    fn journal(&self) -> String {
        let journal = [
            "journalctl",
            "--no-pager",
            "--output=cat",
            "--unit=chat-gateway",
        ];
        let journal = self.command(&journal);
        journal.map_or_else(String::new, |it| {
            String::from_utf8_lossy(&it.stdout).into_owned()
        })
    }

    /// Replaces the settings.
    fn set(&self, settings: &str) {
        let line = format!("printf '{settings}' >{SETTINGS}");
        self.run(&["sh", "-ec", &line]);
    }

    /// Returns a property of the service.
    fn property(&self, name: &str) -> String {
        let show = [
            "systemctl",
            "show",
            "--value",
            "--property",
            name,
            "chat-gateway",
        ];
        self.run(&show).trim().to_owned()
    }

    /// Waits until a property of the service has this value.
    fn wait_for(&self, name: &str, value: &str) {
        let probe = || Ok((self.property(name) == value).then_some(()));
        let waited = wait_until(DEADLINE, value, probe);
        waited.unwrap_or_else(|error| panic!("{name}: {error}: {}", self.journal()));
    }

    /// Waits until the service's present process listens.
    fn address(&self) -> SocketAddr {
        let probe = || {
            let pid = self.property("MainPID");
            let of_process = format!("_PID={pid}");
            let log = ["journalctl", "--no-pager", "--output=cat", &of_process];
            Ok(address_of(&self.run(&log)))
        };
        wait_until(DEADLINE, "the service listens", probe).unwrap()
    }

    fn store(&self, content: &str) {
        let body = format!(r#"{{"userId":"1","content":"{content}"}}"#);
        let (status, answer) = ask(self.address(), "POST", "/api/v1/rooms/1/messages", &body);
        assert_eq!(status, "201", "{answer}");
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // Everything in the namespaces ends with systemd, which ends with the holder.
        output_of(Command::new("kill").args(["-KILL", &self.holder.id().to_string()]));
        let remove = || {
            let mut find = Command::new("find");
            find.arg(&self.control_group).args(["-depth", "-type", "d"]);
            find.args(["-exec", "rmdir", "{}", ";"]);
            run(&mut find, DEADLINE)?;
            Ok((!self.control_group.exists()).then_some(()))
        };
        if let Err(error) = wait_until(DEADLINE, "the control group is empty", remove) {
            eprintln!("{}: {error}", self.control_group.display());
        }
    }
}

/// Returns the control group of this process, in the version 2.
fn own_control_group() -> PathBuf {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap();
    let mut roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter();
    let root = roots.find(|root| PathBuf::from(root).join("cgroup.procs").exists());
    PathBuf::from(root.expect("no control groups of version 2")).join(own)
}

#[test]
#[ignore = "half a minute, and a kernel that lets systemd run in namespaces"]
fn systemd_runs_the_package_as_the_unit_says() {
    found("TEST_PACKAGE").expect("needs root, dpkg and mount namespaces");
    let (older, newer) = (Dist::of_version("0.1.0"), Dist::of_version(NEWER));
    let files = [
        ("older.deb", older.file(".deb")),
        ("newer.deb", newer.file(".deb")),
    ];
    let systemd = Systemd::start(&files);
    systemd.run(&["dpkg", "--install", "/dist/older.deb"]);
    assert_eq!(systemd.property("ActiveState"), "inactive");

    // A setting that is wrong: it stays failed.
    systemd.run(&["systemctl", "start", "chat-gateway"]);
    systemd.wait_for("ActiveState", "failed");
    assert_eq!(systemd.property("ExecMainStatus"), "78");
    assert!(systemd.journal().contains("JWT_SECRET"));

    // A database that is away: it is started again.
    let settings = format!("JWT_SECRET={KEY}\\nAPI_KEYS=backend:{KEY}\\nPORT=0\\n");
    systemd.set(&format!(
        "{settings}DATABASE_URL=postgres://chat@127.0.0.1:1/chat\\n"
    ));
    systemd.run(&["systemctl", "start", "chat-gateway"]);
    systemd.wait_for("NRestarts", "1");
    systemd.set(&settings);
    systemd.run(&["systemctl", "restart", "chat-gateway"]);
    systemd.store("before the upgrade");

    let pid = systemd.property("MainPID");
    let status = systemd.run(&["cat", &format!("/proc/{pid}/status")]);
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000"] {
        assert!(status.lines().any(|it| it == line), "{line}: {status}");
    }
    systemd.run(&["systemctl", "reload", "chat-gateway"]);
    assert_eq!(systemd.property("MainPID"), pid);

    systemd.run(&["dpkg", "--install", "/dist/newer.deb"]);
    assert_ne!(systemd.property("MainPID"), pid);
    systemd.store("after the upgrade");
    systemd.run(&["systemctl", "kill", "--signal", "KILL", "chat-gateway"]);
    systemd.wait_for("NRestarts", "1");
    systemd.store("after a restart");
    let (_, messages) = ask(systemd.address(), "GET", "/api/v1/rooms/1/messages", "");
    assert_eq!(messages.matches("\"content\"").count(), 3, "{messages}");

    systemd.run(&["systemctl", "enable", "chat-gateway"]);
    systemd.run(&["dpkg", "--remove", "chat-gateway"]);
    assert_eq!(systemd.property("ActiveState"), "inactive");
    assert_eq!(
        systemd.property("Result"),
        "success",
        "{}",
        systemd.journal()
    );
    systemd.run(&["test", "-s", &format!("{DATA}/chat.db")]);
    systemd.run(&["dpkg", "--purge", "chat-gateway"]);
    systemd.run(&["test", "!", "-e", DATA]);
}
