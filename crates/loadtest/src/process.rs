//! The CPU time and memory of processes, read from `/proc`, and the CPU time of this thread.
//! Other processes can only be measured where `/proc` exists.

use std::fs;

use chat_domain::BoxError;
use rustix::time::{ClockId, clock_gettime};

/// The processes to measure.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    /// The process ids of the server's nodes, whose figures are added up.
    pub server: Vec<u32>,
    /// The database's process id. Its children count too: PostgreSQL has one process per
    /// connection.
    pub database: Option<u32>,
    /// The process id of the Redis server between the nodes.
    pub redis: Option<u32>,
}

/// CPU seconds that each process has used since it started. The generator is the calling
/// thread: the load test has no other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) server: Option<f64>,
    pub(crate) database: Option<f64>,
    pub(crate) redis: Option<f64>,
    pub(crate) generator: f64,
}

impl Processes {
    /// # Errors
    /// Names the flag of a process that does not exist.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        let servers = self.server.iter().map(|process| ("--server-pid", *process));
        let database = self.database.map(|process| ("--database-pid", process));
        let redis = self.redis.map(|process| ("--redis-pid", process));
        for (flag, process) in servers.chain(database).chain(redis) {
            if seconds(process).is_none() {
                return Err(format!("{flag}: /proc has no process {process}").into());
            }
        }
        Ok(())
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            server: self.sum(seconds),
            database: self.database.and_then(seconds_with_children),
            redis: self.redis.and_then(seconds),
            generator: thread_seconds(),
        }
    }

    /// Returns the server's resident memory in KiB.
    pub(crate) fn server_kib(&self) -> Option<u64> {
        self.sum(|process| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_ascii_whitespace().nth(1)?.parse().ok()
        })
    }

    /// Adds up a figure of the server's nodes; `None` if one of them has ended, or none was
    /// named.
    fn sum<T: std::iter::Sum>(&self, figure: impl Fn(u32) -> Option<T>) -> Option<T> {
        let nodes = Some(&self.server).filter(|nodes| !nodes.is_empty())?;
        nodes.iter().map(|process| figure(*process)).sum()
    }
}

impl Usage {
    pub(crate) fn since(self, earlier: Self) -> Self {
        let difference = |now: Option<f64>, earlier: Option<f64>| Some(now? - earlier?);
        Self {
            server: difference(self.server, earlier.server),
            database: difference(self.database, earlier.database),
            redis: difference(self.redis, earlier.redis),
            generator: self.generator - earlier.generator,
        }
    }
}

/// The fields of `/proc/PID/stat` that are used here.
struct Stat {
    parent: u32,
    ticks: u64,
    /// The ticks of children that have ended.
    children_ticks: u64,
}

fn stat(process: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name, in parentheses, may contain any character.
    let (_, fields) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks = |user: usize, system: usize| -> Option<u64> {
        let [user, system] = [user, system].map(|n| fields.get(n)?.parse::<u64>().ok());
        Some(user? + system?)
    };
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks(11, 12)?,
        children_ticks: ticks(13, 14)?,
    })
}

fn seconds(process: u32) -> Option<f64> {
    Some(to_seconds(stat(process)?.ticks))
}

/// Returns the CPU seconds of the calling thread, exactly: the ticks of `/proc` are too
/// coarse for a share of a short interval.
fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn seconds_with_children(process: u32) -> Option<f64> {
    let own = stat(process)?;
    let running = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let child = stat(entry.file_name().to_str()?.parse().ok()?)?;
        (child.parent == process).then_some(child.ticks)
    });
    let ticks = own.ticks + own.children_ticks + running.sum::<u64>();
    Some(to_seconds(ticks))
}

fn to_seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_is_measured_and_a_missing_one_is_refused() {
        let this = std::process::id();
        let one = Processes {
            server: vec![this],
            database: Some(this),
            redis: Some(this),
        };
        let processes = Processes {
            server: vec![this, this],
            ..one.clone()
        };
        processes.check().unwrap();
        let kib = one.server_kib().unwrap();
        assert!(kib > 100 && processes.server_kib().unwrap() > kib * 3 / 2);
        assert_eq!(Processes::default().server_kib(), None);
        let usage = one.usage();
        assert!(usage.since(usage).redis == Some(0.0) && usage.database >= usage.server);
        assert!(processes.usage().since(usage).generator > 0.0);

        let missing = Processes {
            database: Some(u32::MAX),
            ..Processes::default()
        };
        let error = missing.check().unwrap_err().to_string();
        assert!(error.starts_with("--database-pid"), "{error}");
    }
}
