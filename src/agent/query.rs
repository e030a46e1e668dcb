//! Answers of the verbs that look: attach gives them itself, and touches nothing.

use super::attach::{Refusal, scene, tools};
use super::link::reply;
use super::log;
use super::protocol::Reply;
use crate::backup;
use crate::executor::compose::Scene;
use crate::executor::compose::drift::Drift;
use crate::health;
use crate::history;
use crate::host::docker::Docker;
use crate::host::layout::Layout;
use crate::host::lease;
use crate::host::process::{self, Stream};
use crate::model::{
    Action, BackupListed, ContainerFacts, ContainerStatus, CurrentRelease, ErrorKind, FailureReport,
    HealthAnswer, HealthReport, HistoryEntry, HistoryStats, Job, LastDeployment, LeaseHolder, LogQuery,
    Stage, StatusAnswer, Unfinished,
};
use crate::pipeline::journal::{self, Phase};
use crate::text::harmless;

/// Most records that `history` answers.
const MOST_RECORDS: usize = 200;

/// Answers a query.
///
/// # Errors
/// Docker or Compose is not there, or there is nothing to look at.
pub(super) async fn answer(job: &Job, layout: &Layout) -> Result<(), Refusal> {
    let answer = match &job.action {
        Action::History if job.options.stats => to_json(&stats(job, layout)),
        Action::History => to_json(&records(job, layout)),
        Action::BackupList => to_json(&backups(job, layout)?),
        Action::Health => to_json(&health_answer(job, layout).await?),
        Action::Logs(query) => return logs(job, layout, query).await,
        _ => to_json(&status(job, layout).await?),
    };
    reply(&Reply::Answer { answer });
    Ok(())
}

fn to_json(answer: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(answer).unwrap_or_default()
}

fn records(job: &Job, layout: &Layout) -> Vec<HistoryEntry> {
    let mut entries = history::read_all(&layout.history(), &job.app.name, &job.environment.name);
    entries.truncate(MOST_RECORDS);
    entries
}

fn stats(job: &Job, layout: &Layout) -> HistoryStats {
    HistoryStats::of(&history::read_all(&layout.history(), &job.app.name, &job.environment.name))
}

/// Returns the last deployment that the history knows.
pub(super) fn newest(job: &Job, layout: &Layout) -> Option<LastDeployment> {
    records(job, layout).iter().find_map(last_deployment)
}

fn backups(job: &Job, layout: &Layout) -> Result<Vec<BackupListed>, Refusal> {
    let listed = backup::list(&layout.backups(), &job.app.name, &job.environment.name);
    let listed = listed.map_err(|error| Refusal::of(error.report()))?;
    Ok(listed.into_iter().map(backup_listed).collect())
}

fn backup_listed(found: backup::Listed) -> BackupListed {
    let name = found.path.file_name().map(|name| name.to_string_lossy().into_owned());
    BackupListed {
        name: name.unwrap_or_default(),
        path: found.path.to_string_lossy().into_owned(),
        created_at: found.created_at,
        size_bytes: found.size_bytes,
        format: found.format,
        includes: found.includes,
        problem: found.note,
    }
}

/// What there is to look at, with the tools to look.
async fn look(job: &Job, layout: &Layout) -> Result<(Docker, crate::host::compose::Compose, Scene), Refusal> {
    let (docker, compose) = tools().await?;
    let Some(scene) = scene(&compose, layout, job).await? else { return Err(nothing_here(layout)) };
    Ok((docker, compose, scene))
}

fn nothing_here(layout: &Layout) -> Refusal {
    let message = format!("nothing is deployed in {}", layout.root().display());
    let failure = FailureReport::new(ErrorKind::ValidationError, "release.none", message);
    Refusal::of(failure.hint("run `ffe-deploy deploy` first, or name another environment"))
}

async fn health_answer(job: &Job, layout: &Layout) -> Result<HealthAnswer, Refusal> {
    let (docker, _, scene) = look(job, layout).await?;
    Ok(HealthAnswer::from(&ask(job, &docker, &scene).await?))
}

/// Asks today's checks of what runs.
async fn ask(job: &Job, docker: &Docker, scene: &Scene) -> Result<HealthReport, Refusal> {
    let model = scene.model.as_ref().map_err(|error| Refusal::of(error.report()))?;
    let (app, environment) = (&job.app, &job.environment);
    let checks = scene.site.checks(&app.health, model, &app.one_shot, environment, &scene.variables);
    let checks = checks.map_err(|error| Refusal::of(error.report()))?;
    let mut report = health::ask_once(&checks, docker).await;
    // Whoever only looks need not have the release's secrets, and so cannot take them out of an answer: the host has them.
    let redactor = scene.variables.redactor();
    for check in &mut report.checks {
        check.asked = redactor.redact(&check.asked).into_owned();
        check.detail = redactor.redact(&check.detail).into_owned();
    }
    Ok(report)
}

