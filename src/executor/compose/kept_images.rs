//! Images of releases that are kept: whether somebody took them away, and how they come back.

use std::collections::BTreeMap;

use super::{ComposeExecutor, ExecutorError};
use crate::executor::registry::{Refused, Wanted};
use crate::host::change::Change;
use crate::host::docker::{Docker, DockerError};
use crate::host::docker_config::DockerConfig;
use crate::model::{PinnedImage, RegistryLogin, Release};

/// Returns the images of a release that are no longer on the host, by service.
///
/// # Errors
/// The engine does not answer.
pub async fn lost<'a>(
    docker: &Docker,
    release: &'a Release,
) -> Result<BTreeMap<&'a str, &'a PinnedImage>, DockerError> {
    let mut lost = BTreeMap::new();
    for (service, image) in &release.images {
        if docker.image(&image.id).await?.is_none() {
            lost.insert(service.as_str(), image);
        }
    }
    Ok(lost)
}

impl ComposeExecutor {
    /// Gives images of a release their pins again that somebody took away; the images themselves must be there.
    ///
    /// # Errors
    /// The engine does not answer, or Docker fails.
    pub async fn pin_again(&self, release: &Release) -> Result<(), ExecutorError> {
        for image in release.images.values() {
            if self.docker.image(&image.pin).await?.is_some() || self.docker.image(&image.id).await?.is_none()
            {
                continue;
            }
            self.quietly(&Change::Tag { image: &image.id, tag: &image.pin })
                .await
                .map_err(|source| ExecutorError::Tool { what: "pin an image", source })?;
        }
        Ok(())
    }

    /// Brings images of a release back that somebody took away: by their digests, from the registries that they came from.
    ///
    /// # Errors
    /// One cannot be had any more; nothing was changed but images that came.
    pub async fn bring_back(
        &self,
        release: &Release,
        logins: &[RegistryLogin],
        login: Option<&DockerConfig>,
    ) -> Result<(), ExecutorError> {
        for (service, image) in lost(&self.docker, release).await? {
            let gone = |said: String| ExecutorError::Lost {
                service: service.to_owned(),
                reference: image.reference.clone(),
                pin: image.pin.clone(),
                said,
            };
            let Some(digest) = &image.repo_digest else {
                return Err(gone("it was built here, and no registry has it".to_owned()));
            };
            if let Err(source) = self.docker_pull(digest, login).await {
                let refused = Refused::of(Wanted::Pull, service, digest, &source, logins);
                return Err(gone(refused.to_string()));
            }
            let Some(facts) = self.docker.image(&image.id).await? else {
                return Err(gone(format!("`{digest}` is another image now")));
            };
            self.say_pulled(service, digest, &facts);
        }
        self.pin_again(release).await
    }
}
