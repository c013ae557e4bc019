//! A throwaway PostgreSQL server starts, stops and leaves nothing behind.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use chat_test_support::{Cluster, ClusterOptions, Janitor, TestDatabase, wait_until};

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

    let connections = format!("select count(*) from pg_stat_activity where datname = '{name}'");
    let sleeper = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| cluster.psql(&name, "select pg_sleep(60)"));
        wait_until(Duration::from_secs(10), "the sleeper is connected", || {
            let connected = cluster.psql("postgres", &connections)? == "1";
            Ok(connected.then_some(()))
        })
        .unwrap();
        drop(database);
        sleeper.join().unwrap()
    });
    assert!(sleeper.is_err());
    assert_eq!(cluster.psql("postgres", count).unwrap(), "0");
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

    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_ends_with_a_killed_process"])
        .arg("--nocapture")
        .env(HOLD, "")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(process.stdout.take().unwrap());
    let port: u16 = std::io::BufRead::lines(output)
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("port ")?.1.parse().unwrap()))
        .unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());

    process.kill().unwrap();
    process.wait().unwrap();
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
