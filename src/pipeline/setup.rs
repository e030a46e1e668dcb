//! The verb `setup` (R001-08 to R001-11, R000-37): makes a host ready for a first deploy, and may be run again at any time.
//!
//! Nothing that is there is changed, but for env files that others may read. What a deploy makes by itself it would make,
//! too; env files, and images that are there before anybody waits for them, it would not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::run::{Ending, Run};
use super::stop::Stop;
use crate::event::EventKind;
use crate::executor::compose::place::make_shared;
use crate::here;
use crate::host::atomic;
use crate::host::docker_config::DockerConfig;
use crate::model::{EntryKind, Outcome, ReleaseId, Severity, Stage};
use crate::text::harmless;

/// Directories of a project in place (R000-37, R001-09); a root has its own.
const DIRECTORIES: [&str; 3] = ["data", "logs", "backups"];
/// How templates end.
const ENDINGS: [&str; 4] = [".example", ".template", ".sample", ".dist"];
/// What stands in a `config.local.yaml` without a template.
const LOCAL_CONFIG: &[u8] = b"# Overrides of config.yaml on this host; git does not track it.\n{}\n";

impl Run {
    /// Makes what is missing, and pulls images; what runs is not touched.
    pub async fn set_up_host(&self, staged: &Path, project: &str) -> Ending {
        let id = ReleaseId::from(&self.job.deployment_id);
        let done = self.try_set_up(staged, project).await;
        self.discard(&id);
        match done {
            Ok(()) => {
                self.emitter.enter(Stage::Complete);
                let release = self.current().ok().flatten();
                Ending {
                    release: release.clone(),
                    before: release,
                    changed: true,
                    ..Ending::of(Outcome::Succeeded)
                }
            }
            Err(stop) => self.aborted(&stop),
        }
    }

