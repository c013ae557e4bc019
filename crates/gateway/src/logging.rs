//! Log lines on standard error: plain on a terminal, JSON otherwise.
//!
//! Records of the `log` crate, which many dependencies use, are not collected: at
//! their most detailed level they contain packets, and with them tokens and messages.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

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

/// Starts logging. Only the first call in a process has an effect.
pub fn start(filter: EnvFilter, format: LogFormat) {
    let is_terminal = std::io::stderr().is_terminal();
    let is_plain = match format {
        LogFormat::Auto => is_terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A program that embeds the gateway may have started logging already.
    let _ = if is_plain {
        lines.with_ansi(is_terminal).with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
}
