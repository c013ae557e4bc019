//! `cargo xtask bench`: the load test's scenarios, with everything they need started for
//! them and what they say checked against the database.

mod contestant;
mod growth;
mod plan;
mod results;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::available_parallelism;

use chat_test_support::{Cluster, ClusterOptions, Janitor};
use serde_json::Value;

use self::contestant::{Contestant, JWT_SECRET, Promises, Schema, Server, kept_environment};
use self::growth::{LEAVE_OLD_LOG, Point};
use self::plan::{DatabaseKind, Plan, Scenario};
use self::results::{Run, table};
use crate::Error;
use crate::machine::{find_program, run as run_command, step, workspace};
use crate::needs::{install_missing, postgres, python};

/// The database of every run, made anew for each.
const DATABASE: &str = "bench";
/// The server has this core for itself; the database and the load share another.
const SERVER_CORE: usize = 0;
const OTHER_CORE: usize = 1;

/// Ends when all runs are done, or at the first whose figures cannot be trusted.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    if arguments == ["--micro"] {
        return run_micro();
    }
    let plan = Plan::parse(arguments)?;
    let bench = Bench::prepare(&plan)?;
    if !plan.growth.is_empty() {
        return bench.grow_all(&plan);
    }
    let mut runs: Vec<Run> = Vec::new();
    // The repeats are outermost, so that a machine that changes changes for everybody.
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
        "Median (lowest–highest) of {} runs, {}. In every run each acknowledged message was in \
         the table; no delivery of ours was missing, doubled or out of order.\n",
        plan.repeats, bench.conditions
    );
    print!("{}", table(&plan.scenarios, &names, &runs));
    Ok(ExitCode::SUCCESS)
}

