//! Two gateways behind nginx, with the configuration that we publish, `deploy/nginx.conf`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chat_test_support::{ChildProcess, free_port, signal, wait_until};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::{DEADLINE, finish, program};
use crate::support::client::get;
use crate::support::example::example_project;
use crate::support::exchange::Exchange;
use crate::support::metrics::connections;
use crate::support::{Database, Gateway};

/// The user as whom nginx runs if this process is root: `nobody`.
const UNPRIVILEGED: u32 = 65534;

/// nginx on a free port of 127.0.0.1.
struct Nginx {
    process: ChildProcess,
    address: SocketAddr,
    /// Holds its configuration, and is its prefix.
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start(nodes: &[Gateway; 2]) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx.conf");
        let mut configuration = std::fs::read_to_string(file).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        for (published, of_the_test) in [
            ("listen 8080;", format!("listen {address};")),
            ("gateway-1:3001", nodes[0].address.to_string()),
            ("gateway-2:3001", nodes[1].address.to_string()),
        ] {
            assert!(configuration.contains(published), "{published}");
            configuration = configuration.replace(published, &of_the_test);
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let nginx = std::env::var_os("TEST_NGINX")
            .unwrap_or_else(|| panic!("TEST_NGINX is not set: run `cargo xtask test`"));
        let mut command = Command::new(nginx);
        command
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr", "-g", "daemon off;"]);
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        if is_root {
            chown(folder.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        let process = ChildProcess::start(&mut command).unwrap();
        wait_until(DEADLINE, "nginx listens", || {
            Ok(std::net::TcpStream::connect(address).ok())
        })
        .unwrap();
        Self {
            process,
            address,
            _folder: folder,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed, it would leave its workers behind.
        if signal(self.process.id(), "TERM").is_ok() {
            self.process.wait(Duration::from_secs(10)).ok();
        }
    }
}

fn start_node(database: &Database, redis: &Exchange, port: u16) -> Gateway {
    let port = port.to_string();
    let [url, prefix] = redis.settings();
    let settings = [url, prefix, ("PORT", &port), ("MESSAGE_RATE", "0")];
    Gateway::start_with(database, &settings)
}

#[test]
fn socket_io_client_works_behind_nginx() {
    converse_behind_nginx("TEST_NODE", "conversation.mjs");
}

#[test]
fn python_asyncio_client_works_behind_nginx() {
    converse_behind_nginx("TEST_PYTHON", "conversation_asyncio.py");
}

fn converse_behind_nginx(variable: &str, script: &str) {
    let (database, redis) = (Database::postgres(), Exchange::shared());
    let nodes = [0, 0].map(|port| start_node(&database, &redis, port));
    let nginx = Nginx::start(&nodes);
    let mut client = program(variable, script);
    client.env("GATEWAY_URL", nginx.url());
    finish(ChildProcess::start(&mut client).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_socket_io_is_reachable_through_nginx() {
    let (database, redis) = (Database::postgres(), Exchange::shared());
    let nodes = [0, 0].map(|port| start_node(&database, &redis, port));
    let nginx = Nginx::start(&nodes);
    for path in ["/", "/readyz", "/healthz", "/metrics", "/api/v1/rooms"] {
        let (status, response) = get(nginx.address, path).await;
        assert_eq!(status, 404, "{path}");
        assert!(response.contains("\r\nServer: nginx\r\n"), "{response}");
    }
    let (status, _) = get(nginx.address, "/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_and_stays_on_the_other_node_while_its_own_drains() {
    let (database, redis) = (Database::postgres(), Exchange::shared());
    let nodes = [0, 0].map(|port| start_node(&database, &redis, port));
    let nginx = Nginx::start(&nodes);
    let [address, _] = addresses_for_each_node(&nginx, &nodes).await;
    // A pending message prolongs the drain.
    let mut client = nodes[0].connect("1").await;
    client.join(1).await;
    let lock = database.lock_writes();
    let message = json!({ "roomId": 1, "content": "x" });
    client.emit("sendMessage", &message).await;
    lock.wait_for_waiting_write();
    nodes[0].signal("TERM");
    nodes[0].wait_for_log(|log| log.contains("draining").then_some(()));

    let sid = begin_session(address, &nginx).await;
    assert!(has_session(address, nodes[1].address, &sid).await);
    assert!(has_session(address, nginx.address, &sid).await);
}

/// Waits until every user has written more.
fn wait_for_progress(users: &mut ChildProcess) {
    users.write_line("more").unwrap();
    users
        .next_line_with("every user has written more", DEADLINE)
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_continue_through_nginx_while_their_nodes_are_stopped_and_killed() {
    let (database, redis) = (Database::postgres(), Exchange::shared());
    let ports = [(); 2].map(|()| free_port().unwrap());
    let mut nodes = ports.map(|port| start_node(&database, &redis, port));
    let nginx = Nginx::start(&nodes);
    let addresses = addresses_for_each_node(&nginx, &nodes).await;

    let project = example_project();
    let mut users = program("TEST_NODE", "behind_nginx.mjs");
    users
        .env("EXAMPLE_CLIENT", project.path().join("client.mjs"))
        .env("GATEWAY_URL", nginx.url())
        .env(
            "ADDRESSES",
            addresses.map(|address| address.to_string()).join(" "),
        );
    let mut users = ChildProcess::start(&mut users).unwrap();
    users.next_line_with("connected", DEADLINE).unwrap();
    // One with each transport from each address.
    for node in &nodes {
        assert_eq!(connections(node.address).await, 3);
    }
    wait_for_progress(&mut users);

    nodes[0].signal("TERM");
    assert_eq!(nodes[0].wait().code(), Some(0));
    wait_for_progress(&mut users);
    assert_eq!(connections(nodes[1].address).await, 6);
    nodes[0] = start_node(&database, &redis, ports[0]);
    // nginx uses the node again: the user with long-polling alone has returned.
    let returned = async {
        while connections(nodes[0].address).await == 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, returned).await.expect("a user returns");
    wait_for_progress(&mut users);

    nodes[1].signal("KILL");
    nodes[1].wait();
    wait_for_progress(&mut users);
    assert_eq!(connections(nodes[0].address).await, 6);
    nodes[1] = start_node(&database, &redis, ports[1]);
    wait_for_progress(&mut users);

    users.write_line("stop").unwrap();
    users.close_input();
    let stored = users.next_line_with("stored ", DEADLINE).unwrap();
    finish(users);
    assert_eq!(
        database.sql("SELECT count(*), min(seq), max(seq) FROM messages"),
        format!("{stored}|1|{stored}")
    );
}

/// Returns for each node an address of this host whose clients nginx sends to it.
async fn addresses_for_each_node(nginx: &Nginx, nodes: &[Gateway; 2]) -> [IpAddr; 2] {
    let mut found = [None, None];
    for last in 2..100 {
        let address = IpAddr::from([127, 0, 0, last]);
        let sid = begin_session(address, nginx).await;
        for (node, found) in nodes.iter().zip(&mut found) {
            if has_session(address, node.address, &sid).await {
                *found = Some(address);
            }
        }
        if let [Some(first), Some(second)] = found {
            return [first, second];
        }
    }
    panic!("nginx sends a hundred addresses to one node");
}

/// Begins a session with long-polling and returns its id.
async fn begin_session(from: IpAddr, nginx: &Nginx) -> String {
    let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\
         Connection: close\r\n\r\n";
    let opened = exchange(from, nginx.address, request).await;
    let (_, sid) = opened.split_once(r#""sid":""#).expect(&opened);
    sid.split_once('"').unwrap().0.to_owned()
}

/// Returns whether a packet of the session is accepted there, here a pong.
async fn has_session(from: IpAddr, to: SocketAddr, sid: &str) -> bool {
    let pong = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n\
         Connection: close\r\nContent-Length: 1\r\n\r\n3"
    );
    let answer = exchange(from, to, &pong).await;
    answer.starts_with("HTTP/1.1 200")
}

/// Sends a request from this address and returns the response.
async fn exchange(from: IpAddr, to: SocketAddr, request: &str) -> String {
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let mut stream: TcpStream = socket.connect(to).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok::<_, std::io::Error>(response)
    };
    timeout(DEADLINE, exchange).await.unwrap().unwrap()
}
