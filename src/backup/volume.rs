//! Reads what only the Docker daemon may read, through a container that is created and never started.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptions, ListContainersOptions, ListImagesOptions,
    RemoveContainerOptions,
};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::BackupError;
use super::meter::Meter;
use crate::host::docker::{Docker, DockerError};
use crate::host::seam;
use crate::model::labels;

/// Value of [`labels::HELPER`] on our helper containers.
const HELPER: &str = "backup";
/// Label that says for which project a helper works.
const HELPER_PROJECT: &str = "ffe-deploy.helper.project";

/// What is known of a volume on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none of that name.
    Missing,
    /// Its files lie here, whether a container uses it or not.
    Plain(PathBuf),
    /// Only the daemon knows how to mount it: another driver, or options (NFS, tmpfs, bind).
    Mountable,
}

/// Looks a volume up.
pub(super) async fn find(docker: &Docker, name: &str) -> Result<Found, BackupError> {
    match docker.client().inspect_volume(name).await {
        Ok(volume) if volume.driver == "local" && volume.options.is_empty() => {
            Ok(Found::Plain(volume.mountpoint.into()))
        }
        Ok(_) => Ok(Found::Mountable),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(Found::Missing),
        Err(source) => Err(daemon(format!("look at volume `{name}`"), "inspect a volume", source)),
    }
}

fn daemon(what: String, call: &'static str, source: Error) -> BackupError {
    BackupError::Daemon { what, source: Box::new(DockerError::Api { what: call, source }) }
}

/// What a helper has mounted, read-only: the number in the list is the number in [`place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mounted {
    /// A directory of this host.
    Directory(PathBuf),
    /// A named volume.
    Volume(String),
}

impl Mounted {
    fn mount(&self, number: usize) -> Mount {
        let (source, typ) = match self {
            Self::Directory(path) => (path.to_string_lossy().into_owned(), MountType::BIND),
            Self::Volume(name) => (name.clone(), MountType::VOLUME),
        };
        // An empty volume would be filled with what the image has at that place.
        let volume_options = matches!(self, Self::Volume(_))
            .then(|| MountVolumeOptions { no_copy: Some(true), ..Default::default() });
        Mount {
            target: Some(place(number)),
            source: Some(source),
            typ: Some(typ),
            read_only: Some(true),
            volume_options,
            ..Default::default()
        }
    }
}

/// Returns where a helper has its n-th mount.
pub(super) fn place(number: usize) -> String {
    format!("/ffe-{number}")
}

/// A container that is never started, and removed when this is dropped.
pub(super) struct Helper {
    client: bollard::Docker,
    name: Option<String>,
}

impl Helper {
    /// Creates the container from the first image that is there.
    pub(super) async fn create(
        docker: &Docker,
        project: &str,
        images: &[&str],
        mounts: &[Mounted],
    ) -> Result<Self, BackupError> {
        remove_leftovers(docker, project).await;
        let name = format!("ffe-backup-{project}-{}", &Uuid::new_v4().simple().to_string()[..8]);
        // Armed before the call: a future that is dropped half-way must not leave a container behind.
        let helper = Self { client: docker.client().clone(), name: Some(name.clone()) };
        for image in local_images(docker, images).await? {
            let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
            seam::about_to("create a helper container");
            match helper.client.create_container(Some(options), body(project, image, mounts)).await {
                Ok(_) => return Ok(helper),
                // Somebody removed that image since it was listed.
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
                Err(source) => {
                    return Err(daemon("create a helper container".to_owned(), "create a container", source));
                }
            }
        }
        Err(BackupError::NoImage { what: names(mounts) })
    }

