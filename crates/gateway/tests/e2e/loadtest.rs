//! `chat-gateway loadtest`: that it measures, and that it finds out a server which does
//! not keep the promises.

use std::net::SocketAddr;
use std::process::Command;

use chat_test_support::free_port;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Database, Gateway, SECRET, command, token};

/// Short enough for a test, in every scenario.
const S1: &str = "--scenario s1 --connections 4 --in-flight 2 --warm-up 0.1 --seconds 0.5";
const S2: &str = "--scenario s2 --connections 10 --senders 2 --warm-up 0.1 --seconds 0.3 \
                  --step-seconds 0.1";
const S3: &str = "--scenario s3 --connections 50 --idle-seconds 0.2";
const S4: &str = "--scenario s4 --connections 20 --rooms 4 --rate 20 --p99-bound 100 \
                  --warm-up 0.1 --seconds 0.3 --step-seconds 0.2";

/// How a load test ended: its exit code, and what it printed.
struct Ran {
    code: i32,
    out: String,
    error: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{} {}", self.out, self.error))
    }

    /// The line it ended with instead of a result.
    fn refusal(&self) -> &str {
        assert_eq!((self.code, self.out.as_str()), (1, ""), "{}", self.error);
        assert_eq!(self.error.lines().count(), 1, "{}", self.error);
        self.error.strip_prefix("chat-gateway: ").unwrap()
    }
}

/// A gateway that refuses nothing, however much too much is asked of it: s2 does.
fn unlimited(database: &Database) -> Gateway {
    Gateway::start_with(database, &[("MESSAGE_RATE", "0"), ("MAX_IN_FLIGHT", "0")])
}

async fn loadtest(server: SocketAddr, arguments: &str) -> Ran {
    loadtest_with(server, arguments, |_| {}).await
}

