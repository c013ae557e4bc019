//! The times in the histograms are those that clients measure.

use std::time::Instant;

use crate::support::metrics::Scrape;
use crate::support::{Database, Gateway};

/// Commits take as long as their message says, so that the times of the gateway and of the
/// client differ by little in comparison, however busy the machine is.
const SLOW_COMMITS: &str = "
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(NEW.content::float8);
    RETURN NEW;
END $$;
CREATE TRIGGER wait BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION wait();
";

#[tokio::test(flavor = "multi_thread")]
async fn the_median_and_the_99th_percentile_are_those_of_the_clients() {
    let database = Database::postgres();
    let gateway = Gateway::start(&database);
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    database.sql(SLOW_COMMITS);
    let mut times = Vec::new();
    for n in 0..100 {
        let seconds = match n % 20 {
            0 => "0.4",
            1..10 => "0.05",
            _ => "0.06",
        };
        let sent = Instant::now();
        let answer = client.send(1, seconds).await;
        times.push(sent.elapsed().as_secs_f64());
        assert_eq!(answer["ok"], true, "{answer}");
    }
    times.sort_by(f64::total_cmp);
    let scrape = Scrape::of(gateway.address).await;
    for (quantile, place) in [(0.5, 50), (0.99, 99)] {
        let measured = times[place - 1];
        let commit = scrape.quantile("chat_arrival_to_commit_seconds", quantile);
        let handoff = scrape.quantile("chat_commit_to_handoff_seconds", quantile);
        let ratio = (commit + handoff) / measured;
        assert!(
            (0.8..=1.2).contains(&ratio),
            "{quantile}: {commit} s and {handoff} s, and the client measured {measured} s"
        );
    }
}
