//! What operators read about is what the gateway does: metrics, alerts, the dashboard, codes
//! and log lines. The pages are a book without broken links, and what they show runs.

mod blocks;
mod book;
mod guide;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use chat_test_support::run;
use serde_json::{Value, json};

use crate::metrics::promtool;
use crate::support::exchange::Exchange;
use crate::support::metrics::Scrape;
use crate::support::{DEADLINE, Database, Gateway};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the section of a page under this heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let level = heading.split_once(' ').unwrap().0;
    let start = page.find(&format!("\n{heading}\n")).unwrap();
    let rest = &page[start + 1 + heading.len()..];
    let end = rest.find(&format!("\n{level} ")).unwrap_or(rest.len());
    &rest[..end]
}

/// Returns the rows of the tables in a section, without their headers.
fn rows(section: &str) -> Vec<Vec<&str>> {
    let lines = section.lines();
    let rows = lines.filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect());
    cells.collect()
}

/// Returns the metrics that a text names, without the suffixes of a histogram.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let metrics = words.filter(|word| word.starts_with("chat_") && *word != "chat_gateway");
    metrics.map(family).collect()
}

fn family(metric: &str) -> String {
    let suffixes = ["_bucket", "_sum", "_count"];
    let base = suffixes.iter().find_map(|end| metric.strip_suffix(end));
    base.unwrap_or(metric).to_owned()
}

/// Returns the metrics of a node among several, which has all of them.
async fn scrape() -> Scrape {
    let database = Database::postgres();
    let exchange = Exchange::shared();
    let gateway = Gateway::start_with(&database, &exchange.settings());
    Scrape::of(gateway.address).await
}

