//! The developer's commands, one module for each: `cargo xtask`.

use std::env;
use std::process::ExitCode;

mod apt;
mod chaos;
mod machine;
mod needs;
mod test;

const HELP: &str = "\
The developer's commands.

    cargo xtask test [arguments of cargo test]
        brings what the tests need (PostgreSQL, Node.js, Python, a browser) and
        runs them: all of them, or the packages named with -p

    cargo xtask chaos [--rounds N]
        breaks everything around a gateway under load, N times each (20), and
        compares what its clients saw with what is stored
";

/// What a command fails with: one line for the person at the terminal.
type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let outcome = match command.to_str() {
        Some("test") => test::run(&arguments.collect::<Vec<_>>()),
        Some("chaos") => chaos::run(&arguments.collect::<Vec<_>>()),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("{HELP}");
            Ok(ExitCode::from(2))
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::FAILURE
    })
}
