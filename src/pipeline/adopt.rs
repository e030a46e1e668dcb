//! Takes over an app that ran before us (`--adopt`): what runs is recorded first, as a release to return to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::run::Run;
use super::stop::Stop;
use crate::event::EventKind;
use crate::executor::compose::Site;
use crate::here;
use crate::host::atomic;
use crate::host::clock::wall;
use crate::model::{
    Adopt, Adopted, App, ContainerFacts, ErrorKind, FailureReport, HealthSpec, PinnedImage, Release,
    ReleaseId, ReleaseSource, Severity, labels,
};

/// Label of Compose that names the directory of the project.
const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// Label of Compose that names the env file of the project.
const ENVIRONMENT_FILE: &str = "com.docker.compose.project.environment_file";

impl Run {
    /// Records what runs under this project name and is not ours yet, if the job says so, and returns that release.
    ///
    /// # Errors
    /// Its files are gone, and `--adopt=no-rollback` was not said.
    pub async fn adopt(&self, project: &str) -> Result<Option<Release>, Stop> {
        let Some(adopt) = self.job.options.adopt else { return Ok(None) };
        if self.layout.current_release().is_some() {
            return Ok(None);
        }
        let running = self.executor.containers(project).await?;
        let foreign: Vec<ContainerFacts> =
            running.into_iter().filter(|container| !container.labels.contains_key(labels::ROOT)).collect();
        if foreign.is_empty() {
            return Ok(None);
        }
        if adopt == Adopt::NoRollback {
            self.tell(
                "adopted without a release to return to",
                "the first rollback will be possible after two deploys",
            );
            return Ok(None);
        }
        let id = format!("adopted-{}", wall().strftime("%Y%m%d%H%M%S"));
        let id: ReleaseId = id.parse().map_err(|_| gone(self.layout.root()))?;
        let recorded = self.record_adopted(id.clone(), project, &foreign).await;
        if recorded.is_err() {
            // Half a release is none: a rollback must not find it.
            self.discard(&id);
        }
        let release = recorded?;
        self.make_current(&release.id, None)?;
        self.tell(
            &format!("what runs was recorded as release {}; a rollback can return to it", release.id),
            "this first deploy recreates every container once",
        );
        Ok(Some(release))
    }

