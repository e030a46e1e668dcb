//! The way of a backup: look at what is to be saved, write it, read it back, name it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::archive::{Archive, Tally};
use super::error::shown;
use super::manifest::{BackupManifest, Included, IncludedKind, MANIFEST_SCHEMA};
use super::meter::{CallOff, Meter};
use super::paths::{self, Excluded};
use super::relay::Relay;
use super::reread::{Sound, reread};
use super::store::{self, Partial};
use super::tree::{self, Directory};
use super::volume::{self, Found, Helper, Mounted};
use super::walk::{Archiver, Notes, Survey, walk};
use super::{Backup, BackupError, Phase, Progress, Request, VolumeSource};
use crate::host::atomic;
use crate::host::docker::Docker;
use crate::model::{ArchiveFormat, Finding};

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_millis(500);

/// Takes a backup, reads it back from disk, and names it.
///
/// `docker` reads what this process may not, and volumes; without it such paths are an error. Dropping the future
/// calls the backup off: the half-written file is removed at once, a helper container as soon as the daemon answers.
///
/// # Errors
/// As the variants of [`BackupError`] say; [`BackupError::is_nothing`] is the one that is no failure. Nothing is
/// left behind.
pub async fn take(
    request: &Request<'_>,
    docker: Option<&Docker>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Backup, BackupError> {
    take_by(request, docker, progress, Reading::Direct).await
}

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// By this process where it may, else by the daemon.
    Direct,
    /// Always by the daemon, as for a user who may read nothing.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests run as root, who may read everything"))]
    Daemon,
}

pub(super) async fn take_by(
    request: &Request<'_>,
    docker: Option<&Docker>,
    progress: &(dyn Fn(Progress) + Send + Sync),
    reading: Reading,
) -> Result<Backup, BackupError> {
    let (begun, created_at) = (Instant::now(), Timestamp::now());
    let meter = Arc::new(Meter::default());
    let call_off = CallOff(Arc::clone(&meter));
    let excluded = Excluded::of(request.base, request.directory);
    let mut plan = survey(request, &excluded, &meter, reading).await?;
    add_volumes(&mut plan, request, docker, reading, &meter).await?;
    if plan.sources.is_empty() {
        return Err(BackupError::Nothing { missing: plan.missing });
    }
    atomic::make_directory(request.directory, 0o700)?;
    store::sweep(request.directory);
    store::check_room(request.directory, plan.bytes)?;
    let partial = Partial::create(request.directory)?;
    let helper = helper_for(&plan, request, docker).await?;

    let total_bytes = plan.sources.iter().all(|source| !source.is_mounted()).then_some(plan.bytes);
    let writing = Writing {
        plan,
        excluded,
        archive: Archive::start(partial.file()?, partial.path(), request.format, Arc::clone(&meter))?,
        notes: Notes::default(),
        helper,
        handle: Handle::current(),
        meter: Arc::clone(&meter),
        explicit: request.explicit.then(|| request.base.to_owned()),
    };
    let work = tokio::task::spawn_blocking(move || writing.run());
    let (helper, written) = watched(work, &meter, Phase::Writing, total_bytes, progress).await?;
    if let Some(helper) = helper {
        helper.remove().await;
    }
    let Written { tally, plan, notes, includes } = written?;
    let sound = read_back(&partial, request.format, tally.clone(), &meter, progress).await?;
    let manifest = manifest(request, created_at, &tally, &sound, &includes, &plan.missing);
    let path = partial.place(request.directory, &manifest)?;
    drop(call_off);
    let mut warnings = plan.warnings;
    warnings.extend(notes.findings());
    Ok(Backup {
        path,
        size_bytes: sound.size_bytes,
        sha256: sound.sha256,
        includes: includes.iter().map(Included::place).collect(),
        missing: plan.missing,
        warnings,
        took: begun.elapsed(),
    })
}

/// What will be saved.
#[derive(Debug, Default)]
struct Plan {
    sources: Vec<Source>,
    mounts: Vec<Mounted>,
    images: Vec<String>,
    missing: Vec<String>,
    warnings: Vec<Finding>,
    /// Bytes of content, as far as they are known.
    bytes: u64,
}

/// One path or volume, and how it is read.
#[derive(Debug)]
struct Source {
    kind: IncludedKind,
    /// The path relative to the base, or the volume's key.
    name: String,
    /// Where it goes in the archive.
    target: PathBuf,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The path below this directory; empty for the directory itself.
    Tree { base: PathBuf, path: PathBuf },
    /// This path in the helper container.
    Helper { path: String },
}

