//! A Socket.IO client in Rust, for the client tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Need;
use crate::error::Error;
use crate::machine::{run, step, succeeds, workspace};

/// The client's TLS library is the system's.
pub(crate) const NEED: Need = Need {
    is_met: || cfg!(target_os = "macos") || has_openssl(),
    packages: &["libssl-dev", "pkg-config"],
};

/// Builds the client of `clients/rust` and returns its program. It is not part of the
/// workspace, so that no other build pays for its dependencies, but shares its folder.
pub(crate) fn prepare(clients: &Path) -> Result<PathBuf, Error> {
    if !(NEED.is_met)() {
        return Err(
            "the tests need OpenSSL's headers and pkg-config for a Rust client: install \
             them (Debian's packages are `libssl-dev` and `pkg-config`)"
                .into(),
        );
    }
    step("cargo build, the Rust client");
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let target = workspace().join("target");
    run(Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(clients.join("rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target))?;
    Ok(target.join("debug/chat-gateway-rust-client"))
}

fn has_openssl() -> bool {
    succeeds(Command::new("pkg-config").args(["--exists", "openssl"]))
}
