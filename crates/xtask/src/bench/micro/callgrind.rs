//! Runs the pieces under callgrind and reads what it counted.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use chat_test_support::Janitor;

use super::figures::Figures;
use crate::error::Error;

/// The function of the program within which a piece runs. With a pattern instead of the
/// whole name, callgrind would ignore one of the two options below.
const COUNTED: &str = "instructions::piece::counted_by_callgrind";

/// Runs each piece of the program under callgrind and returns its instructions per
/// operation.
pub(super) fn count(valgrind: &Path, program: &Path) -> Result<Figures, Error> {
    let folder = std::env::temp_dir().join(format!("chat-micro-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let _cleaner = Janitor::new("rm -rf \"$1\"", [&folder])?;
    let names = run(&mut Command::new(program))?;
    let figures = names.lines().map(|name| {
        let dump = folder.join(name);
        let operations = run(Command::new(valgrind)
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--zero-before={COUNTED}"))
            .arg(format!("--dump-after={COUNTED}"))
            .arg(format!("--callgrind-out-file={}", dump.display()))
            .arg(program)
            .arg(name))?;
        // The first of the files is written when the function returns.
        let dump = fs::read_to_string(dump.with_extension("1"))
            .map_err(|error| format!("callgrind did not find {COUNTED} in {name}: {error}"))?;
        let figure = figure(&operations, &dump);
        let figure = figure.ok_or_else(|| format!("callgrind counted nothing in {name}"))?;
        Ok((name.to_owned(), figure))
    });
    figures.collect()
}

/// Runs a command and returns what it prints.
fn run(command: &mut Command) -> Result<String, Error> {
    let output = command
        // The environment is on the stack, whose alignment may change a figure.
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the instructions per operation, from the number of operations and a dump.
fn figure(operations: &str, dump: &str) -> Option<u64> {
    let operations: u64 = operations.trim().parse().ok().filter(|n| *n > 0)?;
    let total = dump
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    let total: u64 = total.trim().parse().ok().filter(|n| *n > 0)?;
    Some(total.div_ceil(operations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_total_per_operation() {
        let dump = "version: 1\nevents: Ir\nsummary: 2500\n\nfn=(1) a\n7 2500\n\ntotals: 2500\n";
        assert_eq!(figure("10\n", dump), Some(250));
    }

    #[test]
    fn a_dump_in_which_nothing_was_counted_has_no_figure() {
        for (operations, dump) in [
            ("10", "totals: 0"),
            ("10", "events: Ir"),
            ("0", "totals: 1"),
            ("", "totals: 1"),
        ] {
            assert_eq!(figure(operations, dump), None, "{operations} {dump}");
        }
    }
}
