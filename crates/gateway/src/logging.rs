//! Log lines on standard error: plain on a terminal, JSON otherwise.
//!
//! At their most detailed levels, dependencies log packets and statements, and with them
//! tokens and messages. Records of the `log` crate, which many use, are therefore not
//! collected, and below `info` only the gateway's own crates are, whatever `RUST_LOG` says.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{Directive, FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::traces::{self, Exporter};

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// [`Pretty`](Self::Pretty) on a terminal, [`Json`](Self::Json) otherwise.
    #[default]
    Auto,
    /// Plain text.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// Starts logging, and exporting spans. Only the first call in a process has an effect.
pub(crate) fn start(filter: EnvFilter, format: LogFormat, exporter: Option<&Exporter>) {
    let is_terminal = std::io::stderr().is_terminal();
    let is_plain = match format {
        LogFormat::Auto => is_terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match is_plain {
        true => lines.with_ansi(is_terminal).with_target(false).boxed(),
        false => lines.json().flatten_event(true).boxed(),
    };
    // A program that embeds the gateway may have started logging already.
    let _ = match exporter {
        None => tracing_subscriber::registry()
            .with(lines.with_filter(filter.and(filter_fn(is_harmless))))
            .try_init(),
        // Spans are not part of the lines.
        Some(exporter) => tracing_subscriber::registry()
            .with(
                lines.with_filter(
                    filter
                        .add_directive(without_spans())
                        .and(filter_fn(is_harmless)),
                ),
            )
            .with(exporter.layer())
            .try_init(),
    };
}

fn without_spans() -> Directive {
    let directive = format!("{}=off", traces::TARGET);
    directive.parse().expect("the directive is constant")
}

/// Returns whether a record contains neither tokens nor messages.
fn is_harmless(record: &Metadata<'_>) -> bool {
    // The crates of this workspace, and no others, are named so.
    *record.level() <= Level::INFO || record.target().starts_with("chat_")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::registry;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_details_of_dependencies_are_not_logged_at_any_level() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = registry()
            .with(EnvFilter::new("trace,socketioxide=trace"))
            .with(filter_fn(is_harmless))
            .with(fmt::layer().with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "engineioxide::transport", "canary 1");
            tracing::debug!(target: "socketioxide::socket", "canary 2");
            tracing::info!(target: "socketioxide::socket", "a notice");
            tracing::trace!(target: "chat_adapters::redis", "a detail");
        });
        let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(!log.contains("canary"), "{log}");
        assert!(
            log.contains("a notice") && log.contains("a detail"),
            "{log}"
        );
    }
}
