//! The Debian packages whose libraries a binary needs, in the oldest versions that have what it
//! uses.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::output_of;
use crate::error::Error;

/// Returns the value of `Depends`: `libc6 (>= 2.34), libgcc-s1 (>= 4.2)`.
pub(super) fn depends(binary: &Path) -> Result<String, Error> {
    // readelf reads the binaries of every architecture.
    let read = output_of(
        Command::new("readelf")
            .args(["--wide", "--dynamic", "--version-info"])
            .arg(binary)
            .env("LC_ALL", "C"),
    )?;
    depends_of(&read)
}

fn depends_of(read: &str) -> Result<String, Error> {
    let mut packages: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for line in read.lines() {
        if let Some(library) = between(line, "Shared library: [", "]") {
            packages.entry(package(library)?).or_default();
        }
        let Some(symbols) = between(line, "Name: ", " ") else {
            continue;
        };
        let (package, version) = match symbols.split_once('_') {
            Some(("GLIBC", version)) => ("libc6", version),
            Some(("GCC", version)) => ("libgcc-s1", version),
            _ => continue,
        };
        // Only names of versions that are numbers need a newer package.
        let parts: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
        let Ok(parts) = parts else { continue };
        let newest = packages.entry(package).or_default();
        *newest = parts.max(std::mem::take(newest));
    }
    if !packages.contains_key("libc6") {
        return Err("the binary needs no C library: it is not a dynamic program for Linux".into());
    }
    let packages = packages.iter().map(|(package, version)| {
        let version: Vec<String> = version.iter().map(u32::to_string).collect();
        match version.is_empty() {
            true => (*package).to_owned(),
            false => format!("{package} (>= {})", version.join(".")),
        }
    });
    Ok(packages.collect::<Vec<_>>().join(", "))
}

fn package(library: &str) -> Result<&'static str, Error> {
    match library.split_once(".so").map(|(name, _)| name) {
        Some("libc" | "libm" | "libdl" | "libpthread" | "librt") => Ok("libc6"),
        Some(loader) if loader.starts_with("ld-linux") => Ok("libc6"),
        Some("libgcc_s") => Ok("libgcc-s1"),
        _ => Err(format!("the binary needs {library}, which only C libraries may be").into()),
    }
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    line.split_once(before)?.1.split_once(after).map(|it| it.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbols_decide_and_numbers_are_not_compared_as_text() {
        let read = "
 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x0000000000000001 (NEEDED)             Shared library: [ld-linux-x86-64.so.2]
  0x0040:   Name: GCC_3.0  Flags: none  Version: 4
  0x0040:   Name: GCC_4.2.0  Flags: none  Version: 23
  0x0080:   Name: GLIBC_2.9  Flags: none  Version: 3
  0x0090:   Name: GLIBC_2.34  Flags: none  Version: 20
  0x00a0:   Name: GLIBC_2.3.2  Flags: none  Version: 14
  0x00a0:   Name: GLIBC_ABI_DT_RELR  Flags: none  Version: 14
";
        let depends = depends_of(read).unwrap();
        assert_eq!(depends, "libc6 (>= 2.34), libgcc-s1 (>= 4.2.0)");
    }

    #[test]
    fn another_library_is_refused() {
        let read = "Shared library: [libc.so.6]\nShared library: [libpq.so.5]\n";
        let error = depends_of(read).unwrap_err().to_string();
        assert!(error.contains("libpq.so.5"), "{error}");
    }
}
