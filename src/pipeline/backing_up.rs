//! The backup stage: what is saved, and from where.

use std::collections::BTreeMap;

use super::run::{Ending, Run};
use super::stop::Stop;
use crate::backup::{self, Request, VolumeSource};
use crate::event::EventKind;
use crate::executor::compose::{ComposeExecutor, Site};
use crate::here;
use crate::model::compose::{ComposeModel, MountKind};
use crate::model::{ArchiveFormat, ContainerFacts, ContainerState, Outcome, Stage};

impl Run {
    /// Takes the backup of the app, and returns its path; nothing when there is nothing to save.
    ///
    /// # Errors
    /// It could not be taken, or does not read back: the deployment must not go on.
    pub async fn take_backup(
        &self,
        model: &ComposeModel,
        site: &Site,
        usual: ArchiveFormat,
    ) -> Result<Option<String>, Stop> {
        let spec = &self.job.app.backup;
        let environment = &self.job.environment;
        let default = || backup::default_paths(&environment.placement, &environment.name);
        let paths = spec.paths.clone().unwrap_or_else(default);
        let containers = self.executor.containers(&site.project).await?;
        let volumes = volumes(&self.executor, model, &containers, spec.volumes.as_deref()).await?;
        let request = Request {
            app: &self.job.app.name,
            environment: &environment.name,
            deployment_id: &self.job.deployment_id,
            project: &site.project,
            base: &self.layout.shared(),
            paths: &paths,
            explicit: spec.paths.is_some(),
            volumes: &volumes,
            directory: &self.layout.backups(),
            format: spec.format.unwrap_or(usual),
            retention_days: spec.retention.days,
        };
        let taken = match backup::take(&request, Some(&self.executor.docker), &|_| {}).await {
            Ok(taken) => taken,
            Err(error) if error.is_nothing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for finding in taken.warnings {
            let finding = finding.silenced_by(&self.job.silenced);
            self.emitter.emit(here!(), EventKind::FindingReported { finding });
        }
        let path = taken.path.to_string_lossy().into_owned();
        let created = EventKind::BackupCreated {
            path: path.clone(),
            size_bytes: taken.size_bytes,
            sha256: taken.sha256,
            includes: taken.includes,
            retention_days: spec.retention.days,
        };
        self.emitter.emit(here!(), created);
        // Only now: until there is a new one that can be read, no old one is surplus.
        self.prune_backups();
        Ok(Some(path))
    }

    /// The verb `backup`: takes one now.
    pub async fn backup_now(&self, site: &Site, model: &ComposeModel) -> Ending {
        let taken = self
            .stage(Stage::BackingUp, async {
                let current = self.current().ok().flatten();
                self.begin_journal(current.as_ref(), None, &site.project).await?;
                let path = self.take_backup(model, site, ArchiveFormat::Gzip).await?;
                let path = path.ok_or_else(|| {
                    crate::model::FailureReport::new(
                        crate::model::ErrorKind::DeploymentError,
                        "backup.nothing",
                        "there is nothing to save: none of the paths and volumes exists",
                    )
                    .hint("name what to save in `backup.paths` or `backup.volumes`")
                })?;
                Ok(super::run::Done::Did(path))
            })
            .await;
        match taken {
            Ok(path) => {
                let release = self.current().ok().flatten();
                let version = release.as_ref().map(|release| release.version.clone());
                Ending {
                    backup: Some(path),
                    version,
                    release: release.clone(),
                    before: release,
                    ..Ending::of(Outcome::Succeeded)
                }
            }
            Err(stop) => self.aborted(&stop),
        }
    }
}

/// Returns the volumes to save that exist: those that are named, else all of the model on a root.
///
/// # Errors
/// The engine does not answer.
pub(super) async fn volumes(
    executor: &ComposeExecutor,
    model: &ComposeModel,
    containers: &[ContainerFacts],
    named: Option<&[String]>,
) -> Result<Vec<VolumeSource>, Stop> {
    let keys: Vec<String> = match named {
        Some(named) => named.to_vec(),
        None if executor.layout.in_place().is_some() => Vec::new(),
        None => model.volumes.keys().cloned().collect(),
    };
    let users = users_of_volumes(model);
    let mut found = Vec::new();
    for key in keys {
        let definition = model.volumes.get(&key).and_then(|volume| volume.name.clone());
        let name = definition.unwrap_or_else(|| key.clone());
        if executor.docker.volume(&name).await.map_err(|error| error.report())?.is_none() {
            continue;
        }
        let users = users.get(&key).cloned().unwrap_or_default();
        let mut mine = containers.iter().filter(|container| users.contains(&container.service));
        let image_hint = mine.clone().next().map(|container| container.image_id.clone());
        let in_use = mine.any(|container| container.state == ContainerState::Running);
        found.push(VolumeSource { key, name, image_hint, in_use });
    }
    Ok(found)
}

/// Returns the services that mount each volume.
fn users_of_volumes(model: &ComposeModel) -> BTreeMap<String, Vec<String>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, service) in &model.services {
        for mount in service.volumes.iter().filter(|mount| mount.kind == MountKind::Volume) {
            if let Some(key) = &mount.source {
                users.entry(key.clone()).or_default().push(name.clone());
            }
        }
    }
    users
}
