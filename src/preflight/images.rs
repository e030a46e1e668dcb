//! What the engine knows of the images that services name, asked once and for all of them at the same time.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::ImageInspect;
use futures_util::future::join_all;

use super::Subject;
use crate::host::docker::{Docker, DockerError};

/// Those that are on the host, by the name in the model.
#[derive(Default)]
pub(super) struct Images(BTreeMap<String, ImageInspect>);

impl Images {
    /// Asks the engine; one that is not there, or that cannot be asked for, is unknown.
    pub(super) async fn known(subject: &Subject<'_>, engine: Result<&Docker, &DockerError>) -> Self {
        let (Some(model), Ok(docker)) = (subject.known_model(), engine) else { return Self::default() };
        let names: BTreeSet<&String> =
            model.services.values().filter_map(|service| service.image.as_ref()).collect();
        let asked = names.into_iter().map(|name| async move {
            // An image that is not on the host is no error: it is pulled.
            let found = docker.client().inspect_image(name).await.ok()?;
            Some((name.clone(), found))
        });
        Self(join_all(asked).await.into_iter().flatten().collect())
    }

    pub(super) fn of(&self, image: &str) -> Option<&ImageInspect> {
        self.0.get(image)
    }
}
