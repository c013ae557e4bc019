//! PostgreSQL's machine crashes: what it has not synced is lost. PostgreSQL is on a file system
//! of its own, in a file, that is shut down at once and mounted again, so that the kernel
//! discards every write that it has not been told to sync. This requires root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chat_test_support::{Cluster, ClusterOptions, Janitor, TestDatabase, run, wait_until};
use tokio::task::block_in_place;

use crate::checker::Violation;
use crate::fault;
use crate::stage::{Setup, Stage};
use crate::support::Database;
use crate::{Plan, stage};

const DEADLINE: Duration = Duration::from_secs(30);

/// The kernel's `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: from now on, nothing is
/// read or written.
const SHUT_DOWN: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))
";

/// A file system that forgets what was not synced.
struct Disk {
    image: PathBuf,
    folder: PathBuf,
    /// Unmounts the file system, however this process ends.
    _janitor: Janitor,
}

impl Disk {
    fn create() -> Self {
        let parent = tempfile::Builder::new().prefix("chat-machine-").tempdir();
        let parent = parent.unwrap().keep();
        let (image, folder) = (parent.join("image"), parent.join("disk"));
        let clean_up = "umount -l \"$1/disk\"; rm -rf \"$1\"";
        let janitor = Janitor::new(clean_up, [&parent]).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(1 << 30))
            .unwrap();
        program("mke2fs", &["-q", "-F", "-t", "ext4"], &[&image]);
        let disk = Self {
            image,
            folder,
            _janitor: janitor,
        };
        disk.mount();
        // PostgreSQL's user must be able to enter it.
        program("chmod", &["755"], &[&parent, &disk.folder]);
        disk
    }

    fn mount(&self) {
        program("mount", &["-o", "loop"], &[&self.image, &self.folder]);
    }

    fn sync(&self) {
        program("sync", &["-f"], &[&self.folder]);
    }

    /// Discards what is not synced. Nothing works until `mount_again`.
    fn crash(&self) {
        program("python3", &["-c", SHUT_DOWN], &[&self.folder]);
    }

    /// Mounts it again, after every process that used it has ended.
    fn mount_again(&self) {
        let unmounted = wait_until(DEADLINE, "the crashed disk is unmounted", || {
            let mut umount = Command::new("umount");
            let done = run(umount.arg(&self.folder), DEADLINE)?;
            Ok(done.status.success().then_some(()))
        });
        unmounted.unwrap();
        self.mount();
    }
}

fn program(name: &str, options: &[&str], paths: &[&Path]) {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .args(options)
        .args(paths);
    let done = run(&mut command, DEADLINE).unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name} {paths:?}: {error}");
}

/// A PostgreSQL server on a disk of its own, with these settings.
struct Machine {
    disk: Disk,
    server: Cluster,
}

impl Machine {
    fn start(settings: &[&str]) -> (Self, Database) {
        let disk = Disk::create();
        let server = Cluster::start(ClusterOptions {
            folder: Some(disk.folder.clone()),
            settings: settings.iter().map(|&line| line.to_owned()).collect(),
            ..ClusterOptions::default()
        });
        let server = server.unwrap();
        let database = TestDatabase::create(&server.url("postgres"));
        // The server's files were created without syncing them.
        disk.sync();
        (Self { disk, server }, Database::Postgres(database))
    }

    fn crash(&mut self) {
        block_in_place(|| {
            self.disk.crash();
            // Nothing that it still does can have an effect.
            self.server.stop_immediate().unwrap();
        });
    }

    fn start_again(&mut self) {
        block_in_place(|| {
            self.disk.mount_again();
            self.server.start_again().unwrap();
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system, which requires root; `cargo xtask chaos` runs it"]
async fn promises_hold_when_the_machine_of_postgres_crashes() {
    machine_crashed(Setup::default()).await;
}

pub(crate) async fn machine_crashed(setup: Setup) {
    let plan = Plan::from_environment();
    let (mut machine, database) = Machine::start(&[]);
    let mut stage = Stage::open(fault::MACHINE_CRASHED, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.begin_strike();
        machine.crash();
        stage.refused(1).await;
        stage.pause(0, 1000).await;
        machine.start_again();
        stage.end_strike();
        let more = 100 + stage.below(200);
        plan.end_round(&mut stage, round, more).await;
    }
    stage.close().await;
}

/// The control of the crash: it loses what PostgreSQL acknowledged without syncing it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system, which requires root; `cargo xtask chaos` runs it"]
async fn acknowledged_messages_that_a_crash_loses_are_found() {
    let settings = ["synchronous_commit = off", "wal_writer_delay = '10s'"];
    let (mut machine, database) = Machine::start(&settings);
    let mut stage = Stage::open(fault::MACHINE_CRASHED, &database, Setup::default()).await;
    // The tables themselves must survive.
    database.sql("CHECKPOINT");
    stage.begin_round();
    stage.begin_strike();
    machine.crash();
    stage.refused(1).await;
    machine.start_again();
    stage.end_strike();
    // Until the rooms have passed the numbers that were lost: clients still page up to them.
    stage.acknowledged(1000).await;
    let lost = |found: &Violation| matches!(found, Violation::AcknowledgedNotStored { .. });
    let violations = stage.finish().await.violations;
    assert!(
        violations.iter().any(lost),
        "{}",
        stage::summary(&violations)
    );
}
