//! Everything the host can say before anything is changed (DESIGN section 3): preflight on the staged bundle.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;

use futures_util::future::{Either, select};

use super::attach::Refusal;
use super::before;
use crate::executor::blobs::Blob;
use crate::executor::compose::drift::{self, Drift};
use crate::executor::compose::mounts::{self, Mounts};
use crate::executor::compose::{self as compose_executor, ExecutorError, Scene, kept_images};
use crate::host::compose::{Compose, ComposeError};
use crate::host::docker::{Docker, DockerError};
use crate::host::layout::Layout;
use crate::model::compose::ComposeModel;
use crate::model::{
    Action, App, BuildMode, BuildOrders, Finding, Job, PinnedImage, Profile, Release, Severity,
};
use crate::preflight::{self, Subject};
use crate::text::harmless;

/// What was found of the tools, kept with its errors: a missing one must not hide what else is wrong.
struct Tools {
    docker: Result<Docker, DockerError>,
    compose: Result<Compose, ComposeError>,
}

/// What the host says before the start.
#[derive(Default)]
pub(super) struct Looked {
    /// What was found.
    pub(super) findings: Vec<Finding>,
    /// What the runner is to build, when nothing stops the deployment.
    pub(super) builds: BuildOrders,
    /// The Compose that was found.
    pub(super) compose: Option<Compose>,
}

impl Looked {
    fn of(findings: Vec<Finding>) -> Self {
        Self { findings, ..Self::default() }
    }
}

/// Returns every finding of the host. For jobs that bring no bundle only the tools are asked.
pub(super) async fn look(
    job: &Job,
    layout: &Layout,
    project_dir: Option<&Path>,
    current: Option<Release>,
) -> Looked {
    let brings = job.action.brings_bundle(layout.in_place().is_some());
    let Some(project_dir) = project_dir.filter(|_| brings) else {
        let tools = tools().await;
        return Looked { compose: tools.compose.as_ref().ok().cloned(), ..Looked::of(of_tools(&tools)) };
    };
    let (tools, scene) = find(job, layout, project_dir).await;
    let before = async {
        match (&tools.docker, &tools.compose) {
            (Ok(docker), Ok(compose)) => before::asked(job, layout, docker, compose, current.as_ref()).await,
            _ => None,
        }
    };
    let mut findings: Vec<Finding> =
        current.iter().flat_map(|release| written_files(&job.app, layout, release)).collect();
    let drift = async {
        match (&tools.docker, &current) {
            (Ok(docker), Some(release)) => drifted(job, layout, docker, release).await,
            _ => None,
        }
    };
    let builds =
        builds(job, project_dir, scene.as_ref().and_then(|scene| scene.as_ref().ok()), &mut findings);
    let of_bundle = of_bundle(job, layout, project_dir, &tools, scene);
    let (of_bundle, drift, before) = tokio::join!(of_bundle, drift, before);
    findings.extend(of_bundle);
    findings.extend(drift);
    findings.extend(before);
    if let Ok(docker) = &tools.docker {
        findings.extend(lost_images(layout, docker).await);
    }
    if job.action == Action::Setup {
        findings.iter_mut().for_each(soften);
    }
    Looked {
        findings: preflight::located(findings, &job.compose_files, &job.marks),
        builds,
        compose: tools.compose.ok(),
    }
}

/// What `setup` is there to mend, and what only a deploy needs, does not stop it.
fn soften(finding: &mut Finding) {
    let stops = ["docker.", "compose.installed", "host.", "root.", "local."];
    if finding.severity == Severity::Error && !stops.iter().any(|rule| finding.rule.starts_with(rule)) {
        finding.severity = Severity::Warning;
    }
}

/// Returns what the runner is to build; what is wrong with that is a finding.
fn builds(job: &Job, project_dir: &Path, scene: Option<&Scene>, findings: &mut Vec<Finding>) -> BuildOrders {
    let builds = job.app.build == BuildMode::Runner && job.action != Action::Setup;
    let Some(scene) = scene.filter(|_| builds) else {
        return BuildOrders::default();
    };
    let Ok(model) = &scene.model else { return BuildOrders::default() };
    let (orders, wrong) = compose_executor::build_orders(model, project_dir, &scene.variables);
    findings.extend(wrong);
    orders
}

