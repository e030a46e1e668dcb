//! What a deploy would do, found out by the same rules and without doing it. Enter by [`plan`].
//!
//! Reads the root, asks the engine and the registries, and lets Compose rehearse; everything that is written for that is
//! in memory, or in the agent's cache.

mod hooks;
mod services;
mod texts;

use std::collections::BTreeMap;
use std::path::Path;

use super::backing_up::volumes;
use super::compare;
use super::stop::Stop;
use crate::backup;
use crate::event::{FileChanges, Plan, PlannedBackup, PlannedCheck, PlannedFile, PlannedFiles, Texts};
use crate::executor::compose::drift::Drift;
use crate::executor::compose::forecast::Forecast;
use crate::executor::compose::mounts::{self, Mounts};
use crate::executor::compose::place::{self, Override};
use crate::executor::compose::{self as compose_executor, ComposeExecutor, ImageWork, Outline, Site, digest};
use crate::health;
use crate::host::docker_config::DockerConfig;
use crate::host::layout::Layout;
use crate::host::memory_file::MemoryFile;
use crate::model::compose::ComposeModel;
use crate::model::{ContainerFacts, Job, Release, labels};
use services::{Sides, judge};

/// What a plan is made of.
pub struct Ground<'a> {
    /// The job that would be done.
    pub job: &'a Job,
    /// Where things lie.
    pub layout: &'a Layout,
    /// What would apply the release.
    pub executor: &'a ComposeExecutor,
    /// Where the bundle was staged; in place, the project.
    pub project_dir: &'a Path,
    /// The release that runs.
    pub current: Option<&'a Release>,
    /// A directory of the agent's cache that nobody else uses.
    pub scratch: &'a Path,
}

/// A release that is not made, as far as it can be said.
struct Sketch {
    outline: Outline,
    model: ComposeModel,
    mounts: Mounts,
    forecast: Forecast,
    /// Site and model with the override that it would have.
    site: Site,
    whole: ComposeModel,
    _override: MemoryFile,
    _env_files: Vec<MemoryFile>,
    _shown: compose_executor::ShownEnvFiles,
    digest: Option<String>,
}

/// Returns the plan, and the texts that would change.
///
/// # Errors
/// The engine or Compose does not answer, or the project cannot be read.
pub async fn plan(ground: &Ground<'_>) -> Result<(Plan, BTreeMap<String, Texts>), Stop> {
    let Ground { job, layout, executor, current, .. } = ground;
    let sketch = ground.sketch().await?;
    let found = executor.containers(&sketch.site.project).await?;
    let files = compare::files(*current, &place::recorded(&job.bundle.entries));
    let drift = current.and_then(|current| Drift::of(layout, current, &found));
    let is_same =
        current.is_some_and(|current| sketch.digest.as_ref() == Some(&current.digest) && !in_files(&drift));
    let is_well = is_same && drift.as_ref().is_some_and(Drift::is_empty) && ground.is_well(&sketch).await;
    let mut plan = Plan {
        changes: !is_well,
        version: job.version.label.clone(),
        previous_version: current.map(|current| current.version.clone()),
        previous_release: current.map(|current| current.id.to_string()),
        images: sketch.forecast.work.clone(),
        health_before: job.app.health.before,
        notes: sketch.forecast.notes.clone(),
        ..Plan::default()
    };
    ground.say_what_is_foreign(&found, &mut plan);
    if is_same {
        // The release that runs is recreated where it has to be; nothing is pulled for it.
        plan.images.clear();
    }
    plan.services = if is_well {
        services::unchanged(&found)
    } else {
        let before = ground.model_of_current().await;
        let before = before.as_ref().map(|(site, model)| (site.project_dir.as_path(), model));
        let sides = Sides { ground, sketch: &sketch, before, found: &found, files: &files };
        judge(&sides, drift.as_ref(), is_same, &mut plan.notes).await
    };
    plan.backup = ground.backup(&sketch, &found, is_same).await?;
    let work = match (is_well, is_same) {
        (true, _) => hooks::Work::None,
        (false, true) => hooks::Work::Repair,
        (false, false) => hooks::Work::Release,
    };
    plan.hooks = hooks::planned(ground, &sketch, work);
    plan.checks = if is_well { Vec::new() } else { ground.checks(&sketch)? };
    let texts = if is_well { BTreeMap::new() } else { texts::of(ground, &files, &sketch.outline.variables) };
    plan.files = planned(files);
    Ok((plan, texts))
}

fn in_files(drift: &Option<Drift>) -> bool {
    drift.as_ref().is_some_and(Drift::in_files)
}

fn planned(files: FileChanges) -> PlannedFiles {
    let file = |path| PlannedFile { path, diff: None, note: None };
    PlannedFiles {
        added_count: files.added_count,
        changed_count: files.changed_count,
        removed_count: files.removed_count,
        added: files.added,
        changed: files.changed.into_iter().map(file).collect(),
        removed: files.removed,
    }
}

