//! What is wrong with the images that services run: root, and secrets in them (R001-50, R003-52).
//!
//! What is built here is judged by its Dockerfile, in the stage that is built; what is pulled by the image's own
//! configuration and history, once it is on the host. Nothing is pulled, and no container is made, to find out.

mod known;
mod secrets;
#[cfg(test)]
mod tests;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use super::Subject;
use crate::host::docker::{Docker, DockerError};
use crate::model::compose::{Build, ComposeModel, Service};
use crate::model::dockerfile::{Dockerfile, Image};
use crate::model::{BuildMode, Finding, Place, Profile};
use crate::text::harmless;

use known::{Known, Shelf};

/// The images of every service, and what is known of them.
pub(super) struct Images<'a> {
    made: Vec<Made<'a>>,
    shelf: Shelf,
}

impl<'a> Images<'a> {
    /// Reads the Dockerfiles, and asks the engine about what is on the host, all of it at the same time.
    pub(super) async fn of(subject: &Subject<'a>, engine: Result<&Docker, &DockerError>) -> Self {
        let made = made(subject);
        let wanted: BTreeSet<&str> = made.iter().flat_map(Made::names).collect();
        let shelf = Shelf::look(engine, wanted).await;
        Self { made, shelf }
    }

    /// `image.user` and `image.secrets`, for every service.
    pub(super) fn check(&self, subject: &Subject<'_>) -> Vec<Finding> {
        if subject.known_model().is_none() {
            return Vec::new();
        }
        let mut findings = user::check(subject, &self.made, &self.shelf);
        findings.extend(secrets::check(subject, &self.made, &self.shelf));
        findings
    }

    /// Returns whether a service's image has a healthcheck, as far as is known here: by the Dockerfile of its `build:`,
    /// or the image that this starts from; by the image itself where it is pulled.
    pub(super) fn has_healthcheck(&self, service: &str) -> bool {
        let Some(made) = self.made.iter().find(|made| made.name == service) else { return false };
        let written = made.written.as_ref().and_then(|written| written.image.as_ref()?.healthcheck);
        written.unwrap_or_else(|| {
            made.names().any(|name| self.shelf.get(name).is_some_and(|known| known.has_healthcheck))
        })
    }

    /// Returns the architecture of a pulled service's image that is on the host, as Docker calls it.
    pub(super) fn architecture(&self, service: &str) -> Option<&str> {
        let pulled = self.made.iter().find(|made| made.name == service && made.service.build.is_none())?;
        let found = self.shelf.get(pulled.image.as_deref()?)?.architecture.as_str();
        Some(found).filter(|found| !found.is_empty())
    }
}

fn made<'a>(subject: &Subject<'a>) -> Vec<Made<'a>> {
    let Some(model) = subject.known_model() else { return Vec::new() };
    model.services.iter().map(|(name, service)| Made::of(subject, model, name, service)).collect()
}

/// How a service comes by its image.
struct Made<'a> {
    name: &'a str,
    service: &'a Service,
    /// Whether it is built for this release, on the host or by the runner.
    is_built: bool,
    /// What its Dockerfile says, where it has one and that is here. Under `build: never` it may be another than the one of
    /// the image that is pulled.
    written: Option<Written>,
    /// The image that is pulled; absent for what is built.
    image: Option<String>,
    /// The image that its Dockerfile starts from.
    base: Option<String>,
    /// Whether it starts from one of its additional contexts that is no image.
    starts_elsewhere: bool,
}

/// A Dockerfile, and what its image will be.
struct Written {
    file: Dockerfile,
    image: Option<Image>,
    /// Where it lies; absent for `dockerfile_inline`.
    path: Option<PathBuf>,
}

impl Written {
    fn of(build: &Build, arguments: &BTreeMap<String, String>) -> Option<Self> {
        let path = build.dockerfile_path();
        let text = match (&build.dockerfile_inline, &path) {
            (Some(text), _) => text.clone(),
            // That it is missing is a finding of its own.
            (None, Some(path)) => std::fs::read_to_string(path).ok()?,
            (None, None) => return None,
        };
        let file = Dockerfile::parse(&text);
        let image = file.image(build.target.as_deref(), arguments);
        Some(Self { file, image, path: path.filter(|_| build.dockerfile_inline.is_none()) })
    }

