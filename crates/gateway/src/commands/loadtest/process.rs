//! What processes use, read from /proc: nothing where there is none.

use std::fs;

use chat_domain::BoxError;

/// The processes that a run looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Processes {
    pub(super) server: Option<u32>,
    /// With its children: PostgreSQL has a process for each connection.
    pub(super) database: Option<u32>,
}

/// CPU seconds that were used since each process began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) server: Option<f64>,
    pub(super) database: Option<f64>,
    pub(super) generator: Option<f64>,
}

impl Processes {
    /// # Errors
    /// A process that cannot be looked at.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        for (flag, process) in [
            ("--server-pid", self.server),
            ("--database-pid", self.database),
        ] {
            if let Some(process) = process
                && seconds(process).is_none()
            {
                return Err(format!("{flag}: /proc shows no process {process}").into());
            }
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            server: self.server.and_then(seconds),
            database: self.database.and_then(seconds_with_children),
            generator: seconds(std::process::id()),
        }
    }

    /// The server's resident memory, in KiB.
    pub(super) fn server_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}

impl Usage {
    pub(super) fn since(self, before: Self) -> Self {
        let difference = |now: Option<f64>, before: Option<f64>| Some(now? - before?);
        Self {
            server: difference(self.server, before.server),
            database: difference(self.database, before.database),
            generator: difference(self.generator, before.generator),
        }
    }
}

/// A process's line in /proc.
struct Stat {
    parent: u32,
    ticks: u64,
    /// Of the children that ended.
    children_ticks: u64,
}

fn stat(process: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name, in brackets, may hold anything.
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
    fn a_process_that_is_there_is_seen_and_one_that_is_not_is_refused() {
        let me = Some(std::process::id());
        let processes = Processes {
            server: me,
            database: me,
        };
        processes.check().unwrap();
        assert!(processes.server_kib().unwrap() > 100);
        let usage = processes.usage();
        assert!(usage.since(usage).server == Some(0.0) && usage.database >= usage.server);

        let nobody = Processes {
            server: None,
            database: Some(u32::MAX),
        };
        let error = nobody.check().unwrap_err().to_string();
        assert!(error.starts_with("--database-pid"), "{error}");
    }
}
