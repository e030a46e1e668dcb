//! Images of a release: pulled, built, and pinned by tags of ours, so that neither rollback nor recovery needs a
//! registry (DESIGN section 6, images). Changes go through the `docker` CLI.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{ComposeExecutor, ExecutorError, Site};
use crate::event::{EventKind, ImageHow};
use crate::executor::registry::{Refused, Wanted};
use crate::here;
use crate::host::change::{self, Change};
use crate::host::docker_config::DockerConfig;
use crate::host::process::ProcessError;
use crate::model::compose::{ComposeModel, Service};
use crate::model::dockerfile::Dockerfile;
use crate::model::reference;
use crate::model::{BuildMode, BundleEntry, ImageFacts, PinnedImage, RegistryLogin, Release, Severity};

/// What the image stages need to know of the release in the making.
pub struct ImageWork<'a> {
    /// The model as the new release has it.
    pub model: &'a ComposeModel,
    /// Where its compose call finds its files.
    pub site: &'a Site,
    /// The release that runs now.
    pub current: Option<&'a Release>,
    /// The bundle's files.
    pub bundle: &'a BTreeMap<String, BundleEntry>,
    /// Who builds.
    pub build: BuildMode,
    /// Images that the runner has pushed, `repository@sha256:…` by service.
    pub built: &'a BTreeMap<String, String>,
    /// Who may pull.
    pub logins: &'a [RegistryLogin],
    /// The same as Docker reads it, when there is any; else the user's own logins count.
    pub login: Option<&'a DockerConfig>,
    /// Whether to build without cache.
    pub no_cache: bool,
    /// Whether the project is deployed where it lies: then files count that git does not track.
    pub in_place: bool,
}

impl ImageWork<'_> {
    /// Returns whether a service's image is built here.
    pub(super) fn is_built(&self, service: &Service) -> bool {
        service.build.is_some() && self.build == BuildMode::Host
    }

    /// Returns the name that Compose gives to a service's image.
    pub(super) fn reference(&self, name: &str, service: &Service) -> String {
        service.image.clone().unwrap_or_else(|| format!("{}-{name}", self.site.project))
    }

    /// Returns the image that a service shall have: what the runner pushed, under its digest, whatever its tag says by now.
    pub(super) fn wanted(&self, name: &str, service: &Service) -> String {
        self.built.get(name).cloned().unwrap_or_else(|| self.reference(name, service))
    }

    /// Returns whether there is anything to build.
    pub fn has_builds(&self) -> bool {
        self.model.services.values().any(|service| self.is_built(service))
    }
}

impl ComposeExecutor {
    /// Pulls what must be asked for: images of services, then the `FROM` images of what is built.
    /// Returns how many were asked for.
    ///
    /// # Errors
    /// A service's image cannot be had. A base image that cannot be had is a notice.
    pub async fn pull(&self, work: &ImageWork<'_>) -> Result<usize, ExecutorError> {
        let mut asked = BTreeSet::new();
        for (name, service) in &work.model.services {
            if work.is_built(service) {
                continue;
            }
            let reference = work.wanted(name, service);
            if asked.contains(&reference) || !self.must_ask(work, name, service, &reference).await? {
                continue;
            }
            self.pull_service(work, name, service, &reference).await?;
            asked.insert(reference);
        }
        for (service, base) in self.bases(work) {
            if asked.insert(base.clone()) {
                self.pull_base(work, &service, &base).await;
            }
        }
        Ok(asked.len())
    }

    /// Returns whether a registry is asked for this image (DESIGN section 6): always, unless its reference has no
    /// registry path; then when it is absent, or when the compose file's line changed.
    pub(super) async fn must_ask(
        &self,
        work: &ImageWork<'_>,
        name: &str,
        service: &Service,
        reference: &str,
    ) -> Result<bool, ExecutorError> {
        let present = self.docker.image(reference).await?.is_some();
        let policy = work
            .model
            .raw
            .pointer(&format!("/services/{}/pull_policy", pointer(name)))
            .and_then(Value::as_str);
        if policy == Some("never") || (service.build.is_some() && service.image.is_none()) {
            return Ok(false);
        }
        if reference.contains("@sha256:") {
            return Ok(!present);
        }
        let before = work.current.and_then(|release| release.images.get(name)).map(|image| &image.reference);
        let changed = before.is_some_and(|before| before != reference);
        Ok(reference::names_registry(reference) || !present || (changed && !is_ours(reference)))
    }

