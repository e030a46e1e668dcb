//! Brings the bundle onto the host before anything of it is used: only what the host lacks travels, and every byte is
//! checked against its digest. Lies in the agent's own cache until the deployment starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::link::{Link, LinkError};
use super::protocol::{Frame, Reply};
use crate::host::atomic::{self, WriteError};
use crate::host::digest;
use crate::host::layout::Layout;
use crate::model::{BundleEntry, EntryKind, ErrorKind, FailureReport, Job, Manifest, Release};

/// Oldest leftover of an attach that was killed: a day.
const LEFTOVER_S: u64 = 24 * 3600;

/// Why the bundle is not on the host.
#[derive(Debug, thiserror::Error)]
pub(super) enum StagingError {
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The connection.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A path that leaves the bundle.
    #[error("the bundle names `{0}`, which is not a path inside it")]
    Path(String),
    /// Bytes that do not match their digest, or that never came.
    #[error("the bundle's `{path}` did not arrive as it was sent")]
    Content {
        /// Which file.
        path: String,
    },
    /// The stream itself.
    #[error("the bundle cannot be unpacked")]
    Unpack(#[source] io::Error),
}

impl StagingError {
    /// Returns the failure with its next step.
    pub(super) fn report(&self) -> FailureReport {
        let (code, hint) = match self {
            Self::Write(error) if error.is_full() => {
                ("host.disk", "free space on the host's disk, then deploy again")
            }
            Self::Write(_) => ("host.write", "make the directory writable for the user that deploys"),
            Self::Link(_) | Self::Content { .. } | Self::Unpack(_) => ("bundle.transfer", "deploy again"),
            Self::Path(_) => ("bundle.path", "take it out of the bundle with `bundle_exclude:`"),
        };
        let mut message = format!("{self}; nothing was changed on the host");
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        FailureReport::new(ErrorKind::DeploymentError, code, message).hint(hint)
    }
}

/// A bundle in the agent's cache; removed with this value unless it was moved on.
pub(super) struct Staged {
    home: PathBuf,
    /// Files that the host did not have, and their bytes.
    pub sent: (u64, u64),
}

impl Drop for Staged {
    fn drop(&mut self) {
        // A leftover is swept by the next attach.
        atomic::remove_tree(&self.home).ok();
    }
}

impl Staged {
    /// Returns the directory with the bundle's files.
    pub(super) fn app(&self) -> PathBuf {
        self.home.join("app")
    }
}

/// Brings the job's bundle into the agent's cache.
///
/// # Errors
/// The disk is full, the connection breaks, or the bundle is not what its list says.
pub(super) async fn stage(
    link: &mut Link,
    job: &Job,
    layout: &Layout,
    current: Option<&Release>,
) -> Result<Staged, StagingError> {
    let cache = cache_directory()?;
    sweep(&cache);
    let home = cache.join(job.deployment_id.as_str());
    atomic::remove_tree(&home).ok();
    atomic::make_directory(&home.join("blobs"), 0o700)?;
    atomic::make_directory(&home.join("app"), 0o755)?;
    let mut staged = Staged { home, sent: (0, 0) };
    check_paths(&job.bundle)?;
    let here = present(&job.bundle, layout, current);
    let mut lacks: BTreeSet<String> =
        digests(&job.bundle).filter(|digest| !here.contains_key(*digest)).cloned().collect();
    let (ahead, blobs) = (link.ahead(), staged.home.join("blobs"));
    if !ahead.is_empty() {
        staged.sent = unpack(&ahead[..], &blobs, &lacks)?;
        lacks.retain(|digest| !blobs.join(digest).exists());
    }
    super::link::reply(&Reply::Lacks { digests: lacks.iter().cloned().collect() });
    if !lacks.is_empty() {
        let (files, bytes) = receive(link, blobs, lacks).await?;
        staged.sent = (staged.sent.0 + files, staged.sent.1 + bytes);
    }
    assemble(&job.bundle, &staged, &here)?;
    Ok(staged)
}

/// Returns where uploads of this user wait: in the user's cache, else beside this agent, which was brought to a place that
/// can be written.
fn cache_directory() -> Result<PathBuf, StagingError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    let stage = cache.join("ffe-deploy/stage");
    let Err(error) = atomic::make_directory(&stage, 0o700) else { return Ok(stage) };
    let beside = std::env::current_exe().ok().and_then(|agent| Some(agent.parent()?.join("stage")));
    let beside = beside.filter(|stage| atomic::make_directory(stage, 0o700).is_ok());
    beside.ok_or(StagingError::Write(error))
}

