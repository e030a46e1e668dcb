//! The bundle as it travels: an archive of files under their digests, in pieces, the small ones ahead.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::session::SessionError;
use crate::agent::protocol::{CHUNK, FrameError};
use crate::model::{EntryKind, Manifest};

/// What travels with a job unasked, before it is compressed: what a TCP connection sends before it waits for an answer.
const AHEAD: u64 = 32 * 1024;

/// Returns the digests of the smallest files, [`AHEAD`] bytes together at most.
pub(super) fn small(bundle: &Manifest) -> Vec<String> {
    let mut files: Vec<(u64, &String)> = bundle
        .entries
        .values()
        .filter_map(|entry| match &entry.kind {
            EntryKind::File(digest) => Some((entry.size_bytes, digest)),
            EntryKind::Symlink(_) => None,
        })
        .collect();
    files.sort_unstable();
    let mut room = AHEAD;
    let fits = files.into_iter().take_while(|(size, _)| {
        let left = room.checked_sub(*size);
        room = left.unwrap_or(0);
        left.is_some()
    });
    fits.map(|(_, digest)| digest.clone()).collect()
}

pub(super) fn files_of(
    app_dir: &Path,
    bundle: &Manifest,
    lacks: &[String],
) -> BTreeMap<String, (PathBuf, u64)> {
    let lacks: BTreeSet<&String> = lacks.iter().collect();
    let by_digest = bundle.entries.iter().filter_map(|(path, entry)| match &entry.kind {
        EntryKind::File(digest) if lacks.contains(digest) => {
            Some((digest.clone(), (app_dir.join(path), entry.size_bytes)))
        }
        _ => None,
    });
    by_digest.collect()
}

/// Writes the archive: each file under its digest, so that the host can check what came.
pub(super) fn pack(files: &BTreeMap<String, (PathBuf, u64)>, out: impl Write) -> Result<(), SessionError> {
    let broken = |_| SessionError::Lost(FrameError::Broken(io::ErrorKind::BrokenPipe.into()));
    let compressed = zstd::stream::write::Encoder::new(out, 3).map_err(broken)?;
    let mut archive = tar::Builder::new(compressed);
    for (digest, (path, size_bytes)) in files {
        let unreadable = |source| SessionError::Bundle { path: path.clone(), source };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.len() != *size_bytes {
            return Err(SessionError::Changed(path.clone()));
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(*size_bytes);
        header.set_mode(0o600);
        let limited = io::Read::take(file, *size_bytes);
        archive.append_data(&mut header, digest, limited).map_err(broken)?;
    }
    let compressed = archive.into_inner().map_err(broken)?;
    let mut out = compressed.finish().map_err(broken)?;
    out.flush().map_err(broken)
}

/// Cuts the archive into the pieces that travel.
pub(super) struct Pieces {
    sender: mpsc::Sender<Vec<u8>>,
    waiting: Vec<u8>,
}

impl Pieces {
    /// Sends them there.
    pub(super) fn into(sender: mpsc::Sender<Vec<u8>>) -> Self {
        Self { sender, waiting: Vec::new() }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.waiting);
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BundleEntry;

    #[test]
    fn what_goes_ahead_are_the_small_files() {
        let file = |digest: &str, size_bytes| {
            let kind = EntryKind::File(digest.to_owned());
            (format!("file-{digest}"), BundleEntry { kind, size_bytes, mode: 0o644, tracked: true })
        };
        let link =
            BundleEntry { kind: EntryKind::Symlink("a".into()), size_bytes: 0, mode: 0o777, tracked: true };
        let entries = [file("a", 20_000), file("b", 1_000_000), file("c", 10), file("d", 13_000)];
        let entries = entries.into_iter().chain([("link".to_owned(), link)]).collect();
        assert_eq!(small(&Manifest { entries, ..Manifest::default() }), ["c", "d"]);
    }
}
