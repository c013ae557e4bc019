//! A disk that can be filled: a small file system in memory. Mounting it requires root.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use chat_test_support::Janitor;

pub(crate) struct SmallDisk {
    folder: PathBuf,
    /// Unmounts the file system, however this process ends.
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
            "cannot mount the file system that this test fills, which requires root: {}",
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

    /// Uses up all the free space.
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

    /// Frees the space that `fill` used.
    pub(crate) fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}