/// Finds the tools, and lets Compose read the bundle meanwhile, as the plugin that it nearly always is. Without Compose
/// there is nothing to read.
async fn find(
    job: &Job,
    layout: &Layout,
    project_dir: &Path,
) -> (Tools, Option<Result<Scene, ExecutorError>>) {
    let outline = match compose_executor::outline(layout, job, project_dir) {
        Ok(outline) => outline,
        Err(error) => {
            let tools = tools().await;
            let scene = tools.compose.is_ok().then_some(Err(error));
            return (tools, scene);
        }
    };
    let supposed = Compose::supposed();
    let (tools, early) = {
        let (finding, reading) = (pin!(tools()), pin!(outline.model(&supposed)));
        match select(finding, reading).await {
            Either::Left((tools, reading)) if tools.has(&supposed) => (tools, Some(reading.await)),
            // A plugin that does not even tell its version need not be waited for.
            Either::Left((tools, _)) => (tools, None),
            Either::Right((model, finding)) => (finding.await, Some(model)),
        }
    };
    let model = match &tools.compose {
        Err(_) => None,
        Ok(_) if tools.has(&supposed) => early,
        Ok(found) => Some(outline.model(found).await),
    };
    let scene = match (model, &tools.compose) {
        (Some(Ok(Err(missing @ ComposeError::EnvFileMissing { .. }))), Ok(compose)) => {
            // Where that does not help either, the first words say why.
            let without = outline.model_without_missing(compose).await.ok().and_then(Result::ok);
            let passes_over_env_files = without.is_some();
            let mut scene = outline.with(without.ok_or(missing));
            scene.passes_over_env_files = passes_over_env_files;
            Some(Ok(scene))
        }
        (model, _) => model.map(|model| model.map(|model| outline.with(model))),
    };
    (tools, scene)
}

impl Tools {
    fn has(&self, compose: &Compose) -> bool {
        self.compose.as_ref().is_ok_and(|found| found.is_as(compose))
    }
}

async fn tools() -> Tools {
    let (docker, compose) = tokio::join!(Docker::connect(), Compose::detect());
    Tools { docker, compose }
}

/// What somebody changed behind the release that runs; production wants to hear first that it may go.
async fn drifted(job: &Job, layout: &Layout, docker: &Docker, release: &Release) -> Option<Finding> {
    let drift = Drift::look(docker, layout, release).await.filter(|drift| !drift.is_empty())?;
    let strict = job.environment.profile == Profile::Production && !job.options.accept_drift;
    Some(
        drift.finding(
            release,
            strict && matches!(job.action, Action::Deploy | Action::Validate | Action::Plan),
        ),
    )
}

/// Images of kept releases that somebody took away: a rollback needs them.
pub(super) async fn lost_images(layout: &Layout, docker: &Docker) -> Option<Finding> {
    let mut lost = Vec::new();
    for id in layout.kept_releases() {
        let Ok(release) = compose_executor::load(layout, &id) else { continue };
        // An engine that does not answer is another finding.
        let images = kept_images::lost(docker, &release).await.ok()?;
        let name = |(service, image): (&str, &PinnedImage)| {
            let again = if image.repo_digest.is_some() { "" } else { ", which no registry has" };
            format!("`{}` of `{service}` in release {id}{again}", harmless(&image.reference))
        };
        lost.extend(images.into_iter().map(name));
    }
    if lost.is_empty() {
        return None;
    }
    let message = format!("somebody removed images of releases that are kept: {}", lost.join("; "));
    let hint = "a rollback pulls them again by their digests where a registry has them; do not run `docker image prune -a` \
                or `docker rmi` on images of ffe-deploy";
    Some(Finding::warning("release.images", message, hint))
}

fn of_tools(tools: &Tools) -> Vec<Finding> {
    let docker = tools.docker.as_ref().map(|_| ()).map_err(DockerError::report);
    let compose = tools.compose.as_ref().map(|_| ()).map_err(ComposeError::report);
    let failures = [docker, compose].into_iter().filter_map(Result::err);
    failures
        .map(|failure| Finding::error(&failure.code, failure.message, failure.hint.unwrap_or_default()))
        .collect()
}

async fn of_bundle(
    job: &Job,
    layout: &Layout,
    project_dir: &Path,
    tools: &Tools,
    scene: Option<Result<Scene, ExecutorError>>,
) -> Vec<Finding> {
    match scene {
        None => without_compose(job, layout, project_dir, tools).await,
        Some(Ok(scene)) => of_scene(job, layout, project_dir, &scene, tools).await,
        Some(Err(error)) => {
            let Refusal { failure, .. } = Refusal::from(error);
            let hint = failure.hint.unwrap_or_default();
            let mut findings = vec![Finding::error(&failure.code, failure.message, hint)];
            findings.extend(of_tools(tools));
            findings
        }
    }
}

