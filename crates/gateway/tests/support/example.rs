//! The examples that developers copy, in `examples/`.

use std::os::unix::fs::symlink;
use std::path::Path;

/// Creates a project that contains only the example client, `client.mjs`, and the packages that
/// it may import.
pub(crate) fn example_project() -> tempfile::TempDir {
    project_of("javascript/client.mjs")
}

/// Creates a project that contains only this file of `examples/`, and the packages that it may
/// import.
pub(crate) fn project_of(example: &str) -> tempfile::TempDir {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = package.join("../../examples").join(example);
    let node_modules = package.join("tests/clients/node_modules");
    assert!(
        node_modules.is_dir(),
        "the packages of npm are not installed: run `cargo xtask test`"
    );
    let project = tempfile::tempdir().unwrap();
    let file = example.file_name().unwrap();
    std::fs::copy(&example, project.path().join(file)).unwrap();
    symlink(node_modules, project.path().join("node_modules")).unwrap();
    project
}
