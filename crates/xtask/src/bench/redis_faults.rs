//! `cargo xtask bench --redis-faults`: what members miss when Redis fails between two nodes.

use std::process::ExitCode;
use std::thread::{scope, sleep};
use std::time::Duration;

use chat_test_support::Redis;
use serde_json::Value;

use super::Bench;
use super::contestant::Contestant;
use super::figure::{Figure, cell, lower};
use super::growth::{Nodes, flags};
use super::table::Table;
use crate::error::Error;
use crate::machine::step;

/// The members of each room are spread over the nodes. The fault strikes in the middle of
/// what is measured.
const LOAD: &str = "--scenario s4 --connections 100 --rooms 10 --rate 300 --warm-up 2 --seconds 15 --step-seconds 0";
const STRIKES_AFTER: Duration = Duration::from_secs(7);

/// What happens to Redis.
#[derive(Clone, Copy)]
enum Fault {
    None,
    Killed,
    Suspended,
}

const FIGURES: &[Figure] = &[
    lower("deliveries missing", "/missing"),
    lower("deliveries repeated", "/doubled"),
    lower("deliveries out of order", "/misordered"),
    lower("p50, ms", "/base/latency_ms/p50"),
    lower("slowest, ms", "/base/latency_ms/max"),
];

impl Fault {
    const ALL: [Self; 3] = [Self::None, Self::Killed, Self::Suspended];

    fn name(self) -> &'static str {
        match self {
            Self::None => "no fault",
            Self::Killed => "Redis is killed, and is back after a second",
            Self::Suspended => "Redis is suspended for five seconds",
        }
    }

    fn strike(self, redis: &mut Redis) -> std::io::Result<()> {
        sleep(STRIKES_AFTER);
        match self {
            Self::None => {}
            Self::Killed => {
                redis.kill()?;
                sleep(Duration::from_secs(1));
                redis.start_again()?;
            }
            Self::Suspended => {
                redis.signal("STOP")?;
                sleep(Duration::from_secs(5));
                redis.signal("CONT")?;
            }
        }
        Ok(())
    }
}

impl Bench {
    /// Strikes each contestant with each fault, and prints the table.
    pub(super) fn run_redis_faults(&self, repeats: usize) -> Result<ExitCode, Error> {
        let names = self.contestants.iter().map(|c| c.name.clone());
        let headings = ["fault".to_owned(), "figure".to_owned()].into_iter();
        let mut table = Table::new(&headings.chain(names).collect::<Vec<_>>());
        for fault in Fault::ALL {
            let mut columns = Vec::new();
            for contestant in &self.contestants {
                step(&format!("{}: {}", contestant.name, fault.name()));
                let results = (0..repeats).map(|_| self.measure_fault(contestant, fault));
                columns.push(results.collect::<Result<Vec<Value>, _>>()?);
            }
            for figure in FIGURES {
                let cells = columns
                    .iter()
                    .map(|results| cell(figure.spread(results).as_ref()));
                let labels = [fault.name().to_owned(), figure.label.to_owned()];
                table.push(&labels.into_iter().chain(cells).collect::<Vec<_>>());
            }
        }
        println!(
            "Median (lowest–highest) of {repeats} runs, {}. Two nodes; 100 users in 10 rooms, \
             300 messages/s, open loop.\n\n{table}",
            self.conditions
        );
        Ok(ExitCode::SUCCESS)
    }

    fn measure_fault(&self, contestant: &Contestant, fault: Fault) -> Result<Value, Error> {
        let url = self.database.recreate(&contestant.schema)?;
        let mut servers = self.start(contestant, &url, Nodes::WithRedis(2))?;
        let load = self.load_command(&servers, &flags(LOAD))?;
        let redis = servers.redis.as_mut().ok_or("the nodes have no Redis")?;
        scope(|threads| {
            let striking = threads.spawn(|| fault.strike(redis));
            let result = self.finish_load(load, contestant.keeps);
            striking.join().map_err(|_| "the fault panicked")??;
            result
        })
    }
}
