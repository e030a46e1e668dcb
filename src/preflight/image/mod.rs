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

/// `image.user` and `image.secrets`, for every service.
pub(super) async fn check(subject: &Subject<'_>, engine: Result<&Docker, &DockerError>) -> Vec<Finding> {
    let Some(model) = subject.known_model() else { return Vec::new() };
    let made: Vec<Made<'_>> =
        model.services.iter().map(|(name, service)| Made::of(subject, model, name, service)).collect();
    let wanted: BTreeSet<&str> = made.iter().filter_map(|made| made.image.as_deref()).collect();
    let shelf = Shelf::look(engine, wanted).await;
    let mut findings = user::check(subject, &made, &shelf);
    findings.extend(secrets::check(subject, &made, &shelf));
    findings
}

/// Returns whether the Dockerfile that a service is built from has a healthcheck in the end, or the image that it starts
/// from in the end.
pub(super) async fn built_has_healthcheck(build: &Build, engine: Result<&Docker, &DockerError>) -> bool {
    let Some(image) = Written::of(build, BTreeMap::new()).and_then(|written| written.image) else {
        return false;
    };
    match (image.healthcheck, &image.base) {
        (Some(has_one), _) => has_one,
        (None, Some(base)) => has_healthcheck(base, engine).await,
        (None, None) => false,
    }
}

/// Returns whether an image that is on the host has a healthcheck.
pub(super) async fn has_healthcheck(image: &str, engine: Result<&Docker, &DockerError>) -> bool {
    let Ok(docker) = engine else { return false };
    let Ok(found) = docker.client().inspect_image(image).await else { return false };
    let test = found.config.and_then(|config| config.healthcheck).and_then(|check| check.test);
    test.is_some_and(|test| test.first().is_some_and(|word| word != "NONE"))
}

/// How a service comes by its image.
struct Made<'a> {
    name: &'a str,
    service: &'a Service,
    /// Whether it is built for this release, on the host or by the runner.
    is_built: bool,
    /// What its Dockerfile says, where it is built and the Dockerfile is here.
    written: Option<Written>,
    /// The image to ask the engine about: a pulled service's own, a built one's base.
    image: Option<String>,
}

/// A Dockerfile, and what its image will be.
struct Written {
    file: Dockerfile,
    image: Option<Image>,
    /// Where it lies; absent for `dockerfile_inline`.
    path: Option<PathBuf>,
}

impl Written {
    fn of(build: &Build, arguments: BTreeMap<String, String>) -> Option<Self> {
        let path = build.dockerfile_path();
        let text = match (&build.dockerfile_inline, &path) {
            (Some(text), _) => text.clone(),
            // That it is missing is a finding of its own.
            (None, Some(path)) => std::fs::read_to_string(path).ok()?,
            (None, None) => return None,
        };
        let file = Dockerfile::parse(&text);
        let image = file.image(build.target.as_deref(), &arguments);
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
        let is_built_here = subject.app.build != BuildMode::Never;
        let Some(build) = service.build.as_ref().filter(|_| is_built_here) else {
            return Self { name, service, is_built: false, written: None, image: service.image.clone() };
        };
        let written = Written::of(build, build_arguments(subject, model, name));
        let base = written.as_ref().and_then(|written| written.image.as_ref()?.base.clone());
        Self { name, service, is_built: true, written, image: base.filter(|base| base != "scratch") }
    }

    /// Returns what the engine knows of the image to ask about.
    fn known<'s>(&self, shelf: &'s Shelf) -> Option<&'s Known> {
        shelf.get(self.image.as_deref()?)
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