    fn tell(&self, notice: &str, hint: &str) {
        let (code, notice, hint) = ("project.adopted".to_owned(), notice.to_owned(), Some(hint.to_owned()));
        self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity: Severity::Passed });
    }

    async fn record_adopted(
        &self,
        id: ReleaseId,
        project: &str,
        containers: &[ContainerFacts],
    ) -> Result<Release, Stop> {
        let origin = origin_of(containers).ok_or_else(|| gone(&PathBuf::from("(no label names them)")))?;
        let home = self.layout.release(&id);
        atomic::make_directory(&home.join("app"), 0o700)?;
        let compose_files = keep_files(&origin, &home.join("app"))?;
        let env = origin.env_file.as_ref().map(|path| fs::read(path).map_err(|_| gone(path))).transpose()?;
        atomic::write(&home.join("env"), &env.unwrap_or_default(), 0o600)?;
        let images = self.pin_running(project, containers).await?;
        let release = self.adopted_release(id, project, compose_files, images, containers, origin);
        let services: serde_json::Map<String, serde_json::Value> = release
            .images
            .iter()
            .map(|(service, image)| (service.clone(), self.adopted_service(image)))
            .collect();
        self.executor.seal(&home, &release, &json!({ "services": services }))?;
        self.executor.model(&Site::of_release(&self.layout, &release)).await?;
        Ok(release)
    }

    fn adopted_service(&self, image: &PinnedImage) -> serde_json::Value {
        let root = crate::executor::compose::mounts::escaped(self.layout.root());
        json!({
            "image": image.pin,
            "pull_policy": "never",
            "labels": {
                labels::APP: self.job.app.name, labels::ENVIRONMENT: self.job.environment.name, labels::ROOT: root,
            },
        })
    }

    async fn pin_running(
        &self,
        project: &str,
        containers: &[ContainerFacts],
    ) -> Result<BTreeMap<String, PinnedImage>, Stop> {
        let mut images = BTreeMap::new();
        for container in containers {
            let pinned = self.executor.pin_image(project, &container.service, &container.image_id).await?;
            images.insert(container.service.clone(), pinned);
        }
        Ok(images)
    }

    fn adopted_release(
        &self,
        id: ReleaseId,
        project: &str,
        compose_files: Vec<String>,
        images: BTreeMap<String, PinnedImage>,
        containers: &[ContainerFacts],
        origin: Adopted,
    ) -> Release {
        let app = App {
            compose_files,
            profiles: Vec::new(),
            // Its own checks are not known: that its containers run is what can be asked.
            health: HealthSpec::default(),
            ..self.job.app.clone()
        };
        let digest = format!("adopted:{id}");
        Release {
            schema: 1,
            version: format!("before ffe-deploy ({id})"),
            commit: None,
            id,
            digest: digest.clone(),
            inputs_digest: digest,
            created_at: wall(),
            source: ReleaseSource::Adopted,
            app,
            project: project.to_owned(),
            images,
            services: containers.iter().map(|container| container.service.clone()).collect(),
            files: BTreeMap::new(),
            blobs: BTreeMap::new(),
            build_inputs: BTreeMap::new(),
            variables: Vec::new(),
            secrets: Vec::new(),
            adopted: Some(origin),
        }
    }

    /// Takes away what was being recorded when its worker died: half a release is none.
    pub(super) fn discard_half_adopted(&self) {
        let kept = self.layout.kept_releases().into_iter();
        let adopted = kept.filter(|id| id.as_str().starts_with("adopted-"));
        adopted.filter(|id| self.executor.load(id).is_err()).for_each(|id| self.discard(&id));
    }

    /// An adopted release has no record in the history: it is what a first deploy of ours can go back to.
    pub fn adopted_before(&self, current: Option<&ReleaseId>) -> Option<ReleaseId> {
        let listed = fs::read_dir(self.layout.releases()).ok()?;
        let names = listed.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut adopted: Vec<String> = names.filter(|name| name.starts_with("adopted-")).collect();
        adopted.sort();
        let adopted = adopted.into_iter().rev().filter_map(|name| name.parse().ok());
        adopted.filter(|id| Some(id) != current).find(|id| self.executor.load(id).is_ok())
    }
}

/// Reads where containers came from out of Compose's labels.
fn origin_of(containers: &[ContainerFacts]) -> Option<Adopted> {
    let labels = &containers.first()?.labels;
    let project_dir = PathBuf::from(labels.get(WORKING_DIR)?);
    let files = labels.get(labels::COMPOSE_FILES)?.split(',').map(PathBuf::from).collect();
    let named = labels.get(ENVIRONMENT_FILE).and_then(|files| files.split(',').next()).map(PathBuf::from);
    let usual = Some(project_dir.join(".env")).filter(|path| path.exists());
    Some(Adopted { env_file: named.or(usual), project_dir, files })
}

fn keep_files(origin: &Adopted, app: &Path) -> Result<Vec<String>, Stop> {
    let mut kept = Vec::new();
    for (number, file) in origin.files.iter().enumerate() {
        let content = fs::read(file).map_err(|_| gone(file))?;
        let base =
            file.file_name().map_or_else(|| "compose.yml".into(), |name| name.to_string_lossy().into_owned());
        let name = if kept.contains(&base) { format!("{number}-{base}") } else { base };
        let path = app.join(&name);
        atomic::write(&path, &content, 0o600)?;
        kept.push(name);
    }
    Ok(kept)
}

fn gone(path: &Path) -> FailureReport {
    let message = format!(
        "the files of what runs are gone ({}): it cannot be recorded as a release to return to; nothing was changed",
        path.display()
    );
    let hint = "say `--adopt=no-rollback` to take it over without a release to return to";
    FailureReport::new(ErrorKind::ValidationError, "project.adopt", message).hint(hint)
}
