//! The workflows of GitHub: against its schema, and against our rules.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{changed, differences, output_of, read_yaml, workspace};

fn files() -> Vec<PathBuf> {
    let folder = fs::read_dir(workspace().join(".github/workflows")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    files
}

#[test]
fn github_accepts_the_workflows_and_would_not_accept_an_unknown_field() {
    assert_eq!(differences("workflow", &files()), "");
    let copies = tempfile::tempdir().unwrap();
    let copy = changed(copies.path(), &files()[0], "timeout-minutes:", "timeout:");
    assert_ne!(differences("workflow", &[copy]), "");
}

/// A tag can be moved to other code; a commit cannot.
#[test]
fn actions_are_pinned_by_commit_with_their_version_beside() {
    for file in files() {
        for line in fs::read_to_string(&file).unwrap().lines() {
            let Some((_, used)) = line.split_once("uses: ") else {
                continue;
            };
            let (action, version) = used.split_once(" # ").unwrap_or((used, ""));
            let commit = action.split_once('@').map_or("", |(_, commit)| commit);
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            let is_pinned = is_commit && version.starts_with('v');
            assert!(
                used.starts_with("./") || is_pinned,
                "{}: {used}",
                file.display()
            );
        }
    }
}

#[test]
fn workflows_have_few_permissions_and_jobs_end() {
    for file in files() {
        let workflow = &read_yaml(std::slice::from_ref(&file))[0];
        let file = file.display();
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({ "contents": "read" }),
            "{file}"
        );
        assert_ne!(workflow["concurrency"]["group"], Value::Null, "{file}");
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            let is_call = job["uses"].is_string();
            assert!(is_call || job["timeout-minutes"].is_u64(), "{file}: {name}");
        }
    }
}

#[test]
fn workflows_run_commands_that_exist() {
    let help = output_of(Command::new(env!("CARGO_BIN_EXE_xtask")).arg("help"));
    let mut found = 0;
    for workflow in read_yaml(&files()) {
        let text = workflow.to_string();
        let of_matrix = text.split("\"command\":\"").skip(1);
        let commands = text.split("cargo xtask ").skip(1).chain(of_matrix);
        for command in commands {
            let end = command.find(|c: char| !c.is_ascii_lowercase());
            let command = &command[..end.unwrap_or(command.len())];
            // What follows is in the matrix.
            if !command.is_empty() {
                let line = format!("\n    cargo xtask {command}");
                assert!(help.contains(&line), "cargo xtask {command}");
                found += 1;
            }
        }
    }
    assert!(found > 7, "{found}");
}
