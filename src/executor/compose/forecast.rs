//! Which images a release would have, found out before anything is pulled or built: registries are only asked.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::images::{ImageWork, inputs_of, pin_of};
use super::manifest::{self, Manifest};
use super::{ComposeExecutor, ExecutorError};
use crate::event::{ImageHow, PlannedImage};
use crate::host::docker_config::DockerConfig;
use crate::model::compose::Service;
use crate::model::{BuildMode, ImageFacts, PinnedImage, reference};

/// Tag of an image whose id is known when it has been built or pulled.
const UNKNOWN: &str = "planned";

/// The image that a service would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// As the override would name it.
    pub pinned: PinnedImage,
    /// Whether its id is known.
    pub is_known: bool,
}

/// The images of a release that is not made.
#[derive(Debug, Default)]
pub struct Forecast {
    /// By service.
    pub services: BTreeMap<String, Foreseen>,
    /// What would be pulled and built.
    pub work: Vec<PlannedImage>,
    /// Digests of what goes into builds, by service.
    pub build_inputs: BTreeMap<String, String>,
    /// What would stop the deployment, or is not known.
    pub notes: Vec<String>,
}

/// An image of a registry, beside the one on the host.
struct Asked {
    here: Option<ImageFacts>,
    there: Result<Manifest, String>,
}

impl Asked {
    /// The id that the image has after it was pulled.
    fn id(&self) -> Option<String> {
        match (&self.here, &self.there) {
            (Some(here), Ok(there)) if there.is(here) => Some(here.id.clone()),
            (_, Ok(there)) => Some(there.id.clone()),
            // What cannot be pulled and is there stays.
            (here, Err(_)) => here.as_ref().map(|here| here.id.clone()),
        }
    }

    fn is_here(&self) -> bool {
        matches!((&self.here, &self.there), (Some(here), Ok(there)) if there.is(here))
    }
}

impl ComposeExecutor {
    /// Finds out which images a release would have.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn foresee(&self, work: &ImageWork<'_>) -> Result<Forecast, ExecutorError> {
        let mut forecast = Forecast::default();
        let mut bases = BTreeMap::new();
        for (service, base) in self.bases(work) {
            if let Entry::Vacant(place) = bases.entry(base.clone()) {
                place.insert(self.foresee_base(&service, &base, work.login, &mut forecast).await?);
            }
        }
        forecast.build_inputs = inputs_of(work, &bases);
        for (name, service) in &work.model.services {
            let foreseen = if work.is_built(service) {
                self.foresee_build(work, name, service, &mut forecast).await?
            } else if service.build.is_some() && work.build == BuildMode::Runner {
                forecast.add(name, work.reference(name, service), ImageHow::Built, Some("on the runner"));
                None
            } else {
                self.foresee_image(work, name, service, &mut forecast).await?
            };
            let reference = work.reference(name, service);
            let project = &work.site.project;
            let pin = pin_of(project, name, foreseen.as_deref().unwrap_or(UNKNOWN));
            let (is_known, id) = (foreseen.is_some(), foreseen.unwrap_or_default());
            let pinned = PinnedImage {
                reference,
                id,
                pin,
                repo_digest: None,
                platform: String::new(),
                built: work.is_built(service),
                size_bytes: 0,
                user: String::new(),
            };
            forecast.services.insert(name.clone(), Foreseen { pinned, is_known });
        }
        Ok(forecast)
    }

    /// The id of an image that builds start from: it is asked for each time, and what is there stays when it cannot be had.
    async fn foresee_base(
        &self,
        service: &str,
        base: &str,
        login: Option<&DockerConfig>,
        forecast: &mut Forecast,
    ) -> Result<String, ExecutorError> {
        let asked = Asked { here: self.docker.image(base).await?, there: manifest::ask(base, login).await };
        if !asked.is_here() && (asked.there.is_ok() || asked.here.is_none()) {
            forecast.add_pull(service, base, &asked, true);
        }
        Ok(asked.id().unwrap_or_default())
    }

    async fn foresee_build(
        &self,
        work: &ImageWork<'_>,
        name: &str,
        service: &Service,
        forecast: &mut Forecast,
    ) -> Result<Option<String>, ExecutorError> {
        let inputs = &forecast.build_inputs;
        if let Some(image) = self.reusable(work, name, inputs).await? {
            return Ok(Some(image.id));
        }
        // In place everything is built each time, and comes from the cache when nothing has changed.
        let same = work.current.filter(|current| {
            work.in_place && !work.no_cache && current.build_inputs.get(name) == inputs.get(name)
        });
        let same = same.and_then(|current| current.images.get(name)).map(|image| image.id.clone());
        let note = same.is_some().then_some("from the cache, unless files changed that git does not track");
        forecast.add(name, work.reference(name, service), ImageHow::Built, note);
        Ok(same)
    }

    async fn foresee_image(
        &self,
        work: &ImageWork<'_>,
        name: &str,
        service: &Service,
        forecast: &mut Forecast,
    ) -> Result<Option<String>, ExecutorError> {
        let reference = work.wanted(name, service);
        let here = self.docker.image(&reference).await?;
        if !self.must_ask(work, name, service, &reference).await? {
            if here.is_none() {
                let note =
                    format!("`{name}`: image `{reference}` is not on the host, and nobody would bring it");
                forecast.notes.push(format!("{note}; the deployment would stop before the switch"));
            }
            return Ok(here.map(|facts| facts.id));
        }
        let asked = Asked { there: manifest::ask(&reference, work.login).await, here };
        if !asked.is_here() {
            forecast.add_pull(name, &reference, &asked, false);
        }
        if let Err(said) = &asked.there
            && (asked.here.is_none() || reference::names_registry(&reference))
        {
            let note = format!("`{name}`: its registry does not give `{reference}` ({said})");
            forecast.notes.push(format!("{note}; a deploy would stop at pulling it"));
        }
        Ok(asked.id())
    }
}

impl Forecast {
    /// Returns whether the image of every service is known.
    pub fn is_whole(&self) -> bool {
        self.services.values().all(|foreseen| foreseen.is_known)
    }

    /// Returns the images as the override names them.
    pub fn pins(&self) -> BTreeMap<String, PinnedImage> {
        self.services.iter().map(|(name, foreseen)| (name.clone(), foreseen.pinned.clone())).collect()
    }

    fn add(&mut self, service: &str, image: String, how: ImageHow, note: Option<&str>) {
        let known = self.work.iter_mut().find(|known| known.image == image && known.how == how);
        if let Some(known) = known {
            known.services.push(service.to_owned());
            return;
        }
        let services = vec![service.to_owned()];
        let (is_base, image_id, size_bytes, note) = (false, None, None, note.map(str::to_owned));
        self.work.push(PlannedImage { image, services, how, is_base, image_id, size_bytes, note });
    }

    fn pulled(&mut self, image: &str) -> Option<&mut PlannedImage> {
        self.work.iter_mut().find(|known| known.image == image && known.how == ImageHow::Pulled)
    }

    fn add_pull(&mut self, service: &str, image: &str, asked: &Asked, is_base: bool) {
        self.add(service, image.to_owned(), ImageHow::Pulled, None);
        let Some(planned) = self.pulled(image) else { return };
        planned.is_base = is_base;
        match &asked.there {
            Ok(there) => {
                (planned.image_id, planned.size_bytes) = (Some(there.id.clone()), Some(there.size_bytes));
            }
            Err(said) => planned.note = Some(format!("size unknown: {said}")),
        }
    }
}
