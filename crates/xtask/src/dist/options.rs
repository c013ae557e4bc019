//! The flags of `cargo xtask dist`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Compression;
use crate::error::Error;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) profile: Profile,
    /// The target's triple; by default this machine's.
    pub(super) target: Option<String>,
    /// A binary to package, instead of one that is built.
    pub(super) binary: Option<PathBuf>,
    /// A version other than the workspace's.
    pub(super) version: Option<String>,
    pub(super) output: Option<PathBuf>,
}

/// How the gateway is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Profile {
    Dev,
    #[default]
    Release,
}

impl Profile {
    pub(super) fn compression(self) -> Compression {
        match self {
            Self::Dev => Compression::Fast,
            Self::Release => Compression::Best,
        }
    }
}

impl Options {
    pub(super) fn parse(arguments: &[OsString]) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(flag) = arguments.next() {
            let flag = flag.to_string_lossy();
            let value = arguments
                .next()
                .ok_or_else(|| format!("{flag} needs a value, or is unknown"))?;
            let text = value.to_string_lossy();
            match &*flag {
                "--profile" => {
                    options.profile = match &*text {
                        "dev" => Profile::Dev,
                        "release" => Profile::Release,
                        other => {
                            return Err(format!("--profile is dev or release, not {other}").into());
                        }
                    };
                }
                "--target" => options.target = Some(text.into_owned()),
                "--binary" => options.binary = Some(value.into()),
                "--version" => options.version = Some(checked_version(&text)?),
                "--output" => options.output = Some(value.into()),
                other => return Err(format!("{other} is unknown").into()),
            }
        }
        Ok(options)
    }
}

/// A version becomes part of the names of files and of Debian's control file.
fn checked_version(text: &str) -> Result<String, Error> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
    match text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(is_known) {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("--version must be a version such as 1.2.3-rc.1, not \"{text}\"").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
        Options::parse(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_select_what_is_built() {
        assert_eq!(parse(&[]).unwrap().profile, Profile::Release);
        let options = parse(&["--profile", "dev", "--version", "1.2.3-rc.1+a"]).unwrap();
        assert_eq!(options.profile, Profile::Dev);
        assert_eq!(options.version.unwrap(), "1.2.3-rc.1+a");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for arguments in [
            &["--profile"][..],
            &["--profile", "fast"],
            &["--versions", "1"],
            &["--version", "v1"],
            &["--version", "1/../2"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
