//! What a verb looks at: the current release, or the project as it lies when nothing of ours runs yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::place::{self, ServiceEnvFile, ServiceEnvFiles};
use super::{ExecutorError, Site, project};
use crate::executor::variables::Resolved;
use crate::host::atomic::{self, WriteError};
use crate::host::compose::{Compose, ComposeError};
use crate::host::layout::Layout;
use crate::host::memory_file::MemoryFile;
use crate::model::compose::ComposeModel;
use crate::model::{Job, Release};

/// A site with everything that was read of it. Nothing of it lies on disk that did not before.
pub struct Scene {
    /// Where compose calls find their files.
    pub site: Site,
    /// What Compose makes of it, or why it refuses.
    pub model: Result<ComposeModel, ComposeError>,
    /// The variables.
    pub variables: Resolved,
    /// The current release, when there is one.
    pub current: Option<Release>,
    /// Env files that services need and nobody has.
    pub missing_env_files: Vec<String>,
    /// Whether the model was read without them, because Compose refuses to go on.
    pub passes_over_env_files: bool,
    _memory: Option<MemoryFile>,
}

/// Returns the scene of the current release.
///
/// # Errors
/// Its directory is not whole.
pub async fn of_current(
    compose: &Compose,
    layout: &Layout,
    release: Release,
) -> Result<Scene, ExecutorError> {
    let site = Site::of_release(layout, &release);
    let variables = Resolved::of_release(&layout.release(&release.id).join("env"), &release.secrets)?;
    let model = compose.config(&site.call(), &variables.redactor()).await;
    let (missing_env_files, _memory) = (Vec::new(), None);
    let (current, passes_over_env_files) = (Some(release), false);
    Ok(Scene { site, model, variables, current, missing_env_files, passes_over_env_files, _memory })
}

/// A project's files before Compose has read them; secrets are in memory only.
pub struct Outline {
    /// Where compose calls find their files.
    pub site: Site,
    /// The variables.
    pub variables: Resolved,
    env_files: ServiceEnvFiles,
    _memory: MemoryFile,
}

/// Returns the outline of a project's files in `project_dir`.
///
/// # Errors
/// Variables or env files cannot be read.
pub fn outline(layout: &Layout, job: &Job, project_dir: &Path) -> Result<Outline, ExecutorError> {
    let host_file = layout.host_env_file(&job.environment.name);
    let variables = Resolved::of(&job.variables, layout.in_place().is_none().then_some(host_file.as_path()))?;
    let env = remember(variables.env_file().as_bytes())?;
    let files: Vec<PathBuf> = job.app.compose_files.iter().map(|file| project_dir.join(file)).collect();
    let env_files = place::service_env_files(job, project_dir, layout, &variables)?;
    let site = Site {
        project: project::name(job, &variables),
        project_dir: project_dir.to_owned(),
        files,
        env_file: env.path(),
        profiles: job.app.profiles.clone(),
    };
    Ok(Outline { site, variables, env_files, _memory: env })
}

impl Outline {
    /// Lets Compose read the files.
    ///
    /// # Errors
    /// Env files cannot be shown to it.
    pub async fn read(self, compose: &Compose) -> Result<Scene, ExecutorError> {
        let model = self.model(compose).await?;
        Ok(self.with(model))
    }

    /// Returns what Compose makes of the files, or why it refuses.
    ///
    /// # Errors
    /// Env files cannot be shown to it.
    pub async fn model(
        &self,
        compose: &Compose,
    ) -> Result<Result<ComposeModel, ComposeError>, ExecutorError> {
        let links = self.show_env_files()?;
        let model = compose.config(&self.site.call(), &self.variables.redactor()).await;
        // Whoever makes a release of this directory puts files there that last.
        drop(links);
        Ok(model)
    }