impl Ground<'_> {
    async fn sketch(&self) -> Result<Sketch, Stop> {
        let (job, layout, executor) = (self.job, self.layout, self.executor);
        let outline = compose_executor::outline(layout, job, self.project_dir)?;
        let shown = outline.show_env_files()?;
        let model = executor.model(&outline.site).await?;
        let login = match job.registries.is_empty() {
            true => None,
            false => Some(DockerConfig::make(self.scratch, &job.registries)?),
        };
        let work = ImageWork {
            built: &job.built,
            logins: &job.registries,
            login: login.as_ref(),
            model: &model,
            site: &outline.site,
            current: self.current,
            bundle: &job.bundle.entries,
            build: job.app.build,
            no_cache: job.options.no_cache,
            in_place: layout.in_place().is_some(),
        };
        let forecast = executor.foresee(&work).await?;
        let project = outline.site.project_dir.as_path();
        let (mounts, in_place, env_files, kept) = match layout.in_place() {
            None => (
                mounts::plan(&model, project, &job.app, &job.bundle.entries),
                BTreeMap::new(),
                BTreeMap::new(),
                Vec::new(),
            ),
            Some(_) => {
                let digests = mounts::digests_in_place(&model, project, &job.bundle.entries);
                let (env_files, kept) = outline.kept_env_files()?;
                (Mounts::default(), digests, env_files, kept)
            }
        };
        let pins = forecast.pins();
        let inputs = digest::of_inputs(&model, project, &mounts, &in_place, &forecast.build_inputs);
        let digest = forecast.is_whole().then(|| digest::of_release(&inputs, &pins));
        let added = Override {
            model: &model,
            project,
            mounts: &mounts,
            images: &pins,
            in_place: &in_place,
            env_files: &env_files,
            layout,
            job,
        };
        let (site, _override) = outline.site_with(&added.render())?;
        let whole = executor.model(&site).await?;
        let (_env_files, _shown) = (kept, shown);
        Ok(Sketch { outline, model, mounts, forecast, site, whole, _override, _env_files, _shown, digest })
    }

    /// The model of the release that runs, with its override. One that is not whole any more has none.
    async fn model_of_current(&self) -> Option<(Site, ComposeModel)> {
        let current = self.current?;
        let site = Site::of_release(self.layout, current);
        // Without it services have no reasons; what becomes of them Compose says.
        let model = self.executor.model(&site).await.ok()?;
        Some((site, model))
    }

    /// Asks the checks of the release that runs once, as a deploy does that finds nothing to change.
    async fn is_well(&self, sketch: &Sketch) -> bool {
        let Some(current) = self.current else { return false };
        let (app, environment) = (&current.app, &self.job.environment);
        let variables = &sketch.outline.variables;
        let checks = sketch.site.checks(&app.health, &sketch.model, &app.one_shot, environment, variables);
        // What cannot be asked is not known to be well.
        let Ok(checks) = checks else { return false };
        health::ask_once(&checks, &self.executor.docker).await.is_acceptable()
    }

    fn say_what_is_foreign(&self, found: &[ContainerFacts], plan: &mut Plan) {
        let foreign = found.iter().any(|container| !container.labels.contains_key(labels::ROOT));
        if foreign && self.current.is_none() && self.job.options.adopt.is_some() {
            plan.notes
                .push("what runs is taken over; this first deploy recreates every container once".into());
        }
    }

    async fn backup(
        &self,
        sketch: &Sketch,
        found: &[ContainerFacts],
        is_same: bool,
    ) -> Result<PlannedBackup, Stop> {
        let (job, spec) = (self.job, &self.job.app.backup);
        let none =
            |reason: &str| Ok(PlannedBackup { reason: Some(reason.to_owned()), ..PlannedBackup::default() });
        if is_same {
            return none("the release that runs stays");
        }
        if !job.environment.backup {
            return none("backups are off for this environment");
        }
        if job.options.skip_backup {
            return none("--skip-backup was given");
        }
        let default = || backup::default_paths(&job.environment.placement, &job.environment.name);
        let base = self.layout.shared();
        let paths = spec.paths.clone().unwrap_or_else(default).into_iter();
        let mut includes: Vec<String> = paths.filter(|path| base.join(path).exists()).collect();
        let volumes = volumes(self.executor, &sketch.model, found, spec.volumes.as_deref()).await?;
        includes.extend(volumes.into_iter().map(|volume| format!("volume {}", volume.key)));
        if includes.is_empty() {
            return none("there is nothing to save yet");
        }
        let directory = Some(self.layout.backups().to_string_lossy().into_owned());
        Ok(PlannedBackup { directory, includes, reason: None })
    }

    fn checks(&self, sketch: &Sketch) -> Result<Vec<PlannedCheck>, Stop> {
        let (app, environment) = (&self.job.app, &self.job.environment);
        let variables = &sketch.outline.variables;
        let checks = sketch.site.checks(&app.health, &sketch.model, &app.one_shot, environment, variables);
        let checks = checks.map_err(|error| Stop::from(error.report()))?;
        let planned = |check: &health::Check| PlannedCheck {
            check: check.name.clone(),
            asked: check.probe.asked(),
            optional: check.optional,
            skipped: check.skip.clone(),
        };
        Ok(checks.iter().map(planned).collect())
    }
}
