//! Builds images on the runner in the host's place (`build: runner`), pushes them, and says under which digest: what was
//! built is then exactly what the host runs, even when somebody moves the tag meanwhile.
//!
//! Enter by [`Workshop::build`]. What is built comes from the host, which alone reads the compose model; whether that may be
//! done is judged here ([`judge`]), and how is planned here ([`plan`]). Nothing of the host is touched.

mod judge;
mod plan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::event::{Emitter, EventKind, ImageHow};
use crate::executor::registry::{Fault, Refused, WAITS, Wanted};
use crate::here;
use crate::host::atomic::WriteError;
use crate::host::docker_config::DockerConfig;
use crate::host::process::{self, Command, ProcessError};
use crate::model::{
    BuildOrder, BuildOrders, ErrorKind, FailureReport, Outcome, RegistryLogin, Severity, reference,
};
use crate::text::{Redactor, harmless};

pub use plan::platform_of;
use plan::{Builder, Files};

/// Longest build of one image; a push that is part of it included.
const BUILD_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// Longest push of one image.
const PUSH_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Where images are built.
pub struct Workshop<'a> {
    /// The app's directory.
    pub app_dir: &'a Path,
    /// Compose files, from the app's directory.
    pub compose_files: &'a [String],
    /// Values of the app's variables: with the compose files all that may name a registry.
    pub values: Vec<&'a str>,
    /// Who may push.
    pub logins: &'a [RegistryLogin],
    /// `os/architecture` of the host, when it has said so.
    pub platform: Option<String>,
    /// Whether to build without cache.
    pub no_cache: bool,
    /// Where things are told.
    pub emitter: &'a Emitter,
    /// What must not be told.
    pub secrets: Vec<&'a str>,
    /// The same, for texts.
    pub redactor: Redactor,
}

/// Why the runner has not built everything. Nothing was touched on the host.
#[derive(Debug, thiserror::Error)]
pub enum WorkshopError {
    /// There is no `docker` here.
    #[error("`build: runner` needs Docker on the runner, and there is no `docker` on its PATH")]
    NoDocker,
    /// The host asks for something that is not the project's.
    #[error("the host asks the runner to build image `{image}` from {what}")]
    Foreign {
        /// Where it would be pushed.
        image: String,
        /// What is not the project's.
        what: String,
    },
    /// A secret would be seen by everybody on the runner.
    #[error("building image `{image}` would put a secret on a command line")]
    Exposed {
        /// Which image.
        image: String,
    },
    /// It does not build.
    #[error("could not build image `{image}` of `{service}` on the runner: {said}")]
    Build {
        /// First service that needs it.
        service: String,
        /// Which image.
        image: String,
        /// What the builder said last.
        said: String,
    },
    /// The registry does not take it.
    #[error("{0}")]
    Push(Box<Refused>),
    /// Nobody said what was pushed.
    #[error("image `{image}` was pushed, but Docker did not say under which digest")]
    NoDigest {
        /// Which image.
        image: String,
    },
    /// The runner's own disk.
    #[error("could not make a directory for the build on the runner: {0}")]
    Room(String),
}

impl WorkshopError {
    /// Returns how the deployment ends.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoDocker | Self::Foreign { .. } | Self::Exposed { .. } => Outcome::Refused,
            Self::Build { .. } | Self::Push(_) | Self::NoDigest { .. } | Self::Room(_) => Outcome::Aborted,
        }
    }

    /// Returns the failure with its next step.
    pub fn report(&self) -> FailureReport {
        let of = |kind, code: &str, hint: &str| {
            FailureReport::new(kind, code, format!("{self}; nothing was touched on the host")).hint(hint)
        };
        match self {
            Self::NoDocker => of(
                ErrorKind::DockerError,
                "docker.installed",
                "run the job where Docker is, or build on the host with `build: host`",
            ),
            Self::Foreign { .. } => of(
                ErrorKind::ValidationError,
                "build.foreign",
                "build only from files below the app's `path`, and name the registry in the compose file or in `registries`",
            ),
            Self::Exposed { .. } => of(
                ErrorKind::ValidationError,
                "build.exposed",
                "pass it as a build secret (`build.secrets` with `environment:`), or under another name of argument",
            ),
            Self::Build { .. } => of(
                ErrorKind::DockerError,
                "image.build",
                "review the Dockerfile and its dependencies; the lines above tell more",
            ),
            Self::Push(refused) => {
                let mut failure = refused.report();
                failure.message = format!("{}; nothing was touched on the host", failure.message);
                failure
            }
            Self::NoDigest { .. } => {
                of(ErrorKind::DockerError, "image.push", "update Docker on the runner, then deploy again")
            }
            Self::Room(_) => of(
                ErrorKind::DeploymentError,
                "runner.disk",
                "free space on the runner, or point TMPDIR elsewhere",
            ),
        }
    }
}

impl From<WriteError> for WorkshopError {
    fn from(error: WriteError) -> Self {
        Self::Room(format!("{error}: {}", error.source))
    }
}

/// What lies on the runner's disk meanwhile: no secret ([`DockerConfig`]).
struct Room {
    login: Option<DockerConfig>,
    home: TempDir,
}

