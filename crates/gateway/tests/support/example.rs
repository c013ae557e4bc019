//! The example client, `examples/javascript/client.mjs`.

use std::os::unix::fs::symlink;
use std::path::Path;

/// Creates a project that contains only the example's file and the package that it imports.
pub(crate) fn example_project() -> tempfile::TempDir {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = package.join("../../examples/javascript/client.mjs");
    let node_modules = package.join("tests/clients/node_modules");
    assert!(
        node_modules.is_dir(),
        "socket.io-client is not installed: run `cargo xtask test`"
    );
    let project = tempfile::tempdir().unwrap();
    std::fs::copy(example, project.path().join("client.mjs")).unwrap();
    symlink(node_modules, project.path().join("node_modules")).unwrap();
    project
}