    /// Returns what Compose makes of the files when services go without the env files that nobody has: so much else can be
    /// said of a project, and is to be said at once. Needs a Compose that knows `!override`, 2.24.
    ///
    /// # Errors
    /// Env files cannot be shown to it.
    pub async fn model_without_missing(
        &self,
        compose: &Compose,
    ) -> Result<Result<ComposeModel, ComposeError>, ExecutorError> {
        let (paths, kept) = self.kept_env_files()?;
        let services: BTreeMap<String, Value> =
            paths.into_iter().map(|(name, files)| (name, json!({ "env_file": files }))).collect();
        let (site, with) = self.site_with(&json!({ "services": services }))?;
        let model = compose.config(&site.call(), &self.variables.redactor()).await;
        // Until Compose has read them.
        drop((kept, with));
        Ok(model)
    }

    /// Shows Compose the env files that lie nowhere in the project, as long as the returned value lives.
    ///
    /// # Errors
    /// They cannot be shown.
    pub fn show_env_files(&self) -> Result<ShownEnvFiles, ExecutorError> {
        Ok(ShownEnvFiles { _links: link_env_files(&self.env_files.kept, &self.site.project_dir)? })
    }

    /// Returns the site with one more compose file, which is in memory only, as long as the returned file lives.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn site_with(&self, more: &Value) -> Result<(Site, MemoryFile), ExecutorError> {
        let file = remember(place::override_text(more).as_bytes())?;
        let mut site = self.site.clone();
        site.files.push(file.path());
        Ok((site, file))
    }

    /// Returns, in place, the env files of each service as its release would keep them, as long as the returned files
    /// live.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn kept_env_files(&self) -> Result<(EnvFilePaths, Vec<MemoryFile>), ExecutorError> {
        let kept = self.env_files.kept.iter().map(|file| remember(file.content.as_bytes()));
        let kept = kept.collect::<Result<Vec<_>, _>>()?;
        let path = |file: &Result<usize, String>| match file {
            Ok(number) => super::mounts::escaped(&kept[*number].path()),
            Err(written) => written.clone(),
        };
        let services = self.env_files.order.iter();
        let paths = services.map(|(name, files)| (name.clone(), files.iter().map(path).collect())).collect();
        Ok((paths, kept))
    }

    /// Returns the scene with a model that was read.
    pub fn with(self, model: Result<ComposeModel, ComposeError>) -> Scene {
        let Self { site, variables, env_files, _memory } = self;
        let missing_env_files = env_files.missing;
        let (current, _memory) = (None, Some(_memory));
        Scene { site, model, variables, current, missing_env_files, passes_over_env_files: false, _memory }
    }
}

/// Paths of env files by service, in its order.
pub type EnvFilePaths = BTreeMap<String, Vec<String>>;

/// Env files that are shown to Compose; gone with this value.
pub struct ShownEnvFiles {
    _links: Vec<MemoryLink>,
}

/// A symlink to bytes in memory; gone with this value.
struct MemoryLink {
    path: PathBuf,
    _content: MemoryFile,
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        // One that stays behind leads nowhere; whoever needs the path sees that it cannot be read.
        atomic::remove_file(&self.path).ok();
    }
}

/// Shows Compose the env files that lie nowhere in the project.
fn link_env_files(files: &[ServiceEnvFile], project_dir: &Path) -> Result<Vec<MemoryLink>, ExecutorError> {
    let mut links = Vec::new();
    for file in files {
        let link = project_dir.join(&file.path);
        if link.symlink_metadata().is_ok() {
            continue;
        }
        let content = remember(file.content.as_bytes())?;
        if let Some(parent) = link.parent() {
            atomic::make_directory(parent, 0o755)?;
        }
        atomic::symlink(&content.path(), &link).map_err(WriteError::at(&link))?;
        links.push(MemoryLink { path: link, _content: content });
    }
    Ok(links)
}

fn remember(content: &[u8]) -> Result<MemoryFile, ExecutorError> {
    MemoryFile::new(content).map_err(WriteError::at(Path::new("memory"))).map_err(ExecutorError::from)
}
