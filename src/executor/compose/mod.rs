//! Applies releases with `docker compose`. Enter by [`ComposeExecutor`].
//!
//! Compose and Docker change things through their own CLIs; looking goes through the API (DESIGN section 6).

pub mod digest;
pub mod drift;
pub mod forecast;
pub(crate) mod images;
pub mod kept_images;
mod manifest;
pub mod mounts;
mod orders;
pub mod place;
pub mod project;
mod pull;
pub mod rehearse;
mod remedy;
mod scene;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use images::ImageWork;
pub use orders::build_orders;
pub use remedy::SERVICE_UNWELL;
pub use scene::{EnvFilePaths, Outline, Scene, ShownEnvFiles, of_current, outline};

use crate::event::{Emitter, EventKind, ServiceChange};
use crate::executor::registry::Refused;
use crate::executor::variables::{Resolved, VariablesError};
use crate::health::{Check, HealthError, ServiceFacts, plan_checks};
use crate::here;
use crate::host::atomic::WriteError;
use crate::host::change::{self, Change};
use crate::host::compose::{Call, Compose, ComposeError};
use crate::host::docker::{Docker, DockerError};
use crate::host::layout::Layout;
use crate::host::process::{Finished, ProcessError};
use crate::model::compose::ComposeModel;
use crate::model::{ContainerFacts, Environment, ErrorKind, FailureReport, HealthSpec, Release, ReleaseId};
use crate::text::{Redactor, harmless};

/// Why a release could not be prepared or applied.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// Compose refused.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The engine refused.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// A file of ours could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The variables cannot be read.
    #[error(transparent)]
    Variables(#[from] VariablesError),
    /// The checks cannot be asked.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// A required env file is nowhere.
    #[error("a service needs the env file {} and nobody has it", path.display())]
    NoEnvFile {
        /// Where it would be on the host.
        path: PathBuf,
    },
    /// A registry did not give an image.
    #[error("{0}")]
    Pull(Box<Refused>),
    /// An image is nowhere.
    #[error("image `{reference}` of `{service}` cannot be had: {said}")]
    NoImage {
        /// Service that needs it.
        service: String,
        /// What the compose file says.
        reference: String,
        /// What Docker said.
        said: String,
    },
    /// An image of a release that is kept was taken away, and cannot be had again.
    #[error(
        "image `{reference}` of `{service}` is no longer on the host (`{pin}`), and did not come back: {said}; nothing was changed"
    )]
    Lost {
        /// Service that needs it.
        service: String,
        /// What the compose file said.
        reference: String,
        /// Our tag of it.
        pin: String,
        /// Why it did not come back.
        said: String,
    },
    /// An image that must not be built here is not here.
    #[error(
        "image `{reference}` of `{service}` is not on the host, and nobody has built it (`build: never`)"
    )]
    NotBuilt {
        /// Service that needs it.
        service: String,
        /// What it is called.
        reference: String,
    },
    /// An image could not be built.
    #[error("could not build the image of `{service}`")]
    Build {
        /// Service that needs it.
        service: String,
        /// What Compose said.
        source: ProcessError,
    },
    /// A tool failed.
    #[error("could not {what}")]
    Tool {
        /// What was wanted.
        what: &'static str,
        /// What the tool said.
        source: ProcessError,
    },
    /// A release that is needed is not there, or not whole.
    #[error("release `{id}` is not whole: {} cannot be used", path.display())]
    NoRelease {
        /// Its id.
        id: ReleaseId,
        /// The file that is missing or damaged.
        path: PathBuf,
    },
}

