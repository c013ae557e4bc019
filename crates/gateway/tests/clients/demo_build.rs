//! The demo page in the gateway is the one that its sources give.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use chat_test_support::run;

use super::{DEADLINE, provided};

#[test]
fn the_demo_page_is_built_from_its_sources() {
    let built = tempfile::tempdir().unwrap();
    succeeds(&[OsStr::new("build.mjs"), built.path().as_os_str()]);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/demo");
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(built.path()), names(&committed));
    for name in names(&committed) {
        let is_same =
            fs::read(built.path().join(&name)).unwrap() == fs::read(committed.join(&name)).unwrap();
        assert!(
            is_same,
            "{} is not current: run `npm ci && npm run build` in clients/demo",
            name.display()
        );
    }
}

#[test]
fn the_demo_page_type_checks() {
    succeeds(&["node_modules/typescript/bin/tsc", "--noEmit"].map(OsStr::new));
}

/// Runs Node.js with these arguments in the folder of the page. Shows its output if it fails.
fn succeeds(arguments: &[&OsStr]) {
    let mut node = Command::new(provided("TEST_NODE"));
    node.current_dir(provided("TEST_DEMO_PAGE"))
        .env("NO_COLOR", "1")
        .args(arguments);
    let output = run(&mut node, DEADLINE).unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
