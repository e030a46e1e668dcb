//! Relays one deployment between its runner and its host. Owns nothing: when the runner is gone it ends, and what was
//! started goes on.

use std::path::Path;

use super::link::{Link, LinkError, Prelude, reply};
use super::look::Looked;
use super::order::Order;
use super::protocol::{Frame, Reply, Start};
use super::staging::{self, Staged};
use super::way::{Turn, make_way, wait_for_lease};
use super::{facts, follow, guard, known, query};
use crate::event::{Context, Emitter, EventKind, Origin, PlanAnswer};
use crate::executor::compose::place;
use crate::executor::compose::{self as compose_executor, ComposeExecutor, ExecutorError, Scene};
use crate::here;
use crate::host::atomic;
use crate::host::compose::Compose;
use crate::host::docker::Docker;
use crate::host::layout::Layout;
use crate::model::{
    Action, ErrorKind, FailureReport, Finding, Job, Outcome, RecoverAnswer, Release, ReleaseId,
    ReleaseSource, Severity, Stage, ValidateAnswer,
};
use crate::pipeline::{self, plan::Ground};
use crate::text::Redactor;

/// Why this attach does not go on; nothing was changed by its job.
pub(super) struct Refusal {
    /// How the job ends.
    pub outcome: Outcome,
    /// Why.
    pub failure: FailureReport,
}

impl Refusal {
    /// Returns the refusal of a job whose host is not as it must be.
    pub(super) fn of(failure: FailureReport) -> Self {
        Self { outcome: Outcome::Refused, failure }
    }
}

impl From<ExecutorError> for Refusal {
    fn from(error: ExecutorError) -> Self {
        Self::of(error.report())
    }
}

/// How attach ends when it is not refused.
pub(super) type Served = Result<(), Refusal>;

/// Serves one connection.
///
/// # Errors
/// The runner does not speak the protocol.
pub(super) async fn attach() -> Result<(), LinkError> {
    let mut link = Link::stdio();
    let clock_ahead_s = link.greet(facts::host()).await?;
    let job = Job { clock_ahead_s, ..link.job().await? };
    if let Err(Refusal { outcome, failure }) = serve(&mut link, job).await {
        reply(&Reply::Refused { outcome, failure });
    }
    Ok(())
}

async fn serve(link: &mut Link, job: Job) -> Served {
    let layout = Layout::of(&job.app.name, &job.environment);
    super::root::check(&job, &layout)?;
    if job.action == Action::Follow {
        return follow::whatever_runs(link, &job, &layout).await;
    }
    let only_checks = job.action.only_checks();
    if !job.action.changes() && !only_checks {
        return query::answer(&job, &layout).await;
    }
    if !only_checks && let Some(known) = known::find(&job, &layout)? {
        return follow::again(link, &job, &layout, known).await;
    }
    let mut visit = Visit::new(&job, &layout);
    let mut turn = Turn::of(&job);
    if !only_checks {
        let recovered = make_way(link, &job, &layout, &visit.emitter, &mut turn).await?;
        if job.action == Action::Recover {
            let answer = serde_json::to_value(RecoverAnswer { recovered }).unwrap_or_default();
            reply(&Reply::Answer { answer });
            return Ok(());
        }
    }
    visit.current = layout.current_release();
    let current = match current_release(&layout) {
        // Deploying is what mends a release that is not whole; the worker says so.
        Err(_) if job.action.brings_bundle(layout.in_place().is_some()) => None,
        current => current?,
    };
    let staged = visit.stage(link, current.as_ref()).await?;
    visit.tell_current(current.as_ref());
    let is_same = current
        .as_ref()
        .is_some_and(|release| release.seems(&job.version.label, &place::recorded(&job.bundle.entries)));
    let Looked { findings, builds, compose } = visit.look(staged.as_ref(), current.clone()).await;
    let passed = findings.iter().all(|finding| finding.severity != Severity::Error);
    if job.action == Action::Validate {
        let answer = serde_json::to_value(ValidateAnswer::of(findings)).unwrap_or_default();
        reply(&Reply::Answer { answer });
        return Ok(());
    }
    if job.action == Action::Plan && passed {
        return visit.plan(staged.as_ref(), current.as_ref(), findings).await;
    }
    reply(&Reply::Ready { passed, findings, builds, is_same });
    visit.start(link, &mut turn, staged, compose).await
}

