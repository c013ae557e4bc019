//! The demo page in the gateway is the one that its sources give.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::node_succeeds;

#[test]
fn the_demo_page_is_built_from_its_sources() {
    let built = tempfile::tempdir().unwrap();
    let arguments = [OsStr::new("build.mjs"), built.path().as_os_str()];
    node_succeeds("TEST_DEMO_PAGE", &arguments);
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
    node_succeeds(
        "TEST_DEMO_PAGE",
        &["node_modules/typescript/bin/tsc", "--noEmit"],
    );
}