impl Source {
    fn is_mounted(&self) -> bool {
        matches!(self.way, Way::Helper { .. })
    }
}

async fn survey(
    request: &Request<'_>,
    excluded: &Excluded,
    meter: &Arc<Meter>,
    reading: Reading,
) -> Result<Plan, BackupError> {
    let (base, written) = (request.base.to_owned(), request.paths.to_vec());
    let (excluded, meter, explicit) = (excluded.clone(), Arc::clone(meter), request.explicit);
    let work = tokio::task::spawn_blocking(move || {
        let paths = paths::checked(&written, &excluded)?;
        let mut plan = Plan::default();
        let missing = |plan: &mut Plan, name| plan.missing.push(name);
        let directory = match Directory::base(&base) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                plan.mounts.push(Mounted::Directory(base));
                paths.iter().for_each(|path| plan.sources.push(mounted(path)));
                return Ok(plan);
            }
            Err(error) if tree::is_gone(&error) => {
                paths.iter().for_each(|path| missing(&mut plan, name_of(path)));
                return plan.or_missing(explicit, base);
            }
            Err(error) => return Err(BackupError::reading(&base)(error)),
        };
        for path in expanded(&directory, paths, &excluded)? {
            plan.add(&base, &directory, &path, &excluded, &meter, reading)?;
        }
        plan.or_missing(explicit, base)
    });
    joined(work.await)?
}

/// Replaces the base itself by what is in it, so that each has its own line in the manifest, and its own way to be read.
fn expanded(base: &Directory, paths: Vec<PathBuf>, excluded: &Excluded) -> Result<Vec<PathBuf>, BackupError> {
    if !paths.iter().any(|path| path.as_os_str().is_empty()) {
        return Ok(paths);
    }
    let names = base.names().and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut names: Vec<PathBuf> =
        names.map_err(BackupError::reading(Path::new(".")))?.into_iter().map(PathBuf::from).collect();
    names.retain(|name| !excluded.contains(name));
    names.sort();
    Ok(names)
}

impl Plan {
    fn add(
        &mut self,
        base: &Path,
        directory: &Directory,
        path: &Path,
        excluded: &Excluded,
        meter: &Meter,
        reading: Reading,
    ) -> Result<(), BackupError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default();
        match directory.below(parent).and_then(|at| Ok((at.stat_of(name)?, at))) {
            Err(error) if tree::is_gone(&error) => {
                self.missing.push(name_of(path));
                return Ok(());
            }
            Ok((stat, at)) if tree::kind(&stat) == rustix::fs::FileType::Symlink => {
                self.warnings.push(link_only(path, &at.link(name).unwrap_or_default()));
            }
            Ok(_) | Err(_) => {}
        }
        let mut counted = Survey::new(meter);
        let way = match walk(directory, path, excluded, &mut counted) {
            Err(BackupError::Unreadable { .. }) => None,
            Err(other) => return Err(other),
            Ok(()) => (reading == Reading::Direct)
                .then(|| Way::Tree { base: base.to_owned(), path: path.to_owned() }),
        };
        self.bytes += counted.bytes;
        match way {
            Some(way) => self.sources.push(Source {
                kind: IncludedKind::Path,
                name: name_of(path),
                target: PathBuf::new(),
                way,
            }),
            None => {
                if self.mounts.is_empty() {
                    self.mounts.push(Mounted::Directory(base.to_owned()));
                }
                self.sources.push(mounted(path));
            }
        }
        Ok(())
    }

    fn or_missing(self, explicit: bool, base: PathBuf) -> Result<Self, BackupError> {
        if explicit && !self.missing.is_empty() {
            return Err(BackupError::Missing { base, paths: self.missing });
        }
        Ok(self)
    }
}

/// The base is always the first mount.
fn mounted(path: &Path) -> Source {
    let inside = Path::new(&volume::place(0)).join(path);
    Source {
        kind: IncludedKind::Path,
        name: name_of(path),
        target: path.to_owned(),
        way: Way::Helper { path: inside.to_string_lossy().into_owned() },
    }
}

fn name_of(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.to_string_lossy().into_owned() }
}

fn link_only(path: &Path, target: &std::ffi::OsStr) -> Finding {
    Finding::warning(
        "backup.symlink",
        format!(
            "`{}` is a symlink to `{}`: only the link was backed up",
            shown(path),
            shown(Path::new(target))
        ),
        "name the directory that it points to in `backup.paths`, if it is the app's, or make it a volume",
    )
}

