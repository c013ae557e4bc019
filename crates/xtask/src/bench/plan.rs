//! What `cargo xtask bench` is asked for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use super::growth::Growth;
use crate::Error;

/// Everything that the command line says.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    /// What is measured instead of scenarios.
    pub(crate) growth: Vec<Growth>,
    pub(crate) repeats: usize,
    pub(crate) database: DatabaseKind,
    pub(crate) peers: Vec<PeerFolder>,
    /// The tables of peers that bring none.
    pub(crate) peer_schema: Option<PathBuf>,
    /// Where databases are kept.
    pub(crate) folder: Option<PathBuf>,
    /// Where every run is written.
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseKind {
    Postgres,
    Sqlite,
}

/// A peer's folder, and how many database connections it is told to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerFolder {
    pub(crate) path: PathBuf,
    pub(crate) pool: Option<u32>,
}

/// A scenario of the load test, with the number that its name says: `s1w8` has 8 messages
/// in flight, `s2n200` and `s3n5000` so many connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) kind: ScenarioKind,
    number: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScenarioKind {
    S1,
    S2,
    S3,
    S4,
}

const ALL: [&str; 6] = ["s1w1", "s1w8", "s2n1000", "s2n200", "s3", "s4"];

/// How often each scenario runs unless told otherwise.
const REPEATS: usize = 3;

impl Plan {
    /// # Errors
    /// The first argument that means nothing.
    pub(crate) fn parse(arguments: &[OsString]) -> Result<Self, Error> {
        let mut plan = Self {
            scenarios: Vec::new(),
            growth: Vec::new(),
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
            if name == "--growth" {
                let is_value = |next: &&OsString| !next.to_string_lossy().starts_with("--");
                plan.growth = match arguments.next_if(is_value) {
                    Some(value) => {
                        let names = value.to_string_lossy();
                        names.split(',').map(str::parse).collect::<Result<_, _>>()?
                    }
                    None => Growth::ALL.into(),
                };
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
                                "--repeats must be a number from 1 on, not \"{text}\""
                            ))?;
                }
                "--database" => {
                    plan.database = match &*text {
                        "postgres" => DatabaseKind::Postgres,
                        "sqlite" => DatabaseKind::Sqlite,
                        _ => return Err("--database is postgres or sqlite".into()),
                    }
                }
                "--peer" => plan.peers.push(PeerFolder::parse(&text)),
                "--peer-schema" => plan.peer_schema = Some(value.into()),
                "--folder" => plan.folder = Some(value.into()),
                "--json" => plan.json = Some(value.into()),
                _ => return Err(format!("bench knows no {name}: see cargo xtask help").into()),
            }
        }
        if plan.database == DatabaseKind::Sqlite && !plan.peers.is_empty() {
            return Err("peers speak PostgreSQL: --peer does not go with --database sqlite".into());
        }
        if !plan.growth.is_empty() {
            let goes = |what| format!("--growth fills our tables on PostgreSQL: {what}");
            if plan.database == DatabaseKind::Sqlite || !plan.peers.is_empty() {
                return Err(goes("it goes neither with sqlite nor with --peer").into());
            }
            if !plan.scenarios.is_empty() || plan.json.is_some() {
                return Err(goes("it goes neither with --scenario nor with --json").into());
            }
            return Ok(plan);
        }
        if plan.scenarios.is_empty() {
            let all: Result<_, _> = ALL.into_iter().map(str::parse).collect();
            plan.scenarios = all?;
        }
        Ok(plan)
    }
}

impl PeerFolder {
    /// `DIR`, or `DIR@32`.
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

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let wrong = || format!("there is no scenario \"{name}\": s1w8, s2n200, s3 and s4 are some");
        let (base, rest) = name.split_at_checked(2).ok_or_else(wrong)?;
        let (kind, letter) = match base {
            "s1" => (ScenarioKind::S1, 'w'),
            "s2" => (ScenarioKind::S2, 'n'),
            "s3" => (ScenarioKind::S3, 'n'),
            "s4" => (ScenarioKind::S4, 'n'),
            _ => return Err(wrong()),
        };
        let number = match rest {
            "" => None,
            _ => {
                let digits = rest.strip_prefix(letter).ok_or_else(wrong)?;
                Some(digits.parse().map_err(|_| wrong())?)
            }
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
            number,
        })
    }
}

impl Scenario {
    /// The load test's flags for it.
    pub(crate) fn flags(&self) -> Vec<String> {
        let (base, parameter) = match self.kind {
            ScenarioKind::S1 => ("s1", "--in-flight"),
            ScenarioKind::S2 => ("s2", "--connections"),
            ScenarioKind::S3 => ("s3", "--connections"),
            ScenarioKind::S4 => ("s4", "--connections"),
        };
        let mut flags = vec!["--scenario".to_owned(), base.to_owned()];
        if let Some(number) = self.number {
            flags.extend([parameter.to_owned(), number.to_string()]);
        }
        flags
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
    fn without_arguments_everything_runs_three_times_on_postgresql() {
        let plan = parse("").unwrap();
        let names: Vec<_> = plan.scenarios.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ALL);
        assert_eq!((plan.repeats, plan.database), (3, DatabaseKind::Postgres));
    }

    #[test]
    fn a_scenarios_name_says_its_number() {
        for (name, flags) in [
            ("s1w8", "--scenario s1 --in-flight 8"),
            ("s2n200", "--scenario s2 --connections 200"),
            ("s3", "--scenario s3"),
            ("s4", "--scenario s4"),
        ] {
            assert_eq!(name.parse::<Scenario>().unwrap().flags().join(" "), flags);
        }
        for wrong in ["", "s", "s5", "s1n8", "s1w", "s2n-1", "é1"] {
            assert!(wrong.parse::<Scenario>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn peers_are_folders_with_or_without_a_pool() {
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
    fn growth_is_of_all_or_of_what_is_named() {
        assert_eq!(parse("--growth --repeats 1").unwrap().growth, Growth::ALL);
        let plan = parse("--growth rows,history").unwrap();
        assert_eq!(plan.growth, [Growth::Rows, Growth::History]);
        assert!(plan.scenarios.is_empty() && parse("").unwrap().growth.is_empty());
    }

    #[test]
    fn what_means_nothing_is_refused() {
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
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
