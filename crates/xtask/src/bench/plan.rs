//! The command line of `cargo xtask bench`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use super::growth::Growth;
use super::redis_faults::Fault;
use super::scenario::Scenario;
use crate::error::Error;

#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) scenarios: Vec<Scenario>,
    /// If not empty, these are measured instead of scenarios.
    pub(super) growth: Vec<Growth>,
    /// If not empty, Redis fails in these ways between two nodes, instead of scenarios.
    pub(super) redis_faults: Vec<Fault>,
    pub(super) repeats: usize,
    pub(super) database: DatabaseKind,
    pub(super) peers: Vec<PeerFolder>,
    /// The tables of peers that have no schema of their own.
    pub(super) peer_schema: Option<PathBuf>,
    /// Where databases are stored.
    pub(super) folder: Option<PathBuf>,
    /// The file to which every run is written.
    pub(super) json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DatabaseKind {
    Postgres,
    Sqlite,
}

/// A peer's folder, and the number of database connections that it is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerFolder {
    pub(super) path: PathBuf,
    pub(super) pool: Option<u32>,
}

/// The scenarios that run by default.
const SCENARIOS: [&str; 6] = ["s1w1", "s1w8", "s2n1000", "s2n200", "s3", "s4"];

/// The default number of runs of each scenario.
const REPEATS: usize = 3;

impl Plan {
    /// # Errors
    /// Names the first argument that is not valid.
    pub(super) fn parse(arguments: &[OsString]) -> Result<Self, Error> {
        let mut plan = Self {
            scenarios: Vec::new(),
            growth: Vec::new(),
            redis_faults: Vec::new(),
            repeats: REPEATS,
            database: DatabaseKind::Postgres,
            peers: Vec::new(),
            peer_schema: None,
            folder: None,
            json: None,
        };
        let mut arguments = arguments.iter().peekable();
        while let Some(name) = arguments.next() {
            let name = name.to_string_lossy();
            let is_value = |next: &&OsString| !next.to_string_lossy().starts_with("--");
            if name == "--growth" {
                plan.growth = list_or_all(arguments.next_if(is_value), &Growth::ALL)?;
                continue;
            }
            if name == "--redis-faults" {
                plan.redis_faults = list_or_all(arguments.next_if(is_value), &Fault::ALL)?;
                continue;
            }
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            let text = value.to_string_lossy();
            match &*name {
                "--scenario" => {
                    for scenario in text.split(',') {
                        plan.scenarios.push(scenario.parse()?);
                    }
                }
                "--repeats" => {
                    plan.repeats =
                        text.parse()
                            .ok()
                            .filter(|repeats| *repeats > 0)
                            .ok_or(format!(
                                "--repeats must be a number of at least 1, not \"{text}\""
                            ))?;
                }
                "--database" => {
                    plan.database = match &*text {
                        "postgres" => DatabaseKind::Postgres,
                        "sqlite" => DatabaseKind::Sqlite,
                        _ => return Err("--database must be postgres or sqlite".into()),
                    }
                }
                "--peer" => plan.peers.push(PeerFolder::parse(&text)),
                "--peer-schema" => plan.peer_schema = Some(value.into()),
                "--folder" => plan.folder = Some(value.into()),
                "--json" => plan.json = Some(value.into()),
                _ => return Err(format!("unknown argument {name}: see cargo xtask help").into()),
            }
        }
        if plan.database == DatabaseKind::Sqlite && !plan.peers.is_empty() {
            return Err(
                "peers use PostgreSQL: --peer and --database sqlite are mutually exclusive".into(),
            );
        }
        if !plan.redis_faults.is_empty()
            && (plan.database == DatabaseKind::Sqlite
                || !plan.growth.is_empty()
                || !plan.scenarios.is_empty()
                || plan.json.is_some())
        {
            return Err(
                "--redis-faults is combined with --peer, --repeats and --folder only".into(),
            );
        }
        if !plan.growth.is_empty() {
            let excludes = |what| format!("--growth and {what} are mutually exclusive");
            for (what, is_given) in [
                ("--database sqlite", plan.database == DatabaseKind::Sqlite),
                ("--peer", !plan.peers.is_empty()),
                ("--scenario", !plan.scenarios.is_empty()),
                ("--json", plan.json.is_some()),
            ] {
                if is_given {
                    return Err(excludes(what).into());
                }
            }
            return Ok(plan);
        }
        if plan.scenarios.is_empty() {
            let all: Result<_, _> = SCENARIOS.into_iter().map(str::parse).collect();
            plan.scenarios = all?;
        }
        Ok(plan)
    }
}

/// Parses names that are separated by commas; without any, returns all.
fn list_or_all<T>(value: Option<&OsString>, all: &[T]) -> Result<Vec<T>, String>
where
    T: Copy + FromStr<Err = String>,
{
    match value {
        Some(value) => value.to_string_lossy().split(',').map(str::parse).collect(),
        None => Ok(all.to_vec()),
    }
}

impl PeerFolder {
    /// Parses `DIR` or `DIR@32`.
    fn parse(text: &str) -> Self {
        if let Some((path, pool)) = text.rsplit_once('@')
            && let Ok(pool) = pool.parse()
        {
            return Self {
                path: path.into(),
                pool: Some(pool),
            };
        }
        Self {
            path: text.into(),
            pool: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Plan::parse(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_all_scenarios_run_three_times_on_postgresql() {
        let plan = parse("").unwrap();
        let names: Vec<_> = plan.scenarios.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, SCENARIOS);
        assert_eq!((plan.repeats, plan.database), (3, DatabaseKind::Postgres));
    }

    #[test]
    fn a_peer_is_a_folder_with_or_without_a_pool_size() {
        let plan = parse("--peer /p/bare@32 --peer ./hour --scenario s1w1,s3 --repeats 5").unwrap();
        let peers: Vec<_> = plan
            .peers
            .iter()
            .map(|peer| (peer.path.to_str().unwrap(), peer.pool))
            .collect();
        assert_eq!(peers, [("/p/bare", Some(32)), ("./hour", None)]);
        assert_eq!((plan.scenarios.len(), plan.repeats), (2, 5));
    }

    #[test]
    fn growth_measures_everything_or_what_is_named() {
        assert_eq!(parse("--growth --repeats 1").unwrap().growth, Growth::ALL);
        let plan = parse("--growth rows,history").unwrap();
        assert_eq!(plan.growth, [Growth::Rows, Growth::History]);
        assert!(plan.scenarios.is_empty() && parse("").unwrap().growth.is_empty());
    }

    #[test]
    fn redis_fails_in_all_ways_or_in_those_that_are_named() {
        assert_eq!(parse("--redis-faults").unwrap().redis_faults, Fault::ALL);
        let plan = parse("--redis-faults killed,suspended --peer x").unwrap();
        assert_eq!(plan.redis_faults, [Fault::Killed, Fault::Suspended]);
        assert!(parse("").unwrap().redis_faults.is_empty());
    }

    #[test]
    fn an_invalid_argument_is_refused_by_name() {
        for (line, says) in [
            ("--repeats 0", "--repeats"),
            ("--repeats", "needs a value"),
            ("--database mysql", "--database"),
            ("--scenario s9", "s9"),
            ("--fast yes", "--fast"),
            ("--database sqlite --peer x", "--peer"),
            ("--growth hair", "hair"),
            ("--growth --database sqlite", "sqlite"),
            ("--growth rows --scenario s1w1", "--scenario"),
            ("--redis-faults bored", "bored"),
            ("--redis-faults --scenario s1w1", "--redis-faults"),
            ("--redis-faults --database sqlite", "--redis-faults"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
