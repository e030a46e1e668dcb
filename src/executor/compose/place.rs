//! Puts a release's files in place on the host: bundle, env files, blobs, override, `release.json`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::mounts::{self, Mounts};
use super::{ComposeExecutor, ExecutorError, Site};
use crate::event::EventKind;
use crate::executor::blobs::Blob;
use crate::executor::variables::Resolved;
use crate::here;
use crate::host::atomic::{self, WriteError};
use crate::host::compose::ComposeError;
use crate::host::layout::Layout;
use crate::host::seam;
use crate::model::compose::ComposeModel;
use crate::model::{BundleEntry, Job, PinnedImage, Release, ReleaseId, Severity, labels};

/// A service's `env_file` that the release keeps, and what it holds.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceEnvFile {
    /// Path in the project.
    pub path: String,
    /// Its content: secrets.
    pub content: String,
}

/// Env files that services name.
#[derive(Clone, Default)]
pub struct ServiceEnvFiles {
    /// Those that the release keeps.
    pub kept: Vec<ServiceEnvFile>,
    /// By service, in its order, which decides which one wins: a number of `kept`, or what the author wrote.
    pub order: BTreeMap<String, Vec<Result<usize, String>>>,
    /// Those that are required and have no content anywhere.
    pub missing: Vec<String>,
}

/// Finds the content of every env file that services name and git does not track (DESIGN section 6): the runner's
/// file, else the host's in `shared/`, else, for `.env` and `.env.<environment>`, the release's variables. In place
/// tracked ones are kept, too: the project has others when a rollback needs them.
///
/// # Errors
/// A compose file is no YAML.
pub fn service_env_files(
    job: &Job,
    project: &Path,
    layout: &Layout,
    variables: &Resolved,
) -> Result<ServiceEnvFiles, ExecutorError> {
    let mut found = ServiceEnvFiles::default();
    for file in &job.compose_files {
        if let Some(place) = file.broken_at {
            return Err(ComposeError::not_yaml(&file.path, place).into());
        }
        for reference in &file.env_files {
            let path = reference.path.trim_start_matches("./").to_owned();
            let tracked = is_tracked(job, &path);
            let order = found.order.entry(reference.service.clone()).or_default();
            if path.starts_with('/') || path.contains('$') || (tracked && layout.in_place().is_none()) {
                order.push(Err(reference.path.clone()));
                continue;
            }
            let known = found.kept.iter().position(|kept| kept.path == path);
            let content = || match tracked {
                true => fs::read_to_string(project.join(&path)).ok(),
                false => content_of(job, &path, layout, variables),
            };
            match known.map(Ok).or_else(|| content().map(Err)) {
                Some(Ok(number)) => order.push(Ok(number)),
                Some(Err(content)) => {
                    order.push(Ok(found.kept.len()));
                    found.kept.push(ServiceEnvFile { path, content });
                }
                None if reference.required && !found.missing.contains(&path) => found.missing.push(path),
                None => {}
            }
        }
    }
    Ok(found)
}

fn is_tracked(job: &Job, path: &str) -> bool {
    job.bundle.entries.get(path).is_some_and(|entry| entry.tracked)
}

fn content_of(job: &Job, path: &str, layout: &Layout, variables: &Resolved) -> Option<String> {
    let environment = format!(".env.{}", job.environment.name);
    job.variables
        .env_files
        .get(path)
        .cloned()
        .or_else(|| fs::read_to_string(layout.shared().join(path)).ok())
        .or_else(|| {
            // In place nothing of the project is written, so nothing can be rendered into it.
            let rendered = layout.in_place().is_none() && (path == ".env" || path == environment);
            rendered.then(|| variables.service_env_file())
        })
}