/// Returns a place in the agent's cache for what a job needs only while it looks; nothing is there yet.
///
/// # Errors
/// There is no place that can be written.
pub(super) fn scratch(job: &Job) -> Result<PathBuf, StagingError> {
    Ok(cache_directory()?.join(format!("{}.docker", job.deployment_id)))
}

fn sweep(stage: &Path) {
    let Ok(listing) = fs::read_dir(stage) else { return };
    for entry in listing.flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age.as_secs() > LEFTOVER_S) {
            atomic::remove_tree(&entry.path()).ok();
        }
    }
}

/// The list comes from the other half; a path in it must still never leave the bundle.
fn check_paths(bundle: &Manifest) -> Result<(), StagingError> {
    for (path, entry) in &bundle.entries {
        let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        let inside = match &entry.kind {
            EntryKind::File(digest) => {
                digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
            }
            EntryKind::Symlink(target) => stays_inside(path, target),
        };
        if !plain || path.is_empty() || !inside {
            return Err(StagingError::Path(crate::text::harmless(path)));
        }
    }
    Ok(())
}

fn stays_inside(path: &str, target: &str) -> bool {
    let mut depth = Path::new(path).components().count() as i64 - 1;
    for part in Path::new(target).components() {
        depth += match part {
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            Component::CurDir => 0,
            Component::RootDir | Component::Prefix(_) => return false,
        };
        if depth < 0 {
            return false;
        }
    }
    true
}

fn digests(bundle: &Manifest) -> impl Iterator<Item = &String> {
    bundle.entries.values().filter_map(|entry| match &entry.kind {
        EntryKind::File(digest) => Some(digest),
        EntryKind::Symlink(_) => None,
    })
}

/// Returns the files of the current release that the bundle needs again, by digest.
fn present(bundle: &Manifest, layout: &Layout, current: Option<&Release>) -> BTreeMap<String, PathBuf> {
    let Some(current) = current else { return BTreeMap::new() };
    let wanted: BTreeSet<&String> = digests(bundle).collect();
    let app = layout.release(&current.id).join("app");
    let files = current.files.iter().filter_map(|(path, kind)| match kind {
        EntryKind::File(digest) if wanted.contains(digest) => Some((digest.clone(), app.join(path))),
        _ => None,
    });
    // What somebody changed or removed behind our back has to travel again.
    files.filter(|(digest, path)| digest::of_file(path).is_ok_and(|found| found == *digest)).collect()
}

/// Takes the pieces of the archive and unpacks them as they come.
async fn receive(
    link: &mut Link,
    blobs: PathBuf,
    lacks: BTreeSet<String>,
) -> Result<(u64, u64), StagingError> {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<u8>>(4);
    let pieces = Pieces { receiver, rest: Vec::new(), at: 0 };
    let unpacking = tokio::task::spawn_blocking(move || unpack(pieces, &blobs, &lacks));
    let received = pass_on(link, sender).await;
    let unpacked = unpacking.await.map_err(|error| StagingError::Unpack(io::Error::other(error)))?;
    // When unpacking fails, the channel closes and passing on stops: its error is the cause.
    let sent = unpacked?;
    received?;
    Ok(sent)
}