impl ExecutorError {
    /// Returns the failure with its cause and its next step.
    pub fn report(&self) -> FailureReport {
        let of = |kind, code: &str, hint: &str| FailureReport::new(kind, code, self.sentence()).hint(hint);
        match self {
            Self::Compose(error) => error.report(),
            Self::Docker(error) => error.report(),
            Self::Variables(error) => error.report(),
            Self::Health(error) => error.report(),
            Self::Write(error) if error.is_full() => of(
                ErrorKind::DeploymentError,
                "host.disk",
                "free space on the host's disk, then deploy again",
            ),
            Self::Write(_) => of(
                ErrorKind::DeploymentError,
                "host.write",
                "make the directory writable for the user that deploys",
            ),
            Self::NoEnvFile { path } => of(
                ErrorKind::ConfigurationError,
                "env.file",
                &format!(
                    "create {} on the host from the project's example, or keep it beside the project",
                    path.display()
                ),
            ),
            Self::Pull(refused) => refused.report(),
            Self::NoImage { .. } => of(
                ErrorKind::DockerError,
                "image.missing",
                "check the image's name and tag, and that the host may pull it: `docker pull` there tells more",
            ),
            Self::Lost { .. } => of(
                ErrorKind::DockerError,
                "release.images",
                "deploy that version again, or roll back to another release with `--to`",
            ),
            Self::NotBuilt { .. } => of(
                ErrorKind::DockerError,
                "image.missing",
                "bring the image to the host (`docker load`, or `image:` with its registry), or set `build: host` for the app",
            ),
            Self::Build { .. } => {
                of(ErrorKind::DockerError, "image.build", "review the Dockerfile and its dependencies")
            }
            Self::Tool { .. } => of(ErrorKind::DockerError, "docker.tool", remedy::of(&self.sentence())),
            Self::NoRelease { path, .. } => {
                let root = path.ancestors().nth(3).unwrap_or(path);
                let hint = format!(
                    "put that file back from a copy; or give the release up, so that there is none to go back to: \
                     remove {} on the host, then deploy again",
                    root.join("current").display()
                );
                of(ErrorKind::DeploymentError, "release.damaged", &hint)
            }
        }
    }

    /// The error and its causes in one line; of a tool that failed its last words, not its arguments.
    fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let last_words = match error.downcast_ref::<ProcessError>() {
                Some(ProcessError::Failed { finished, .. }) => finished.last_words(),
                _ => error.to_string(),
            };
            let next = harmless(&last_words);
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        text
    }
}

/// Where one compose call finds its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Compose project.
    pub project: String,
    /// Directory from which the author's relative paths are meant.
    pub project_dir: PathBuf,
    /// Compose files, absolute.
    pub files: Vec<PathBuf>,
    /// Variables.
    pub env_file: PathBuf,
    /// Active profiles.
    pub profiles: Vec<String>,
}

impl Site {
    /// Returns the call as Compose's wrapper takes it.
    pub fn call(&self) -> Call<'_> {
        Call {
            project: &self.project,
            project_directory: &self.project_dir,
            files: &self.files,
            env_file: Some(&self.env_file),
            profiles: &self.profiles,
        }
    }

    /// Returns the checks of this site's model, under the rules of an environment.
    ///
    /// # Errors
    /// A check names a variable that has no value, or an address that is none.
    pub fn checks(
        &self,
        spec: &HealthSpec,
        model: &ComposeModel,
        one_shot: &[String],
        environment: &Environment,
        variables: &Resolved,
    ) -> Result<Vec<Check>, HealthError> {
        let services = ServiceFacts::of_model(model, one_shot);
        let (name, values) = (environment.name.as_str(), &variables.values);
        plan_checks(spec, &services, &self.project, name, environment.profile, values, &self.project_dir)
    }

    /// Returns where a release that is in place finds its files.
    pub fn of_release(layout: &Layout, release: &Release) -> Self {
        let home = layout.release(&release.id);
        let app = home.join("app");
        let mut files: Vec<PathBuf> = release.app.compose_files.iter().map(|file| app.join(file)).collect();
        files.push(home.join("override.yml"));
        let lies = release.adopted.as_ref().map(|origin| origin.project_dir.as_path()).or(layout.in_place());
        let project_dir = lies.map_or(app, Path::to_owned);
        Self {
            project: release.project.clone(),
            project_dir,
            files,
            env_file: home.join("env"),
            profiles: release.app.profiles.clone(),
        }
    }
}

/// Applies releases of one app and environment on this machine.
#[derive(Clone)]
pub struct ComposeExecutor {
    /// The Compose CLI.
    pub compose: Compose,
    /// The engine.
    pub docker: Docker,
    /// Where things lie.
    pub layout: Layout,
    /// Where things are told.
    pub emitter: Emitter,
    /// What must not be told.
    pub redactor: Redactor,
}

impl ComposeExecutor {
    /// Reads a release back from its directory.
    ///
    /// # Errors
    /// It is not there, or not whole.
    pub fn load(&self, id: &ReleaseId) -> Result<Release, ExecutorError> {
        load(&self.layout, id)
    }