async fn loadtest_with(
    server: SocketAddr,
    arguments: &str,
    change: impl FnOnce(&mut Command),
) -> Ran {
    let mut loadtest = command("loadtest");
    loadtest
        .args(["--url", &format!("http://{server}")])
        .args(arguments.split_whitespace())
        .env("JWT_SECRET", SECRET);
    change(&mut loadtest);
    // The servers of these tests live on the same runtime.
    let output = tokio::task::spawn_blocking(move || loadtest.output())
        .await
        .unwrap()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_runs_against_a_gateway_and_nothing_is_missing() {
    let database = Database::sqlite();
    let gateway = unlimited(&database);
    let server = format!("--json --server-pid {}", gateway.pid());
    let mut stored = 0;
    for (scenario, has_messages) in [(S1, true), (S2, true), (S3, false), (S4, true)] {
        let ran = loadtest(gateway.address, &format!("{scenario} {server}")).await;
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.error);
        let result = ran.json();
        assert_eq!(ran.out.lines().count(), 1);
        assert!(ran.error.starts_with("loadtest: "), "{}", ran.error);
        for name in [
            "missing",
            "doubled",
            "misordered",
            "errors",
            "connections_lost",
        ] {
            assert_eq!(result[name], 0, "{name}: {result}");
        }
        assert_eq!(result["sent"], result["acknowledged"], "{result}");
        assert_eq!(result["deliveries"], result["expected"], "{result}");
        assert!(result["connections_per_second"].as_f64().unwrap() > 0.0);
        let latency = &result["latency_ms"];
        let percentiles = ["p50", "p99", "p99_9", "max"].map(|name| latency[name].as_f64());
        assert!(percentiles.is_sorted(), "{latency}");
        assert_eq!(percentiles[0].is_some(), has_messages, "{result}");
        if cfg!(target_os = "linux") {
            let cost = &result["server_cpu_seconds_per_1000_messages"];
            assert_eq!(cost.is_number(), has_messages, "{result}");
            assert_eq!(result["idle_cpu_seconds"].is_number(), !has_messages);
        }
        stored += result["acknowledged"].as_u64().unwrap();
    }
    assert_eq!(
        database.sql("SELECT count(*) FROM messages"),
        stored.to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scenario_has_figures_of_its_own() {
    let database = Database::sqlite();
    let gateway = unlimited(&database);
    for (scenario, figures) in [
        (S1, &["messages_per_second", "deliveries_per_second"][..]),
        (
            S2,
            &[
                "saturation_deliveries_per_second",
                "deliveries_per_second_p99_250",
            ],
        ),
        (S4, &["max_messages_per_second"]),
    ] {
        let result = loadtest(gateway.address, &format!("{scenario} --json"))
            .await
            .json();
        for name in figures {
            assert!(result[name].as_f64().unwrap() > 0.0, "{name}: {result}");
        }
        assert_eq!(result["server_cpu_seconds_per_1000_messages"], Value::Null);
        if scenario == S2 {
            assert!(result["ramp"][0]["sustained"].is_boolean(), "{result}");
            assert!(result["closed"]["latency_ms"]["p99"].is_number());
            assert!(result["half"]["messages_per_second"].is_number());
        }
        if scenario == S4 {
            assert!(result["base"]["latency_ms"]["p99"].is_number());
            assert!(result["at_max"]["messages_per_second"].is_number());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_may_have_several_rooms_and_idle_neighbours() {
    let database = Database::sqlite();
    let gateway = unlimited(&database);
    let ran = loadtest(
        gateway.address,
        &format!("{S1} --rooms-each 5 --idle-connections 10 --steady-rate 50 --json"),
    )
    .await;
    let result = ran.json();
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.error);
    assert!(
        result["steady"]["latency_ms"]["p50"].is_number(),
        "{result}"
    );
    assert_eq!(database.sql("SELECT count(*) FROM rooms"), "20", "{result}");
    // The first connection's, each in its turn.
    let apart = database.sql("SELECT max(last_seq) - min(last_seq) FROM rooms WHERE id <= 5");
    assert!(["0", "1"].contains(&apart.as_str()), "{apart}: {result}");
    assert_eq!(result["deliveries"], result["expected"], "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_at_the_end_in_the_middle_and_at_the_beginning() {
    let database = Database::sqlite();
    let gateway = unlimited(&database);
    let s5 = "--scenario s5 --calls 3 --json";
    let ran = loadtest(gateway.address, s5).await;
    assert!(ran.error.contains("room 1 has 0 messages"), "{}", ran.error);

    let stored = loadtest(gateway.address, &format!("{S1} --json"))
        .await
        .json();
    let ran = loadtest(gateway.address, s5).await;
    assert_eq!(ran.code, 0, "{}{} {stored}", ran.out, ran.error);
    let result = ran.json();
    assert!(result["newest"].as_u64().unwrap() >= 50, "{result}");
    for place in ["end", "middle", "beginning"] {
        for direction in ["before_ms", "after_ms"] {
            let p50 = &result[place][direction]["p50"];
            assert!(p50.as_f64().unwrap() > 0.0, "{place} {direction}: {result}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_the_same_names_one_figure_a_line() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let ran = loadtest(gateway.address, S3).await;
    assert_eq!(ran.code, 0, "{}", ran.error);
    let has = |line: &str| ran.out.lines().any(|other| other.starts_with(line));
    assert!(
        has("scenario ") && has("connections_per_second "),
        "{}",
        ran.out
    );
    assert!(has("parameters.connections "), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_another_server_come_from_a_file() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let file = tempfile::NamedTempFile::new().unwrap();
    let tokens = ["1", "2", "3", "4"].map(|user| token(user, "Ada"));
    std::fs::write(file.path(), tokens.join("\n")).unwrap();
    let path = file.path().to_owned();
    let run = |arguments: &'static str| {
        let path = path.clone();
        loadtest_with(gateway.address, arguments, move |loadtest| {
            loadtest
                .env_remove("JWT_SECRET")
                .arg("--tokens-file")
                .arg(path);
        })
    };
    assert_eq!(run(S1).await.code, 0);
    let ran = run("--scenario s1 --connections 5").await;
    assert!(ran.refusal().contains("contains 4 tokens"), "{}", ran.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prevents_a_run_is_one_line() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    for (server, arguments, says) in [
        (nobody, S1, "cannot be reached"),
        (
            gateway.address,
            "--scenario s1 --url https://127.0.0.1",
            "TLS",
        ),
        (gateway.address, "--scenario s1 --rooms 3", "--rooms"),
        (gateway.address, "--scenario s9", "s9"),
        (
            gateway.address,
            "--scenario s1 --server-pid 4194305",
            "--server-pid",
        ),
    ] {
        let ran = loadtest_with(server, "", |loadtest| {
            *loadtest = command("loadtest");
            loadtest.env("JWT_SECRET", SECRET);
            if !arguments.contains("--url") {
                loadtest.args(["--url", &format!("http://{server}")]);
            }
            loadtest.args(arguments.split_whitespace());
        })
        .await;
        assert!(ran.refusal().contains(says), "{}", ran.error);
    }

    let other_secret = |loadtest: &mut Command| {
        loadtest.env("JWT_SECRET", "another secret, also of 32 bytes and more");
    };
    let ran = loadtest_with(gateway.address, S1, other_secret).await;
    assert!(ran.refusal().contains("token_invalid"), "{}", ran.error);
    let no_secret = |loadtest: &mut Command| {
        loadtest.env_remove("JWT_SECRET");
    };
    let ran = loadtest_with(gateway.address, S1, no_secret).await;
    assert!(
        ran.refusal().contains("JWT_SECRET is not set"),
        "{}",
        ran.error
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_a_promise_is_found_out() {
    for numbering in [Numbering::Seq, Numbering::None] {
        for (fault, found) in [
            (Fault::None, None),
            (Fault::Drops, Some("missing")),
            (Fault::Doubles, Some("doubled")),
            (Fault::Swaps, Some("misordered")),
        ] {
            let server = broken_server(numbering, fault).await;
            let plan = "--scenario s2 --connections 3 --senders 1 --in-flight 4 --warm-up 0 \
                        --seconds 0.1 --step-seconds 0.05 --json";
            let ran = loadtest(server, plan).await;
            let result = ran.json();
            let wrong: Vec<&str> = ["missing", "doubled", "misordered"]
                .into_iter()
                .filter(|name| result[*name] != 0)
                .collect();
            assert_eq!(
                wrong,
                Vec::from_iter(found),
                "{numbering:?} {fault:?}: {result}"
            );
            assert_eq!(ran.code, i32::from(found.is_some()), "{result}");
            if let Some(found) = found {
                assert_eq!(result[found], 1, "{result}");
            }
        }
    }
}

/// Whether a server's messages carry the room's number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Numbering {
    Seq,
    /// As the founding contract has it.
    None,
}

/// What happens to the tenth delivery of the second connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Drops,
    Doubles,
    /// It comes after the eleventh.
    Swaps,
}

/// A server of one room, without a database and with a fault.
async fn broken_server(numbering: Numbering, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (room, _) = broadcast::channel(4096);
    // Ends with the test's runtime, and each connection with its client.
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connections += 1;
            let fault = match connections {
                2 => fault,
                _ => Fault::None,
            };
            tokio::spawn(serve(stream, room.clone(), numbering, fault));
        }
    });
    address
}

async fn serve(
    stream: TcpStream,
    room: broadcast::Sender<String>,
    numbering: Numbering,
    fault: Fault,
) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let mut messages = room.subscribe();
    socket
        .send(Message::text("0{\"sid\":\"x\"}"))
        .await
        .unwrap();
    let (mut count, mut held) = (0, None);
    loop {
        tokio::select! {
            received = socket.next() => {
                let Some(Ok(Message::Text(text))) = received else { return };
                if text.starts_with("40") {
                    socket.send(Message::text("40{\"sid\":\"x\"}")).await.unwrap();
                } else if text.starts_with("42[\"joinRoom\"") {
                    let joined = match numbering {
                        Numbering::Seq => "42[\"joinedRoom\",{\"roomId\":1,\"seq\":0}]",
                        Numbering::None => "42[\"joinedRoom\",{\"roomId\":1}]",
                    };
                    socket.send(Message::text(joined)).await.unwrap();
                } else if let Some(event) = text.strip_prefix("42") {
                    let event: Value = serde_json::from_str(event).unwrap();
                    room.send(event[1]["content"].as_str().unwrap().to_owned()).unwrap();
                }
            }
            content = messages.recv() => {
                let Ok(content) = content else { return };
                count += 1;
                let mut message = json!({ "roomId": 1, "content": content });
                if numbering == Numbering::Seq {
                    message["seq"] = json!(count);
                }
                let packet = format!("42{}", json!(["newMessage", message]));
                let packets = match (fault, count) {
                    (Fault::Drops, 10) => vec![],
                    (Fault::Doubles, 10) => vec![packet.clone(), packet],
                    (Fault::Swaps, 10) => {
                        held = Some(packet);
                        vec![]
                    }
                    _ => Vec::from_iter(std::iter::once(packet).chain(held.take())),
                };
                for packet in packets {
                    if socket.send(Message::text(packet)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
