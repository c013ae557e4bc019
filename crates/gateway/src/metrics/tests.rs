//! What a scrape says of known measurements.

use super::*;

/// Interpolates a quantile as Prometheus' `histogram_quantile` does.
fn quantile(buckets: &[(f64, u64)], quantile: f64) -> f64 {
    let total = buckets.last().unwrap().1;
    let rank = quantile * total as f64;
    let (mut lower, mut below) = (0.0, 0);
    for &(bound, count) in buckets {
        if count as f64 >= rank {
            return lower + (bound - lower) * (rank - below as f64) / (count - below) as f64;
        }
        (lower, below) = (bound, count);
    }
    lower
}

fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let family = &histogram.collect()[0];
    let histogram = family.get_metric()[0].get_histogram();
    let buckets = histogram.get_bucket().iter();
    buckets
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .collect()
}

#[test]
fn the_median_and_the_99th_percentile_of_any_times_are_within_20_percent() {
    for (options, first) in [
        (COMMIT_BUCKETS, COMMIT_BUCKETS.0),
        (HANDOFF_BUCKETS, HANDOFF_BUCKETS.0),
    ] {
        // From the first bound to ten seconds, narrow and wide, and all at one value.
        let mut center = first * 1.001;
        while center < 10.0 {
            for spread in [1.0, 1.05, 1.5, 5.0] {
                let histogram = Histogram::with_opts(times(HistogramOpts::new("t", "t"), options));
                let histogram = histogram.unwrap();
                let mut times: Vec<f64> = (0..1000)
                    .map(|n| center * f64::powf(spread, f64::from(n) / 1000.0))
                    .filter(|time| *time < 10.0)
                    .collect();
                times.iter().for_each(|time| histogram.observe(*time));
                times.sort_by(f64::total_cmp);
                for q in [0.5, 0.99] {
                    let exact = times[(q * times.len() as f64) as usize];
                    let scraped = quantile(&buckets(&histogram), q);
                    let ratio = scraped / exact;
                    assert!(
                        (0.8..=1.2).contains(&ratio),
                        "{q} of {spread} around {center}: {exact} is scraped as {scraped}"
                    );
                }
            }
            center *= 1.07;
        }
    }
}

#[test]
fn bounds_reach_ten_seconds() {
    for options in [COMMIT_BUCKETS, HANDOFF_BUCKETS] {
        let histogram = Histogram::with_opts(times(HistogramOpts::new("t", "t"), options));
        let buckets = buckets(&histogram.unwrap());
        assert!(buckets.last().unwrap().0 >= 10.0);
    }
}