impl Workshop<'_> {
    /// Builds and pushes all of it, and returns `repository@sha256:…` by service.
    ///
    /// # Errors
    /// One of the images cannot be built or pushed, or is not the project's.
    pub async fn build(&self, orders: &BuildOrders) -> Result<BTreeMap<String, String>, WorkshopError> {
        if orders.images.is_empty() {
            return Ok(BTreeMap::new());
        }
        if !process::is_installed("docker") {
            return Err(WorkshopError::NoDocker);
        }
        for order in &orders.images {
            judge::judge(self, order)?;
            if plan::exposes(self, order) {
                return Err(WorkshopError::Exposed { image: order.image.clone() });
            }
        }
        let room = self.room()?;
        let builder = Builder::find(|command| room.used_by(command)).await;
        let mut built = BTreeMap::new();
        for order in &orders.images {
            let pushed = self.build_one(order, builder, &room).await?;
            built.extend(order.services.iter().map(|service| (service.clone(), pushed.clone())));
        }
        Ok(built)
    }

    fn room(&self) -> Result<Room, WorkshopError> {
        let base = std::env::var_os("RUNNER_TEMP").map(PathBuf::from).filter(|dir| dir.is_dir());
        let base = base.unwrap_or_else(std::env::temp_dir);
        let home = tempfile::Builder::new().prefix("ffe-deploy-build-").tempdir_in(&base);
        let home = home.map_err(|error| WorkshopError::Room(format!("{}: {error}", base.display())))?;
        let login = match self.logins {
            [] => None,
            logins => Some(DockerConfig::make(&home.path().join("docker"), logins)?),
        };
        Ok(Room { login, home })
    }

    async fn build_one(
        &self,
        order: &BuildOrder,
        builder: Builder,
        room: &Room,
    ) -> Result<String, WorkshopError> {
        let files = Files::in_room(room.home.path());
        files.forget();
        let command = plan::plan_build(self, order, builder, &files)?;
        let command = room.used_by(command).deadline(BUILD_DEADLINE);
        let source = format!("build {}", order.services.join(" "));
        let ended = process::run(&command, |_, line| self.say_line(&source, line)).await;
        ended.map_err(|error| self.not_built(order, builder, &error))?;
        let digest = match builder {
            Builder::BuildxPushes => files.pushed_digest(),
            Builder::Buildx | Builder::Plain => self.push(order, room).await?,
        };
        let digest = digest.ok_or_else(|| WorkshopError::NoDigest { image: order.image.clone() })?;
        self.say_built(order, &files, &digest).await;
        Ok(reference::by_digest(&order.image, &digest))
    }

    fn not_built(&self, order: &BuildOrder, builder: Builder, error: &ProcessError) -> WorkshopError {
        let service = order.services.first().cloned().unwrap_or_default();
        if builder == Builder::BuildxPushes && plan::failed_to_push(error) {
            return self.not_pushed(&service, order, error);
        }
        let said = match error {
            ProcessError::Failed { finished, .. } => finished.last_words(),
            other => other.to_string(),
        };
        let said = self.redactor.redact(&harmless(&said)).into_owned();
        WorkshopError::Build { service, image: order.image.clone(), said }
    }

    fn not_pushed(&self, service: &str, order: &BuildOrder, error: &ProcessError) -> WorkshopError {
        WorkshopError::Push(Box::new(Refused::of(Wanted::Push, service, &order.image, error, self.logins)))
    }

    /// Pushes what lies in the runner's engine; returns the digest that the registry knows it by.
    async fn push(&self, order: &BuildOrder, room: &Room) -> Result<Option<String>, WorkshopError> {
        let command = Command::new("docker").args(["push", order.image.as_str()]).deadline(PUSH_DEADLINE);
        let command = room.used_by(plan::surrounded(command));
        let service = order.services.first().cloned().unwrap_or_default();
        let mut waits = WAITS.into_iter();
        loop {
            let ended = process::run(&command, |_, line| {
                if !plan::is_of_a_layer(line) {
                    self.say_line("docker push", line);
                }
            });
            let error = match ended.await {
                Ok(finished) => return Ok(plan::digest_in(&finished.stdout)),
                Err(error) => error,
            };
            let refused = self.not_pushed(&service, order, &error);
            let Some(wait) = waits.next().filter(|_| Fault::of(&error).is_transient()) else {
                return Err(refused);
            };
            let notice = format!("{refused}; trying again in {} s", wait.as_secs());
            let (code, severity) = ("image.retry".to_owned(), Severity::Warning);
            self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint: None, severity });
            tokio::time::sleep(wait).await;
        }
    }

    async fn say_built(&self, order: &BuildOrder, files: &Files, digest: &str) {
        let command = Command::new("docker").args(["image", "inspect", "--format", "{{.Size}}"]);
        let size = process::output(&command.arg(order.image.as_str())).await;
        // An image that only the builder and the registry have has no size here.
        let size_bytes = size.ok().and_then(|size| size.trim().parse().ok()).unwrap_or_default();
        for service in &order.services {
            let ready = EventKind::ImageReady {
                service: service.clone(),
                image: order.image.clone(),
                image_id: files.image_id().unwrap_or_default(),
                size_bytes,
                digest: Some(digest.to_owned()),
                how: ImageHow::Built,
            };
            self.emitter.emit(here!(), ready);
        }
    }

    fn say_line(&self, source: &str, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let text = self.redactor.redact(&harmless(line)).into_owned();
        self.emitter.emit(here!(), EventKind::LogLine { source: source.to_owned(), text });
    }
}

impl Room {
    fn used_by(&self, command: Command) -> Command {
        match &self.login {
            Some(login) => login.used_by(command),
            None => command,
        }
    }
}
