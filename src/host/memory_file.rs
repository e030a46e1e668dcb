//! A file that is nowhere on disk, and gone with this process: for secrets that a tool wants to read from a path.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Bytes in memory that other programs of this user can open by a path, as long as this value lives.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
}

impl MemoryFile {
    /// Puts bytes in memory.
    ///
    /// # Errors
    /// The kernel gives no memory.
    pub fn new(content: &[u8]) -> io::Result<Self> {
        let descriptor = rustix::fs::memfd_create("ffe-deploy", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = File::from(descriptor);
        file.write_all(content)?;
        Ok(Self { file })
    }

    /// As [`MemoryFile::new`], for programs that look whether others may read it: mode 0600.
    ///
    /// # Errors
    /// The kernel gives no memory.
    pub fn private(content: &[u8]) -> io::Result<Self> {
        let made = Self::new(content)?;
        rustix::fs::fchmod(&made.file, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        Ok(made)
    }

    /// Returns the path by which it can be opened, from the start each time.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_reads_it_twice_and_it_is_gone_with_its_value() {
        let file = MemoryFile::new(b"content").unwrap();
        let path = file.path();
        for _ in 0..2 {
            let said = std::process::Command::new("cat").arg(&path).output().unwrap();
            assert_eq!(said.stdout, b"content");
        }
        drop(file);
        assert!(std::fs::read(&path).is_err());
    }
}
