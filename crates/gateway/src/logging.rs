//! Log lines on standard error: plain on a terminal, JSON otherwise.
//!
//! Only this workspace's own events are written. The libraries' older `log`
//! records are not picked up: at their finest level they show packets, and with
//! them tokens and messages.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// [`Pretty`](Self::Pretty) on a terminal, [`Json`](Self::Json) otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// For machines: one object a line.
    Json,
}

/// Starts logging, once in a process's life.
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
    // Started before by an embedding program: its choice stands.
    let _ = if is_plain {
        lines.with_ansi(is_terminal).with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
}
