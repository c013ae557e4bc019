//! Fuzz targets: one for each parser of bytes that others send.
//!
//! A target takes any bytes, must not panic, and checks what holds for all of them, usually
//! against a second way to read the same. `cargo xtask fuzz` searches for bytes that break
//! one; what it finds goes into `corpus/NAME/`, whose files the tests run too. To add a
//! target, add a file to `targets/`, its name here, and at least one file to its corpus.

mod targets;

use targets::{
    access_answers, forwarded_for, frame_headers, frames, jwks, packets, queries, redis_messages,
    settings, tokens,
};

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, and the folder of its corpus.
    pub name: &'static str,
    /// Panics if the bytes break what must hold.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target {
        name: "access_answers",
        run: access_answers::run,
    },
    Target {
        name: "forwarded_for",
        run: forwarded_for::run,
    },
    Target {
        name: "frame_headers",
        run: frame_headers::run,
    },
    Target {
        name: "frames",
        run: frames::run,
    },
    Target {
        name: "jwks",
        run: jwks::run,
    },
    Target {
        name: "packets",
        run: packets::run,
    },
    Target {
        name: "queries",
        run: queries::run,
    },
    Target {
        name: "redis_messages",
        run: redis_messages::run,
    },
    Target {
        name: "settings",
        run: settings::run,
    },
    Target {
        name: "tokens",
        run: tokens::run,
    },
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn corpora() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
    }

    #[test]
    fn every_input_of_the_corpora_passes_its_target() {
        for target in TARGETS {
            let folder = fs::read_dir(corpora().join(target.name)).unwrap();
            let mut inputs = 0;
            for file in folder {
                let path = file.unwrap().path();
                println!("{}", path.display());
                (target.run)(&fs::read(path).unwrap());
                inputs += 1;
            }
            assert!(inputs > 0, "the corpus of {} is empty", target.name);
        }
    }

    #[test]
    fn every_corpus_has_a_target() {
        for folder in fs::read_dir(corpora()).unwrap() {
            let name = folder.unwrap().file_name();
            let has_target = TARGETS.iter().any(|target| name == target.name);
            assert!(has_target, "{name:?}");
        }
    }
}
