//! The pages as a book: every page is in its summary, every link leads somewhere, and the README
//! stays short.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::{read, root};

const README_LINES: usize = 200;

#[test]
fn the_readme_has_at_most_200_lines() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES, "{lines} lines");
}

#[test]
fn every_page_is_in_the_summary_once() {
    let summary = read("docs/SUMMARY.md");
    let mut listed: Vec<String> = links(&summary).map(str::to_owned).collect();
    listed.sort();
    let pages = pages_in("docs").into_iter().filter_map(|page| {
        let name = page.file_name()?.to_str()?.to_owned();
        (name != "SUMMARY.md").then_some(name)
    });
    let pages: Vec<String> = pages.collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(listed, pages, "left: docs/SUMMARY.md, right: the pages");
}

#[test]
fn every_link_leads_to_a_file_and_an_anchor_that_exist() {
    let mut anchors = HashMap::new();
    let mut broken = Vec::new();
    let mut followed = 0;
    for page in pages() {
        let text = prose(&std::fs::read_to_string(root().join(&page)).unwrap());
        for link in links(&text).filter(|link| !is_external(link)) {
            followed += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = match file {
                "" => page.clone(),
                file => normal(&page.parent().unwrap().join(file)),
            };
            let exists = root().join(&file).exists();
            let known = anchor.is_empty()
                || exists
                    && anchors
                        .entry(file.clone())
                        .or_insert_with(|| anchors_of(&file))
                        .contains(anchor);
            if !(exists && known) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(followed > 100, "{followed}");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn anchors_are_those_that_github_makes() {
    let page = "# A page\n## 10, 100 and 1,000 nodes\n## `joinRoom`, again\n## Twice\n## Twice\n\
        ```sh\n# a comment\n```\n## What [it](x.md) is not\n";
    let made = anchors_in(page);
    let expected = [
        "a-page",
        "10-100-and-1000-nodes",
        "joinroom-again",
        "twice",
        "twice-1",
        "what-it-is-not",
    ];
    assert_eq!(made, expected.map(str::to_owned).into());
}

/// Returns every page that people read, relative to the workspace.
pub(super) fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README", "CHANGELOG", "CONTRIBUTING", "SECURITY"]
        .map(|name| PathBuf::from(format!("{name}.md")))
        .into();
    pages.extend(pages_in("docs"));
    for example in std::fs::read_dir(root().join("examples")).unwrap() {
        let folder = Path::new("examples").join(example.unwrap().file_name());
        pages.extend(pages_in(folder.to_str().unwrap()));
    }
    pages
}

fn pages_in(folder: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join(folder)).unwrap();
    let names = files.map(|file| Path::new(folder).join(file.unwrap().file_name()));
    names
        .filter(|name| name.extension().is_some_and(|end| end == "md"))
        .collect()
}

/// Returns a page without its code, which may look like links and headings.
fn prose(page: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            // Inline code, too, unless it does not end on its line.
            let parts: Vec<&str> = line.split('`').collect();
            let even = parts.len() % 2 == 1;
            let shown = parts
                .iter()
                .enumerate()
                .filter(|(n, _)| !even || n % 2 == 0);
            kept.extend(shown.map(|(_, part)| *part));
            kept.push('\n');
        }
    }
    kept
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1);
    targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

fn is_external(link: &str) -> bool {
    link.contains("://") || link.starts_with("mailto:")
}

/// Resolves `..` without asking the file system.
fn normal(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in path {
        match part.to_str() {
            Some("..") => {
                resolved.pop();
            }
            Some(".") => {}
            _ => resolved.push(part),
        }
    }
    resolved
}

fn anchors_of(file: &Path) -> BTreeSet<String> {
    anchors_in(&std::fs::read_to_string(root().join(file)).unwrap())
}

/// Returns the anchors of a page's headings, as GitHub and mdBook make them.
fn anchors_in(page: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut anchors = BTreeSet::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        }
        let heading = line.trim_start_matches('#');
        let level = line.len() - heading.len();
        if inside || !(1..=6).contains(&level) || !heading.starts_with(' ') {
            continue;
        }
        let anchor = anchor(heading.trim());
        let again = (1..).map(|n| format!("{anchor}-{n}"));
        let mut names = std::iter::once(anchor.clone()).chain(again);
        let name = names.find(|name| !anchors.contains(name)).unwrap();
        anchors.insert(name);
    }
    anchors
}

fn anchor(heading: &str) -> String {
    // The target of a link is not part of what is shown.
    let mut shown = String::new();
    let mut rest = heading;
    while let Some((before, link)) = rest.split_once("](") {
        shown += before;
        rest = link.split_once(')').map_or("", |(_, after)| after);
    }
    shown += rest;
    let kept = shown
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    let lower = kept.flat_map(char::to_lowercase);
    lower.map(|c| if c == ' ' { '-' } else { c }).collect()
}
