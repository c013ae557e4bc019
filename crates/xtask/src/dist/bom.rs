//! The software bill of materials, as CycloneDX: which crates are compiled into the binary.
//!
//! cargo knows exactly that, so it is asked; a tool of its own would take longer to compile than
//! this file to read, and would name what only tests and other members of the workspace need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::binary::cargo;
use super::{Release, output_of};
use crate::error::Error;
use crate::machine::workspace;

/// A crate's name and version, which are unique in the graph: only crates.io is a source.
type Key = (String, String);

/// Writes the bill and returns the file's name.
pub(super) fn write(release: &Release) -> Result<String, Error> {
    let name = format!(
        "chat-gateway-{}-{}.cdx.json",
        release.version, release.target.triple
    );
    let compiled = compiled_crates(release.target.triple)?;
    let metadata: Value = serde_json::from_str(&output_of(
        Command::new(cargo())
            .current_dir(workspace())
            .args(["metadata", "--locked", "--format-version", "1"])
            .args(["--filter-platform", release.target.triple]),
    )?)?;
    let checksums = checksums(&fs::read_to_string(workspace().join("Cargo.lock"))?);
    let mut bill = bill(&metadata, &compiled, &checksums)?;
    bill["metadata"] = json!({
        "timestamp": timestamp(&release.time)?,
        "component": {
            "type": "application",
            "bom-ref": "chat-gateway",
            "name": "chat-gateway",
            "version": release.version,
            "licenses": [{ "license": { "id": "MIT" } }],
            "properties": [{ "name": "target", "value": release.target.triple }],
        },
    });
    let text = serde_json::to_string_pretty(&bill)?;
    fs::write(release.output.join(&name), text + "\n")?;
    Ok(name)
}

/// Returns the crates whose code is in the binary: not those that only build it.
fn compiled_crates(triple: &str) -> Result<BTreeSet<Key>, Error> {
    let tree = output_of(
        Command::new(cargo())
            .current_dir(workspace())
            .args(["tree", "--locked", "-p", "chat-gateway"])
            .args(["--edges", "normal,no-proc-macro", "--prefix", "none"])
            .args(["--format", "{p}", "--target", triple]),
    )?;
    let crates = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let name = words.next()?.to_owned();
        Some((name, words.next()?.strip_prefix('v')?.to_owned()))
    });
    Ok(crates.collect())
}

/// Reads the checksums of `Cargo.lock`.
fn checksums(lock: &str) -> BTreeMap<Key, String> {
    let value = |package: &str, key: &str| {
        let mut lines = package.lines();
        let line = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").filter_map(|package| {
        let key = (value(package, "name")?, value(package, "version")?);
        Some((key, value(package, "checksum")?))
    });
    packages.collect()
}

fn bill(
    metadata: &Value,
    compiled: &BTreeSet<Key>,
    checksums: &BTreeMap<Key, String>,
) -> Result<Value, Error> {
    let packages: BTreeMap<&str, &Value> = list(&metadata["packages"])?
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let is_compiled = |id: &&str| {
        let package = packages.get(id);
        package.is_some_and(|package| compiled.contains(&key(package)))
    };
    let mut components = BTreeMap::new();
    let mut dependencies = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"])? {
        let Some(id) = node["id"].as_str().filter(is_compiled) else {
            continue;
        };
        let package = packages[id];
        let key = key(package);
        if key.0 != "chat-gateway" {
            components.insert(key.clone(), component(package, checksums.get(&key)));
        }
        // What only tests and build scripts need is also in the graph.
        let used: BTreeSet<String> = list(&node["deps"])?
            .iter()
            .filter(|used| {
                let kinds = used["dep_kinds"].as_array();
                kinds.is_some_and(|kinds| kinds.iter().any(|it| it["kind"].is_null()))
            })
            .filter_map(|used| used["pkg"].as_str())
            .filter(is_compiled)
            .map(|id| reference(packages[id]))
            .collect();
        dependencies.insert(reference(package), used);
    }
    let dependencies: Vec<Value> = dependencies
        .into_iter()
        .map(|(reference, used)| json!({ "ref": reference, "dependsOn": used }))
        .collect();
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies,
    }))
}

fn component(package: &Value, checksum: Option<&String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
    });
    if let Some(license) = package["license"].as_str() {
        // Old manifests separate alternatives with a slash.
        let expression = license.replace(" OR ", "/").replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    // Members of the workspace are on no registry.
    if let Some(checksum) = checksum {
        component["purl"] = reference(package).into();
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn key(package: &Value) -> Key {
    let text = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
    (text("name"), text("version"))
}

/// Returns what identifies a crate in the bill: its package URL, or the name of a member of the
/// workspace.
fn reference(package: &Value) -> String {
    let (name, version) = key(package);
    match package["source"].is_null() {
        true => name,
        false => format!("pkg:cargo/{name}@{version}"),
    }
}

fn list(value: &Value) -> Result<&Vec<Value>, Error> {
    value
        .as_array()
        .ok_or_else(|| "the output of cargo metadata is not as expected".into())
}

/// Returns a time in seconds since 1970 as RFC 3339.
fn timestamp(time: &str) -> Result<String, Error> {
    let text = output_of(Command::new("date").args(["-u", "-d", &format!("@{time}"), "+%FT%TZ"]))?;
    Ok(text.trim().to_owned())
}