async fn status(job: &Job, layout: &Layout) -> Result<StatusAnswer, Refusal> {
    let (docker, compose) = tools().await?;
    let scene = scene(&compose, layout, job).await?;
    let mut answer = empty_status(job, layout);
    let entries = history::read_all(&layout.history(), &job.app.name, &job.environment.name);
    answer.last_deployment = entries.iter().find_map(last_deployment);
    let lost = super::look::lost_images(layout, &docker).await;
    answer.warnings.extend(lost.filter(|found| !job.silenced.contains_key(&found.rule)));
    let Some(scene) = scene else { return Ok(answer) };
    answer.project.clone_from(&scene.site.project);
    let containers =
        docker.containers(&scene.site.project).await.map_err(|error| Refusal::of(error.report()))?;
    answer.volumes =
        docker.volumes(&scene.site.project).await.map_err(|error| Refusal::of(error.report()))?;
    answer.current = scene.current.as_ref().map(|release| CurrentRelease {
        id: release.id.clone(),
        version: release.version.clone(),
        deployed_at: history::went_live(&entries, &release.id).unwrap_or(release.created_at),
    });
    if let Some(release) = &scene.current {
        let drift = Drift::look(&docker, layout, release).await.filter(|drift| !drift.is_empty());
        answer.warnings.extend(drift.map(|drift| drift.finding(release, false)));
    }
    if let Ok(model) = &scene.model {
        answer.urls = crate::pipeline::urls::of(model, job.app.url.as_deref());
    }
    answer.containers = containers.iter().map(|container| container_status(container, &scene)).collect();
    if answer.stopped {
        return Ok(answer);
    }
    let is_there = !containers.is_empty() || scene.current.is_some();
    match ask(job, &docker, &scene).await {
        Ok(report) => {
            answer.overall = is_there && report.is_acceptable();
            answer.health = Some(report);
        }
        Err(refusal) if is_there => return Err(refusal),
        // Where nothing is deployed there need not be anything to ask.
        Err(_) => {}
    }
    Ok(answer)
}

fn empty_status(job: &Job, layout: &Layout) -> StatusAnswer {
    let unfinished = journal::read(&layout.journal()).ok().flatten();
    let held = lease::holder(&layout.lease());
    let told = held.as_ref().and_then(|holder| log::stage(&layout.events(&holder.deployment_id)));
    let stage = unfinished.as_ref().map_or(Stage::Initializing, |entry| stage_of(entry.phase));
    let stage = told.unwrap_or(stage);
    StatusAnswer {
        app: job.app.name.clone(),
        environment: job.environment.name.clone(),
        project: String::new(),
        root: layout.root().to_string_lossy().into_owned(),
        current: None,
        last_deployment: None,
        unfinished: unfinished.as_ref().filter(|_| held.is_none()).map(|entry| Unfinished {
            deployment_id: entry.job.deployment_id.clone(),
            stage: stage_of(entry.phase),
            since: entry.started_at,
        }),
        stopped: layout.stopped().exists(),
        containers: Vec::new(),
        health: None,
        overall: false,
        volumes: Vec::new(),
        urls: std::collections::BTreeMap::new(),
        warnings: Vec::new(),
        lease: held.map(|holder| LeaseHolder {
            deployment_id: holder.deployment_id,
            who: holder.requester.who,
            run_url: holder.requester.run_url,
            since: holder.since,
            stage,
        }),
    }
}

fn stage_of(phase: Phase) -> Stage {
    match phase {
        Phase::Preparing => Stage::Setup,
        Phase::Placed => Stage::Pulling,
        Phase::Ready => Stage::BackingUp,
        Phase::BackedUp | Phase::Switching | Phase::TakingDown => Stage::Deploying,
        Phase::Verifying | Phase::Verified => Stage::Verifying,
        Phase::Committing | Phase::Committed => Stage::Complete,
        Phase::Undoing => Stage::RollingBack,
    }
}

fn last_deployment(entry: &HistoryEntry) -> Option<LastDeployment> {
    let HistoryEntry::Record(record) = entry else { return None };
    Some(LastDeployment {
        deployment_id: record.deployment_id.clone(),
        verb: record.verb.clone(),
        version: record.version.clone(),
        outcome: record.outcome,
        ended_at: record.timestamp,
        hooks: record.hooks.clone(),
    })
}

fn container_status(container: &ContainerFacts, scene: &Scene) -> ContainerStatus {
    let pinned = scene.current.as_ref().and_then(|release| release.images.get(&container.service));
    let written = || scene.model.as_ref().ok()?.services.get(&container.service)?.image.clone();
    let image = pinned.map(|image| image.reference.clone()).or_else(written);
    ContainerStatus {
        name: container.name.clone(),
        service: container.service.clone(),
        state: container.state,
        health: container.health,
        image: image.unwrap_or_else(|| container.image_id.clone()),
        started_at: Some(container.started_at.clone()).filter(|time| !time.is_empty()),
    }
}

/// Gives log lines as the services wrote them, harmless and redacted; one service without a prefix (A1-08).
async fn logs(job: &Job, layout: &Layout, query: &LogQuery) -> Result<(), Refusal> {
    let (_, compose, scene) = look(job, layout).await?;
    let everything = crate::executor::compose::Site { profiles: vec!["*".to_owned()], ..scene.site.clone() };
    let mut command = compose.command(&everything.call()).args(["logs", "--no-color", "--tail"]);
    command = command.arg(query.tail.to_string());
    if query.follow {
        command = command.arg("--follow").deadline(std::time::Duration::from_secs(7 * 24 * 3600));
    }
    if let Some(service) = &query.service {
        command = command.arg("--no-log-prefix").arg(service);
    }
    let redactor = scene.variables.redactor();
    let mut said = Vec::new();
    let ended = process::run(&command, |stream, line| match stream {
        Stream::Out => reply(&Reply::Line { text: redactor.redact(&harmless(line)).into_owned() }),
        Stream::Err => said.push(harmless(line)),
    });
    ended.await.map(drop).map_err(|error| {
        let message = said.pop().unwrap_or_else(|| error.to_string());
        Refusal::of(
            FailureReport::new(ErrorKind::DockerError, "logs.failed", message)
                .hint("name a service of the app"),
        )
    })
}
