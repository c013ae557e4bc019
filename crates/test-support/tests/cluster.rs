//! A throwaway PostgreSQL server starts, stops and leaves nothing behind.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use chat_test_support::{
    ChildProcess, Cluster, ClusterOptions, Janitor, TestDatabase, Transaction, wait_until,
};

const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn committed_rows_survive_a_crash_and_a_restart() {
    let mut cluster = Cluster::start(ClusterOptions::default()).unwrap();
    let port = cluster.port();
    cluster.create_database("chat").unwrap();
    cluster
        .psql("chat", "create table t as select 42 as x")
        .unwrap();

    cluster.stop_immediate().unwrap();
    assert!(cluster.psql("chat", "select 1").is_err());
    cluster.start_again().unwrap();
    assert_eq!(cluster.psql("chat", "select x from t").unwrap(), "42");

    cluster.stop_fast().unwrap();
    cluster.start_again().unwrap();
    assert_eq!(cluster.psql("chat", "select x from t").unwrap(), "42");
    assert_eq!(cluster.port(), port);
}

#[test]
fn a_server_is_durable_unless_configured_otherwise() {
    let durable = Cluster::start(ClusterOptions::default()).unwrap();
    assert_eq!(durable.psql("postgres", "show fsync").unwrap(), "on");
    drop(durable);

    let fast = Cluster::start(ClusterOptions {
        settings: vec!["fsync = off".to_owned()],
        ..ClusterOptions::default()
    })
    .unwrap();
    assert_eq!(fast.psql("postgres", "show fsync").unwrap(), "off");
}

#[test]
fn a_configured_password_is_required() {
    let cluster = Cluster::start(ClusterOptions {
        password: Some("p@ss/word?".to_owned()),
        ..ClusterOptions::default()
    })
    .unwrap();
    assert_eq!(cluster.psql("postgres", "select 1").unwrap(), "1");

    let without = format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port());
    let refused = std::panic::catch_unwind(|| TestDatabase::create(&without));
    assert!(refused.is_err(), "connected without the password");
}

#[test]
fn dropping_a_test_database_drops_it_even_while_a_client_is_connected() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    let admin_url = cluster.url("postgres");
    let count = "select count(*) from pg_database where datname like 'chat_test_%'";

    let database = TestDatabase::create(&admin_url);
    let name = database.name().to_owned();
    assert_eq!(database.psql("select current_database()").unwrap(), name);
    assert_eq!(cluster.psql("postgres", count).unwrap(), "1");

    let client = database.begin("SELECT 1").unwrap();
    drop(database);
    assert!(client.commit().is_err(), "the client is still connected");
    assert_eq!(cluster.psql("postgres", count).unwrap(), "0");
}

#[test]
fn a_transaction_holds_its_locks_until_it_ends() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    let database = TestDatabase::create(&cluster.url("postgres"));
    database.psql("create table t (x int)").unwrap();
    let (database, t) = (&database, "insert into t values (1)");
    let insert = || database.psql(t);
    for end in [Transaction::commit, |transaction| {
        drop(transaction);
        Ok(())
    }] {
        let mut holder = database.begin("lock table t").unwrap();
        holder.execute(t).unwrap();
        std::thread::scope(|scope| {
            let waiting = [scope.spawn(insert), scope.spawn(insert)];
            database.wait_for_lock_waits(2).unwrap();
            end(holder).unwrap();
            for waiting in waiting {
                waiting.join().unwrap().unwrap();
            }
        });
    }
    // The second transaction was rolled back.
    assert_eq!(database.psql("select count(*) from t").unwrap(), "5");
}

#[test]
fn a_transaction_whose_statement_fails_reports_the_servers_message() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    let database = TestDatabase::create(&cluster.url("postgres"));
    let error = database.begin("lock table missing").unwrap_err();
    assert!(
        error.to_string().contains("\"missing\" does not exist"),
        "{error}"
    );
}

#[test]
fn a_dropped_server_leaves_neither_process_nor_data() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    let data = cluster.psql("postgres", "show data_directory").unwrap();
    let port = cluster.port();
    drop(cluster);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!std::path::Path::new(&data).exists());
}

#[test]
fn a_server_ends_with_the_thread_that_panics() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let cluster = Cluster::start(ClusterOptions::default()).unwrap();
        sender.send(cluster.port()).unwrap();
        panic!("a test fails");
    });
    assert!(test.join().is_err());
    let port = receiver.recv().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_server_ends_with_a_killed_process() {
    // The process to kill is another run of this test.
    const HOLD: &str = "HOLD_A_SERVER_UNTIL_KILLED";
    if std::env::var_os(HOLD).is_some() {
        let cluster = Cluster::start(ClusterOptions::default()).unwrap();
        println!("port {}", cluster.port());
        loop {
            std::thread::park();
        }
    }

    let mut process = Command::new(std::env::current_exe().unwrap());
    process
        .args(["--exact", "a_server_ends_with_a_killed_process"])
        .args(["--nocapture", "--quiet"])
        .env(HOLD, "");
    let process = ChildProcess::start(&mut process).unwrap();
    let port = process.wait_for_output("the port", TIMEOUT, |output| {
        let (_, port) = output.split_once("port ")?;
        port.split_once('\n')?.0.parse::<u16>().ok()
    });
    let port = port.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());

    drop(process);
    wait_until(Duration::from_secs(20), "the server is gone", || {
        Ok(TcpStream::connect(("127.0.0.1", port))
            .is_err()
            .then_some(()))
    })
    .unwrap();
}

#[test]
fn dropping_a_janitor_waits_for_its_script() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let janitor = Janitor::new("echo \"$2\" >\"$1\"", [file.as_os_str(), "done".as_ref()]).unwrap();
    assert!(!file.exists());
    drop(janitor);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "done\n");
}
