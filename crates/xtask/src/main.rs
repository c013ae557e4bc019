//! The developer's commands, one module for each: `cargo xtask`.

use std::env;
use std::process::ExitCode;

mod apt;
mod bench;
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

    cargo xtask bench [--scenario s1w1,s2n200,…] [--repeats N] [--database sqlite]
                      [--peer DIR[@POOL]]… [--peer-schema FILE] [--folder DIR]
                      [--json FILE]
        starts a PostgreSQL and the gateway's release build, runs the load test's
        scenarios N times each (3), pinned to cores where that can be, checks that
        every acknowledged message is in the table, and prints medians
            --scenario     s1wN: N messages in flight; s2nN, s3nN: N connections; s4
                           (s1w1,s1w8,s2n1000,s2n200,s3,s4)
            --database     sqlite: the embedded one instead of PostgreSQL
            --peer         a built server beside ours, in turn: its program run, else
                           node on dist/main.js or server.js, else Cargo's release
                           binary; it is given PORT (3001), DATABASE_URL, JWT_SECRET
                           and, as PG_POOL, the number after @
            --peer-schema  its tables, where it has no schema.sql of its own
            --folder       where databases are kept: on a real disk (the system's
                           temporary folder)
            --json         every run, as the load test printed it

    cargo xtask bench --growth [rooms,members,rows,connections,history]
                      [--repeats N] [--folder DIR]
        how throughput, CPU time and the latency of pages change as these become
        many: a table each (all of them)

    cargo xtask bench --micro
        the benchmarks of the hot pieces, which need neither network nor database
";

/// What a command fails with: one line for the person at the terminal.
type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let outcome = match command.to_str() {
        Some("test") => test::run(&arguments.collect::<Vec<_>>()),
        Some("bench") => bench::run(&arguments.collect::<Vec<_>>()),
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