    /// Reads the variables of a release back.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn variables(&self, release: &Release) -> Result<Resolved, ExecutorError> {
        Ok(Resolved::of_release(&self.layout.release(&release.id).join("env"), &release.secrets)?)
    }

    /// Reads the model of a site.
    ///
    /// # Errors
    /// Compose refuses it.
    pub async fn model(&self, site: &Site) -> Result<ComposeModel, ExecutorError> {
        Ok(self.compose.config(&site.call(), &self.redactor).await?)
    }

    /// Applies a release: starts what is missing, recreates what changed, removes what left.
    /// `force` names services that are recreated although nothing changed.
    ///
    /// # Errors
    /// Compose fails: some services may have changed.
    pub async fn up(&self, site: &Site, model: &ComposeModel, force: &[String]) -> Result<(), ExecutorError> {
        self.remove_inactive(site, model).await?;
        if !force.is_empty() {
            self.tool("recreate services", &Change::Up { site: site.call(), force }).await?;
        }
        self.tool("start the services", &Change::Up { site: site.call(), force: &[] }).await
    }

    /// Compose leaves containers of services alone that are in the file but not in the active profiles (tried).
    async fn remove_inactive(&self, site: &Site, model: &ComposeModel) -> Result<(), ExecutorError> {
        let found = self.docker.containers(&site.project).await?;
        let inactive = found.iter().filter(|c| !model.services.contains_key(&c.service));
        let ids: Vec<String> = inactive.map(|container| container.id.clone()).collect();
        self.remove(&ids).await
    }

    /// Stops and removes containers by id.
    ///
    /// # Errors
    /// Docker fails.
    pub async fn remove(&self, ids: &[String]) -> Result<(), ExecutorError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.stop(ids).await?;
        self.tool("remove containers", &Change::Remove(ids)).await
    }

    /// Stops containers by id; they stay for inspection.
    ///
    /// # Errors
    /// Docker fails.
    pub async fn stop(&self, ids: &[String]) -> Result<(), ExecutorError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.tool("stop containers", &Change::Stop(ids)).await
    }

    /// Starts containers by id, one after the other.
    ///
    /// # Errors
    /// Docker fails: some may have started.
    pub async fn start(&self, ids: &[String]) -> Result<(), ExecutorError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.tool("start containers", &Change::Start(ids)).await
    }

    /// Stops everything of the project, whatever its profile; volumes stay.
    ///
    /// # Errors
    /// Compose fails.
    pub async fn down(&self, site: &Site, more: &[&str]) -> Result<(), ExecutorError> {
        let everything = Site { profiles: vec!["*".to_owned()], ..site.clone() };
        self.tool("stop the services", &Change::Down { site: everything.call(), more }).await
    }

    /// Makes a change, and tells what the tool says meanwhile.
    async fn tool(&self, what: &'static str, change: &Change<'_>) -> Result<(), ExecutorError> {
        change::carry_out(change, &self.compose, &mut |line| self.say_line(change.name(), line))
            .await
            .map(drop)
            .map_err(|source| ExecutorError::Tool { what, source })
    }

    /// Makes a change whose tool says nothing worth telling.
    pub(in crate::executor) async fn quietly(&self, change: &Change<'_>) -> Result<Finished, ProcessError> {
        change::carry_out(change, &self.compose, &mut |_| {}).await
    }

    /// Tells a line of a tool or a hook, harmless and redacted.
    pub fn say_line(&self, source: &str, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let text = self.redactor.redact(&harmless(line)).into_owned();
        self.emitter.emit(here!(), EventKind::LogLine { source: source.to_owned(), text });
    }

    /// Returns the containers of the project.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn containers(&self, project: &str) -> Result<Vec<ContainerFacts>, ExecutorError> {
        Ok(self.docker.containers(project).await?)
    }
}

/// Reads a release back from its directory.
///
/// # Errors
/// It is not there, or not whole.
pub fn load(layout: &Layout, id: &ReleaseId) -> Result<Release, ExecutorError> {
    let path = layout.release(id).join("release.json");
    let whole = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    whole.ok_or_else(|| ExecutorError::NoRelease { id: id.clone(), path })
}

/// Says what happened to each service between two looks.
pub fn changes(before: &[ContainerFacts], after: &[ContainerFacts]) -> BTreeMap<String, ServiceChange> {
    let by_service = |containers: &[ContainerFacts]| {
        let mut map: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for container in containers {
            map.entry(container.service.clone())
                .or_default()
                .push((container.id.clone(), container.started_at.clone()));
        }
        map
    };
    let (old, new) = (by_service(before), by_service(after));
    let mut changes = BTreeMap::new();
    for service in old.keys().chain(new.keys()) {
        let change = match (old.get(service), new.get(service)) {
            (None, _) => ServiceChange::Created,
            (_, None) => ServiceChange::Removed,
            (Some(old), Some(new)) if old == new => ServiceChange::Unchanged,
            (Some(old), Some(new)) if new.iter().all(|(id, _)| old.iter().any(|(other, _)| other == id)) => {
                ServiceChange::Started
            }
            _ => ServiceChange::Recreated,
        };
        changes.insert(service.clone(), change);
    }
    changes
}
