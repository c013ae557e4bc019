//! The machines for which releases are built, and what this machine needs for it.

use std::env;
use std::path::Path;
use std::process::Command;

use super::output_of;
use crate::error::Error;
use crate::machine::{find_program, workspace};

/// A platform on which the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) triple: &'static str,
    /// Debian's name of the architecture.
    pub(super) debian: &'static str,
    /// How the names of the cross compiler's programs begin.
    tools: &'static str,
}

const TARGETS: [Target; 2] = [
    Target {
        triple: "x86_64-unknown-linux-gnu",
        debian: "amd64",
        tools: "x86_64-linux-gnu-",
    },
    Target {
        triple: "aarch64-unknown-linux-gnu",
        debian: "arm64",
        tools: "aarch64-linux-gnu-",
    },
];

impl Target {
    /// Returns the target with this triple, or this machine.
    pub(super) fn named(triple: Option<&str>) -> Result<Self, Error> {
        let triple = match triple {
            Some(triple) => triple.to_owned(),
            None => host()?,
        };
        let names = TARGETS.map(|target| target.triple).join(" and ");
        TARGETS
            .into_iter()
            .find(|target| target.triple == triple)
            .ok_or_else(|| format!("releases are built for {names}, not for {triple}").into())
    }

    pub(super) fn is_host(&self) -> Result<bool, Error> {
        Ok(host()? == self.triple)
    }

    /// Returns the name of a program of binutils or gcc for this target.
    pub(super) fn tool(&self, name: &str) -> Result<String, Error> {
        match self.is_host()? {
            true => Ok(name.to_owned()),
            false => Ok(format!("{}{name}", self.tools)),
        }
    }

    /// Checks that this machine can build for this target.
    pub(super) fn check_installed(&self) -> Result<(), Error> {
        let triple = self.triple;
        let libraries = output_of(
            Command::new("rustc")
                .args(["--print", "target-libdir", "--target", triple])
                .current_dir(workspace()),
        )?;
        if !Path::new(libraries.trim()).exists() {
            return Err(format!(
                "cannot build for {triple}: Rust's standard library for it is not installed: run \
                 rustup target add {triple}"
            )
            .into());
        }
        let compiler = self.tool("gcc")?;
        if !self.is_host()? && find_program(&compiler).is_none() {
            let architecture = self.debian;
            return Err(format!(
                "cannot build for {triple}: {compiler} is not installed (Debian's package is \
                 crossbuild-essential-{architecture})"
            )
            .into());
        }
        Ok(())
    }

    /// Lets cargo and the crates that compile C use the cross compiler.
    pub(super) fn configure(&self, cargo: &mut Command) -> Result<(), Error> {
        if self.is_host()? {
            return Ok(());
        }
        let compiler = self.tool("gcc")?;
        let underscored = self.triple.replace('-', "_");
        let linker = format!("CARGO_TARGET_{}_LINKER", underscored.to_uppercase());
        for variable in [linker, format!("CC_{underscored}")] {
            if env::var_os(&variable).is_none() {
                cargo.env(variable, &compiler);
            }
        }
        Ok(())
    }
}

/// Returns the triple of this machine.
fn host() -> Result<String, Error> {
    let version = output_of(Command::new("rustc").arg("-vV").current_dir(workspace()))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".into())
}