/// The packages' own benchmarks, of pieces that need neither network nor database.
fn run_micro() -> Result<ExitCode, Error> {
    let packages = ["chat-domain", "chat-adapters", "chat-gateway"];
    let mut bench = cargo("bench");
    bench.args(packages.iter().flat_map(|package| ["--package", package]));
    run_command(&mut bench)?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that stays from run to run.
struct Bench {
    contestants: Vec<Contestant>,
    gateway: PathBuf,
    database: Database,
    pinning: Pinning,
    conditions: String,
    folder: PathBuf,
    _cleaner: Janitor,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pinning {
    Pinned,
    Free,
}

enum Database {
    Postgres(Box<Cluster>),
    /// The file of each run.
    Sqlite(PathBuf),
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

        // Pinned are this process and all that it starts, but the servers.
        let pinning = pin()?;
        let database = match plan.database {
            DatabaseKind::Postgres => {
                install_missing(&[postgres::NEED])?;
                start_postgres(plan.folder.clone())?
            }
            DatabaseKind::Sqlite => {
                // It counts the rows.
                install_missing(&[python::NEED])?;
                Database::Sqlite(folder.join("chat.db"))
            }
        };
        let place = match pinning {
            Pinning::Pinned => format!(
                "the server on core {SERVER_CORE}, the database and the load on core {OTHER_CORE}"
            ),
            Pinning::Free => "nothing pinned".to_owned(),
        };
        let kind = match plan.database {
            DatabaseKind::Postgres => "PostgreSQL with its default durability",
            DatabaseKind::Sqlite => "SQLite",
        };
        Ok(Self {
            contestants,
            gateway,
            database,
            pinning,
            conditions: format!("{kind}, {place}"),
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
        let url = self.database.renew(&contestant.schema)?;
        let core = (self.pinning == Pinning::Pinned).then_some(SERVER_CORE);
        let server = contestant.start(&url, core, &self.folder.join("server.log"))?;
        let result = self.load(&server, &scenario.flags(), contestant.keeps)?;
        let rows = self.database.count_messages()?;
        let acknowledged = result["acknowledged"].as_u64();
        if acknowledged != Some(rows) {
            return Err(format!(
                "{} messages were acknowledged, and {rows} are in the table",
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

    fn grow_all(&self, plan: &Plan) -> Result<ExitCode, Error> {
        println!(
            "Median (lowest–highest) of {} runs, {}.\n",
            plan.repeats, self.conditions
        );
        for growth in &plan.growth {
            let mut lines = Vec::new();
            for point in growth.points()? {
                step(&format!("growth of {}: {}", growth.name(), point.label));
                let results = self
                    .measure_point(&point, plan.repeats)
                    .map_err(|error| format!("{} {}: {error}", growth.name(), point.label))?;
                lines.extend(growth.lines(point.label, results));
            }
            println!("{}", growth.table(&lines));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// All runs against one server and on one database: filling it may take minutes.
    fn measure_point(&self, point: &Point, repeats: usize) -> Result<Vec<Value>, Error> {
        let [ours, ..] = &self.contestants[..] else {
            return Err("there is nobody to measure".into());
        };
        let url = self.database.renew(&ours.schema)?;
        let Database::Postgres(cluster) = &self.database else {
            return Err("growth is measured on PostgreSQL".into());
        };
        for statement in LEAVE_OLD_LOG {
            cluster.psql(DATABASE, statement)?;
        }
        if let Some(filling) = point.filling {
            run_command(
                Command::new(&self.gateway)
                    .arg("migrate")
                    .env_clear()
                    .envs(kept_environment())
                    .env("DATABASE_URL", &url)
                    .stdout(Stdio::null()),
            )?;
            step(&format!("filling in {} rows", filling.messages));
            for statement in filling.statements() {
                cluster.psql(DATABASE, &statement)?;
            }
        }
        let core = (self.pinning == Pinning::Pinned).then_some(SERVER_CORE);
        let server = ours.start(&url, core, &self.folder.join("server.log"))?;
        let mut results = Vec::new();
        for _ in 0..repeats {
            results.push(self.load(&server, &point.flags, Promises::All)?);
        }
        let before = point.filling.map_or(0, |filling| filling.messages);
        let stored = results
            .iter()
            .filter_map(|result| result["acknowledged"].as_u64());
        let expected = before + stored.sum::<u64>();
        let rows = self.database.count_messages()?;
        if rows != expected {
            return Err(format!("{rows} messages are in the table instead of {expected}").into());
        }
        Ok(results)
    }

    fn load(&self, server: &Server, flags: &[String], keeps: Promises) -> Result<Value, Error> {
        let mut load = Command::new(&self.gateway);
        load.arg("loadtest")
            .args(["--url", &format!("http://127.0.0.1:{}", server.port)])
            .args(flags)
            .args(["--server-pid", &server.process().to_string()])
            .arg("--json")
            .env_clear()
            .envs(kept_environment())
            .env("JWT_SECRET", JWT_SECRET)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        if let Some(process) = self.database.process()? {
            load.args(["--database-pid", &process]);
        }
        let output = load.output()?;
        let result = serde_json::from_slice(&output.stdout);
        match result {
            Ok(result) if output.status.success() || keeps == Promises::None => Ok(result),
            Ok(result) => Err(format!("a promise was broken: {result}").into()),
            Err(_) => Err("the load test could not be run".into()),
        }
    }
}

impl Database {
    /// An empty database; its address.
    fn renew(&self, schema: &Schema) -> Result<String, Error> {
        match self {
            Self::Postgres(cluster) => {
                let drop = format!("drop database if exists {DATABASE} with (force)");
                cluster.psql("postgres", &drop)?;
                cluster.create_database(DATABASE)?;
                if let Schema::Sql(sql) = schema {
                    cluster.psql(DATABASE, sql)?;
                }
                // What the run before left to write is not this one's cost.
                cluster.psql("postgres", "checkpoint")?;
                Ok(cluster.url(DATABASE))
            }
            Self::Sqlite(file) => {
                for suffix in ["", "-wal", "-shm"] {
                    let mut name = file.clone().into_os_string();
                    name.push(suffix);
                    match fs::remove_file(&name) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(error.into());
                        }
                        _ => {}
                    }
                }
                Ok(format!("sqlite://{}", file.display()))
            }
        }
    }

    fn count_messages(&self) -> Result<u64, Error> {
        const SQL: &str = "select count(*) from messages";
        let count = match self {
            Self::Postgres(cluster) => cluster.psql(DATABASE, SQL)?,
            Self::Sqlite(file) => count_in_file(file, SQL)?,
        };
        Ok(count.trim().parse()?)
    }

    /// The process whose children serve PostgreSQL's connections.
    fn process(&self) -> Result<Option<String>, Error> {
        let Self::Postgres(cluster) = self else {
            return Ok(None);
        };
        let file = cluster.psql("postgres", "select pg_read_file('postmaster.pid')")?;
        Ok(file.lines().next().map(str::to_owned))
    }
}

/// Python has SQLite with it; the program `sqlite3` may not be there.
fn count_in_file(file: &Path, sql: &str) -> Result<String, Error> {
    let script = "import sqlite3, sys\n\
                  print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .arg(sql)
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("the messages cannot be counted: {error}").into())
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

/// A server of our own, as PostgreSQL ships it. One that does not wait for the disk would
/// measure something else.
fn start_postgres(folder: Option<PathBuf>) -> Result<Database, Error> {
    let cluster = Cluster::start(ClusterOptions {
        folder,
        ..ClusterOptions::default()
    })?;
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value = cluster.psql("postgres", &format!("show {setting}"))?;
        if value != "on" {
            return Err(format!("PostgreSQL has {setting}={value} by default").into());
        }
    }
    let version = cluster.psql("postgres", "show server_version")?;
    step(&format!("PostgreSQL {version} on port {}", cluster.port()));
    Ok(Database::Postgres(Box::new(cluster)))
}

/// Moves this process to the core that is not the servers', and says so if it cannot.
fn pin() -> Result<Pinning, Error> {
    let cores = available_parallelism()?.get();
    if find_program("taskset").is_none() || cores < 2 {
        step("NOT PINNED: that needs taskset and two cores; the figures will vary more");
        return Ok(Pinning::Free);
    }
    let mut taskset = Command::new("taskset");
    taskset
        .args([
            "--all-tasks",
            "--cpu-list",
            "--pid",
            &OTHER_CORE.to_string(),
        ])
        .arg(std::process::id().to_string())
        .stdout(Stdio::null());
    run_command(&mut taskset)?;
    Ok(Pinning::Pinned)
}
