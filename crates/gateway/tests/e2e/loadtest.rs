//! `chat-gateway loadtest` measures a gateway and detects a server that breaks a promise.

mod broken_server;

use std::net::SocketAddr;
use std::process::Command;

use chat_test_support::free_port;
use serde_json::{Value, json};

use self::broken_server::{Fault, Numbering, broken_server};
use crate::support::{Database, Gateway, SECRET, command, token};

// The scenarios, short enough for a test.
const S1: &str = "--scenario s1 --connections 4 --in-flight 2 --warm-up 0.1 --seconds 0.5";
const S2: &str = "--scenario s2 --connections 10 --senders 2 --warm-up 0.1 --seconds 0.3 \
                  --step-seconds 0.1";
const S3: &str = "--scenario s3 --connections 50 --idle-seconds 0.2";
const S4: &str = "--scenario s4 --connections 20 --rooms 4 --rate 20 --p99-bound 100 \
                  --warm-up 0.1 --seconds 0.3 --step-seconds 0.2";
const S6: &str = "--scenario s6 --connections 20 --rooms 4 --rate 50 --warm-up 0.1 --seconds 0.3";

/// How a load test ended: its exit code, standard output and standard error.
struct Outcome {
    code: i32,
    out: String,
    error: String,
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{} {}", self.out, self.error))
    }

    /// The one line that it printed instead of a result.
    fn refusal(&self) -> &str {
        assert_eq!((self.code, self.out.as_str()), (1, ""), "{}", self.error);
        assert_eq!(self.error.lines().count(), 1, "{}", self.error);
        self.error.strip_prefix("chat-gateway: ").unwrap()
    }
}

/// A gateway without limits, because s2 overloads it.
fn unlimited(database: &Database) -> Gateway {
    Gateway::start_with(database, &[("MESSAGE_RATE", "0"), ("MAX_IN_FLIGHT", "0")])
}

async fn loadtest(server: SocketAddr, arguments: &str) -> Outcome {
    loadtest_with(server, arguments, |_| {}).await
}

