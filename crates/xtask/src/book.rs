//! `cargo xtask book`: makes a book of `docs/`, with a pinned mdBook.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::error::Error;
use crate::machine::{run, step, workspace};

/// The version is pinned, so that a new release cannot change or break the book.
const VERSION: &str = "0.5.4";

/// Builds `target/book/html`.
pub(crate) fn build() -> Result<ExitCode, Error> {
    let mdbook = install()?;
    let sources = workspace().join("target/book/src");
    copy_pages(&sources)?;
    step("mdbook build");
    run(Command::new(mdbook).arg("build").current_dir(workspace()))?;
    step("the book is target/book/html/index.html");
    Ok(ExitCode::SUCCESS)
}

/// Installs mdBook in `target/tools`, unless it is there, and returns its path.
fn install() -> Result<PathBuf, Error> {
    let tools = workspace().join("target/tools");
    let mdbook = tools.join("bin/mdbook");
    let version = Command::new(&mdbook).arg("--version").output();
    let wanted = format!("mdbook v{VERSION}");
    if version.is_ok_and(|output| output.stdout.trim_ascii() == wanted.as_bytes()) {
        return Ok(mdbook);
    }
    step("cargo install mdbook");
    // It runs for a second: optimizing it would take longer.
    run(Command::new("cargo")
        .args(["install", "mdbook", "--locked", "--version", VERSION])
        .args(["--no-default-features", "--debug", "--root"])
        .arg(tools)
        .env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    Ok(mdbook)
}

/// Copies `docs/` and the files outside of it that its pages link to.
fn copy_pages(sources: &Path) -> Result<(), Error> {
    if sources.exists() {
        fs::remove_dir_all(sources)?;
    }
    fs::create_dir_all(sources)?;
    for file in fs::read_dir(workspace().join("docs"))? {
        let file = file?.path();
        let Some(name) = file.file_name() else {
            continue;
        };
        let copy = sources.join(name);
        if file.extension().is_none_or(|end| end != "md") {
            fs::copy(&file, copy)?;
            continue;
        }
        let (page, linked) = with_files(&fs::read_to_string(&file)?);
        fs::write(copy, page)?;
        for path in linked {
            let copy = sources.join(in_book(&path));
            if let Some(folder) = copy.parent() {
                fs::create_dir_all(folder)?;
            }
            // A folder has no copy.
            fs::copy(workspace().join(&path), copy).map_err(|error| format!("{path}: {error}"))?;
        }
    }
    Ok(())
}

/// Returns a page whose links to files outside of `docs/` lead to copies, and these files.
fn with_files(page: &str) -> (String, Vec<String>) {
    let mut parts = page.split("](../");
    let mut copied = parts.next().unwrap_or_default().to_owned();
    let mut linked = Vec::new();
    for part in parts {
        let (target, rest) = part.split_once(')').unwrap_or((part, ""));
        let path = target.split('#').next().unwrap_or_default();
        copied += &format!("]({}){rest}", in_book(path));
        linked.push(path.to_owned());
    }
    (copied, linked)
}

/// Returns where the book has a file. It shows a page from elsewhere as it is written: mdBook
/// would take a link to `.md` for one of its own pages.
fn in_book(path: &str) -> String {
    match path.strip_suffix(".md") {
        Some(page) => format!("files/{page}.txt"),
        None => format!("files/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{copy_pages, with_files};

    #[test]
    fn links_out_of_the_folder_lead_to_copies() {
        let page = "[a](a.md) [it](../README.md#here), [that](../deploy/x.yml)";
        let (page, linked) = with_files(page);
        let expected = "[a](a.md) [it](files/README.txt), [that](files/deploy/x.yml)";
        assert_eq!(page, expected);
        assert_eq!(linked, ["README.md", "deploy/x.yml"]);
    }

    #[test]
    fn everything_that_pages_link_to_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        copy_pages(&folder.path().join("book")).unwrap();
        assert!(folder.path().join("book/files/deploy").is_dir());
    }
}