async fn add_volumes(
    plan: &mut Plan,
    request: &Request<'_>,
    docker: Option<&Docker>,
    reading: Reading,
    meter: &Arc<Meter>,
) -> Result<(), BackupError> {
    for wanted in request.volumes {
        let Some(docker) = docker else {
            return Err(BackupError::Unreadable { path: format!("volumes/{}", wanted.key) });
        };
        let found = volume::find(docker, &wanted.name).await?;
        let way = match found {
            Found::Missing => {
                plan.missing.push(format!("volumes/{}", wanted.key));
                continue;
            }
            Found::Plain(base) if reading == Reading::Direct && volume::is_readable(&base) => {
                Way::Tree { base, path: PathBuf::new() }
            }
            Found::Plain(_) | Found::Mountable => plan.mount(wanted),
        };
        if wanted.in_use {
            plan.warnings.push(live(wanted));
        }
        let target = Path::new("volumes").join(&wanted.key);
        plan.sources.push(Source { kind: IncludedKind::Volume, name: wanted.key.clone(), target, way });
    }
    plan.images.extend(request.volumes.iter().filter_map(|wanted| wanted.image_hint.clone()));
    count_volumes(plan, meter).await
}

impl Plan {
    fn mount(&mut self, wanted: &VolumeSource) -> Way {
        self.mounts.push(Mounted::Volume(wanted.name.clone()));
        Way::Helper { path: volume::place(self.mounts.len() - 1) }
    }
}

/// Adds the bytes of the volumes that are read where they lie. The others are not known without reading them.
async fn count_volumes(plan: &mut Plan, meter: &Arc<Meter>) -> Result<(), BackupError> {
    let bases: Vec<PathBuf> = plan
        .sources
        .iter()
        .filter_map(|source| match &source.way {
            Way::Tree { base, path } if path.as_os_str().is_empty() => Some(base.clone()),
            Way::Tree { .. } | Way::Helper { .. } => None,
        })
        .collect();
    let meter = Arc::clone(meter);
    let work = tokio::task::spawn_blocking(move || {
        let mut counted = Survey::new(&meter);
        for base in bases {
            let directory = Directory::base(&base).map_err(BackupError::reading(&base))?;
            walk(&directory, Path::new(""), &Excluded::default(), &mut counted)?;
        }
        Ok::<_, BackupError>(counted.bytes)
    });
    plan.bytes += joined(work.await)??;
    Ok(())
}

fn live(wanted: &VolumeSource) -> Finding {
    Finding::warning(
        "backup.live",
        format!("volume `{}` was backed up while a running service uses it: a database may need its own recovery after a restore", wanted.key),
        "stop the service first, or have it write a dump into a directory that is backed up",
    )
    .detail("volume", wanted.name.clone())
}

async fn helper_for(
    plan: &Plan,
    request: &Request<'_>,
    docker: Option<&Docker>,
) -> Result<Option<Helper>, BackupError> {
    let Some(first) = plan.sources.iter().find(|source| source.is_mounted()) else { return Ok(None) };
    let Some(docker) = docker else {
        return Err(BackupError::Unreadable { path: first.name.clone() });
    };
    let images: Vec<&str> = plan.images.iter().map(String::as_str).collect();
    Helper::create(docker, request.project, &images, &plan.mounts).await.map(Some)
}

/// All that the writing thread needs.
struct Writing {
    plan: Plan,
    excluded: Excluded,
    archive: Archive,
    notes: Notes,
    helper: Option<Helper>,
    handle: Handle,
    meter: Arc<Meter>,
    /// The base, when a missing path is an error.
    explicit: Option<PathBuf>,
}

/// What the writing thread leaves.
struct Written {
    tally: Tally,
    plan: Plan,
    notes: Notes,
    includes: Vec<Included>,
}

impl Writing {
    /// Gives the helper back in any case, so that it can be removed.
    fn run(mut self) -> Result<(Option<Helper>, Result<Written, BackupError>), BackupError> {
        let includes = self.write_all();
        let written = includes.and_then(|includes| {
            let tally = self.archive.finish()?;
            Ok(Written { tally, plan: self.plan, notes: self.notes, includes })
        });
        Ok((self.helper, written))
    }