/// Puts service env files where Compose looks for them. On a root they lie outside `app/`, and a symlink leads there,
/// so that a service that mounts `./` cannot serve them. In place nothing of the project is written over.
///
/// # Errors
/// They cannot be written.
pub fn write_env_files(files: &[ServiceEnvFile], project: &Path, private: &Path) -> Result<(), WriteError> {
    if files.is_empty() {
        return Ok(());
    }
    atomic::make_directory(private, 0o700)?;
    for (number, file) in files.iter().enumerate() {
        let kept = private.join(number.to_string());
        atomic::write(&kept, file.content.as_bytes(), 0o600)?;
        let link = project.join(&file.path);
        if link.symlink_metadata().is_err() {
            if let Some(parent) = link.parent() {
                atomic::make_directory(parent, 0o755)?;
            }
            atomic::symlink(&kept, &link).map_err(WriteError::at(&link))?;
        }
    }
    Ok(())
}

/// What the override says beyond the author's files.
pub struct Override<'a> {
    /// The model it goes on.
    pub model: &'a ComposeModel,
    /// The directory against which the author's paths were resolved.
    pub project: &'a Path,
    /// Mounts that move.
    pub mounts: &'a Mounts,
    /// Images, pinned.
    pub images: &'a BTreeMap<String, PinnedImage>,
    /// In place: digests of mounted sources by service.
    pub in_place: &'a BTreeMap<String, String>,
    /// In place: env files of the release, by service, as Compose reads them; they outrank the project's.
    pub env_files: &'a BTreeMap<String, Vec<String>>,
    /// The layout.
    pub layout: &'a Layout,
    /// The job.
    pub job: &'a Job,
}

impl Override<'_> {
    /// Returns the override file: JSON, which is YAML.
    pub fn render(&self) -> Value {
        let moved = self.mounts.moved(self.model, self.project, self.layout);
        let services: Map<String, Value> = self
            .model
            .services
            .keys()
            .map(|name| (name.clone(), self.service(name, moved.get(name).cloned().unwrap_or_default())))
            .collect();
        let mut file = Map::from_iter([("services".to_owned(), Value::Object(services))]);
        for (key, definitions) in [("configs", &self.model.configs), ("secrets", &self.model.secrets)] {
            let moved: Map<String, Value> = definitions
                .iter()
                .filter_map(|(name, definition)| {
                    let source = mounts::relative(definition.file.as_deref()?, self.project)?;
                    let target = self.mounts.target(&source, self.layout)?;
                    Some((name.clone(), json!({ "file": mounts::escaped(&target) })))
                })
                .collect();
            if !moved.is_empty() {
                file.insert(key.to_owned(), Value::Object(moved));
            }
        }
        Value::Object(file)
    }

    fn service(&self, name: &str, volumes: Vec<Value>) -> Value {
        let root = mounts::escaped(self.layout.root());
        let mut labelled = Map::from_iter([
            (labels::APP.to_owned(), json!(self.job.app.name)),
            (labels::ENVIRONMENT.to_owned(), json!(self.job.environment.name)),
            (labels::ROOT.to_owned(), json!(root)),
        ]);
        if let Some(digest) = self.in_place.get(name) {
            labelled.insert(labels::FILES.to_owned(), json!(digest));
        }
        let mut service = Map::from_iter([("labels".to_owned(), Value::Object(labelled))]);
        if let Some(image) = self.images.get(name) {
            service.insert("image".to_owned(), json!(image.pin));
            service.insert("pull_policy".to_owned(), json!("never"));
        }
        if !volumes.is_empty() {
            service.insert("volumes".to_owned(), Value::Array(volumes));
        }
        if let Some(files) = self.env_files.get(name) {
            service.insert("env_file".to_owned(), json!(files));
        }
        Value::Object(service)
    }
}