fn current_release(layout: &Layout) -> Result<Option<Release>, Refusal> {
    Ok(layout.current_release().map(|id| compose_executor::load(layout, &id)).transpose()?)
}

/// Whoever is at work changes what a plan is about.
fn under_way(layout: &Layout) -> Result<Option<String>, Refusal> {
    let id = known::under_way(layout)?;
    Ok(id.map(|id| format!("{id} is under way, or was left unfinished: what it changes is not in this plan")))
}

/// What was found out is not about what runs now.
fn changed_meanwhile(layout: &Layout) -> Refusal {
    let now = layout.current_release().map_or_else(|| "none".to_owned(), |id| id.to_string());
    let message =
        format!("another deployment came in between (the current release is {now} now); nothing was touched");
    let failure = FailureReport::new(ErrorKind::DeploymentError, "release.changed", message);
    Refusal::of(failure.hint("run this again: it is then compared with that release"))
}

/// One job on its way to its start.
struct Visit<'a> {
    job: &'a Job,
    layout: &'a Layout,
    emitter: Emitter,
    prelude: Prelude,
    /// What was current when the job was looked at.
    current: Option<ReleaseId>,
}

impl<'a> Visit<'a> {
    fn new(job: &'a Job, layout: &'a Layout) -> Self {
        let prelude = Prelude { redactor: redactor_of(job), ..Prelude::default() };
        let context = context_of(job);
        let emitter = Emitter::new(context, 0, Stage::Validating, Box::new(prelude.clone()));
        Self { job, layout, emitter, prelude, current: None }
    }

    async fn stage(&self, link: &mut Link, current: Option<&Release>) -> Result<Option<Staged>, Refusal> {
        let in_place = self.layout.in_place().is_some();
        if in_place || !self.job.action.brings_bundle(in_place) {
            return Ok(None);
        }
        let staged = staging::stage(link, self.job, self.layout, current).await;
        let staged = staged.map_err(|error| Refusal::of(error.report()))?;
        let (sent_files, sent_bytes) = staged.sent;
        let files = self.job.bundle.entries.len() as u64;
        self.emitter.emit(here!(), EventKind::BundleReceived { files, sent_files, sent_bytes });
        Ok(Some(staged))
    }

    /// Tells the runner what its files would replace: it may know which of the two is newer, and thinks meanwhile.
    fn tell_current(&self, current: Option<&Release>) {
        let replaces = !matches!(self.job.action, Action::Build | Action::Setup)
            && self.job.action.brings_bundle(self.layout.in_place().is_some());
        if let Some(release) = current.filter(|of| replaces && of.source == ReleaseSource::Deployed) {
            let (id, version, commit) = (release.id.clone(), release.version.clone(), release.commit.clone());
            reply(&Reply::Current { release: id, version, commit });
        }
    }

    /// Asks everything that can be asked without changing anything, and tells what was found.
    async fn look(&self, staged: Option<&Staged>, current: Option<Release>) -> Looked {
        let project_dir = staged.map(Staged::app).or_else(|| self.layout.in_place().map(Path::to_owned));
        let mut looked = super::look::look(self.job, self.layout, project_dir.as_deref(), current).await;
        looked.findings.extend(facts::clock(self.job.clock_ahead_s));
        looked.findings =
            looked.findings.into_iter().map(|found| found.silenced_by(&self.job.silenced)).collect();
        for finding in &looked.findings {
            self.emitter.emit(here!(), EventKind::FindingReported { finding: finding.clone() });
        }
        looked
    }

