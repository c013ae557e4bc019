//! The dependency rule: gateway → adapters, delivery → domain. Delivery and adapters do not
//! depend on each other, and the crates for tests depend on none of them.
//!
//! `deny.toml` states which packages may depend directly on which; this also follows
//! indirect dependencies.

use std::collections::{HashMap, VecDeque};

use cargo_metadata::{
    CargoOpt, Dependency, DependencyKind, Metadata, MetadataCommand, Package, PackageId,
};

/// The packages of the product.
const PRODUCT: [&str; 5] = [
    "chat-adapters",
    "chat-delivery",
    "chat-domain",
    "chat-gateway",
    "chat-loadtest",
];

/// Databases and token libraries.
const DRIVERS: [&str; 7] = [
    "deadpool",
    "diesel",
    "diesel-async",
    "jsonwebtoken",
    "libsqlite3-sys",
    "redis",
    "tokio-postgres",
];

const TRANSPORTS: [&str; 5] = ["axum", "engineioxide", "hyper", "socketioxide", "tower"];

#[test]
fn the_domain_reaches_no_runtime_no_transport_and_no_driver() {
    let others = ["tokio", "chat-adapters", "chat-delivery"];
    let forbidden = others.into_iter().chain(TRANSPORTS).chain(DRIVERS);
    assert_unreachable("chat-domain", forbidden);
}

#[test]
fn delivery_reaches_no_transport_no_driver_and_no_encoding() {
    let others = ["serde_json", "chat-adapters"];
    let forbidden = others.into_iter().chain(TRANSPORTS).chain(DRIVERS);
    assert_unreachable("chat-delivery", forbidden);
}

#[test]
fn adapters_depend_on_no_transport_and_not_on_delivery() {
    let metadata = metadata();
    let adapters = member(&metadata, "chat-adapters");
    for name in TRANSPORTS.into_iter().chain(["chat-delivery"]) {
        assert!(
            !depends_on(adapters, name, |_| true),
            "chat-adapters → {name}: only chat-gateway may depend on it"
        );
    }
}

#[test]
fn the_load_test_uses_the_adapters_only_to_sign_tokens() {
    let metadata = metadata();
    let loadtest = member(&metadata, "chat-loadtest");
    let adapters = dependencies(loadtest, "chat-adapters").collect::<Vec<_>>();
    assert!(!adapters.is_empty(), "chat-loadtest → chat-adapters");
    for adapters in adapters {
        assert!(
            !adapters.uses_default_features && adapters.features == ["jwt"],
            "chat-loadtest → chat-adapters: with the feature jwt alone, it compiles no database"
        );
    }
    for name in TRANSPORTS
        .into_iter()
        .chain(DRIVERS)
        .chain(["chat-delivery"])
    {
        assert!(
            !depends_on(loadtest, name, is_shipped),
            "chat-loadtest → {name}: it drives any server, and knows none of its parts"
        );
    }
}

#[test]
fn only_the_gateway_depends_on_delivery() {
    for package in metadata().workspace_packages() {
        assert!(
            package.name.as_str() == "chat-gateway"
                || !depends_on(package, "chat-delivery", is_shipped),
            "{} → chat-delivery: only chat-gateway may depend on it",
            package.name
        );
    }
}

#[test]
fn no_package_depends_on_the_gateway_but_its_fuzz_targets() {
    for package in metadata().workspace_packages() {
        assert!(
            package.name.as_str() == "chat-fuzz"
                || !depends_on(package, "chat-gateway", is_shipped),
            "{} → chat-gateway: the gateway is the outermost package",
            package.name
        );
    }
}

#[test]
fn the_crates_for_tests_depend_on_no_crate_of_the_product() {
    let metadata = metadata();
    for name in ["chat-test-support", "xtask"] {
        for product in PRODUCT {
            assert!(
                !depends_on(member(&metadata, name), product, |_| true),
                "{name} → {product}: it must compile quickly, and work while the product is broken"
            );
        }
    }
}

#[test]
fn a_broken_rule_is_reported_with_the_path_to_the_dependency() {
    let metadata = metadata();
    let path = |from, to| path(&metadata, from, to);
    assert_eq!(
        path("chat-gateway", "tokio-postgres").unwrap(),
        "chat-gateway → chat-adapters → tokio-postgres"
    );
    assert_eq!(path("chat-domain", "tokio-postgres"), None);
}

/// # Panics
/// If a package reaches one of these, with the path to each.
fn assert_unreachable(from: &str, forbidden: impl Iterator<Item = &'static str>) {
    let metadata = metadata();
    let paths: Vec<String> = forbidden
        .filter_map(|name| path(&metadata, from, name))
        .collect();
    assert!(paths.is_empty(), "{}", paths.join("\n"));
}

/// Reads the workspace with every feature, so that the rule holds with any of them.
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
        .unwrap_or_else(|| panic!("{name} is not a member of the workspace"))
}

/// The rule does not apply to what only a package's own tests use.
fn is_shipped(kind: DependencyKind) -> bool {
    kind != DependencyKind::Development
}

fn dependencies<'a>(package: &'a Package, name: &str) -> impl Iterator<Item = &'a Dependency> {
    let dependencies = package.dependencies.iter();
    dependencies.filter(move |dependency| dependency.name == name)
}

fn depends_on(package: &Package, name: &str, counts: fn(DependencyKind) -> bool) -> bool {
    dependencies(package, name).any(|dependency| counts(dependency.kind))
}

/// Returns the shortest path from a member to a package, as `chat-domain → tower → tokio`.
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