    async fn pull_service(
        &self,
        work: &ImageWork<'_>,
        name: &str,
        service: &Service,
        reference: &str,
    ) -> Result<(), ExecutorError> {
        let pulled = self.docker_pull(reference, work.login).await;
        let present = self.docker.image(reference).await?;
        match (pulled, present) {
            (Ok(_), Some(facts)) => {
                let digest = repo_digest(reference, &facts);
                let shown = work.reference(name, service);
                self.say_image((name, &shown), &facts, digest, ImageHow::Pulled);
                Ok(())
            }
            (Err(source), Some(_)) if !reference::names_registry(reference) => {
                self.notice_base(reference, &source);
                Ok(())
            }
            (Err(source), _) => {
                let refused = Refused::of(Wanted::Pull, name, reference, &source, work.logins);
                Err(ExecutorError::Pull(Box::new(refused)))
            }
            (Ok(finished), None) => Err(ExecutorError::NoImage {
                service: name.to_owned(),
                reference: reference.to_owned(),
                said: finished.last_words(),
            }),
        }
    }

    async fn pull_base(&self, work: &ImageWork<'_>, service: &str, base: &str) {
        match self.docker_pull(base, work.login).await {
            Ok(_) => {
                if let Ok(Some(facts)) = self.docker.image(base).await {
                    let digest = repo_digest(base, &facts);
                    self.say_image((service, base), &facts, digest, ImageHow::Pulled);
                }
            }
            Err(source) => self.notice_base(base, &source),
        }
    }

