//! Is there what the model wants to find, and does not make: networks, volumes, configs, secrets.

use super::Subject;
use crate::host::docker::{Docker, DockerError};
use crate::model::Finding;
use crate::model::compose::ComposeModel;
use crate::text::harmless;

/// `compose.external`: what the model wants to find, and does not make.
pub(super) async fn check(subject: &Subject<'_>, engine: Result<&Docker, &DockerError>) -> Vec<Finding> {
    let Some(model) = subject.known_model() else { return Vec::new() };
    let mut findings = external_files(model);
    if let Ok(docker) = engine {
        findings.extend(external_networks(model, docker).await);
        findings.extend(external_volumes(model, docker).await);
    }
    if findings.is_empty() && engine.is_ok() {
        findings.push(Finding::passed("compose.external", "external networks and volumes are there"));
    }
    findings
}

async fn external_networks(model: &ComposeModel, docker: &Docker) -> Vec<Finding> {
    let wanted: Vec<&String> = model
        .networks
        .iter()
        .filter(|(_, n)| n.external)
        .map(|(key, n)| n.name.as_ref().unwrap_or(key))
        .collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    match docker.networks().await {
        Ok(there) => wanted
            .into_iter()
            .filter(|name| !there.contains(name))
            .map(|name| absent("network", name))
            .collect(),
        Err(error) => vec![unknown("networks", &error)],
    }
}

async fn external_volumes(model: &ComposeModel, docker: &Docker) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, volume) in model.volumes.iter().filter(|(_, volume)| volume.external) {
        let name = volume.name.as_ref().unwrap_or(key);
        match docker.volume(name).await {
            Ok(Some(_)) => {}
            Ok(None) => findings.push(absent("volume", name)),
            Err(error) => findings.push(unknown("volumes", &error)),
        }
    }
    findings
}

fn absent(kind: &str, name: &str) -> Finding {
    Finding::error(
        "compose.external",
        format!("external {kind} `{name}` does not exist on this host"),
        format!("create it: `docker {kind} create {name}`"),
    )
    .detail(kind, name)
}

fn unknown(what: &str, error: &DockerError) -> Finding {
    let report = error.report();
    Finding::error(
        "compose.external",
        format!("could not ask for the external {what}: {}", harmless(&report.message)),
        report.hint.unwrap_or_default(),
    )
}

/// Compose refuses these outside a swarm, but only in `up`.
fn external_files(model: &ComposeModel) -> Vec<Finding> {
    let all = [("config", &model.configs), ("secret", &model.secrets)];
    let external = all.iter().flat_map(|(kind, files)| {
        files.iter().filter(|(_, file)| file.external).map(move |(name, _)| (*kind, name))
    });
    external
        .map(|(kind, name)| {
            Finding::error(
                "compose.external",
                format!("external {kind} `{name}` is for swarms; Docker Compose cannot use it"),
                format!("give {kind} `{name}` a `file:` or an `environment:` in the compose file"),
            )
            .detail(kind, name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn what_compose_cannot_use_outside_a_swarm_is_told_before_up() {
        let mut bench = Bench::new();
        bench.model(r#"{"services": {}, "secrets": {"tok": {"external": true, "name": "x"}}}"#);
        let found = external_files(bench.model.as_ref().unwrap());
        assert_eq!(found[0].message, "external secret `tok` is for swarms; Docker Compose cannot use it");
    }

    #[tokio::test]
    async fn external_networks_and_volumes_that_are_missing_come_with_their_line() {
        let Some(docker) = super::super::testing::docker().await else { return };
        let mut bench = Bench::new();
        bench.model(
            r#"{"services": {}, "networks": {"n": {"name": "ffe-ut-none", "external": true}, "host": {"name": "host", "external": true}},
                "volumes": {"ffe-ut-novol": {"external": true}, "own": {"name": "x"}}}"#,
        );
        let found = check(&bench.subject(), Ok(&docker)).await;
        let hints: Vec<_> = found.iter().map(|f| f.hint.as_deref().unwrap()).collect();
        assert_eq!(
            hints,
            [
                "create it: `docker network create ffe-ut-none`",
                "create it: `docker volume create ffe-ut-novol`"
            ]
        );
    }
}
