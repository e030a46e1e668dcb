//! Where the author's relative mounts lie on a root: release content in `files/`, everything else in `shared/`
//! (DESIGN section 6, files). Computes only; [`super::place`] puts things there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::executor::blobs::Blob;
use crate::host::layout::Layout;
use crate::model::compose::{ComposeModel, MountKind};
use crate::model::{App, BundleEntry, Finding};

/// What became of one relative source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Content of the release.
    Release(Blob),
    /// It survives releases: path below `shared/`.
    Shared(String),
}

/// Mounts of a model, placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Every relative source, by its path in the project.
    pub sources: BTreeMap<String, Source>,
    /// Shared paths, and whether a file is meant; made before the start when they are missing.
    pub shared: BTreeMap<String, Shared>,
    /// By service, the digest of the bundle's files that it mounts in place.
    pub in_place: BTreeMap<String, String>,
}

/// One path below `shared/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Services that mount it.
    pub services: BTreeSet<String>,
    /// Whether it must be a file: Docker would make a directory of it.
    pub is_file: bool,
    /// Whether the bundle has content to seed it with.
    pub seed: bool,
    /// Whether it is a config or a secret.
    pub definition: bool,
}

/// Sorts the relative sources of a model. `project` is the directory against which Compose resolved them.
pub fn plan(
    model: &ComposeModel,
    project: &Path,
    app: &App,
    bundle: &BTreeMap<String, BundleEntry>,
) -> Mounts {
    let mut mounts = Mounts::default();
    for (service, definition) in &model.services {
        for mount in definition.volumes.iter().filter(|mount| mount.kind == MountKind::Bind) {
            let Some(relative) = mount.source.as_deref().and_then(|source| relative(source, project)) else {
                continue;
            };
            mounts.add(&relative, Some(service), app, bundle);
        }
    }
    for definition in model.configs.values().chain(model.secrets.values()) {
        if let Some(relative) = definition.file.as_deref().and_then(|file| relative(file, project)) {
            mounts.add(&relative, None, app, bundle);
        }
    }
    mounts
}

/// Returns, by service, the digest of what it mounts of the bundle: in place, changed sources recreate it.
pub fn digests_in_place(
    model: &ComposeModel,
    project: &Path,
    bundle: &BTreeMap<String, BundleEntry>,
) -> BTreeMap<String, String> {
    let digest_of = |service: &crate::model::compose::Service| {
        let sources = service.volumes.iter().filter_map(|mount| relative(mount.bind_source()?, project));
        let digests: Vec<String> =
            sources.filter_map(|source| Some(Blob::of(&source, bundle)?.digest)).collect();
        (!digests.is_empty()).then(|| super::digest::of_text(&digests.join("\n")))
    };
    model.services.iter().filter_map(|(name, service)| Some((name.clone(), digest_of(service)?))).collect()
}

impl Mounts {
    fn add(
        &mut self,
        source: &str,
        service: Option<&String>,
        app: &App,
        bundle: &BTreeMap<String, BundleEntry>,
    ) {
        let blob = Blob::of(source, bundle);
        if let (Some(blob), false) = (&blob, is_shared(app, source)) {
            self.sources.insert(source.to_owned(), Source::Release(blob.clone()));
            return;
        }
        self.sources.insert(source.to_owned(), Source::Shared(source.to_owned()));
        let is_file =
            blob.as_ref().map_or_else(|| service.is_none() || looks_like_a_file(source), Blob::is_file);
        let shared = self.shared.entry(source.to_owned()).or_insert_with(|| Shared {
            services: BTreeSet::new(),
            is_file,
            seed: blob.is_some(),
            definition: service.is_none(),
        });
        shared.services.extend(service.cloned());
    }

    /// Returns the blobs of the release.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.sources.values().filter_map(|source| match source {
            Source::Release(blob) => Some(blob),
            Source::Shared(_) => None,
        })
    }

    /// Returns where a relative source lies on this root.
    pub fn target(&self, source: &str, layout: &Layout) -> Option<PathBuf> {
        Some(match self.sources.get(source)? {
            Source::Release(blob) => blob.path(&layout.files()),
            Source::Shared(path) => layout.shared().join(path),
        })
    }

    /// Returns an error for each file that must be on the host and is not.
    pub fn missing(&self, layout: &Layout, app: &App) -> Vec<Finding> {
        let made = |path: &str| app.setup.databases.iter().any(|database| database == path);
        let wanted =
            self.shared.iter().filter(|(path, shared)| shared.is_file && !shared.seed && !made(path));
        wanted
            .map(|(path, _)| layout.shared().join(path))
            .filter(|path| !path.exists())
            .map(|path| {
                let message = format!("`{}` is mounted as a file and is not there", path.display());
                let hint =
                    format!("create {} on the host, or let git track it in the project", path.display());
                Finding::error("compose.bind-source", message, hint)
            })
            .collect()
    }

    /// Returns the mounts of each service that the override must move, in Compose's long form.
    pub fn moved(
        &self,
        model: &ComposeModel,
        project: &Path,
        layout: &Layout,
    ) -> BTreeMap<String, Vec<Value>> {
        let mut moved: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (name, service) in &model.services {
            for mount in &service.volumes {
                let source = mount.bind_source().and_then(|source| relative(source, project));
                let Some(target) = source.and_then(|source| self.target(&source, layout)) else { continue };
                let long = json!({
                    "type": "bind", "source": escaped(&target), "target": mount.target.replace('$', "$$"),
                    "read_only": mount.read_only,
                });
                moved.entry(name.clone()).or_default().push(long);
            }
        }
        moved
    }
}

/// Returns a path below the project, relative to it; the project itself is the empty path.
pub fn relative(source: &str, project: &Path) -> Option<String> {
    Path::new(source).strip_prefix(project).ok()?.to_str().map(str::to_owned)
}

/// Returns a path as Compose reads it back: `$` is doubled.
pub fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('$', "$$")
}

/// Returns whether `shared:` of the app names a source, or a directory above it.
pub fn is_shared(app: &App, source: &str) -> bool {
    app.shared.iter().any(|shared| is_within(source, shared))
}

/// Returns the service that mounts a path of the project, or a directory above it.
pub fn service_of<'a>(path: &str, model: &'a ComposeModel, project: &Path) -> Option<&'a str> {
    let mounts = |service: &crate::model::compose::Service| {
        let mut sources = service.volumes.iter().filter_map(|mount| relative(mount.bind_source()?, project));
        sources.any(|source| !source.is_empty() && is_within(path, &source))
    };
    model.services.iter().find(|(_, service)| mounts(service)).map(|(name, _)| name.as_str())
}

fn is_within(path: &str, shared: &str) -> bool {
    let shared = shared.trim_start_matches("./").trim_end_matches('/');
    path == shared || path.strip_prefix(shared).is_some_and(|rest| rest.starts_with('/'))
}

/// Docker makes a directory of a missing source. A name with an extension, or an env file, means a file.
fn looks_like_a_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with(".env") || (name.contains('.') && !name.starts_with('.') && !name.ends_with(".d"))
}
