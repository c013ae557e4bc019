//! Latencies, counted in buckets that are a thousandth wide.

use serde::Serialize;

/// Each power of two is divided into this many buckets, the first two together.
const STEPS: u64 = 1024;

/// How many microseconds things took.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; bucket(u64::MAX) + 1],
            count: 0,
            max: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.max = 0;
    }

    #[inline]
    pub(crate) fn record(&mut self, micros: u64) {
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.max = self.max.max(micros);
    }

    /// `None` when nothing was recorded.
    pub(crate) fn latency(&self) -> Option<Latency> {
        (self.count > 0).then(|| Latency {
            p50: self.percentile(0.5),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
            max: self.max as f64 / 1000.0,
        })
    }

    fn percentile(&self, share: f64) -> f64 {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (n, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                return top(n).min(self.max) as f64 / 1000.0;
            }
        }
        self.max as f64 / 1000.0
    }
}

/// Values below twice the steps have a bucket each.
#[inline]
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - (value | STEPS).leading_zeros()) - STEPS.ilog2() - 1;
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

/// The largest value in a bucket.
fn top(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    let step = bucket - shift * STEPS;
    (step << shift) | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_next_to_each_other_and_a_thousandth_wide() {
        let mut last = 0;
        for value in (0..10_000).chain((1..1000).map(|n| n * 123_457)) {
            let bucket = bucket(value);
            assert!(bucket == last || bucket == last + 1 || value > 10_000);
            let top = top(bucket);
            assert!(top >= value && (top - value) as f64 <= value as f64 / 1000.0);
            last = bucket;
        }
        assert_eq!(top(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::new();
        assert!(histogram.latency().is_none());
        for micros in 1..=1000 {
            histogram.record(micros);
        }
        let latency = histogram.latency().unwrap();
        let percentiles = [latency.p50, latency.p99, latency.p99_9, latency.max];
        assert_eq!(percentiles, [0.5, 0.99, 0.999, 1.0]);
        histogram.clear();
        histogram.record(5_000_000);
        let latency = histogram.latency().unwrap();
        assert_eq!((latency.p50, latency.max), (5000.0, 5000.0));
    }
}
