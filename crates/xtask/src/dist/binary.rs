//! The gateway's binary: built so that its bytes do not depend on the folder it is built in.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::options::Profile;
use super::target::Target;
use crate::error::Error;
use crate::machine::{run, step, workspace};

const NAME: &str = "chat-gateway";

/// Builds the gateway and returns the binary.
pub(super) fn build(profile: Profile, target: &Target, time: &str) -> Result<PathBuf, Error> {
    target.check_installed()?;
    let folder = workspace().join("target");
    let mut cargo = Command::new(cargo());
    cargo
        .current_dir(workspace())
        .args(["build", "--locked", "-p", NAME]);
    let built = match (profile, target.is_host()?) {
        // The folder and the flags of every other build, so that nothing is compiled twice.
        (Profile::Dev, true) => folder.join("debug"),
        (Profile::Dev, false) => {
            cargo.args(["--target", target.triple]);
            folder.join(target.triple).join("debug")
        }
        (Profile::Release, _) => {
            // A folder of its own: other flags would make cargo compile everything again, here
            // and then at the next build without them.
            let folder = folder.join("dist-build");
            cargo
                .args(["--release", "--target", target.triple, "--target-dir"])
                .arg(&folder)
                .env("SOURCE_DATE_EPOCH", time)
                .env("CARGO_INCREMENTAL", "0");
            let renamed = renamed_folders(&folder)?;
            let rust: Vec<_> = renamed
                .iter()
                .map(|(from, to)| format!("--remap-path-prefix={from}={to}"))
                .collect();
            let c: Vec<_> = renamed
                .iter()
                .map(|(from, to)| format!("-ffile-prefix-map={from}={to}"))
                .collect();
            cargo
                .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"))
                .env("CFLAGS", c.join(" "));
            folder.join(target.triple).join("release")
        }
    };
    target.configure(&mut cargo)?;
    step(&format!("cargo build -p {NAME} for {}", target.triple));
    run(&mut cargo)?;
    Ok(built.join(NAME))
}

/// Returns the folders whose names would be in the binary, and what is there instead. Later ones
/// take precedence.
fn renamed_folders(build: &Path) -> Result<[(String, &'static str); 3], Error> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .ok_or("neither CARGO_HOME nor HOME is set")?;
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or("a path is not UTF-8")
    };
    Ok([
        (text(&home)?, "/cargo"),
        (text(&workspace())?, "/chat-gateway"),
        (text(build)?, "/build"),
    ])
}

/// Copies the binary without its debugging symbols and returns the copy.
pub(super) fn strip(binary: &Path, target: &Target, folder: &Path) -> Result<PathBuf, Error> {
    let stripped = folder.join(NAME);
    run(Command::new(target.tool("strip")?)
        .arg("--strip-unneeded")
        .arg("-o")
        .arg(&stripped)
        .arg(binary))?;
    Ok(stripped)
}

pub(super) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
