//! A disk that fails during SQLite's commits.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chat_domain::ports::{AppendError, MessageRepository, RoomRepository};
use chat_domain::{Seq, StorageError};
use chat_test_support::run;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::databases::Sqlite;
use crate::{append, by, hello, room, seq, up_to};

/// Is set in the process whose disk fails.
const CHILD: &str = "CHAT_TEST_FAILING_DISK";

/// Limits the size of the files that this process writes, or lifts the limit.
fn limit_file_size(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = bytes.or(maximum);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

fn size(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

/// A write beyond the limit fails like one to a broken disk (and not like one to a full
/// disk). The limit is the process's, so the test runs itself in a process of its own,
/// which ignores the signal that such a write raises.
#[test]
fn a_disk_error_in_a_commit_is_an_unknown_outcome_until_the_disk_works_again() {
    if env::var_os(CHILD).is_some() {
        return tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(fail_and_recover());
    }
    let name = module_path!().split_once("::").unwrap().1.to_owned()
        + "::a_disk_error_in_a_commit_is_an_unknown_outcome_until_the_disk_works_again";
    let mut test = Command::new("sh");
    test.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(CHILD, "1");
    let output = run(&mut test, Duration::from_secs(60)).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{errors}"
    );
}

async fn fail_and_recover() {
    let sqlite = Sqlite::fresh().await;
    append(&sqlite.database, hello(room(1))).await.unwrap();
    // The log is not reset while a connection that read has it open.
    sqlite.database.newest(&[room(1)]).await.unwrap();
    let log = sqlite.path.with_file_name("chat.db-wal");
    limit_file_size(Some(size(&log) + 1000));
    for _ in 0..2 {
        let outcome = append(&sqlite.database, by("42", "Ada", room(1), "lost")).await;
        assert!(
            matches!(
                outcome,
                Err(AppendError::Storage(StorageError::OutcomeUnknown(_)))
            ),
            "{outcome:?}"
        );
    }
    limit_file_size(None);
    let next = append(&sqlite.database, hello(room(1))).await.unwrap();
    assert_eq!(next.seq, seq(2));
    let read = sqlite.database.after(room(1), Seq::START, up_to(10)).await;
    assert_eq!(read.unwrap().messages.len(), 2);
}
