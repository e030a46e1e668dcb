//! Reads an archive back from the disk, from start to end, and compares it with what was written.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::BackupError;
use super::archive::Tally;
use super::error::shown;
use super::meter::Meter;
use crate::model::ArchiveFormat;

/// What the disk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sound {
    /// Size of the archive.
    pub(super) size_bytes: u64,
    /// SHA-256 of the archive in lower-case hex.
    pub(super) sha256: String,
}

/// Reads the archive and returns its digest.
///
/// # Errors
/// It cannot be read or decompressed, or an entry differs from what was written; the first such is named.
pub(super) fn reread(
    path: &Path,
    format: ArchiveFormat,
    written: &Tally,
    meter: &Meter,
) -> Result<Sound, BackupError> {
    let file = File::open(path).map_err(BackupError::writing(path, 0))?;
    // What is compared must come from the disk, and not from memory. A file system that cannot is none the worse.
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).ok();
    let mut hashed = Hashed { file, digest: Sha256::new(), bytes: 0 };
    let compared = match format {
        ArchiveFormat::Zstd => zstd::Decoder::new(&mut hashed)
            .map_err(Differs::from)
            .and_then(|content| compare(content, written, meter)),
        ArchiveFormat::Gzip => {
            compare(flate2::bufread::MultiGzDecoder::new(BufReader::new(&mut hashed)), written, meter)
        }
    };
    match compared {
        Ok(()) => Ok(Sound { size_bytes: hashed.bytes, sha256: hex::encode(hashed.digest.finalize()) }),
        Err(_) if meter.is_called_off() => Err(BackupError::CalledOff),
        Err(Differs(detail)) => Err(BackupError::Unsound { path: path.to_owned(), detail }),
    }
}

/// What differs, in words.
struct Differs(String);

impl From<io::Error> for Differs {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

fn compare(content: impl Read, written: &Tally, meter: &Meter) -> Result<(), Differs> {
    let mut archive = tar::Archive::new(content);
    let mut found = Tally::default();
    let mut buffer = vec![0; 128 * 1024];
    for entry in archive.entries()? {
        let mut entry = entry?;
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        let mut digest = Tally::begin(&entry.path_bytes(), entry.header(), &link)?;
        loop {
            meter.check()?;
            let read = entry.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            digest.update(&buffer[..read]);
            meter.add(read);
        }
        found.end(digest, entry.header());
        if !found.agrees_so_far(written) {
            let path = shown(Path::new(std::ffi::OsStr::from_bytes(&entry.path_bytes())));
            return Err(Differs(format!("entry {} (`{path}`) differs", found.entries)));
        }
    }
    // To the very end: the compression's own checksum is the last thing in the file.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    if found.equals(written) {
        return Ok(());
    }
    Err(Differs(format!("{} entries were written and {} read", written.entries, found.entries)))
}

struct Hashed {
    file: File,
    digest: Sha256,
    bytes: u64,
}

impl Read for Hashed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.digest.update(&into[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