    /// Starts to read a path of the container as a tar stream; nothing when the path does not exist. Blocks: for
    /// threads of their own.
    pub(super) fn read(
        &self,
        path: &str,
        handle: &Handle,
        meter: &Arc<Meter>,
    ) -> Result<Option<Stream>, BackupError> {
        let Some(name) = &self.name else { return Ok(None) };
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let chunks = self.client.download_from_container(name, Some(options));
        let chunks = chunks.map(|chunk| chunk.map(Vec::from)).boxed();
        let mut stream =
            Stream { chunks, handle: handle.clone(), meter: Arc::clone(meter), chunk: Vec::new(), at: 0 };
        match stream.next() {
            Ok(_) => Ok(Some(stream)),
            Err(_) if meter.is_called_off() => Err(BackupError::CalledOff),
            Err(Failure::Docker(Error::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
            Err(Failure::Docker(source)) => {
                Err(daemon(format!("read {path} of a helper container"), "read an archive", source))
            }
            Err(Failure::CalledOff) => Err(BackupError::CalledOff),
        }
    }

    /// Removes the container.
    pub(super) async fn remove(mut self) {
        if let Some(name) = self.name.take() {
            remove(&self.client, &name).await;
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let (Some(name), Ok(runtime)) = (self.name.take(), Handle::try_current()) else { return };
        let client = self.client.clone();
        drop(runtime.spawn(async move { remove(&client, &name).await }));
    }
}

/// Best effort: what stays is recognised by its label, and removed by the next backup.
async fn remove(client: &bollard::Docker, name: &str) {
    seam::about_to("remove a helper container");
    let options = RemoveContainerOptions { v: true, force: true, link: false };
    client.remove_container(name, Some(options)).await.ok();
}

pub(super) async fn remove_leftovers(docker: &Docker, project: &str) {
    let wanted = vec![format!("{}={HELPER}", labels::HELPER), format!("{HELPER_PROJECT}={project}")];
    let filters = Some(HashMap::from([("label".to_owned(), wanted)]));
    let options = ListContainersOptions { all: true, filters, ..Default::default() };
    let found = docker.client().list_containers(Some(options)).await.unwrap_or_default();
    for id in found.into_iter().filter_map(|container| container.id) {
        remove(docker.client(), &id).await;
    }
}

/// Returns the ids of the images to try: those hinted at that are here, then all others.
async fn local_images(docker: &Docker, hints: &[&str]) -> Result<Vec<String>, BackupError> {
    let mut images = Vec::new();
    for hint in hints {
        let source =
            |source| BackupError::Daemon { what: "look for an image".to_owned(), source: Box::new(source) };
        images.extend(docker.image(hint).await.map_err(source)?.map(|image| image.id));
    }
    let listed = docker.client().list_images(None::<ListImagesOptions>).await;
    let listed = listed.map_err(|source| daemon("look for an image".to_owned(), "list images", source))?;
    images.extend(listed.into_iter().map(|image| image.id));
    Ok(images)
}

fn names(mounts: &[Mounted]) -> String {
    let names = mounts.iter().map(|mounted| match mounted {
        Mounted::Directory(path) => path.display().to_string(),
        Mounted::Volume(name) => format!("volume `{name}`"),
    });
    names.collect::<Vec<_>>().join(", ")
}

fn body(project: &str, image: String, mounts: &[Mounted]) -> ContainerCreateBody {
    // An image that Compose built carries its labels, and a container inherits them: it would count as a service.
    let inherited = [
        labels::COMPOSE_PROJECT,
        labels::COMPOSE_SERVICE,
        labels::COMPOSE_FILES,
        labels::COMPOSE_ONEOFF,
        labels::APP,
        labels::ENVIRONMENT,
        labels::ROOT,
    ];
    let mut own: HashMap<String, String> =
        inherited.into_iter().map(|label| (label.to_owned(), String::new())).collect();
    own.insert(labels::HELPER.to_owned(), HELPER.to_owned());
    own.insert(HELPER_PROJECT.to_owned(), project.to_owned());
    let mounts = mounts.iter().enumerate().map(|(number, mounted)| mounted.mount(number)).collect();
    let never = RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..Default::default() };
    ContainerCreateBody {
        image: Some(image),
        entrypoint: Some(vec!["/ffe-deploy-never-starts-this".to_owned()]),
        labels: Some(own),
        host_config: Some(HostConfig {
            mounts: Some(mounts),
            network_mode: Some("none".to_owned()),
            restart_policy: Some(never),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A tar stream of the daemon for a thread that may wait.
pub(super) struct Stream {
    chunks: BoxStream<'static, Result<Vec<u8>, Error>>,
    handle: Handle,
    meter: Arc<Meter>,
    chunk: Vec<u8>,
    at: usize,
}

enum Failure {
    CalledOff,
    Docker(Error),
}

impl Stream {
    /// Waits for the next chunk; false at the end.
    fn next(&mut self) -> Result<bool, Failure> {
        let (chunks, meter) = (&mut self.chunks, &self.meter);
        let next = self.handle.block_on(async {
            tokio::select! {
                next = chunks.next() => Some(next),
                () = meter.called_off() => None,
            }
        });
        match next {
            None => Err(Failure::CalledOff),
            Some(None) => Ok(false),
            Some(Some(Err(error))) => Err(Failure::Docker(error)),
            Some(Some(Ok(chunk))) => {
                (self.chunk, self.at) = (chunk, 0);
                Ok(true)
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.next() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(Failure::CalledOff) => return Err(io::Error::other("called off")),
                Err(Failure::Docker(error)) => return Err(io::Error::other(error)),
            }
        }
        let read = into.len().min(self.chunk.len() - self.at);
        into[..read].copy_from_slice(&self.chunk[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}

/// Returns whether this process may read the files of a volume where they lie.
pub(super) fn is_readable(mountpoint: &Path) -> bool {
    rustix::process::geteuid().is_root() && std::fs::read_dir(mountpoint).is_ok()
}
