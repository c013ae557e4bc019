//! Log lines on standard error: plain on a terminal, JSON otherwise.
//!
//! Records of the `log` crate, which many dependencies use, are not collected: at
//! their most detailed level they contain packets, and with them tokens and messages.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::Directive;
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
            .with(lines.with_filter(filter))
            .try_init(),
        // Spans are not part of the lines.
        Some(exporter) => tracing_subscriber::registry()
            .with(lines.with_filter(filter.add_directive(without_spans())))
            .with(exporter.layer())
            .try_init(),
    };
}

fn without_spans() -> Directive {
    let directive = format!("{}=off", traces::TARGET);
    directive.parse().expect("the directive is constant")
}
