//! `chat-gateway`: arguments in, exit code out.

use std::process::ExitCode;

use chat_domain::one_line;
use chat_gateway::commands::{command_line, run};
use clap::error::ErrorKind;

fn main() -> ExitCode {
    let matches = match command_line().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return explain(&error),
    };
    match run(&matches) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("chat-gateway: {}", one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Prints help if it was requested, otherwise one line that states what is wrong.
fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print!("{error}");
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{error}");
            ExitCode::FAILURE
        }
        _ => {
            let text = error.to_string();
            // Missing arguments are listed on the lines after the first; usage follows
            // after an empty line.
            let lines = text.lines().take_while(|line| !line.is_empty());
            let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
            let line = line.trim_start_matches("error: ");
            eprintln!("chat-gateway: {line} (see chat-gateway --help)");
            ExitCode::FAILURE
        }
    }
}
