//! `cargo xtask bench`: starts a database and the servers, runs the load test's scenarios
//! against each, and checks the results against the database. With `--micro`, it counts the
//! instructions of the hot code paths instead ([`micro`]).
//!
//! The load test runs as the gateway's release binary and not within this process, which
//! is a debug build and compiles within seconds because it depends on none of the chat's
//! crates.

mod contestant;
mod database;
mod figure;
mod filling;
mod growth;
mod micro;
mod pinning;
mod plan;
mod redis_faults;
mod results;
mod scenario;
mod table;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};

use chat_test_support::{Janitor, Redis, RedisOptions};
use serde_json::Value;

pub(crate) use self::contestant::Peer;
use self::contestant::{Contestant, JWT_SECRET, Promises, Server, kept_environment};
use self::database::Database;
use self::filling::LEAVE_OLD_LOG;
use self::growth::{Nodes, Point};
use self::pinning::Pinning;
use self::plan::{DatabaseKind, Plan};
use self::results::{Run, table};
use self::scenario::Scenario;
use crate::error::Error;
use crate::machine::{run as run_command, step, workspace};
use crate::needs::{install_missing, postgres, python, redis};

/// Runs everything, or ends at the first run whose figures cannot be trusted.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    if let [first, rest @ ..] = arguments
        && first == "--micro"
    {
        return micro::run(rest);
    }
    let plan = Plan::parse(arguments)?;
    let bench = Bench::prepare(&plan)?;
    if !plan.growth.is_empty() {
        return bench.run_growth(&plan);
    }
    if !plan.redis_faults.is_empty() {
        return bench.run_redis_faults(&plan.redis_faults, plan.repeats);
    }
    let mut runs: Vec<Run> = Vec::new();
    // The repeats are the outer loop, so that noise of the machine affects all contestants.
    for repeat in 1..=plan.repeats {
        for scenario in &plan.scenarios {
            for contestant in &bench.contestants {
                let name = &contestant.name;
                step(&format!(
                    "{} of {name}, {repeat} of {}",
                    scenario.name, plan.repeats
                ));
                let run = bench
                    .measure(contestant, scenario, repeat)
                    .map_err(|error| format!("{} of {name}: {error}", scenario.name))?;
                runs.push(run);
                if let Some(file) = &plan.json {
                    let all = Value::Array(runs.iter().map(Run::json).collect());
                    fs::write(file, format!("{all:#}\n"))?;
                }
            }
        }
    }
    let names: Vec<String> = bench.contestants.iter().map(|c| c.name.clone()).collect();
    println!(
        "Median (lowest–highest) of {} runs, {}. In every run, each acknowledged message was in \
         the table, no delivery of ours was missing, repeated, out of order or in the wrong room, \
         and the load used at most 90 % of its core. In a closed loop a stall of the server \
         reduces the load, so percentiles of open loops are the ones to compare.\n",
        plan.repeats, bench.conditions
    );
    print!("{}", table(&plan.scenarios, &names, &runs));
    Ok(ExitCode::SUCCESS)
}

/// What all runs have in common.
struct Bench {
    contestants: Vec<Contestant>,
    gateway: PathBuf,
    database: Database,
    pinning: Pinning,
    conditions: String,
    folder: PathBuf,
    _cleaner: Janitor,
}