    fn write_all(&mut self) -> Result<Vec<Included>, BackupError> {
        let mut includes = Vec::new();
        for source in std::mem::take(&mut self.plan.sources) {
            let (files, bytes) = (self.archive.tally().files, self.archive.tally().bytes);
            let Some(is_directory) = self.write(&source)? else {
                self.plan.missing.push(source.name);
                continue;
            };
            let slash = if is_directory && source.kind == IncludedKind::Path { "/" } else { "" };
            includes.push(Included {
                kind: source.kind,
                name: source.name + slash,
                files: self.archive.tally().files - files,
                bytes: self.archive.tally().bytes - bytes,
            });
        }
        match &self.explicit {
            Some(base) if self.plan.missing.iter().any(|name| !name.starts_with("volumes/")) => {
                Err(BackupError::Missing { base: base.clone(), paths: self.plan.missing.clone() })
            }
            _ if includes.is_empty() => Err(BackupError::Nothing { missing: self.plan.missing.clone() }),
            _ => Ok(includes),
        }
    }

    /// Writes one source, and returns whether it is a directory; nothing when it is not there.
    fn write(&mut self, source: &Source) -> Result<Option<bool>, BackupError> {
        match &source.way {
            Way::Tree { base, path } => self.write_tree(source, base, path),
            Way::Helper { path } => self.write_stream(source, path),
        }
    }

    fn write_tree(&mut self, source: &Source, base: &Path, path: &Path) -> Result<Option<bool>, BackupError> {
        let directory = Directory::base(base).map_err(BackupError::reading(base))?;
        let entries = self.archive.tally().entries;
        let is_directory = directory.below(path).is_ok();
        let excluded = if source.kind == IncludedKind::Path { &self.excluded } else { &Excluded::default() };
        let mut archiver =
            Archiver { archive: &mut self.archive, prefix: &source.target, notes: &mut self.notes };
        walk(&directory, path, excluded, &mut archiver)?;
        Ok((self.archive.tally().entries > entries).then_some(is_directory))
    }

    fn write_stream(&mut self, source: &Source, path: &str) -> Result<Option<bool>, BackupError> {
        let Some(helper) = &self.helper else { return Ok(None) };
        let Some(stream) = helper.read(path, &self.handle, &self.meter)? else { return Ok(None) };
        let excluded = |path: &Path| source.kind == IncludedKind::Path && self.excluded.contains(path);
        let mut relay = Relay {
            archive: &mut self.archive,
            prefix: &source.target,
            excluded: &excluded,
            notes: &mut self.notes,
            what: &source.name,
        };
        relay.run(stream).map(Some)
    }
}

async fn read_back(
    partial: &Partial,
    format: ArchiveFormat,
    tally: Tally,
    meter: &Arc<Meter>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Sound, BackupError> {
    meter.restart();
    let (path, counting, total) = (partial.path().to_owned(), Arc::clone(meter), tally.bytes);
    let work = tokio::task::spawn_blocking(move || reread(&path, format, &tally, &counting));
    watched(work, meter, Phase::Rereading, Some(total), progress).await
}

/// Waits for a thread, and tells how far it is.
async fn watched<T>(
    mut work: JoinHandle<Result<T, BackupError>>,
    meter: &Meter,
    phase: Phase,
    total_bytes: Option<u64>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<T, BackupError> {
    let mut tick = tokio::time::interval(TOLD_EVERY);
    loop {
        let ended = tokio::select! {
            ended = &mut work => Some(ended),
            _ = tick.tick() => None,
        };
        progress(Progress { phase, done_bytes: meter.done_bytes(), total_bytes });
        if let Some(ended) = ended {
            return joined(ended)?;
        }
    }
}

/// A panic goes on where the thread is waited for; a thread that the runtime ended was called off.
fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> Result<T, BackupError> {
    ended.map_err(|error| {
        if error.is_panic() {
            std::panic::resume_unwind(error.into_panic());
        }
        BackupError::CalledOff
    })
}

fn manifest(
    request: &Request<'_>,
    created_at: Timestamp,
    tally: &Tally,
    sound: &Sound,
    includes: &[Included],
    missing: &[String],
) -> BackupManifest {
    BackupManifest {
        schema: MANIFEST_SCHEMA,
        app: request.app.clone(),
        environment: request.environment.clone(),
        deployment_id: request.deployment_id.clone(),
        created_at,
        format: request.format,
        sha256: sound.sha256.clone(),
        size_bytes: sound.size_bytes,
        entries: tally.entries,
        uncompressed_bytes: tally.bytes,
        includes: includes.to_vec(),
        missing: missing.to_vec(),
        retention_days: request.retention_days,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