async fn of_scene(
    job: &Job,
    layout: &Layout,
    project_dir: &Path,
    scene: &Scene,
    tools: &Tools,
) -> Vec<Finding> {
    let placed = scene.model.as_ref().ok().map(|model| placed(job, layout, project_dir, model));
    let model = match (&placed, &scene.model) {
        (Some((model, _)), _) => Ok(model),
        (None, Err(error)) => Err(error),
        (None, Ok(model)) => Ok(model),
    };
    let subject = Subject {
        app: &job.app,
        environment: &job.environment,
        project: &scene.site.project,
        root: layout.root(),
        project_dir,
        shared: &layout.shared(),
        variables: &scene.variables.values,
        missing_env_files: &scene.missing_env_files,
        passes_over_env_files: scene.passes_over_env_files,
        compose: tools.compose.as_ref(),
        model,
        deployed: drift::is_deployed(layout, &scene.site.project),
        adopt: job.options.adopt,
    };
    let mut findings = preflight::run(&subject, tools.docker.as_ref()).await;
    findings
        .extend(tools.compose.iter().filter_map(|compose| preflight::too_old(compose, &job.compose_files)));
    findings.extend(placed.into_iter().flat_map(|(_, missing)| missing));
    findings.extend(scene.model.as_ref().ok().and_then(|model| unaskable(job, model, scene)));
    findings
}

/// On a root the author's relative mounts lie elsewhere: they are looked at there, and left out of the model's own checks.
fn placed(
    job: &Job,
    layout: &Layout,
    project_dir: &Path,
    model: &ComposeModel,
) -> (ComposeModel, Vec<Finding>) {
    if layout.in_place().is_some() {
        return (model.clone(), Vec::new());
    }
    let mounts = mounts::plan(model, project_dir, &job.app, &job.bundle.entries);
    let missing = mounts.missing(layout, &job.app);
    (elsewhere(model.clone(), project_dir, &mounts), missing)
}

fn elsewhere(mut model: ComposeModel, project_dir: &Path, mounts: &Mounts) -> ComposeModel {
    let moved = |source: &str| {
        mounts::relative(source, project_dir).is_some_and(|path| mounts.sources.contains_key(&path))
    };
    for service in model.services.values_mut() {
        service.volumes.retain(|mount| !mount.bind_source().is_some_and(&moved));
    }
    let keep = |file: &Option<String>| !file.as_deref().is_some_and(&moved);
    model.configs.retain(|_, definition| keep(&definition.file));
    model.secrets.retain(|_, definition| keep(&definition.file));
    model
}

/// A check that cannot be asked is a mistake of the configuration: it is told before anything is touched.
fn unaskable(job: &Job, model: &ComposeModel, scene: &Scene) -> Option<Finding> {
    let (app, environment) = (&job.app, &job.environment);
    let planned = scene.site.checks(&app.health, model, &app.one_shot, environment, &scene.variables);
    let failure = planned.err()?.report();
    Some(Finding::error(&failure.code, failure.message, failure.hint.unwrap_or_default()))
}

/// Files of the current release that a container wrote to: they are no release content (DESIGN section 6, files).
fn written_files(app: &App, layout: &Layout, release: &Release) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (source, digest) in release.blobs.iter().filter(|(source, _)| !mounts::is_shared(app, source)) {
        let written = Blob::written(&layout.files(), source, digest, &release.files);
        let Some(first) = written.first() else { continue };
        let more =
            if written.len() == 1 { String::new() } else { format!(" and {} more", written.len() - 1) };
        let lies = Blob::place(&layout.files(), source, digest);
        let message = format!(
            "a container wrote to `{}`{more}, which is content of the release ({})",
            harmless(first),
            lies.display()
        );
        let brought = layout.release(&release.id).join("app").join(source);
        let hint = format!(
            "to keep what was written, and from now on to let it survive releases, add to the app in deployments.yaml: \
             `shared: [{source}]`; else mount it read-only, and put back what the release brought: `cp -aT {} {}`",
            brought.display(),
            lies.display()
        );
        findings.push(Finding::error("files.written", message, hint));
    }
    findings
}

async fn without_compose(job: &Job, layout: &Layout, project_dir: &Path, tools: &Tools) -> Vec<Finding> {
    let Err(error) = &tools.compose else { return Vec::new() };
    let variables: BTreeMap<String, String> = BTreeMap::new();
    let subject = Subject {
        app: &job.app,
        environment: &job.environment,
        project: job.app.name.as_str(),
        root: layout.root(),
        project_dir,
        shared: &layout.shared(),
        variables: &variables,
        missing_env_files: &[],
        passes_over_env_files: false,
        compose: Err(error),
        model: Err(error),
        deployed: false,
        adopt: job.options.adopt,
    };
    preflight::run(&subject, tools.docker.as_ref()).await
}