impl ComposeExecutor {
    /// Makes a release's directory, with the bundle in it. What an aborted attempt of the same id left is replaced.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn place_bundle(&self, id: &ReleaseId, staged: &Path) -> Result<PathBuf, ExecutorError> {
        let home = self.layout.release(id);
        let write = |source| ExecutorError::Write(WriteError { path: home.clone(), source });
        if home.exists() {
            atomic::remove_tree(&home).map_err(write)?;
        }
        atomic::make_directory(&home, 0o700)?;
        let app = home.join("app");
        match self.layout.in_place() {
            Some(_) => atomic::make_directory(&app, 0o755)?,
            None => move_tree(staged, &app).map_err(write)?,
        }
        Ok(home)
    }

    /// Keeps copies of the compose files of a project in place, for a rollback.
    ///
    /// # Errors
    /// They cannot be read or written.
    pub fn keep_compose_files(
        &self,
        site: &Site,
        files: &[String],
        home: &Path,
    ) -> Result<(), ExecutorError> {
        for file in files {
            let kept = home.join("app").join(file);
            if let Some(parent) = kept.parent() {
                atomic::make_directory(parent, 0o755)?;
            }
            let content = fs::read(site.project_dir.join(file)).map_err(WriteError::at(&kept))?;
            atomic::write(&kept, &content, 0o644)?;
        }
        Ok(())
    }

    /// Puts the release's mounted files in `files/`, and makes what is missing in `shared/`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn place_mounts(
        &self,
        mounts: &Mounts,
        model: &ComposeModel,
        app: &Path,
        users: &BTreeMap<String, String>,
        current: Option<&Release>,
    ) -> Result<(), ExecutorError> {
        for blob in mounts.blobs() {
            blob.put(app, &self.layout.files())?;
        }
        for (path, shared) in &mounts.shared {
            let target = self.layout.shared().join(path);
            if target.symlink_metadata().is_ok() {
                continue;
            }
            if shared.seed {
                // What was content of the release until now goes on as the containers have it.
                let before = current.and_then(|release| release.blobs.get(path));
                let before = before.map(|digest| Blob::place(&self.layout.files(), path, digest));
                let before = before.filter(|lies| lies.exists());
                self.seed(&before.unwrap_or_else(|| app.join(path)), &target, path)?;
            } else if !shared.is_file {
                make_shared(&self.layout.shared(), path, 0o755)?;
            }
            let owner = shared.services.iter().find_map(|service| owner_of(service, model, users));
            self.give(&target, owner);
        }
        Ok(())
    }

    /// Makes the mounted files of a release whole again that are gone, or that a container wrote to. What the current
    /// release mounts, too, stays as it is: its containers hold it.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put_blobs_back(&self, release: &Release) -> Result<(), ExecutorError> {
        let current = self.layout.current_release().filter(|id| *id != release.id);
        let current = current.and_then(|id| self.load(&id).ok());
        let (app, files) = (self.layout.release(&release.id).join("app"), self.layout.files());
        for (source, digest) in &release.blobs {
            let held = current.iter().any(|current| current.blobs.values().any(|other| other == digest));
            let whole = Blob::written(&files, source, digest, &release.files).is_empty();
            let there = Blob::place(&files, source, digest).exists();
            if held || (there && (whole || current.is_none())) {
                continue;
            }
            let home = files.join(digest);
            if home.exists() {
                atomic::remove_tree(&home).map_err(WriteError::at(&home))?;
            }
            Blob::of_release(source, &app)?.put(&app, &files)?;
        }
        Ok(())
    }

    /// Gives directories that we made to the user of the image that mounts them.
    pub fn give_made(
        &self,
        made: &[String],
        model: &ComposeModel,
        project: &Path,
        users: &BTreeMap<String, String>,
    ) {
        for path in made {
            let service = mounts::service_of(path, model, project);
            let owner = service.and_then(|service| owner_of(service, model, users));
            self.give(&self.layout.shared().join(path), owner);
        }
    }

    fn seed(&self, from: &Path, target: &Path, path: &str) -> Result<(), ExecutorError> {
        if let Some(parent) =
            Path::new(path).parent().and_then(Path::to_str).filter(|parent| !parent.is_empty())
        {
            make_shared(&self.layout.shared(), parent, 0o755)?;
        }
        copy_tree(from, target).map_err(WriteError::at(target))?;
        let notice = format!("`{path}` lives in shared/ and was seeded once from the project");
        let hint = Some(format!("it is now changed on the host only: {}", target.display()));
        let code = "files.seeded".to_owned();
        self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity: Severity::Passed });
        Ok(())
    }

    /// Gives a directory that we made to the image's user. An agent that is not root cannot, and says so.
    fn give(&self, target: &Path, owner: Option<u32>) {
        let Some(uid) = owner.filter(|uid| *uid != 0) else { return };
        if atomic::give(target, uid).is_ok() {
            return;
        }
        if target.metadata().is_ok_and(|meta| meta.uid() == uid) {
            return;
        }
        let notice =
            format!("{} could not be given to uid {uid}, as which its service runs", target.display());
        let hint = Some(format!("run once on the host: `sudo chown {uid} {}`", target.display()));
        let code = "files.owner".to_owned();
        self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity: Severity::Warning });
    }

    /// Writes the last files of a release; from here on it is whole.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn seal(&self, home: &Path, release: &Release, override_file: &Value) -> Result<(), ExecutorError> {
        atomic::write(&home.join("override.yml"), override_text(override_file).as_bytes(), 0o600)?;
        let text = serde_json::to_vec_pretty(release).unwrap_or_default();
        atomic::write(&home.join("release.json"), &text, 0o600)?;
        Ok(())
    }
}

