//! Every container of the engine with its labels and published ports, read in one call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bollard::models::{ContainerSummary, PortSummaryTypeEnum};
use bollard::query_parameters::ListContainersOptions;

use crate::host::docker::{Docker, DockerError};
use crate::model::labels;

/// What is known of one container.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Name without the leading slash.
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Ports of the host that it holds.
    pub(super) ports: Vec<Held>,
    /// Paths of the host that it may write to.
    pub(super) writes: Vec<PathBuf>,
}

/// A port of the host that a container holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) is_tcp: bool,
}

impl Seen {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    pub(super) fn project(&self) -> Option<&str> {
        self.label(labels::COMPOSE_PROJECT)
    }

    pub(super) fn service(&self) -> &str {
        self.label(labels::COMPOSE_SERVICE).unwrap_or_default()
    }

    /// Name, and project where there is one.
    pub(super) fn shown(&self) -> String {
        match self.project() {
            Some(project) => format!("container `{}` of project `{project}`", self.name),
            None => format!("container `{}`", self.name),
        }
    }
}

/// All of them, in every state.
#[derive(Clone, Debug, Default)]
pub(super) struct Containers(pub(super) Vec<Seen>);

impl Containers {
    /// Asks the engine; nothing is known when there is none.
    pub(super) async fn of(engine: Result<&Docker, &DockerError>) -> Result<Self, ()> {
        let options = ListContainersOptions { all: true, ..Default::default() };
        let docker = engine.map_err(|_| ())?;
        let listed = docker.client().list_containers(Some(options)).await.map_err(|_| ())?;
        Ok(Self(listed.into_iter().map(seen).collect()))
    }

    /// Those of a Compose project, without those of `compose run`.
    pub(super) fn of_project<'a>(&'a self, project: &'a str) -> impl Iterator<Item = &'a Seen> {
        self.0.iter().filter(move |seen| {
            seen.project() == Some(project) && seen.label(labels::COMPOSE_ONEOFF) != Some("True")
        })
    }
}

fn seen(found: ContainerSummary) -> Seen {
    let name = found.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    let ports = found.ports.unwrap_or_default().into_iter().filter_map(|port| {
        let is_tcp = match port.typ? {
            PortSummaryTypeEnum::TCP => true,
            PortSummaryTypeEnum::UDP => false,
            PortSummaryTypeEnum::SCTP | PortSummaryTypeEnum::EMPTY => return None,
        };
        Some(Held { address: port.ip.unwrap_or_default(), port: port.public_port?, is_tcp })
    });
    let writes = found.mounts.unwrap_or_default().into_iter().filter_map(|mount| {
        let writable_bind = mount.typ.as_deref() == Some("bind") && mount.rw == Some(true);
        mount.source.filter(|_| writable_bind).map(PathBuf::from)
    });
    Seen {
        name: name.trim_start_matches('/').to_owned(),
        ports: ports.collect(),
        writes: writes.collect(),
        labels: found.labels.unwrap_or_default().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::docker;
    use super::*;
    use crate::host::process::{Command, output};

    async fn docker_cli(args: &[&str]) {
        output(&Command::new("docker").args(args.iter().copied())).await.unwrap();
    }

    /// Removes what the test made, whatever becomes of it.
    struct Made(String);

    impl Drop for Made {
        fn drop(&mut self) {
            for args in [["rm", "-f"], ["rmi", "-f"]] {
                std::process::Command::new("docker").args(args).arg(&self.0).output().ok();
            }
        }
    }

    #[tokio::test]
    async fn containers_of_the_engine_are_seen_with_their_labels_also_when_they_do_not_run() {
        let Some(docker) = docker().await else { return };
        let made = Made(format!("ffe-ut-{}", uuid::Uuid::new_v4().simple()));
        let name = made.0.as_str();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("Dockerfile"), "FROM scratch\nLABEL a=b\n").unwrap();
        docker_cli(&["build", "-q", "-t", name, directory.path().to_str().unwrap()]).await;
        let (project, oneoff) =
            (format!("{}={name}", labels::COMPOSE_PROJECT), format!("{}=True", labels::COMPOSE_ONEOFF));
        docker_cli(&["create", "--name", name, "--label", &project, name, "/nothing"]).await;
        let all = Containers::of(Ok(&docker)).await.unwrap();
        let found: Vec<_> = all.of_project(name).collect();
        assert_eq!((found.len(), found[0].name.as_str()), (1, name));
        docker_cli(&["rm", "-f", name]).await;
        docker_cli(&["create", "--name", name, "--label", &project, "--label", &oneoff, name, "/nothing"])
            .await;
        assert_eq!(Containers::of(Ok(&docker)).await.unwrap().of_project(name).count(), 0);
    }
}
