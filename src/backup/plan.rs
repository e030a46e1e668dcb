//! Looks at what is to be saved before anything is written: what is there, how it can be read, how much it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::shown;
use super::manifest::IncludedKind;
use super::meter::Meter;
use super::paths::{self, Excluded};
use super::tree::{self, Directory};
use super::volume::{self, Found, Mounted};
use super::walk::{Survey, walk};
use super::{BackupError, Request, VolumeSource};
use crate::host::docker::Docker;
use crate::model::Finding;

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// By this process where it may, else by the daemon.
    Direct,
    /// Always by the daemon, as for a user who may read nothing.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests run as root, who may read everything"))]
    Daemon,
}

/// What will be saved.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) sources: Vec<Source>,
    pub(super) mounts: Vec<Mounted>,
    pub(super) images: Vec<String>,
    pub(super) missing: Vec<String>,
    pub(super) warnings: Vec<Finding>,
    /// Bytes of content, as far as they are known.
    pub(super) bytes: u64,
}

/// One path or volume, and how it is read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) kind: IncludedKind,
    /// The path relative to the base, or the volume's key.
    pub(super) name: String,
    /// Where it goes in the archive.
    pub(super) target: PathBuf,
    pub(super) way: Way,
}

#[derive(Debug)]
pub(super) enum Way {
    /// The path below this directory; empty for the directory itself.
    Tree { base: PathBuf, path: PathBuf },
    /// This path in the helper container.
    Helper { path: String },
}

impl Source {
    /// Returns whether the helper container is needed for it.
    pub(super) fn is_mounted(&self) -> bool {
        matches!(self.way, Way::Helper { .. })
    }
}

/// Looks at everything, and makes the plan.
pub(super) async fn plan(
    request: &Request<'_>,
    docker: Option<&Docker>,
    excluded: &Excluded,
    meter: &Arc<Meter>,
    reading: Reading,
) -> Result<Plan, BackupError> {
    let mut plan = survey(request, excluded, meter, reading).await?;
    add_volumes(&mut plan, request, docker, reading, meter).await?;
    Ok(plan)
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
        check_place(plan, request.base, &wanted.key)?;
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

/// The archive has one `volumes/`: a path of the app must not lie where a volume goes.
fn check_place(plan: &Plan, base: &Path, key: &str) -> Result<(), BackupError> {
    let place = Path::new("volumes").join(key);
    let is_taken = plan.sources.iter().any(|source| {
        let name = Path::new(&source.name);
        source.kind == IncludedKind::Path && (name.starts_with(&place) || place.starts_with(name))
    });
    if is_taken && base.join(&place).symlink_metadata().is_ok() {
        let path = place.to_string_lossy().into_owned();
        return Err(BackupError::Path { path, reason: "a volume has this place in the archive" });
    }
    Ok(())
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

/// A panic goes on where the thread is waited for; a thread that the runtime ended was called off.
pub(super) fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> Result<T, BackupError> {
    ended.map_err(|error| {
        if error.is_panic() {
            std::panic::resume_unwind(error.into_panic());
        }
        BackupError::CalledOff
    })
}
