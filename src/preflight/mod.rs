//! Checks before anything is touched: Docker, configuration, host, compose rules, and whose project it is.
//!
//! Enter by [`run`] with a [`Subject`]: every check of every group is made, also when others fail, and each answers
//! with [`Finding`]s whose rule ids are stable. Changes nothing. Does not know stages, releases or the wire.

mod binds;
mod boot;
mod compose;
mod config;
mod containers;
mod docker;
mod exposed;
mod external;
mod hooks;
mod host;
mod image;
mod machine;
mod pasted;
mod places;
mod ports;
mod project;
mod secrets;
mod services;
mod shared_data;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::compose::{Compose, ComposeError};
use crate::host::docker::{Docker, DockerError};
use crate::model::compose::ComposeModel;
use crate::model::{Adopt, App, Environment, Finding, Placement, Profile, Severity};

use containers::Containers;
use image::Images;

pub use compose::too_old;
pub use hooks::{Wanted, programs, wanted};
pub use places::located;

/// What is to be deployed, and where: everything that the checks look at.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The app.
    pub app: &'a App,
    /// The environment.
    pub environment: &'a Environment,
    /// Compose project name that will be used.
    pub project: &'a str,
    /// Value of label `ffe-deploy.root`: the root, or the directory of the state in place. Need not exist.
    pub root: &'a Path,
    /// Where the app's relative paths lie: the bundle on a root, the app's directory in place.
    pub project_dir: &'a Path,
    /// `shared/` on a root, the app's directory in place. Need not exist.
    pub shared: &'a Path,
    /// Variables of the release, every layer merged.
    pub variables: &'a BTreeMap<String, String>,
    /// Paths of `env_file` entries that no layer has (C06), as the compose file names them.
    pub missing_env_files: &'a [String],
    /// Whether Compose refuses to go on without them; the model is what it makes of the rest.
    pub passes_over_env_files: bool,
    /// The Compose CLI, or why there is none.
    pub compose: Result<&'a Compose, &'a ComposeError>,
    /// The model with its sources resolved (on a root: to `files/` and `shared/`), or why there is none.
    pub model: Result<&'a ComposeModel, &'a ComposeError>,
    /// Whether a release of ours runs here under this project name: containers that are not ours were made in its place.
    pub deployed: bool,
    /// Whether running containers are to be taken over.
    pub adopt: Option<Adopt>,
}

impl<'a> Subject<'a> {
    fn known_model(&self) -> Option<&'a ComposeModel> {
        self.model.ok()
    }

    /// Returns the finding that the rules of staging and production refuse, and that the others only mention (C06, C20).
    fn strict(&self, rule: &str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        match self.environment.profile {
            Profile::Staging | Profile::Production => Finding::error(rule, message, hint),
            Profile::Dev | Profile::Testing => Finding::warning(rule, message, hint),
        }
    }

    fn is_in_place(&self) -> bool {
        matches!(self.environment.placement, Placement::InPlace { .. })
    }
}

/// Makes every check and returns what each found, passed ones too; groups in the documents' order (R000-36):
/// Docker, configuration files, the host, then the model's rules and whose project it is.
pub async fn run(subject: &Subject<'_>, engine: Result<&Docker, &DockerError>) -> Vec<Finding> {
    let (version, containers, externals, boot, images) = tokio::join!(
        docker::engine(engine),
        Containers::of(engine),
        external::check(subject, engine),
        boot::check(subject),
        Images::of(subject, engine)
    );
    let mut findings = docker::installed();
    findings.extend(version);
    findings.extend(compose::installed(subject));
    findings.extend(config::check(subject));
    findings.extend(host::check(subject));
    findings.extend(machine::check(subject, &images));
    findings.push(boot);
    findings.extend(ports::check(subject, containers.as_ref().ok()));
    findings.extend(compose::model(subject));
    findings.extend(externals);
    findings.extend(binds::check(subject));
    findings.extend(exposed::check(subject));
    findings.extend(shared_data::check(subject, containers.as_ref().ok()));
    findings.extend(compose::services(subject));
    findings.extend(services::check(subject, containers.as_ref().ok()));
    findings.extend(compose::healthchecks(subject, &images));
    findings.extend(hooks::check(subject));
    findings.extend(images.check(subject));
    findings.extend(secrets::check(subject));
    findings.extend(project::check(subject, containers));
    findings
}

/// Returns the finding `host.root` of a root that is there and belongs to another user.
pub fn of_another_user(root: &Path) -> Option<Finding> {
    host::of_another_user(root)
}

/// Returns whether any finding stops the deployment.
pub fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// Returns the missing sources of binds that are directories of the app's own, for `setup` to make with the user's
/// ownership; Docker would make them root's.
pub fn directories_to_make(subject: &Subject<'_>) -> Vec<PathBuf> {
    binds::directories_to_make(subject)
}

/// Names in backticks, separated by commas.
fn listed<I: AsRef<str>>(names: impl IntoIterator<Item = I>) -> String {
    names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::testing::{Bench, docker};
    use super::*;

    #[tokio::test]
    async fn every_group_answers_although_others_fail() {
        let mut bench = Bench::new();
        bench.app.required_vars = ["MISSING".to_owned()].into();
        bench.app.requirements.disk_gb = Some(1e9);
        bench.model = Err(ComposeError::FileMissing { file: "docker-compose.yml".to_owned() });
        let host = "unix:///nonexistent.sock".to_owned();
        let found = run(&bench.subject(), Err(&DockerError::NotRunning { host })).await;
        let errors: Vec<_> =
            found.iter().filter(|f| f.severity == Severity::Error).map(|f| f.rule.as_str()).collect();
        assert_eq!(
            errors,
            ["docker.running", "compose.installed", "env.required", "host.disk", "compose.file"]
        );
        assert!(refuses(&found));
    }

    #[tokio::test]
    async fn an_app_with_nothing_wrong_passes_on_the_real_engine() {
        let Some(docker) = docker().await else { return };
        let mut bench = Bench::new();
        bench.model(
            r#"{"services": {"ffe-ut-web": {"image": "x:1", "restart": "always", "mem_limit": "1",
                "healthcheck": {"test": ["CMD", "true"]}}}}"#,
        );
        bench.app.requirements = crate::model::Requirements { disk_gb: Some(0.001), memory_gb: Some(0.001) };
        let compose = Compose::detect().await.unwrap();
        let mut subject = bench.subject();
        subject.compose = Ok(&compose);
        subject.project = "ffe-ut-preflight-nobody";
        let found = run(&subject, Ok(&docker)).await;
        let bad: Vec<_> = found.iter().filter(|f| f.severity != Severity::Passed).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}