    /// Says what the job would change.
    async fn plan(
        &self,
        staged: Option<&Staged>,
        current: Option<&Release>,
        findings: Vec<Finding>,
    ) -> Served {
        let (docker, compose) = tools().await?;
        let (emitter, redactor) = (self.emitter.clone(), redactor_of(self.job));
        let layout = self.layout;
        let executor = ComposeExecutor { compose, docker, layout: layout.clone(), emitter, redactor };
        let scratch = staging::scratch(self.job).map_err(|error| Refusal::of(error.report()))?;
        let app = staged.map(Staged::app);
        let project_dir = app.as_deref().or(layout.in_place()).unwrap_or(layout.root());
        let ground =
            Ground { job: self.job, layout, executor: &executor, project_dir, current, scratch: &scratch };
        let made = pipeline::plan::plan(&ground).await.map_err(|stop| Refusal::of(stop.failure()));
        let (mut plan, texts) = made?;
        plan.notes.extend(under_way(layout)?);
        let answer = PlanAnswer { texts, ..PlanAnswer::of(findings, Some(plan)) };
        reply(&Reply::Answer { answer: serde_json::to_value(answer).unwrap_or_default() });
        Ok(())
    }

    /// Waits for the word, hands the job to a guard, and follows.
    async fn start(
        &self,
        link: &mut Link,
        turn: &mut Turn,
        staged: Option<Staged>,
        compose: Option<Compose>,
    ) -> Served {
        let start = loop {
            match link.next().await {
                Ok(Frame::Start(payload)) => break serde_json::from_slice::<Start>(&payload),
                // Before the start there is nothing to stop: the runner says how it ended.
                Ok(Frame::Cancel) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
        };
        let built = start.unwrap_or_default().built;
        wait_for_lease(link, self.layout, &self.emitter, turn).await?;
        if self.layout.current_release() != self.current {
            return Err(changed_meanwhile(self.layout));
        }
        let write = |error: atomic::WriteError| Refusal::from(ExecutorError::Write(error));
        self.layout.make().map_err(write)?;
        let id = &self.job.deployment_id;
        atomic::make_directory(&self.layout.job(id), 0o700).map_err(write)?;
        known::note(self.job, self.layout).map_err(write)?;
        let lines = self.prelude.lines.lock().map(|lines| lines.clone()).unwrap_or_default();
        let told = lines.len() as u64;
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        atomic::write(&self.layout.events(id), text.as_bytes(), 0o600).map_err(write)?;
        let job = Job { built, ..self.job.clone() };
        let staged_app = staged.as_ref().map(Staged::app);
        let order = Order { job, staged: staged_app, compose, recover: false };
        if let Err(error) = guard::launch(self.layout, &order) {
            // It was never started: the next job of this id must not take its log for that of a deployment.
            atomic::remove_tree(&self.layout.job(id)).ok();
            return Err(Refusal::of(error.report()));
        }
        // The bundle is the worker's now: it moves it under the root, or leaves it to the next sweep.
        if let Some(_staged) = staged {
            std::mem::forget(_staged)
        }
        reply(&Reply::Started { following: false, deployment_id: id.clone() });
        follow::follow(link, self.layout, self.job, id, told).await
    }
}

/// Returns what every event of a job has in common on this host.
pub(super) fn context_of(job: &Job) -> Context {
    Context {
        origin: Origin::Agent,
        deployment_id: job.deployment_id.clone(),
        correlation_id: job.correlation_id.clone(),
        app: Some(job.app.name.clone()),
        environment: Some(job.environment.name.clone()),
        host: facts::host().hostname,
    }
}

/// Returns a redactor of the secrets that a job carries.
pub(super) fn redactor_of(job: &Job) -> Redactor {
    Redactor::new(job.secret_values())
}

/// Connects to what a scene needs.
///
/// # Errors
/// Docker or Compose is not there.
pub(super) async fn tools() -> Result<(Docker, Compose), Refusal> {
    let docker = Docker::connect().await.map_err(|error| Refusal::of(error.report()))?;
    let compose = Compose::detect().await.map_err(|error| Refusal::of(error.report()))?;
    Ok((docker, compose))
}

/// Returns what a verb looks at; nothing when this root has no release and the project is not here.
///
/// # Errors
/// The current release is not whole, or the project's variables cannot be read.
pub(super) async fn scene(compose: &Compose, layout: &Layout, job: &Job) -> Result<Option<Scene>, Refusal> {
    let current = current_release(layout)?;
    match (current, layout.in_place()) {
        (Some(release), _) => Ok(Some(compose_executor::of_current(compose, layout, release).await?)),
        (None, Some(path)) => Ok(Some(compose_executor::outline(layout, job, path)?.read(compose).await?)),
        (None, None) => Ok(None),
    }
}
