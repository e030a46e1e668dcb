//! A subject for the tests of this room.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Subject;
use super::containers::Seen;
use crate::host::compose::ComposeError;
use crate::host::docker::{Docker, DockerError};
use crate::model::compose::ComposeModel;
use crate::model::{
    Adopt, App, AppKind, BackupSpec, BuildMode, Environment, HealthSpec, Placement, Profile, Requirements,
    SetupSpec,
};

/// Of an engine that is not there.
pub(super) const NO_ENGINE: DockerError = DockerError::NotRunning { host: String::new() };

/// App `shop` in environment `production`, in place, in a directory of its own.
pub(super) struct Bench {
    pub(super) directory: tempfile::TempDir,
    pub(super) app: App,
    pub(super) environment: Environment,
    pub(super) root: PathBuf,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) missing_env_files: Vec<String>,
    pub(super) model: Result<ComposeModel, ComposeError>,
    pub(super) adopt: Option<Adopt>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        std::fs::create_dir(&root).unwrap();
        let path = directory.path().to_path_buf();
        Self {
            app: app(),
            environment: Environment {
                name: "production".parse().unwrap(),
                profile: Profile::Production,
                placement: Placement::InPlace { path },
                backup: true,
                allow_network_root: false,
                recover_at_boot: false,
                on_lost: Default::default(),
                timeout: crate::model::TIMEOUT,
            },
            directory,
            root,
            variables: BTreeMap::new(),
            missing_env_files: Vec::new(),
            model: Ok(ComposeModel::default()),
            adopt: None,
        }
    }

    /// Sets the model from JSON; `@` stands for the project's directory.
    pub(super) fn model(&mut self, json: &str) {
        let path = self.directory.path().to_str().unwrap();
        self.model = Ok(ComposeModel::from_json(&json.replace('@', path)).unwrap());
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            app: &self.app,
            environment: &self.environment,
            project: "shop",
            root: &self.root,
            project_dir: self.directory.path(),
            shared: self.directory.path(),
            variables: &self.variables,
            missing_env_files: &self.missing_env_files,
            passes_over_env_files: false,
            compose: Err(&ComposeError::Garbage),
            model: self.model.as_ref(),
            deployed: false,
            adopt: self.adopt,
        }
    }
}

fn app() -> App {
    App {
        name: "shop".parse().unwrap(),
        kind: AppKind::DockerCompose,
        compose_files: vec!["docker-compose.yml".to_owned()],
        profiles: Vec::new(),
        project: None,
        required_files: Vec::new(),
        required_vars: Default::default(),
        required_services: Vec::new(),
        one_shot: Vec::new(),
        build: BuildMode::Host,
        shared: Vec::new(),
        setup: SetupSpec::default(),
        requirements: Requirements::default(),
        backup: BackupSpec::default(),
        health: HealthSpec::default(),
        automatic_rollback: true,
        keep_releases: 5,
        url: None,
        hooks: Vec::new(),
    }
}

/// A container with these labels, and no ports.
pub(super) fn container(name: &str, labels: &[(&str, &str)]) -> Seen {
    Seen {
        name: name.to_owned(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ports: Vec::new(),
        writes: Vec::new(),
    }
}

/// The real engine, or nothing, aloud.
pub(super) async fn docker() -> Option<Docker> {
    match Docker::connect().await {
        Ok(docker) => Some(docker),
        Err(error) => {
            let required = std::env::var("FFE_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.contains("docker"), "docker is required: {error}");
            eprintln!("SKIPPED: {error}");
            None
        }
    }
}
