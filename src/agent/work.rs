//! The worker: holds the lease, runs the pipeline, and has the last word.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use super::attach::{Refusal, context_of, redactor_of, scene, tools};
use super::boot;
use super::guard::{LEASE_TAKEN, UNENDED};
use super::log::{self, LogSink};
use super::order::Order;
use super::watch::watch;
use super::way::busy;
use crate::event::{Emitter, EventKind};
use crate::executor::compose::{ComposeExecutor, Outline, Scene, outline};
use crate::executor::variables::Resolved;
use crate::here;
use crate::host::atomic;
use crate::host::ballast;
use crate::host::clock::wall;
use crate::host::compose::Compose;
use crate::host::docker::Docker;
use crate::host::docker_config;
use crate::host::layout::Layout;
use crate::host::lease::{self, Acquired, Holder, Lease};
use crate::host::process;
use crate::host::queue;
use crate::host::seam;
use crate::model::{Action, DeploymentId, ErrorKind, FailureReport, Job, Outcome, Stage};
use crate::pipeline::journal::{self, Entry};
use crate::pipeline::{self, Book, Cancel, Deadline, Ending, Run, Subject};
use crate::text::Redactor;

/// Jobs whose logs are kept.
const KEPT_JOBS: usize = 50;

/// Carries one order out; returns the exit status that the guard reads.
pub(super) async fn work(order: Order) -> u8 {
    let layout = Layout::of(&order.job.app.name, &order.job.environment);
    seam::enter(if order.recover { seam::Role::Recovery } else { seam::Role::Worker });
    if order.recover {
        ballast::give_up_if_scarce(&layout.ballast());
    }
    let lease = match take_lease(&layout, &order) {
        Ok(lease) => lease,
        Err(status) => return status,
    };
    // Whoever held the lease before may have been killed while it pulled.
    docker_config::sweep(&layout.docker_config());
    let unfinished = journal::read(&layout.journal());
    let status = match (order.recover, unfinished) {
        (_, Err(error)) => told_failed(&order, &layout, error.report()),
        (true, Ok(None)) => end_without_journal(&order, &layout),
        (true, Ok(Some(entry))) => recover(&order.job, &layout, &entry).await,
        (false, Ok(entry)) => match entry {
            Some(entry) if recover(&order.job, &layout, &entry).await != 0 => {
                told_failed(&order, &layout, not_ended(&entry.job.deployment_id))
            }
            _ => deploy(&order, &layout).await,
        },
    };
    drop_old_jobs(&layout, &order.job.deployment_id);
    queue::sweep(&layout.queue());
    drop(lease);
    status
}

fn take_lease(layout: &Layout, order: &Order) -> Result<Lease, u8> {
    let holder = Holder {
        deployment_id: order.job.deployment_id.clone(),
        verb: if order.recover { "recover".to_owned() } else { order.job.action.verb().to_owned() },
        requester: order.job.requester.clone(),
        pid: std::process::id(),
        since: wall(),
    };
    match lease::acquire(&layout.lease(), &holder) {
        Ok(Acquired::Held(lease)) => Ok(lease),
        Ok(Acquired::Taken(_)) if order.recover => Err(LEASE_TAKEN),
        Ok(Acquired::Taken(other)) => {
            let refusal = other.map_or_else(unknown_holder, |other| busy(layout, &other).failure);
            told(order, layout, Outcome::Busy, refusal);
            drop_staged(order);
            Err(LEASE_TAKEN)
        }
        Err(error) => {
            let error = crate::executor::compose::ExecutorError::Write(error);
            if !order.recover {
                told(order, layout, Outcome::Aborted, error.report());
                drop_staged(order);
                return Err(0);
            }
            Err(told_failed(order, layout, error.report()))
        }
    }
}

fn not_ended(id: &DeploymentId) -> FailureReport {
    let message = format!("{id} could not be ended, so nothing new was started");
    FailureReport::new(ErrorKind::DeploymentError, "recovery.failed", message)
        .hint("look at state/jobs/<id>/guard.log below the root, then run `ffe-deploy recover`")
}

fn unknown_holder() -> FailureReport {
    FailureReport::new(
        ErrorKind::DeploymentError,
        "lease.busy",
        "another deployment holds the lease; nothing was touched",
    )
    .hint("wait until it has ended, then run this again")
}

/// What the host's log of a job is written through.
struct Telling {
    emitter: Emitter,
    redactor: Arc<RwLock<Redactor>>,
}

fn telling(job: &Job, layout: &Layout, redactor: Redactor, stage: Stage) -> Option<Telling> {
    let redactor = Arc::new(RwLock::new(redactor));
    let (sink, last) =
        LogSink::open(&layout.events(&job.deployment_id), layout.ballast(), Arc::clone(&redactor)).ok()?;
    let emitter = Emitter::new(context_of(job), last, stage, Box::new(sink));
    Some(Telling { emitter, redactor })
}

