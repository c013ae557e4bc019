//! The error of every command.

/// One line for the developer at the terminal.
pub(crate) type Error = Box<dyn std::error::Error>;
