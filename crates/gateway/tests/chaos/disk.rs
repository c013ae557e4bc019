//! A disk that can be filled: a small file system in memory. Mounting it takes root.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use chat_test_support::Janitor;

pub(crate) struct SmallDisk {
    folder: PathBuf,
    /// Unmounts it, whatever becomes of this process.
    _janitor: Janitor,
}

impl SmallDisk {
    pub(crate) fn mount(megabytes: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("chat-disk-").tempdir();
        let folder = folder.unwrap().keep();
        let janitor = Janitor::new("umount -l \"$1\"; rmdir \"$1\"", [&folder]).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=755")])
            .arg("chat-disk")
            .arg(&folder)
            .output()
            .unwrap();
        assert!(
            mounted.status.success(),
            "this test fills a file system of its own, and only root may mount one: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self {
            folder,
            _janitor: janitor,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Takes all the space that is left.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        let block = vec![0; 4096];
        let full = loop {
            if let Err(error) = ballast.write_all(&block) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
    }

    /// Gives it back.
    pub(crate) fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}