/// Ends a job that could not begin.
fn told(order: &Order, layout: &Layout, outcome: Outcome, failure: FailureReport) {
    let Some(telling) = telling(&order.job, layout, redactor_of(&order.job), Stage::Failed) else { return };
    telling.emitter.emit(here!(), EventKind::Failed { failure: failure.clone() });
    let ending = Ending { errors: vec![failure], ..Ending::of(outcome) };
    pipeline::last_word(&order.job, &telling.emitter, wall(), ending);
}

fn told_failed(order: &Order, layout: &Layout, failure: FailureReport) -> u8 {
    told(order, layout, Outcome::Failed, failure);
    0
}

/// A worker that died before it wrote a journal has changed nothing.
fn end_without_journal(order: &Order, layout: &Layout) -> u8 {
    if !log::has_ended(&layout.events(&order.job.deployment_id)) {
        let message = "the worker ended before it changed anything: its process was killed";
        let failure =
            FailureReport::new(ErrorKind::DeploymentError, "deployment.died", message).hint("deploy again");
        told(order, layout, Outcome::Aborted, failure);
    }
    0
}

async fn deploy(order: &Order, layout: &Layout) -> u8 {
    let job = &order.job;
    if log::has_ended(&layout.events(&job.deployment_id)) {
        // Somebody took it for dead before it had begun, and has said so: that stands.
        drop_staged(order);
        return 0;
    }
    let Some(telling) = telling(job, layout, redactor_of(job), Stage::Setup) else { return 1 };
    let took_over = EventKind::HostTookOver {
        previous_release: layout.current_release().map(|id| id.to_string()),
        root: layout.root().to_string_lossy().into_owned(),
        pid: std::process::id(),
    };
    telling.emitter.emit(here!(), took_over);
    let started_at = wall();
    let ready = async {
        let (docker, compose) = match order.compose.clone() {
            Some(compose) => (Docker::connect().await.map_err(|error| Refusal::of(error.report()))?, compose),
            None => tools().await?,
        };
        let ground = ground(order, layout, &compose).await?;
        Ok::<_, Refusal>((docker, compose, ground))
    };
    let (docker, compose, ground) = match ready.await {
        Ok(ready) => ready,
        Err(refusal) => {
            let ending = Ending { errors: vec![refusal.failure], ..Ending::of(Outcome::Aborted) };
            pipeline::last_word(job, &telling.emitter, started_at, ending);
            return 0;
        }
    };
    let redactor = learn(&telling, job, ground.variables());
    let (emitter, layout) = (telling.emitter.clone(), layout.clone());
    let executor =
        ComposeExecutor { compose, docker, layout: layout.clone(), emitter: emitter.clone(), redactor };
    let deadline = Deadline::of(job.environment.timeout);
    let cancel = Cancel::default();
    let book = book(&layout, None);
    let (job, recovers) = (job.clone(), false);
    let run = Run { job, layout, executor, emitter, cancel, started_at, deadline, book, recovers };
    let job = &run.job;
    boot::prepare(job, &run.layout, &run.emitter).await;
    let watcher = watch(&run);
    let mut ending = perform(&run, &ground).await;
    watcher.end(&mut ending);
    run.remember(&ending).await;
    drop_staged(order);
    ended(&run, ending)
}

/// Returns the book of a run, in which programs that change something are written, too.
fn book(layout: &Layout, entry: Option<Entry>) -> Book {
    let book = Book::of(layout, entry);
    let children = book.clone();
    process::watch_changes(move |what, pid| {
        // A name of an image is changed in no time, and changes nothing that runs.
        if !matches!(what, "docker tag" | "docker image rm") {
            children.add_child(pid);
        }
    });
    book
}

/// Has the last word, or leaves it to the next worker; returns the exit status that the guard reads.
fn ended(run: &Run, ending: Ending) -> u8 {
    if ending.unended {
        for failure in ending.errors {
            run.emitter.emit(here!(), EventKind::Failed { failure });
        }
        return UNENDED;
    }
    run.finish(ending);
    0
}

/// What is left of a bundle in the cache goes; what cannot be removed is swept by a later attach.
fn drop_staged(order: &Order) {
    if let Some(home) = order.staged.as_deref().and_then(Path::parent) {
        atomic::remove_tree(home).ok();
    }
}

/// What a verb stands on.
enum Ground {
    /// The files that the job brings, and where they are; the pipeline reads them where they will last.
    Brought(Box<Outline>, PathBuf),
    /// What is there.
    There(Box<Scene>),
    /// The host alone.
    Host,
    /// Nothing.
    Nothing,
}

impl Ground {
    fn variables(&self) -> Option<&Resolved> {
        match self {
            Self::Brought(outline, _) => Some(&outline.variables),
            Self::There(scene) => Some(&scene.variables),
            Self::Host | Self::Nothing => None,
        }
    }
}

async fn ground(order: &Order, layout: &Layout, compose: &Compose) -> Result<Ground, Refusal> {
    let (job, in_place) = (&order.job, layout.in_place());
    if matches!(job.action, Action::Prune | Action::BackupPrune) {
        return Ok(Ground::Host);
    }
    let staged = order.staged.clone().or_else(|| in_place.map(Path::to_owned));
    Ok(match staged.filter(|_| job.action.brings_bundle(in_place.is_some())) {
        Some(staged) => Ground::Brought(Box::new(outline(layout, job, &staged)?), staged),
        None => {
            scene(compose, layout, job).await?.map_or(Ground::Nothing, |scene| Ground::There(scene.into()))
        }
    })
}

