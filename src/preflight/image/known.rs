//! What the engine knows of images that are on the host: their configuration and how their layers came about. Each is
//! asked about once, whichever rules want to know.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;

use crate::host::docker::{Docker, DockerError};

/// How many images are asked about at once.
const AT_ONCE: usize = 8;

/// An image that is on the host. Has no `Debug`: its environment may hold secrets.
#[cfg_attr(test, derive(Default))]
pub(super) struct Known {
    /// As USER set it; empty for root.
    pub(super) user: String,
    /// `NAME=value`.
    pub(super) environment: Vec<String>,
    /// Instructions that wait for a build on top of it.
    pub(super) on_build: Vec<String>,
    /// How each layer was made, oldest first.
    pub(super) history: Vec<String>,
    /// As Docker calls it; empty where the engine does not tell.
    pub(super) architecture: String,
    pub(super) has_healthcheck: bool,
}

/// The images that are on the host, by the names that were asked for.
#[derive(Default)]
pub(super) struct Shelf(BTreeMap<String, Known>);

impl Shelf {
    /// Asks about these images. One that is not there, or that the engine does not tell about, is not on the shelf.
    pub(super) async fn look(engine: Result<&Docker, &DockerError>, wanted: BTreeSet<&str>) -> Self {
        let Ok(docker) = engine else { return Self::default() };
        let asked =
            wanted.into_iter().map(|name| async move { Some((name.to_owned(), ask(docker, name).await?)) });
        let found = futures_util::stream::iter(asked).buffer_unordered(AT_ONCE);
        Self(found.filter_map(std::future::ready).collect().await)
    }

    pub(super) fn get(&self, image: &str) -> Option<&Known> {
        self.0.get(image)
    }

    #[cfg(test)]
    pub(super) fn of(images: Vec<(&str, Known)>) -> Self {
        Self(images.into_iter().map(|(name, known)| (name.to_owned(), known)).collect())
    }
}

async fn ask(docker: &Docker, name: &str) -> Option<Known> {
    let client = docker.client();
    let (image, history) = tokio::join!(client.inspect_image(name), client.image_history(name));
    // An image that is not on the host is no error: it is pulled.
    let image = image.ok()?;
    let config = image.config.unwrap_or_default();
    let test = config.healthcheck.and_then(|check| check.test).unwrap_or_default();
    // Newest first. An engine that tells no history still tells the configuration.
    let history = history.unwrap_or_default().into_iter().rev().map(|layer| layer.created_by).collect();
    Some(Known {
        user: config.user.unwrap_or_default(),
        environment: config.env.unwrap_or_default(),
        on_build: config.on_build.unwrap_or_default(),
        history,
        architecture: image.architecture.unwrap_or_default(),
        has_healthcheck: test.first().is_some_and(|word| word != "NONE"),
    })
}
