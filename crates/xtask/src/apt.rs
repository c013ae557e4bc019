//! Installs missing packages as root on Debian and Ubuntu, which in practice means in a
//! container or on a CI machine. Elsewhere, the developer decides what to install.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::machine::{find_program, is_root, run, step};

/// This file prevents Debian from creating and starting a PostgreSQL server at
/// installation; the tests start their own.
const NO_SERVER: &str = "/etc/postgresql-common/createcluster.d/chat-gateway.conf";
/// Debian asks this program whether it may start a service, such as Redis or Prometheus, at
/// installation.
/// One that exists is the machine's own decision; containers have one.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";
/// Its exit code for "no".
const NO_SERVICE: &str = "#!/bin/sh\nexit 101\n";

pub(crate) fn can_install() -> bool {
    is_root() && find_program("apt-get").is_some()
}

pub(crate) fn install(packages: &[&str]) -> Result<(), Error> {
    step(&format!("apt-get install {}", packages.join(" ")));
    run(&mut apt_get(&["update"]))?;
    if let Some(folder) = Path::new(NO_SERVER).parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(NO_SERVER, "create_main_cluster = false\n")?;
    let has_policy = Path::new(SERVICE_POLICY).exists();
    if !has_policy {
        fs::write(SERVICE_POLICY, NO_SERVICE)?;
        fs::set_permissions(SERVICE_POLICY, fs::Permissions::from_mode(0o755))?;
    }
    let outcome = run(apt_get(&["install", "--yes", "--no-install-recommends"]).args(packages));
    fs::remove_file(NO_SERVER)?;
    if !has_policy {
        fs::remove_file(SERVICE_POLICY)?;
    }
    outcome
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        // Another process may be installing packages at the same time.
        .args(["--quiet", "--option", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}
