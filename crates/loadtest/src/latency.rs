//! Latencies: recorded in microseconds, reported as percentiles in milliseconds.

use hdrhistogram::Histogram;
use serde::Serialize;

/// A longer latency counts as this one: a day, in microseconds.
const MAX_MICROS: u64 = 86_400_000_000;
/// With three significant digits, a reported figure is at most 0.1 % too high.
const SIGNIFICANT_DIGITS: u8 = 3;

/// How long deliveries or requests took.
pub(crate) struct LatencyHistogram(Histogram<u64>);

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
}

impl LatencyHistogram {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_max(MAX_MICROS, SIGNIFICANT_DIGITS);
        Self(histogram.expect("the bounds and the digits are valid"))
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    #[inline]
    pub(crate) fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros);
    }

    pub(crate) fn record_many(&mut self, micros: u64, count: u64) {
        self.0.saturating_record_n(micros, count);
    }

    /// Returns the longest latency in microseconds; 0 if nothing was recorded.
    pub(crate) fn max(&self) -> u64 {
        self.0.max()
    }

    /// Returns the number of latencies.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns `None` if nothing was recorded.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        let millis = |micros: u64| micros as f64 / 1000.0;
        let quantile = |quantile| millis(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Percentiles {
            p50: quantile(0.5),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: millis(self.0.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_reported_in_milliseconds() {
        let mut histogram = LatencyHistogram::new();
        assert!(histogram.percentiles().is_none());
        for micros in 1..=1000 {
            histogram.record(micros);
        }
        let latency = histogram.percentiles().unwrap();
        let percentiles = [latency.p50, latency.p99, latency.p99_9, latency.max];
        assert_eq!(percentiles, [0.5, 0.99, 0.999, 1.0]);
    }

    #[test]
    fn a_cleared_histogram_forgets_what_it_recorded() {
        let mut histogram = LatencyHistogram::new();
        histogram.record(1);
        histogram.clear();
        assert!(histogram.percentiles().is_none());
    }

    #[test]
    fn a_reported_latency_is_at_most_a_thousandth_too_high() {
        for micros in [1, 2047, 2049, 5_000_000, 3_600_123_456] {
            let mut histogram = LatencyHistogram::new();
            histogram.record(micros);
            let latency = histogram.percentiles().unwrap();
            let exact = micros as f64 / 1000.0;
            for reported in [latency.p50, latency.max] {
                assert!((exact..=exact * 1.001).contains(&reported), "{latency:?}");
            }
        }
    }
}