/// Returns the override as Compose reads it.
pub(super) fn override_text(override_file: &Value) -> String {
    let text = serde_json::to_string_pretty(override_file).unwrap_or_default();
    // Env files of a release in place stand in for the project's, which may be gone when it is put back. Composes
    // before 2.24 add them to those instead.
    text.replace("\"env_file\": [", "\"env_file\": !override [")
}

/// Returns the numeric user of a service's image, as far as a number says it.
fn owner_of(service: &str, model: &ComposeModel, users: &BTreeMap<String, String>) -> Option<u32> {
    let written = model.services.get(service).and_then(|service| service.user.as_ref());
    let user = written.or_else(|| users.get(service))?;
    user.split(':').next()?.parse().ok()
}

/// Makes a directory below `shared/`, never through a symlink that a container planted (DESIGN section 10), and returns
/// those that it made, outermost first. The mode is the innermost one's, whatever the umask.
///
/// # Errors
/// It cannot be made.
pub fn make_shared(shared: &Path, path: &str, mode: u32) -> Result<Vec<String>, ExecutorError> {
    let target = shared.join(path);
    let at = || WriteError::at(&target);
    let directory = cap_std::fs::Dir::open_ambient_dir(shared, cap_std::ambient_authority()).map_err(at())?;
    let mut made = Vec::new();
    let parts: Vec<&Path> = Path::new(path).ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    for part in parts.into_iter().rev().filter(|part| !directory.is_dir(part)) {
        seam::about_to_change("make", &shared.join(part));
        directory.create_dir(part).map_err(at())?;
        let mode = if part == Path::new(path) { mode } else { 0o755 };
        let permissions = cap_std::fs::Permissions::from_std(fs::Permissions::from_mode(mode));
        directory.set_permissions(part, permissions).map_err(at())?;
        made.extend(part.to_str().map(str::to_owned));
    }
    Ok(made)
}

/// Moves a tree: by rename, or by copy where that is another file system.
fn move_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    match atomic::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            copy_tree(from, to)?;
            atomic::remove_tree(from)
        }
        other => other,
    }
}

/// Copies a tree with its modes; symlinks stay symlinks.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    let meta = from.symlink_metadata()?;
    if meta.is_symlink() {
        return atomic::symlink(&fs::read_link(from)?, to);
    }
    if !meta.is_dir() {
        return atomic::copy(from, to, None);
    }
    atomic::make_new_directory(to, meta.permissions().mode() & 0o7777)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Returns the entries of a bundle that `release.json` names.
pub fn recorded(bundle: &BTreeMap<String, BundleEntry>) -> BTreeMap<String, crate::model::EntryKind> {
    bundle.iter().map(|(path, entry)| (path.clone(), entry.kind.clone())).collect()
}