async fn perform(run: &Run, ground: &Ground) -> Ending {
    let subject = match ground {
        Ground::Brought(outline, staged) => Subject::Brought { staged, project: &outline.site.project },
        Ground::There(scene) => match &scene.model {
            Ok(model) => Subject::There { site: &scene.site, model },
            Err(error) => return Ending { errors: vec![error.report()], ..Ending::of(Outcome::Aborted) },
        },
        Ground::Host => Subject::Host,
        Ground::Nothing => {
            let message = "nothing is deployed here yet; nothing was changed";
            let failure = FailureReport::new(ErrorKind::ValidationError, "release.none", message);
            let failure = failure.hint("run `ffe-deploy deploy` first");
            return Ending { errors: vec![failure], ..Ending::of(Outcome::Refused) };
        }
    };
    pipeline::perform(run, &subject).await
}

/// The release that runs now has secrets, too: recovery and rollback talk about both.
fn learn(telling: &Telling, job: &Job, variables: Option<&Resolved>) -> Redactor {
    let layout = Layout::of(&job.app.name, &job.environment);
    let current = layout.current_release().and_then(|id| crate::executor::compose::load(&layout, &id).ok());
    let before = current.and_then(|release| release_variables(&layout, &release));
    let mut values: Vec<String> = job.secret_values().map(str::to_owned).collect();
    values.extend(variables.iter().flat_map(|variables| variables.secret_values().map(str::to_owned)));
    values.extend(
        before.iter().flat_map(|variables| variables.secret_values().map(str::to_owned).collect::<Vec<_>>()),
    );
    let redactor = Redactor::new(values.iter().map(String::as_str));
    if let Ok(mut shared) = telling.redactor.write() {
        *shared = redactor.clone();
    }
    redactor
}

fn release_variables(
    layout: &Layout,
    release: &crate::model::Release,
) -> Option<crate::executor::variables::Resolved> {
    let env = layout.release(&release.id).join("env");
    crate::executor::variables::Resolved::of_release(&env, &release.secrets).ok()
}

/// Ends the deployment that the journal names, in its own log and under its own id.
async fn recover(job: &Job, layout: &Layout, entry: &Entry) -> u8 {
    let mut unfinished = entry.job.clone();
    unfinished.environment.placement = job.environment.placement.clone();
    if log::has_ended(&layout.events(&unfinished.deployment_id)) {
        // It died between its last word and the end of its journal: there is nothing left to do.
        return u8::from(journal::clear(&layout.journal()).is_err());
    }
    let Some(telling) = telling(&unfinished, layout, Redactor::default(), Stage::Validating) else {
        return 1;
    };
    let tools = async {
        let docker = pipeline::connect(&telling.emitter).await?;
        Ok::<_, FailureReport>((docker, Compose::detect().await.map_err(|error| error.report())?))
    };
    let (docker, compose) = match tools.await {
        Ok(tools) => tools,
        Err(failure) => {
            telling.emitter.emit(here!(), EventKind::Failed { failure });
            return UNENDED;
        }
    };
    let mut values = Vec::new();
    for id in entry.before.iter().chain(&entry.after) {
        let release = crate::executor::compose::load(layout, id).ok();
        let variables = release.and_then(|release| release_variables(layout, &release));
        values
            .extend(variables.iter().flat_map(|v| v.secret_values().map(str::to_owned).collect::<Vec<_>>()));
    }
    let redactor = Redactor::new(values.iter().map(String::as_str));
    if let Ok(mut shared) = telling.redactor.write() {
        *shared = redactor.clone();
    }
    let emitter = telling.emitter.clone();
    let executor =
        ComposeExecutor { compose, docker, layout: layout.clone(), emitter: emitter.clone(), redactor };
    let deadline = Deadline::of(unfinished.environment.timeout);
    let run = Run {
        deadline,
        job: unfinished,
        layout: layout.clone(),
        executor,
        emitter,
        cancel: Cancel::default(),
        started_at: entry.started_at,
        book: book(layout, Some(entry.clone())),
        recovers: true,
    };
    // What is being ended is not stopped half-way: a cancel is answered with the truth.
    run.cancel.close();
    let watcher = watch(&run);
    let mut ending = run.recover(entry).await;
    watcher.end(&mut ending);
    run.remember(&ending).await;
    ended(&run, ending)
}

/// Logs of old jobs go; those of the last ones stay.
fn drop_old_jobs(layout: &Layout, this: &DeploymentId) {
    let Ok(listing) = std::fs::read_dir(layout.jobs()) else { return };
    let mut jobs: Vec<(std::time::SystemTime, PathBuf)> = listing
        .flatten()
        .filter(|entry| entry.file_name().to_str() != Some(this.as_str()))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    jobs.sort();
    let surplus = jobs.len().saturating_sub(KEPT_JOBS);
    for (_, path) in jobs.into_iter().take(surplus) {
        atomic::remove_tree(&path).ok();
    }
}
