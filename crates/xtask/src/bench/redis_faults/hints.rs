//! The hints of the nodes, by their metrics.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bench::contestant::Server;

const DEADLINE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(5);

/// What the hints did.
pub(super) struct Observed {
    /// How long it took after the fault until hints of every node were published, and
    /// received by every node.
    pub(super) again: Duration,
    /// Since the fault began.
    pub(super) lost: u64,
}

/// Reads the metrics of the nodes on these ports.
pub(super) struct Hints(Vec<u16>);

impl Hints {
    pub(super) fn of(nodes: &[Server]) -> Self {
        Self(nodes.iter().map(|node| node.port).collect())
    }

    /// Returns how many hints the nodes have lost so far.
    pub(super) fn lost(&self) -> io::Result<u64> {
        let ports = self.0.iter();
        let lost = ports.map(|port| Ok(sum(&metrics(*port)?, "chat_hints_lost_total{")));
        lost.sum()
    }

    /// Waits until hints flow again, and returns how long that took since `recovered`.
    pub(super) fn flow_again(&self, recovered: Instant) -> io::Result<Duration> {
        let before = self.exchanged()?;
        loop {
            let now = self.exchanged()?;
            let took = recovered.elapsed();
            if now.iter().zip(&before).all(|(now, before)| now > before) {
                return Ok(took);
            }
            if took > DEADLINE {
                return Err(io::Error::other("the nodes have not exchanged hints again"));
            }
            sleep(INTERVAL);
        }
    }

    /// Returns how many hints each node has published and received.
    fn exchanged(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for port in &self.0 {
            let metrics = metrics(*port)?;
            for name in ["chat_hints_published_total ", "chat_hints_received_total "] {
                numbers.push(sum(&metrics, name));
            }
        }
        Ok(numbers)
    }
}

/// Adds up the values of the lines that begin with this text.
fn sum(metrics: &str, prefix: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(prefix));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    values.sum()
}

fn metrics(port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

#[test]
fn the_lines_of_a_metric_are_added_up() {
    let metrics = "chat_hints_lost_total{reason=\"a\"} 3\nchat_hints_lost_total{reason=\"b\"} 4\n\
                   chat_hints_published_total 9\n";
    assert_eq!(sum(metrics, "chat_hints_lost_total{"), 7);
    assert_eq!(sum(metrics, "chat_hints_published_total "), 9);
}
