//! Reads `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::client::get;

/// The samples of one scrape.
#[derive(Debug, Clone)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    /// By name and labels, as they are written.
    pub(crate) samples: BTreeMap<String, f64>,
}

impl Scrape {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let (status, text) = get(address, "/metrics").await;
        assert_eq!(status, 200, "{text}");
        let body = text.split_once("\r\n\r\n").map_or(&*text, |(_, body)| body);
        Self::parse(body)
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
        Self {
            samples: samples.collect(),
            text: text.to_owned(),
        }
    }

    /// Returns a sample by its name and labels.
    pub(crate) fn value(&self, name: &str) -> f64 {
        let value = self.samples.get(name).copied();
        value.unwrap_or_else(|| panic!("{name} is not in {}", self.text))
    }

    /// Returns the sum of all samples of a metric.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let mut samples = self.samples_of(name).peekable();
        assert!(samples.peek().is_some(), "{name} is not in {}", self.text);
        samples.map(|(_, value)| value).sum()
    }

    fn samples_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.samples.iter().filter_map(move |(sample, value)| {
            let labels = sample.strip_prefix(name)?;
            let is_of = labels.is_empty() || labels.starts_with('{');
            is_of.then_some((labels, *value))
        })
    }

    /// Returns a quantile of a histogram, interpolated as Prometheus does.
    pub(crate) fn quantile(&self, histogram: &str, quantile: f64) -> f64 {
        let mut buckets: Vec<(f64, f64)> = self
            .samples_of(&format!("{histogram}_bucket"))
            .map(|(labels, count)| {
                let bound = labels.strip_prefix("{le=\"").unwrap();
                (bound.strip_suffix("\"}").unwrap().parse().unwrap(), count)
            })
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let rank = quantile * buckets.last().unwrap().1;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= rank {
                return lower + (bound - lower) * (rank - below) / (count - below);
            }
            (lower, below) = (bound, count);
        }
        lower
    }
}

/// Returns the number of connected clients that a gateway reports.
pub(crate) async fn connections(address: SocketAddr) -> u64 {
    Scrape::of(address).await.sum("chat_connections") as u64
}