    /// Returns its path from the project's directory, or what it is called in the compose file.
    fn shown(&self, subject: &Subject<'_>) -> String {
        let Some(path) = &self.path else { return "dockerfile_inline".to_owned() };
        let path = path.strip_prefix(subject.project_dir).unwrap_or(path);
        let plain = path.components().filter(|part| *part != std::path::Component::CurDir);
        harmless(&plain.collect::<PathBuf>().display().to_string())
    }

    /// Returns the place of one of its lines; what is inline stands with its service.
    fn place(&self, subject: &Subject<'_>, line: u32) -> Option<Place> {
        let is_inside = self.path.as_ref()?.starts_with(subject.project_dir);
        is_inside.then(|| Place { file: self.shown(subject), line: Some(line), column: Some(1) })
    }
}

impl<'a> Made<'a> {
    fn of(subject: &Subject<'_>, model: &ComposeModel, name: &'a str, service: &'a Service) -> Self {
        let is_built = service.build.is_some() && subject.app.build != BuildMode::Never;
        let build = service.build.as_ref();
        let written = build.and_then(|build| Written::of(build, &build_arguments(subject, model, name)));
        let base = written.as_ref().and_then(|written| written.image.as_ref()?.base.clone());
        let base = base.filter(|base| base != "scratch");
        let (base, starts_elsewhere) = base.map_or((None, false), |base| of_context(model, name, base));
        let image = service.image.clone().filter(|_| !is_built);
        Self { name, service, is_built, written, image, base, starts_elsewhere }
    }

    /// The images to ask the engine about.
    fn names(&self) -> impl Iterator<Item = &str> {
        [&self.base, &self.image].into_iter().flatten().map(String::as_str)
    }

    /// What its Dockerfile says, where it is built from it.
    fn source(&self) -> Option<&Written> {
        self.written.as_ref().filter(|_| self.is_built)
    }

    /// The image that decides what its Dockerfile does not: a pulled service's own, a built one's base.
    fn decisive(&self) -> Option<&str> {
        if self.is_built { self.base.as_deref() } else { self.image.as_deref() }
    }

    /// Returns what the engine knows of the decisive image.
    fn known<'s>(&self, shelf: &'s Shelf) -> Option<&'s Known> {
        shelf.get(self.decisive()?)
    }

    /// Errors for what is built here in staging and production, warnings for it elsewhere and for what others made;
    /// what others made is not looked at where nobody but the developer runs it.
    fn finding(&self, subject: &Subject<'_>, rule: &str, message: String, hint: String) -> Option<Finding> {
        let is_strict = matches!(subject.environment.profile, Profile::Staging | Profile::Production);
        let finding = match (self.is_built, is_strict) {
            (true, _) => subject.strict(rule, message, hint),
            (false, true) => Finding::warning(rule, message, hint),
            (false, false) => return None,
        };
        Some(finding.detail("service", self.name))
    }
}

/// What a base is when the build gives it another meaning under `additional_contexts`: an image, or something else.
fn of_context(model: &ComposeModel, service: &str, base: String) -> (Option<String>, bool) {
    let context = &model.raw["services"][service]["build"]["additional_contexts"][&base];
    match context.as_str() {
        None => (Some(base), false),
        Some(context) => {
            let image = context.strip_prefix("docker-image://").map(str::to_owned);
            (image.clone(), image.is_none())
        }
    }
}

/// Build arguments with their values. They may be secrets: they only fill in what is judged.
fn build_arguments(subject: &Subject<'_>, model: &ComposeModel, service: &str) -> BTreeMap<String, String> {
    let written = &model.raw["services"][service]["build"]["args"];
    let entries = written.as_object().into_iter().flatten();
    let value = |name: &String, value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        // Without a value it is taken from Compose's environment.
        Value::Null => subject.variables.get(name).cloned(),
        other => Some(other.to_string()),
    };
    entries.filter_map(|(name, found)| Some((name.clone(), value(name, found)?))).collect()
}