async fn pass_on(link: &mut Link, sender: std::sync::mpsc::SyncSender<Vec<u8>>) -> Result<(), StagingError> {
    loop {
        match link.next().await? {
            Frame::Bundle(piece) if piece.is_empty() => return Ok(()),
            Frame::Bundle(piece) => {
                let sender = sender.clone();
                let passed = tokio::task::spawn_blocking(move || sender.send(piece)).await;
                if !matches!(passed, Ok(Ok(()))) {
                    return drain(link).await;
                }
            }
            _ => return Err(LinkError::Unexpected { found: "another frame", wanted: "the bundle" }.into()),
        }
    }
}

/// Unpacking has failed: what still comes is thrown away, so that the runner can hear why.
async fn drain(link: &mut Link) -> Result<(), StagingError> {
    while let Frame::Bundle(piece) = link.next().await? {
        if piece.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Pieces of the archive as one stream.
struct Pieces {
    receiver: std::sync::mpsc::Receiver<Vec<u8>>,
    rest: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.rest.len() {
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            (self.rest, self.at) = (piece, 0);
        }
        let count = buffer.len().min(self.rest.len() - self.at);
        buffer[..count].copy_from_slice(&self.rest[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Unpacks what the host lacks of an archive; what else it holds is passed over.
fn unpack(pieces: impl Read, blobs: &Path, lacks: &BTreeSet<String>) -> Result<(u64, u64), StagingError> {
    let stream = zstd::stream::read::Decoder::new(pieces).map_err(StagingError::Unpack)?;
    let mut archive = tar::Archive::new(stream);
    let (mut files, mut bytes) = (0, 0);
    for entry in archive.entries().map_err(StagingError::Unpack)? {
        let mut entry = entry.map_err(StagingError::Unpack)?;
        let name = entry.path().map_err(StagingError::Unpack)?.to_string_lossy().into_owned();
        if name.len() != 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(StagingError::Path(crate::text::harmless(&name)));
        }
        if lacks.contains(&name) {
            bytes += keep(&mut entry, &blobs.join(&name), &name)?;
            files += 1;
        }
    }
    Ok((files, bytes))
}

/// Writes one file of the archive, and checks that its name is its digest.
fn keep(entry: &mut impl Read, path: &Path, digest: &str) -> Result<u64, StagingError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = atomic::open(path, &options).map_err(WriteError::at(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let count = entry.read(&mut buffer).map_err(StagingError::Unpack)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(WriteError::at(path))?;
        bytes += count as u64;
    }
    if hex::encode(hash.finalize()) == digest {
        return Ok(bytes);
    }
    Err(StagingError::Content { path: digest.to_owned() })
}

fn assemble(
    bundle: &Manifest,
    staged: &Staged,
    here: &BTreeMap<String, PathBuf>,
) -> Result<(), StagingError> {
    let (app, blobs) = (staged.app(), staged.home.join("blobs"));
    for (path, entry) in &bundle.entries {
        let target = app.join(path);
        if let Some(parent) = target.parent() {
            atomic::make_directory(parent, 0o755)?;
        }
        place(entry, &target, &blobs, here).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StagingError::Content { path: path.clone() },
            _ => StagingError::Write(WriteError { path: target.clone(), source }),
        })?;
    }
    atomic::remove_tree(&blobs).map_err(WriteError::at(&blobs))?;
    Ok(())
}

fn place(
    entry: &BundleEntry,
    target: &Path,
    blobs: &Path,
    here: &BTreeMap<String, PathBuf>,
) -> io::Result<()> {
    match &entry.kind {
        EntryKind::Symlink(to) => atomic::symlink(Path::new(to), target),
        EntryKind::File(digest) => {
            let came = blobs.join(digest);
            let source =
                if came.exists() { &came } else { here.get(digest).ok_or(io::ErrorKind::NotFound)? };
            atomic::copy(source, target, Some(entry.mode & 0o777))
        }
    }
}
