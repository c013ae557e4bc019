//! `cargo xtask`: the developer commands, one module each.

mod apt;
mod attack;
mod bench;
mod book;
mod chaos;
mod dist;
mod error;
mod fuzz;
mod help;
mod machine;
mod mutants;
mod needs;
mod simulate;
mod test;

use std::env;
use std::process::ExitCode;

use self::help::HELP;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let outcome = match command.to_str() {
        Some("test") => test::run(&arguments.collect::<Vec<_>>()),
        Some("bench") => bench::run(&arguments.collect::<Vec<_>>()),
        Some("book") => book::build(),
        Some("mutants") => mutants::run(&arguments.collect::<Vec<_>>()),
        Some("simulate") => simulate::run(&arguments.collect::<Vec<_>>()),
        Some("needs") => test::install_needs().map(|()| ExitCode::SUCCESS),
        Some("fuzz") => fuzz::run(&arguments.collect::<Vec<_>>()),
        Some("dist") => dist::run(&arguments.collect::<Vec<_>>()),
        Some("chaos") => chaos::run(&arguments.collect::<Vec<_>>()),
        Some("attack") => attack::run(&arguments.collect::<Vec<_>>()),
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