    /// Graceful degradation (R000-68): what is present, or what the build will miss by itself, only warns.
    fn notice_base(&self, image: &str, source: &ProcessError) {
        let notice = format!(
            "could not pull `{image}`: {}; the copy on the host is used, if there is one",
            last(source)
        );
        let hint = Some("check the network and the registry; the next deploy asks again".to_owned());
        let code = "image.pull".to_owned();
        self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity: Severity::Warning });
    }

    /// Returns the `FROM` images of what is built, with one service that needs each.
    pub(super) fn bases(&self, work: &ImageWork<'_>) -> Vec<(String, String)> {
        let mut bases = Vec::new();
        for (name, service) in work.model.services.iter().filter(|(_, service)| work.is_built(service)) {
            let Some(path) = service.build.as_ref().and_then(crate::model::compose::Build::dockerfile_path)
            else {
                continue;
            };
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let images = Dockerfile::parse(&text).base_images();
            bases.extend(images.into_iter().map(|base| (name.clone(), base)));
        }
        bases
    }

    /// Returns the digest of each built service's inputs.
    ///
    /// # Errors
    /// Docker does not answer.
    pub async fn build_inputs(
        &self,
        work: &ImageWork<'_>,
    ) -> Result<BTreeMap<String, String>, ExecutorError> {
        let mut ids = BTreeMap::new();
        for (_, base) in self.bases(work) {
            let id = self.docker.image(&base).await?.map_or_else(String::new, |facts| facts.id);
            ids.insert(base, id);
        }
        Ok(inputs_of(work, &ids))
    }

    /// Builds what changed since the current release. Returns the services that were built.
    ///
    /// # Errors
    /// A build fails; what runs was not touched.
    pub async fn build(
        &self,
        work: &ImageWork<'_>,
        inputs: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, ExecutorError> {
        let mut built = Vec::new();
        for (name, service) in work.model.services.iter().filter(|(_, service)| work.is_built(service)) {
            if self.reusable(work, name, inputs).await?.is_none() {
                self.build_one(work, name, service).await?;
                built.push(name.clone());
            }
        }
        Ok(built)
    }

    /// Returns whether [`Self::build`] would build anything.
    ///
    /// # Errors
    /// Docker does not answer.
    pub async fn must_build(
        &self,
        work: &ImageWork<'_>,
        inputs: &BTreeMap<String, String>,
    ) -> Result<bool, ExecutorError> {
        for (name, _) in work.model.services.iter().filter(|(_, service)| work.is_built(service)) {
            if self.reusable(work, name, inputs).await?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn build_one(
        &self,
        work: &ImageWork<'_>,
        name: &str,
        service: &Service,
    ) -> Result<(), ExecutorError> {
        let (site, no_cache, login) = (work.site.call(), work.no_cache, work.login);
        let change = Change::Build { site, service: name, no_cache, login };
        let source = format!("build {name}");
        change::carry_out(&change, &self.compose, &mut |line| self.say_line(&source, line))
            .await
            .map_err(|source| ExecutorError::Build { service: name.to_owned(), source })?;
        let reference = work.reference(name, service);
        if let Some(facts) = self.docker.image(&reference).await? {
            let digest = repo_digest(&reference, &facts);
            self.say_image((name, &reference), &facts, digest, ImageHow::Built);
        }
        Ok(())
    }

    /// Returns the image of the current release, when the same inputs made it and it is still there.
    pub(super) async fn reusable(
        &self,
        work: &ImageWork<'_>,
        name: &str,
        inputs: &BTreeMap<String, String>,
    ) -> Result<Option<PinnedImage>, ExecutorError> {
        let Some(current) = work.current.filter(|_| !work.no_cache && !work.in_place) else {
            return Ok(None);
        };
        let Some(image) =
            current.images.get(name).filter(|_| current.build_inputs.get(name) == inputs.get(name))
        else {
            return Ok(None);
        };
        let present = self.docker.image(&image.id).await?.is_some();
        Ok(present.then(|| image.clone()))
    }

    /// Pins the image of each service by a tag of ours.
    ///
    /// # Errors
    /// An image is not there: nothing builds it and no registry gave it.
    pub async fn pin(
        &self,
        work: &ImageWork<'_>,
        inputs: &BTreeMap<String, String>,
        built: &[String],
    ) -> Result<BTreeMap<String, PinnedImage>, ExecutorError> {
        let mut pins = BTreeMap::new();
        for (name, service) in &work.model.services {
            let (reference, shall_be) = (work.reference(name, service), work.wanted(name, service));
            let is_built = work.is_built(service);
            let reused = if is_built && !built.contains(name) {
                self.reusable(work, name, inputs).await?
            } else {
                None
            };
            let wanted = reused.as_ref().map_or(&shall_be, |image| &image.id);
            let Some(facts) = self.docker.image(wanted).await? else {
                let never_built = service.build.is_some() && !is_built && !work.built.contains_key(name);
                let (service, said) = (name.clone(), "it is not on the host".to_owned());
                return Err(match never_built {
                    true => ExecutorError::NotBuilt { service, reference },
                    false => ExecutorError::NoImage { service, reference, said },
                });
            };
            let repo_digest = repo_digest(&shall_be, &facts);
            let pinned = self.pin_one(&work.site.project, name, reference, &facts, is_built).await?;
            pins.insert(name.clone(), PinnedImage { repo_digest, ..pinned });
        }
        Ok(pins)
    }

    async fn pin_one(
        &self,
        project: &str,
        service: &str,
        reference: String,
        facts: &ImageFacts,
        built: bool,
    ) -> Result<PinnedImage, ExecutorError> {
        let pin = pin_of(project, service, &facts.id);
        if self.docker.image(&pin).await?.is_none_or(|found| found.id != facts.id) {
            self.quietly(&Change::Tag { image: &facts.id, tag: &pin })
                .await
                .map_err(|source| ExecutorError::Tool { what: "pin an image", source })?;
        }
        Ok(PinnedImage {
            repo_digest: repo_digest(&reference, facts),
            reference,
            id: facts.id.clone(),
            pin,
            platform: facts.platform.clone(),
            built,
            size_bytes: facts.size_bytes,
            user: facts.user.clone(),
        })
    }

    /// Pins an image that runs by its id, for a release that is adopted.
    ///
    /// # Errors
    /// Docker does not know it.
    pub async fn pin_image(
        &self,
        project: &str,
        service: &str,
        id: &str,
    ) -> Result<PinnedImage, ExecutorError> {
        let Some(facts) = self.docker.image(id).await? else {
            let (service, said) = (service.to_owned(), "it is not on the host".to_owned());
            return Err(ExecutorError::NoImage { service, reference: id.to_owned(), said });
        };
        self.pin_one(project, service, id.to_owned(), &facts, false).await
    }

    /// Tells an image that came from a registry.
    pub(super) fn say_pulled(&self, service: &str, image: &str, facts: &ImageFacts) {
        self.say_image((service, image), facts, repo_digest(image, facts), ImageHow::Pulled);
    }

    fn say_image(
        &self,
        (service, image): (&str, &str),
        facts: &ImageFacts,
        digest: Option<String>,
        how: ImageHow,
    ) {
        let (service, image, image_id) = (service.to_owned(), image.to_owned(), facts.id.clone());
        let size_bytes = facts.size_bytes;
        let digest = digest.and_then(|digest| Some(digest.split_once('@')?.1.to_owned()));
        let ready = EventKind::ImageReady { service, image, image_id, size_bytes, digest, how };
        self.emitter.emit(here!(), ready);
    }
}

/// Returns the digest of each built service's inputs, with these ids of the images that they start from.
pub(super) fn inputs_of(work: &ImageWork<'_>, bases: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let digest = |(name, build): (&str, _)| {
        let raw =
            work.model.raw.pointer(&format!("/services/{}/build", pointer(name))).unwrap_or(&Value::Null);
        let digest = super::digest::of_build(build, raw, &work.site.project_dir, work.bundle, bases);
        (name.to_owned(), digest)
    };
    work.model.built().filter(|_| work.build == BuildMode::Host).map(digest).collect()
}

/// A JSON pointer's escape (RFC 6901).
fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Returns how our tags for a project begin. Projects that differ only in separators share it.
pub(crate) fn pin_prefix(project: &str) -> String {
    format!("ffe-deploy/{}/", path_part(project))
}

/// Returns our tag for an image of a service.
pub(super) fn pin_of(project: &str, service: &str, id: &str) -> String {
    let hex = id.trim_start_matches("sha256:");
    let short = hex.get(..12).unwrap_or(hex);
    format!("{}{}:{short}", pin_prefix(project), path_part(service))
}

/// A part of a repository's name: lower case, and no run of separators (OCI distribution specification).
fn path_part(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split(['_', '-', '.']).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "x".to_owned() } else { parts.join("-") }
}

pub(super) fn last(source: &ProcessError) -> String {
    match source {
        ProcessError::Failed { finished, .. } => crate::text::harmless(&finished.last_words()),
        other => other.to_string(),
    }
}

/// Returns `repository@sha256:…` under which a registry has an image: what the reference says itself, else the digest
/// in its own repository. One image can have digests in several.
fn repo_digest(reference: &str, facts: &ImageFacts) -> Option<String> {
    if reference.starts_with("sha256:") {
        return facts.repo_digests.first().cloned();
    }
    let repository = reference::repository(reference);
    if let Some((_, digest)) = reference.split_once('@') {
        return Some(format!("{repository}@{digest}"));
    }
    let full = reference::familiar(repository);
    let digests = facts.repo_digests.iter();
    let of_it =
        |known: &&String| known.split_once('@').is_some_and(|(name, _)| reference::familiar(name) == full);
    digests.clone().find(of_it).cloned()
}

/// Our own pins are never in a registry.
fn is_ours(reference: &str) -> bool {
    reference.starts_with("ffe-deploy/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_names_that_docker_accepts() {
        assert_eq!(path_part("Shop__Web-"), "shop-web");
        assert_eq!(path_part("_"), "x");
    }
}
