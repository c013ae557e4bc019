//! The dependency rule: the domain knows nobody, adapters know the domain, the gateway
//! knows both, and what serves the tests knows none of them.
//!
//! `deny.toml` says who may depend directly on what; this looks through everything that
//! comes along.

use std::collections::{HashMap, VecDeque};

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Runtimes, transports, drivers: what the domain must not reach on any path.
const BEYOND_THE_DOMAIN: [&str; 13] = [
    "axum",
    "deadpool",
    "diesel",
    "diesel-async",
    "engineioxide",
    "hyper",
    "jsonwebtoken",
    "libsqlite3-sys",
    "redis",
    "socketioxide",
    "tokio",
    "tokio-postgres",
    "tower",
];

#[test]
fn the_domain_reaches_no_runtime_no_transport_and_no_driver() {
    let metadata = metadata();
    let offences: Vec<String> = BEYOND_THE_DOMAIN
        .into_iter()
        .filter_map(|name| path(&metadata, "chat-domain", name))
        .collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn adapters_speak_to_no_client() {
    let metadata = metadata();
    let adapters = member(&metadata, "chat-adapters");
    for name in ["axum", "engineioxide", "hyper", "socketioxide"] {
        assert!(
            !depends_on(adapters, name, |_| true),
            "chat-adapters → {name}: transports belong to chat-gateway"
        );
    }
}

#[test]
fn nothing_that_is_shipped_depends_on_the_gateway() {
    for package in metadata().workspace_packages() {
        assert!(
            !depends_on(package, "chat-gateway", is_shipped),
            "{} → chat-gateway: the gateway is the outermost crate",
            package.name
        );
    }
}

#[test]
fn what_serves_the_tests_knows_no_crate_of_the_chat() {
    let metadata = metadata();
    for name in ["chat-test-support", "xtask"] {
        for chat in ["chat-domain", "chat-adapters", "chat-gateway"] {
            assert!(
                !depends_on(member(&metadata, name), chat, |_| true),
                "{name} → {chat}: it must build, and be right, while the chat is broken"
            );
        }
    }
}

/// With every feature, so that a rule that holds here holds with any of them.
fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .exec()
        .expect("cargo metadata reads the workspace")
}

fn member<'a>(metadata: &'a Metadata, name: &str) -> &'a Package {
    metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == name)
        .unwrap_or_else(|| panic!("{name} is a member of the workspace"))
}

/// Tests may use what they like.
fn is_shipped(kind: DependencyKind) -> bool {
    kind != DependencyKind::Development
}

fn depends_on(package: &Package, name: &str, counts: fn(DependencyKind) -> bool) -> bool {
    package
        .dependencies
        .iter()
        .any(|dependency| dependency.name == name && counts(dependency.kind))
}

/// The shortest way from a member to a package, as `chat-domain → tower → tokio`.
fn path(metadata: &Metadata, from: &str, to: &str) -> Option<String> {
    let resolve = metadata.resolve.as_ref().expect("metadata resolves");
    let nodes: HashMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let start = &member(metadata, from).id;
    let mut reached_by: HashMap<&PackageId, Option<&PackageId>> = HashMap::from([(start, None)]);
    let mut queue = VecDeque::from([start]);
    while let Some(id) = queue.pop_front() {
        if metadata[id].name.as_str() == to {
            let mut names = vec![to];
            let mut step = id;
            while let Some(before) = reached_by[step] {
                names.push(metadata[before].name.as_str());
                step = before;
            }
            names.reverse();
            return Some(names.join(" → "));
        }
        for dependency in &nodes[id].deps {
            let shipped = dependency
                .dep_kinds
                .iter()
                .any(|kind| is_shipped(kind.kind));
            if shipped && !reached_by.contains_key(&dependency.pkg) {
                reached_by.insert(&dependency.pkg, Some(id));
                queue.push_back(&dependency.pkg);
            }
        }
    }
    None
}