fn promtool_accepts(arguments: &[&str]) {
    let mut promtool = Command::new(promtool());
    let output = run(promtool.args(arguments), DEADLINE).unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

fn path(file: &str) -> String {
    root().join(file).to_str().unwrap().to_owned()
}

fn alerts() -> BTreeSet<String> {
    let rules = read("deploy/alerts.yml");
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// Returns the expressions of the dashboard, with values in place of its variables.
fn dashboard_expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("deploy/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    expressions
        .map(|expression| {
            expression
                .replace("$__rate_interval", "1m")
                .replace("$instance", ".*")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_the_dashboard_and_the_alerts_name_exists() {
    let scrape = scrape().await;
    let exist: BTreeSet<String> = scrape
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    let dashboard = metrics_in(&dashboard_expressions().join("\n"));
    let rules = read("deploy/alerts.yml");
    for (file, named) in [
        ("alerts.yml", metrics_in(&rules)),
        ("dashboard.json", dashboard.clone()),
    ] {
        let unknown: Vec<_> = named.difference(&exist).collect();
        assert!(
            !named.is_empty() && unknown.is_empty(),
            "{file} names {unknown:?}"
        );
    }
    let unseen: Vec<_> = exist.difference(&dashboard).collect();
    assert!(unseen.is_empty(), "the dashboard does not show {unseen:?}");

    let page = read("docs/configuration.md");
    let documented: BTreeSet<String> = rows(section(&page, "### Metrics"))
        .into_iter()
        .flat_map(|cells| metrics_in(cells[0]))
        .collect();
    assert_eq!(documented, exist, "docs/configuration.md");
}

/// A label that a rule or the dashboard compares has this value in the metrics.
#[tokio::test(flavor = "multi_thread")]
async fn every_value_of_a_label_that_is_compared_exists() {
    let scrape = scrape().await;
    let texts = [
        read("deploy/alerts.yml"),
        dashboard_expressions().join("\n"),
    ];
    let text = texts.join("\n");
    for selector in text
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
    {
        for comparison in selector.split(", ") {
            let Some((label, values)) = comparison.split_once(['=', '!']) else {
                continue;
            };
            let values = values.trim_matches(['=', '~', '"']);
            for value in values.split('|').filter(|value| *value != ".*") {
                let sample = format!("{label}=\"{value}\"");
                assert!(scrape.text.contains(&sample), "{sample} is in no metric");
            }
        }
    }
}

#[test]
fn promtool_accepts_the_alerts_their_tests_and_the_dashboards_queries() {
    promtool_accepts(&["check", "rules", &path("deploy/alerts.yml")]);
    promtool_accepts(&["test", "rules", &path("deploy/alerts.test.yml")]);
    let expressions = dashboard_expressions().into_iter().enumerate();
    let rules: Vec<Value> = expressions
        .map(|(n, expression)| json!({ "record": format!("panel:{n}"), "expr": expression }))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboard.yml");
    // JSON is YAML.
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    std::fs::write(&file, groups.to_string()).unwrap();
    promtool_accepts(&["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn every_alert_is_tested_and_has_a_paragraph() {
    let alerts = alerts();
    let tests = read("deploy/alerts.test.yml");
    for alert in &alerts {
        for case in ["fires", "does not fire"] {
            let name = format!("  - name: {alert} {case}\n");
            assert!(
                tests.contains(&name),
                "{name} is not in deploy/alerts.test.yml"
            );
        }
    }
    let page = read("docs/operations.md");
    let headings = section(&page, "## Alerts").lines();
    let headings = headings.filter_map(|line| line.strip_prefix("### "));
    let documented: BTreeSet<String> = headings.map(str::to_owned).collect();
    assert_eq!(documented, alerts);
    for alert in &alerts {
        let paragraph = section(&page, &format!("### {alert}"));
        assert!(paragraph.trim().len() > 200, "{alert}: {paragraph}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_has_an_entry() {
    let scrape = scrape().await;
    let no_codes = ["ok", "accepted", "sent_elsewhere"];
    let outcomes = scrape.samples.keys().filter(|sample| {
        sample.starts_with("chat_events_total") || sample.starts_with("chat_handshakes_total")
    });
    let mut codes: BTreeSet<&str> = outcomes
        .map(|sample| sample.split("outcome=\"").nth(1).unwrap())
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|code| !no_codes.contains(code))
        .collect();
    // Only the server API has it, whose answers are not counted by code.
    codes.insert("unauthorized");
    let page = read("docs/errors.md");
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|it| it.strip_prefix("## "))
        .collect();
    assert_eq!(documented, codes);
}

#[test]
fn every_log_line_has_an_entry() {
    let mut lines = BTreeMap::new();
    for crate_name in ["adapters", "delivery", "domain", "gateway"] {
        let folder = root().join("crates").join(crate_name).join("src");
        for source in sources(&folder) {
            let text = std::fs::read_to_string(&source).unwrap();
            for (level, line) in log_lines(&text) {
                lines.insert(line, level);
            }
        }
    }
    assert!(lines.len() > 20, "{lines:?}");
    let page = read("docs/operations.md");
    let documented: BTreeMap<String, String> = rows(section(&page, "## Log lines"))
        .into_iter()
        .map(|cells| {
            let [level, line] = [cells[0], cells[1]].map(|cell| cell.trim_matches('`').to_owned());
            (line, level)
        })
        .collect();
    assert_eq!(
        documented, lines,
        "left: docs/operations.md, right: the code"
    );
}

/// Returns the source files in a folder, except those of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

/// Returns the levels and the texts of the log lines in a source file.
fn log_lines(source: &str) -> Vec<(String, String)> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = Vec::new();
    for level in ["info", "warn", "error"] {
        for (place, called) in code.match_indices(&format!("{level}!(")) {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            if !code[..place].ends_with(is_name) {
                let line = last_string(&code[place + called.len()..]);
                found.push((level.to_uppercase(), line));
            }
        }
    }
    found
}

/// Returns the last string literal of the arguments of a call, which begin here: the text of
/// a log line.
fn last_string(arguments: &str) -> String {
    let (mut depth, mut last) = (1, String::new());
    let mut characters = arguments.chars().peekable();
    while depth > 0 {
        match characters.next().expect("the call ends") {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => {
                last.clear();
                loop {
                    match characters.next().expect("the string ends") {
                        '"' => break,
                        // A string that continues on the next line, without its indentation.
                        '\\' if characters.peek() == Some(&'\n') => {
                            while characters.next_if(|c| c.is_whitespace()).is_some() {}
                        }
                        '\\' => last.extend(characters.next()),
                        other => last.push(other),
                    }
                }
            }
            _ => {}
        }
    }
    last
}