    async fn try_set_up(&self, staged: &Path, project: &str) -> Result<(), Stop> {
        let current = self.current_to_replace();
        let after = ReleaseId::from(&self.job.deployment_id);
        self.begin_journal(current.as_ref(), Some(&after), project).await?;
        self.make_directories()?;
        self.fill_templates(staged)?;
        self.close_env_files()?;
        let seen = |path: String| (self.layout.shared().join(&path).exists(), path);
        let wanted: Vec<(bool, String)> = self.wanted().into_iter().map(seen).collect();
        // From here on the project is read as a deploy would read it.
        let candidate = match self.stage(Stage::Setup, self.set_up(staged, project)).await {
            Ok(candidate) => candidate,
            Err(Stop::Cancelled) => return Err(Stop::Cancelled),
            Err(stop) => {
                let hint =
                    "mend it, then run `ffe-deploy setup` again; `ffe-deploy validate` lists everything";
                let notice =
                    format!("the project cannot be read yet, so nothing was pulled: {}", stop.reason());
                let code = "setup.project".to_owned();
                let (hint, severity) = (Some(hint.to_owned()), Severity::Warning);
                self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity });
                return Ok(());
            }
        };
        let logins = &self.job.registries;
        let make = || DockerConfig::make(&self.layout.docker_config(), logins);
        let login = if logins.is_empty() { None } else { Some(make()?) };
        let work = self.work(&candidate, current.as_ref(), login.as_ref());
        self.stage(Stage::Pulling, self.pull(&work)).await?;
        self.give_what_was_made(&candidate).await?;
        for (was_there, path) in &wanted {
            match self.layout.shared().join(path).exists() {
                true => self.say(path, !was_there),
                false => {
                    self.tell_line(&format!("left to the deploy that builds its image: {}", harmless(path)))
                }
            }
        }
        Ok(())
    }

    /// What `setup:` of the app names.
    fn wanted(&self) -> Vec<String> {
        let setup = &self.job.app.setup;
        let directories = setup.directories.iter().map(|directory| directory.path.clone());
        directories.chain(setup.databases.iter().cloned()).collect()
    }

    fn make_directories(&self) -> Result<(), Stop> {
        self.say(&self.layout.root().to_string_lossy(), false);
        let Some(project) = self.layout.in_place() else { return Ok(()) };
        for name in DIRECTORIES {
            let path = project.join(name);
            let is_there = path.exists();
            if !is_there {
                atomic::make_directory(&path, 0o755)?;
            }
            self.say(name, !is_there);
        }
        Ok(())
    }

    /// Copies templates to where nothing is (R001-10).
    fn fill_templates(&self, staged: &Path) -> Result<(), Stop> {
        let shared = self.layout.shared();
        let name = format!(".env.{}", self.job.environment.name);
        let template = [name.as_str(), ".env"].iter().find_map(|of| self.template(of));
        if let Some(template) = template {
            self.fill(&staged.join(template), &shared, &name)?;
        }
        // On a root such a file is content of the release, or lies where the compose file mounts it from.
        let Some(project) = self.layout.in_place() else { return Ok(()) };
        for directory in ["", "config/"] {
            let (base, local) = (format!("{directory}config.yaml"), format!("{directory}config.local.yaml"));
            if !project.join(base).is_file() {
                continue;
            }
            match self.template(&local) {
                Some(template) => self.fill(&project.join(template), project, &local)?,
                None if project.join(&local).exists() => self.say(&local, false),
                None => {
                    atomic::write(&project.join(&local), LOCAL_CONFIG, 0o600)?;
                    self.say(&local, true);
                }
            }
        }
        Ok(())
    }

    /// A template of a file in the bundle.
    fn template(&self, of: &str) -> Option<String> {
        let names = ENDINGS.iter().map(|ending| format!("{of}{ending}"));
        let is_file = |name: &String| {
            matches!(self.job.bundle.entries.get(name).map(|entry| &entry.kind), Some(EntryKind::File(_)))
        };
        names.into_iter().find(is_file)
    }

    fn fill(&self, template: &Path, directory: &Path, name: &str) -> Result<(), Stop> {
        let path = directory.join(name);
        if path.symlink_metadata().is_ok() {
            self.say(name, false);
            return Ok(());
        }
        if let Some(parent) =
            Path::new(name).parent().and_then(Path::to_str).filter(|parent| !parent.is_empty())
        {
            make_shared(directory, parent, 0o755)?;
        }
        let content = fs::read(template).map_err(atomic::WriteError::at(template))?;
        atomic::write(&path, &content, 0o600)?;
        self.say(name, true);
        let notice = format!("{} was made of its template: fill in what is a secret", path.display());
        let (code, severity) = ("setup.template".to_owned(), Severity::Warning);
        let hint = Some("edit it on the host; a deploy uses it as it is then".to_owned());
        self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity });
        Ok(())
    }

    /// Env files are for nobody else (R001-11, R001-54).
    fn close_env_files(&self) -> Result<(), Stop> {
        let shared = self.layout.shared();
        let tracked = |name: &str| {
            self.layout.in_place().is_some()
                && self.job.bundle.entries.get(name).is_some_and(|entry| entry.tracked)
        };
        for name in [".env".to_owned(), format!(".env.{}", self.job.environment.name)] {
            let path: PathBuf = shared.join(&name);
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_file() && meta.permissions().mode() & 0o077 != 0 && !tracked(&name) {
                let content = fs::read(&path).map_err(atomic::WriteError::at(&path))?;
                atomic::write(&path, &content, 0o600)?;
                self.tell_line(&format!("closed {name}: only its owner may read it now"));
            }
        }
        Ok(())
    }

    fn say(&self, path: &str, is_made: bool) {
        let word = if is_made { "made" } else { "there already:" };
        self.tell_line(&format!("{word} {}", harmless(path)));
    }

    fn tell_line(&self, text: &str) {
        let (source, text) = ("setup".to_owned(), text.to_owned());
        self.emitter.emit(here!(), EventKind::LogLine { source, text });
    }
}