async fn loadtest_with(
    server: SocketAddr,
    arguments: &str,
    change: impl FnOnce(&mut Command),
) -> Outcome {
    let mut loadtest = command("loadtest");
    loadtest
        .args(["--url", &format!("http://{server}")])
        .args(arguments.split_whitespace())
        .env("JWT_SECRET", SECRET);
    change(&mut loadtest);
    // The broken servers run on the test's own runtime, which must not block.
    let output = tokio::task::spawn_blocking(move || loadtest.output())
        .await
        .unwrap()
        .unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_reports_no_fault_of_a_gateway() {
    let database = Database::sqlite();
    let gateway = unlimited(&database);
    let server = format!("--json --server-pid {}", gateway.pid());
    let mut stored = 0;
    for (scenario, has_messages) in [(S1, true), (S2, true), (S3, false), (S4, true), (S6, true)] {
        let outcome = loadtest(gateway.address, &format!("{scenario} {server}")).await;
        assert_eq!(outcome.code, 0, "{}{}", outcome.out, outcome.error);
        let result = outcome.json();
        assert_eq!(outcome.out.lines().count(), 1);
        assert!(outcome.error.starts_with("loadtest: "), "{}", outcome.error);
        for name in FAULTS {
            assert_eq!(result[name], 0, "{name}: {result}");
        }
        assert_eq!(result["invalid"], json!([]), "{result}");
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
async fn each_scenario_reports_its_own_figures() {
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
        let share = result["generator_core_share"].as_f64().unwrap();
        assert!(share > 0.0 && share <= 0.9, "{result}");
        let mode = if scenario == S4 { "open" } else { "closed" };
        assert_eq!(result["loop"], mode, "{result}");
        if scenario == S2 {
            assert_eq!(result["ramp"][0]["loop"], "open", "{result}");
            assert_eq!(result["half"]["loop"], "open", "{result}");
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

/// The load test takes each URL for a node.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_announced_and_other_nodes_are_measured_apart() {
    let database = Database::sqlite();
    let gateway = unlimited(&database);
    for writing_nodes in [0, 1] {
        let s6 = format!(
            "{S6} --writing-nodes {writing_nodes} --json --url http://{}",
            gateway.address
        );
        let outcome = loadtest(gateway.address, &s6).await;
        assert_eq!(outcome.code, 0, "{}{}", outcome.out, outcome.error);
        let announced = outcome.error.lines();
        let announced = announced.filter_map(|line| line.strip_prefix("loadtest: s6: "));
        let announced: Vec<_> = announced.collect();
        assert_eq!(announced, ["the fault begins", "the fault ends"]);
        let result = outcome.json();
        for place in ["/before/open", "/before/closed", "/during/open", "/after"] {
            let phase = result.pointer(place).unwrap();
            let p99 = |name: &str| phase[name]["p99"].as_f64().unwrap();
            let slowest = p99("local_latency_ms").max(p99("remote_latency_ms"));
            assert!(p99("latency_ms") <= slowest, "{place}: {phase}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_can_use_several_rooms_beside_idle_connections() {
    let database = Database::sqlite();
    let gateway = unlimited(&database);
    let outcome = loadtest(
        gateway.address,
        &format!("{S1} --rooms-each 5 --idle-connections 10 --steady-rate 50 --json"),
    )
    .await;
    let result = outcome.json();
    assert_eq!(outcome.code, 0, "{}{}", outcome.out, outcome.error);
    assert!(
        result["steady"]["latency_ms"]["p50"].is_number(),
        "{result}"
    );
    assert_eq!(database.sql("SELECT count(*) FROM rooms"), "20", "{result}");
    // The first connection sends to each of its rooms in turn.
    let difference = database.sql("SELECT max(last_seq) - min(last_seq) FROM rooms WHERE id <= 5");
    assert!(
        ["0", "1"].contains(&difference.as_str()),
        "{difference}: {result}"
    );
    assert_eq!(result["deliveries"], result["expected"], "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_at_the_end_in_the_middle_and_at_the_beginning() {
    let database = Database::sqlite();
    let gateway = unlimited(&database);
    let s5 = "--scenario s5 --calls 3 --json";
    let outcome = loadtest(gateway.address, s5).await;
    assert!(
        outcome.error.contains("room 1 has 0 messages"),
        "{}",
        outcome.error
    );

    // However slow the machine, the messages in flight fill a page.
    let fill = "--scenario s1 --connections 1 --in-flight 64 --warm-up 0 --seconds 0.1 --json";
    let stored = loadtest(gateway.address, fill).await.json();
    let outcome = loadtest(gateway.address, s5).await;
    assert_eq!(outcome.code, 0, "{}{} {stored}", outcome.out, outcome.error);
    let result = outcome.json();
    assert!(result["newest"].as_u64().unwrap() >= 50, "{result}");
    for place in ["end", "middle", "beginning"] {
        for direction in ["before_ms", "after_ms"] {
            let p50 = &result[place][direction]["p50"];
            assert!(p50.as_f64().unwrap() > 0.0, "{place} {direction}: {result}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_json_the_report_has_one_figure_per_line() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let outcome = loadtest(gateway.address, S3).await;
    assert_eq!(outcome.code, 0, "{}", outcome.error);
    let has = |line: &str| outcome.out.lines().any(|other| other.starts_with(line));
    assert!(
        has("scenario ") && has("connections_per_second "),
        "{}",
        outcome.out
    );
    assert!(has("parameters.connections "), "{}", outcome.out);

    let outcome = loadtest(gateway.address, S1).await;
    let has = |line: &str| outcome.out.lines().any(|other| other.starts_with(line));
    assert!(has("loop "), "{}", outcome.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_another_server_can_come_from_a_file() {
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
    let outcome = run("--scenario s1 --connections 5").await;
    assert!(
        outcome.refusal().contains("contains 4 tokens"),
        "{}",
        outcome.error
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_start_prints_one_line() {
    let unreachable = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    for (server, arguments, expected) in [
        (unreachable, S1, "cannot be reached"),
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
        let outcome = loadtest_with(server, "", |loadtest| {
            *loadtest = command("loadtest");
            loadtest.env("JWT_SECRET", SECRET);
            if !arguments.contains("--url") {
                loadtest.args(["--url", &format!("http://{server}")]);
            }
            loadtest.args(arguments.split_whitespace());
        })
        .await;
        assert!(outcome.refusal().contains(expected), "{}", outcome.error);
    }

    let other_secret = |loadtest: &mut Command| {
        loadtest.env("JWT_SECRET", "another secret, also of 32 bytes and more");
    };
    let outcome = loadtest_with(gateway.address, S1, other_secret).await;
    assert!(
        outcome.refusal().contains("token_invalid"),
        "{}",
        outcome.error
    );
    let no_secret = |loadtest: &mut Command| {
        loadtest.env_remove("JWT_SECRET");
    };
    let outcome = loadtest_with(gateway.address, S1, no_secret).await;
    assert!(
        outcome.refusal().contains("JWT_SECRET is not set"),
        "{}",
        outcome.error
    );
}

/// The counts that are zero if the server keeps its promises.
const FAULTS: [&str; 9] = [
    "missing",
    "doubled",
    "misordered",
    "misrouted",
    "refused",
    "delivered_although_refused",
    "unanswered",
    "errors",
    "connections_lost",
];

/// Runs a load test against a server with a fault, and returns how it ended and the faults
/// that it counted.
async fn detected(numbering: Numbering, fault: Fault) -> (Outcome, Vec<(&'static str, u64)>) {
    let server = broken_server(numbering, fault).await;
    let plan = "--scenario s1 --connections 1 --idle-connections 0 --in-flight 1 --warm-up 0 \
                --seconds 0.2 --json";
    let room = "--scenario s2 --connections 3 --senders 1 --in-flight 4 --warm-up 0 \
                --seconds 0.1 --step-seconds 0.05 --json";
    let plan = match fault {
        Fault::Silent => plan,
        _ => room,
    };
    let outcome = loadtest(server, plan).await;
    let result = outcome.json();
    let counts = FAULTS.map(|name| (name, result[name].as_u64().unwrap()));
    let counted = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    (outcome, counted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_a_promise_is_detected() {
    for numbering in [Numbering::Seq, Numbering::None] {
        for (fault, expected) in [
            (Fault::None, &[][..]),
            (Fault::Drops, &[("missing", 1)]),
            (Fault::Repeats, &[("doubled", 1)]),
            (Fault::Swaps, &[("misordered", 1)]),
            (Fault::Misroutes, &[("missing", 1), ("misrouted", 1)]),
            (Fault::Refuses, &[("refused", 1), ("errors", 1)]),
        ] {
            let (outcome, counted) = detected(numbering, fault).await;
            let context = format!("{numbering:?} {fault:?}: {}{}", outcome.out, outcome.error);
            assert_eq!(counted, expected, "{context}");
            let is_clean = expected.is_empty();
            assert_eq!(outcome.code, i32::from(!is_clean), "{context}");
            let says = outcome
                .error
                .contains("chat-gateway: the load test failed: ");
            assert_eq!(says, !is_clean, "{context}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_that_is_delivered_does_not_cancel_a_lost_one() {
    for numbering in [Numbering::Seq, Numbering::None] {
        let server = broken_server(numbering, Fault::RefusesAnother).await;
        // With one message in flight, the refusal can mean no other message.
        let plan = "--scenario s2 --connections 3 --senders 1 --in-flight 1 --warm-up 0 \
                    --seconds 0.2 --step-seconds 0.05 --json";
        let outcome = loadtest(server, plan).await;
        let result = outcome.json();
        for (name, count) in [
            ("missing", 3),
            ("refused", 1),
            ("delivered_although_refused", 1),
            ("unanswered", 1),
        ] {
            assert_eq!(result[name], count, "{numbering:?} {name}: {result}");
        }
        assert_eq!(outcome.code, 1, "{result}");
        assert!(
            outcome
                .error
                .contains("messages delivered although refused: 1"),
            "{}",
            outcome.error
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_traffic_fails_and_says_so() {
    let (outcome, counted) = detected(Numbering::Seq, Fault::Silent).await;
    assert_eq!(outcome.code, 1, "{}", outcome.out);
    assert_eq!(
        counted,
        [("missing", 1), ("unanswered", 1), ("errors", 1)],
        "{}",
        outcome.out
    );
    let error = &outcome.error;
    assert!(error.contains("no delivery was measured"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_takes_longer_than_the_measured_interval_is_measured() {
    let server = broken_server(Numbering::Seq, Fault::Stalls).await;
    let plan = "--scenario s1 --connections 1 --in-flight 1 --warm-up 0 --seconds 0.3 --json";
    let outcome = loadtest(server, plan).await;
    let result = outcome.json();
    assert_eq!(outcome.code, 0, "{result}{}", outcome.error);
    let slowest = result["latency_ms"]["max"].as_f64().unwrap();
    assert!(slowest >= 1000.0, "{result}");
}