impl Bench {
    fn prepare(plan: &Plan) -> Result<Self, Error> {
        let gateway = build_gateway()?;
        let folder = plan.folder.clone().unwrap_or_else(std::env::temp_dir);
        let folder = folder.join(format!("chat-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let cleaner = Janitor::new("rm -rf \"$1\"", [&folder])?;
        let mut contestants = vec![Contestant::ours(gateway.clone(), folder.clone())];
        for peer in &plan.peers {
            contestants.push(Contestant::peer(peer, plan.peer_schema.as_deref())?);
        }

        // Everything that starts from here on is pinned too; the servers are pinned anew.
        let pinning = Pinning::pin_this_process()?;
        let database = match plan.database {
            DatabaseKind::Postgres => {
                install_missing(&[postgres::NEED])?;
                Database::start_postgres(plan.folder.clone())?
            }
            DatabaseKind::Sqlite => {
                // Python counts the rows.
                install_missing(&[python::NEED])?;
                Database::Sqlite(folder.join("chat.db"))
            }
        };
        Ok(Self {
            conditions: format!("{}, {}", database.describe(), pinning.describe()),
            contestants,
            gateway,
            database,
            pinning,
            folder,
            _cleaner: cleaner,
        })
    }

    fn measure(
        &self,
        contestant: &Contestant,
        scenario: &Scenario,
        repeat: usize,
    ) -> Result<Run, Error> {
        let url = self.database.recreate(&contestant.schema)?;
        let servers = self.start(contestant, &url, Nodes::Alone)?;
        let result = self.load(&servers, &scenario.flags(), contestant.keeps)?;
        let rows = self.database.count_messages()?;
        let acknowledged = result["acknowledged"].as_u64();
        if acknowledged != Some(rows) {
            return Err(format!(
                "{} messages were acknowledged, but the table contains {rows}",
                result["acknowledged"]
            )
            .into());
        }
        Ok(Run {
            contestant: contestant.name.clone(),
            scenario: scenario.name.clone(),
            repeat,
            rows,
            result,
        })
    }

    fn run_growth(&self, plan: &Plan) -> Result<ExitCode, Error> {
        println!(
            "Median (lowest–highest) of {} runs, {}.\n",
            plan.repeats, self.conditions
        );
        for growth in &plan.growth {
            let mut rows = Vec::new();
            for point in growth.points()? {
                step(&format!("growth of {}: {}", growth.name(), point.label));
                let results = self
                    .measure_point(&point, plan.repeats)
                    .map_err(|error| format!("{} {}: {error}", growth.name(), point.label))?;
                rows.extend(growth.rows(point.label, results));
            }
            println!("{}", growth.table(&rows));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Measures all repeats with one server and one database, because filling the database
    /// can take minutes.
    fn measure_point(&self, point: &Point, repeats: usize) -> Result<Vec<Value>, Error> {
        let ours = self.contestants.first().ok_or("no server to measure")?;
        let url = self.database.recreate(&ours.schema)?;
        self.database.execute(LEAVE_OLD_LOG)?;
        if let Some(filling) = point.filling {
            run_command(
                Command::new(&self.gateway)
                    .arg("migrate")
                    .env_clear()
                    .envs(kept_environment())
                    .env("DATABASE_URL", &url)
                    .stdout(Stdio::null()),
            )?;
            step(&format!("inserting {} rows", filling.messages()));
            self.database.execute(filling.statements())?;
        }
        let servers = self.start(ours, &url, point.nodes)?;
        let mut results = Vec::new();
        for _ in 0..repeats {
            results.push(self.load(&servers, &point.flags, Promises::All)?);
        }
        let before = point.filling.map_or(0, |filling| filling.messages());
        let stored = results
            .iter()
            .filter_map(|result| result["acknowledged"].as_u64());
        let expected = before + stored.sum::<u64>();
        let rows = self.database.count_messages()?;
        if rows != expected {
            return Err(format!("the table contains {rows} messages instead of {expected}").into());
        }
        Ok(results)
    }

    fn start(
        &self,
        contestant: &Contestant,
        database: &str,
        nodes: Nodes,
    ) -> Result<Servers, Error> {
        let (count, redis) = match nodes {
            Nodes::Alone => (1, None),
            Nodes::WithRedis(count) => {
                install_missing(&[redis::NEED])?;
                (count, Some(Redis::start(RedisOptions::default())?))
            }
        };
        let url = redis.as_ref().map(Redis::url);
        let start = |node| self.start_node(contestant, database, url.as_deref(), node);
        let nodes: Result<_, _> = (1..=count).map(start).collect();
        Ok(Servers {
            nodes: nodes?,
            redis,
        })
    }

    /// Starts the nth server on this database and Redis.
    fn start_node(
        &self,
        contestant: &Contestant,
        database: &str,
        redis: Option<&str>,
        node: usize,
    ) -> Result<Server, Error> {
        let log = self.folder.join(format!("server-{node}.log"));
        contestant.start(database, redis, self.pinning.server_core(), &log)
    }

    /// Runs the load test and returns its result.
    fn load(&self, servers: &Servers, flags: &[String], keeps: Promises) -> Result<Value, Error> {
        let output = self.load_command(servers, flags)?.output()?;
        result_of(&output, keeps)
    }

    fn load_command(&self, servers: &Servers, flags: &[String]) -> Result<Command, Error> {
        let mut load = Command::new(&self.gateway);
        load.arg("loadtest").args(flags).arg("--json");
        for server in &servers.nodes {
            load.args(["--url", &format!("http://127.0.0.1:{}", server.port)])
                .args(["--server-pid", &server.process().to_string()]);
        }
        if let Some(redis) = &servers.redis {
            load.args(["--redis-pid", &process_of(redis)?]);
        }
        load.env_clear()
            .envs(kept_environment())
            .env("JWT_SECRET", JWT_SECRET)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        if let Some(process) = self.database.process()? {
            load.args(["--database-pid", &process]);
        }
        Ok(load)
    }
}

/// The nodes of a contestant. Dropping it stops them, and Redis after them.
struct Servers {
    nodes: Vec<Server>,
    redis: Option<Redis>,
}

fn process_of(redis: &Redis) -> Result<String, Error> {
    let info = redis.command(&["INFO", "server"])?;
    let process = info
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"));
    let process = process.ok_or("INFO of Redis has no process_id")?;
    Ok(process.trim().to_owned())
}

/// Returns the load test's result.
fn result_of(output: &Output, keeps: Promises) -> Result<Value, Error> {
    let result: Value =
        serde_json::from_slice(&output.stdout).map_err(|_| "the load test failed")?;
    check(&result, output.status.success(), keeps)?;
    Ok(result)
}

/// Checks that a result's figures are valid and that the server kept its promises.
fn check(result: &Value, is_success: bool, keeps: Promises) -> Result<(), String> {
    if result["invalid"]
        .as_array()
        .is_none_or(|reasons| !reasons.is_empty())
    {
        return Err(format!("the figures are not valid: {}", result["invalid"]));
    }
    match is_success || keeps == Promises::None {
        true => Ok(()),
        false => Err(format!("a promise was broken: {result}")),
    }
}

fn build_gateway() -> Result<PathBuf, Error> {
    step("cargo build --release -p chat-gateway");
    run_command(cargo("build").args(["--release", "--package", "chat-gateway"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    Ok(target.join("release/chat-gateway"))
}

fn cargo(command: &str) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo.current_dir(workspace()).arg(command);
    cargo
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_peer_may_break_promises_but_no_figures_may_be_invalid() {
        let valid = json!({ "invalid": [], "missing": 1 });
        check(&valid, true, Promises::All).unwrap();
        check(&valid, false, Promises::None).unwrap();
        assert!(check(&valid, false, Promises::All).is_err());
        let invalid = json!({ "invalid": ["the load test used 95 % of its core"] });
        for (result, keeps) in [
            (&invalid, Promises::All),
            (&invalid, Promises::None),
            (&json!({}), Promises::None),
        ] {
            let error = check(result, false, keeps).unwrap_err();
            assert!(error.contains("not valid"), "{error}");
        }
    }
}
