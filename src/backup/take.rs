//! The way of a backup: look at what is to be saved, write it, read it back, name it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::archive::{Archive, Tally};
use super::manifest::{BackupManifest, Included, MANIFEST_SCHEMA};
use super::meter::{CallOff, Meter};
use super::paths::Excluded;
use super::plan::{Plan, Reading, joined, plan};
use super::reread::{Sound, reread};
use super::store::{self, Partial};
use super::volume::Helper;
use super::walk::Notes;
use super::write::{Writing, Written};
use super::{Backup, BackupError, Phase, Progress, Request};
use crate::host::atomic;
use crate::host::clock::wall;
use crate::host::docker::Docker;
use crate::model::ArchiveFormat;

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

pub(super) async fn take_by(
    request: &Request<'_>,
    docker: Option<&Docker>,
    progress: &(dyn Fn(Progress) + Send + Sync),
    reading: Reading,
) -> Result<Backup, BackupError> {
    let (begun, created_at) = (Instant::now(), wall());
    let meter = Arc::new(Meter::default());
    let call_off = CallOff(Arc::clone(&meter));
    let excluded = Excluded::of(request.base, request.directory);
    let plan = plan(request, docker, &excluded, &meter, reading).await?;
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
