//! What services leave out, or fix, that a deployment trips over: tags, restart, limits, names, ports of several.

use serde_json::Value;

use super::containers::Containers;
use super::{Subject, listed};
use crate::model::compose::{ComposeModel, Service};
use crate::model::{Finding, Profile};
use crate::text::harmless;

pub(super) fn check(subject: &Subject<'_>, containers: Option<&Containers>) -> Vec<Finding> {
    let Some(model) = subject.known_model() else { return Vec::new() };
    let mut findings = Vec::new();
    for (name, service) in &model.services {
        findings.extend(latest(subject, name, service));
        findings.extend(restart(subject, model, name, service));
        findings.extend(container_name(subject, name, service, containers));
        findings.extend(fixed_port(name, service));
    }
    findings.extend(limits(subject, model));
    let rules = [
        ("compose.latest", "every pulled image has a tag that stays"),
        ("compose.restart", "every service says what happens when it ends"),
        ("compose.container-name", "no fixed container name stands in the way"),
        ("compose.fixed-port", "every container has a port of its own"),
        ("compose.limits", "every service has a memory limit"),
    ];
    let well = rules.iter().filter(|(rule, _)| findings.iter().all(|finding| finding.rule != *rule));
    let well: Vec<_> = well.map(|(rule, text)| Finding::passed(rule, *text)).collect();
    findings.extend(well);
    findings
}

fn is_strict(subject: &Subject<'_>) -> bool {
    matches!(subject.environment.profile, Profile::Production | Profile::Staging)
}

/// `compose.latest`: a tag that moves. What is built here has the tag that it is given.
fn latest(subject: &Subject<'_>, name: &str, service: &Service) -> Option<Finding> {
    let image = service.image.as_deref().filter(|_| service.build.is_none())?;
    let is_moving = !image.contains('@') && tag(image).is_none_or(|tag| tag == "latest");
    if !is_moving || subject.environment.profile != Profile::Production {
        return None;
    }
    let message =
        format!("service `{name}` runs `{}`: what that is changes with the next push", harmless(image));
    let hint = format!(
        "name a version in the compose file: `image: {}:1.2.3`, or `${{VERSION}}` and `--version`",
        harmless(crate::model::reference::repository(image))
    );
    Some(Finding::warning("compose.latest", message, hint).detail("service", name))
}

fn tag(image: &str) -> Option<&str> {
    image.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag)
}

/// `compose.restart`: a service that a reboot would not bring back.
fn restart(subject: &Subject<'_>, model: &ComposeModel, name: &str, service: &Service) -> Option<Finding> {
    let wrote = service.restart.is_some()
        || service.deploy.as_ref().is_some_and(|deploy| deploy.restart_policy.is_some());
    if wrote || !is_strict(subject) || model.is_declared_one_shot(name, &subject.app.one_shot) {
        return None;
    }
    let message =
        format!("service `{name}` has no `restart:`: it stays down when it ends or the host restarts");
    let hint = format!(
        "add to service `{name}`: `restart: unless-stopped`; if it is to run once: `one_shot: [{name}]` in deployments.yaml"
    );
    Some(Finding::warning("compose.restart", message, hint).detail("service", name))
}

/// `compose.container-name`: a name that only one container on the host can have.
fn container_name(
    subject: &Subject<'_>,
    name: &str,
    service: &Service,
    containers: Option<&Containers>,
) -> Option<Finding> {
    let fixed = service.container_name.as_deref()?;
    let shown = harmless(fixed);
    let hint = format!(
        "remove `container_name: {shown}` from service `{name}`; Compose names its containers itself"
    );
    let replicas = service.replicas();
    let all = containers.into_iter().flat_map(|containers| &containers.0);
    let mut others = all.filter(|seen| seen.name == fixed && seen.project() != Some(subject.project));
    let message = if replicas > 1 {
        format!("service `{name}` has {replicas} containers and one name for them, `{shown}`")
    } else {
        let holder = others.next()?.project().map_or_else(
            || "was not made by Compose".to_owned(),
            |project| format!("belongs to project `{}`", harmless(project)),
        );
        format!("service `{name}` wants the container name `{shown}`, and one of that name {holder}")
    };
    Some(Finding::error("compose.container-name", message, hint).detail("service", name))
}

/// `compose.fixed-port`: several containers, and a host port that just one of them can have.
fn fixed_port(name: &str, service: &Service) -> Option<Finding> {
    let replicas = service.replicas();
    let published = service.ports.iter().filter_map(|port| port.published);
    let mut narrow = published
        .filter(|range| u32::from(range.last) - u32::from(range.first).min(range.last.into()) + 1 < replicas);
    let port = narrow.next()?.first;
    let message =
        format!("service `{name}` has {replicas} containers, and port {port} of the host is for one");
    let hint = format!(
        "publish a range (`\"{port}-{}:…\"`), or put one proxy in front and publish only its port",
        u32::from(port) + replicas - 1
    );
    Some(Finding::error("compose.fixed-port", message, hint).detail("service", name))
}

/// `compose.limits`: without a limit one service can take the memory of all (R003-12).
fn limits(subject: &Subject<'_>, model: &ComposeModel) -> Option<Finding> {
    if subject.environment.profile != Profile::Production {
        return None;
    }
    let lasting = model.services.keys().filter(|name| !model.is_one_shot(name, &subject.app.one_shot));
    let unlimited: Vec<&String> = lasting.filter(|name| !has_limit(&model.raw["services"][*name])).collect();
    let first = unlimited.first()?;
    let message = format!("services without a memory limit: {}", listed(&unlimited));
    let hint = format!(
        "add to each of them, such as `{first}`:\n    deploy:\n      resources:\n        limits: {{ memory: 512M }}"
    );
    Some(Finding::warning("compose.limits", message, hint).detail("service", first.as_str()))
}

fn has_limit(service: &Value) -> bool {
    let limit = service.get("mem_limit").or_else(|| service.pointer("/deploy/resources/limits/memory"));
    limit.is_some_and(|limit| !limit.is_null())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, container};
    use super::*;
    use crate::model::{Severity, labels};

    fn wrong(bench: &Bench, containers: &Containers) -> Vec<(Severity, String, String)> {
        let found = check(&bench.subject(), Some(containers)).into_iter();
        let wrong = found.filter(|finding| finding.severity != Severity::Passed);
        wrong.map(|found| (found.severity, found.rule, found.details["service"].clone())).collect()
    }

    fn told(severity: Severity, rule: &str, service: &str) -> (Severity, String, String) {
        (severity, rule.to_owned(), service.to_owned())
    }

    #[test]
    fn moving_tags_missing_restart_and_limits_are_warnings_of_production_only() {
        let mut bench = Bench::new();
        bench.model(
            r#"{"services": {
                "a": {"image": "redis", "restart": "always", "mem_limit": "1"},
                "b": {"image": "localhost:5000/x/redis:latest", "restart": "always", "mem_limit": "1"},
                "c": {"image": "redis:7.4"},
                "d": {"image": "redis@sha256:aa", "deploy": {"resources": {"limits": {"memory": "5"}}}, "restart": "no", "ports": [{"target": 1}]},
                "e": {"image": "mine", "build": {"context": "/"}, "restart": "always", "mem_limit": "1"}}}"#,
        );
        let none = Containers::default();
        let warning = |rule, service| told(Severity::Warning, rule, service);
        let expected =
            [warning("compose.latest", "a"), warning("compose.latest", "b"), warning("compose.restart", "c")];
        // `c` says nothing of what becomes of it: it counts as one that runs once where limits are concerned.
        assert_eq!(wrong(&bench, &none), expected);
        bench.environment.profile = Profile::Staging;
        assert_eq!(wrong(&bench, &none), [warning("compose.restart", "c")]);
        bench.environment.profile = Profile::Dev;
        assert_eq!(wrong(&bench, &none), []);
        bench.environment.profile = Profile::Production;
        bench.model(r#"{"services": {"c": {"image": "redis:7.4", "restart": "always"}}}"#);
        assert_eq!(wrong(&bench, &none), [warning("compose.limits", "c")]);
    }

    #[test]
    fn names_and_ports_that_just_one_container_can_have_are_errors_where_there_are_more() {
        let mut bench = Bench::new();
        bench.environment.profile = Profile::Dev;
        bench.model(
            r#"{"services": {
                "a": {"image": "x:1", "container_name": "one", "scale": 2},
                "b": {"image": "x:1", "deploy": {"replicas": 3}, "ports": [{"target": 80, "published": "8080"}]},
                "c": {"image": "x:1", "deploy": {"replicas": 3}, "ports": [{"target": 80, "published": "8080-8082"}]},
                "d": {"image": "x:1", "container_name": "held"},
                "e": {"image": "x:1", "container_name": "ours", "ports": [{"target": 80, "published": "80"}]}}}"#,
        );
        let of = |name: &str, project: &str| container(name, &[(labels::COMPOSE_PROJECT, project)]);
        let found = Containers(vec![of("held", "other"), of("ours", "shop")]);
        let error = |rule, service| told(Severity::Error, rule, service);
        assert_eq!(
            wrong(&bench, &found),
            [
                error("compose.container-name", "a"),
                error("compose.fixed-port", "b"),
                error("compose.container-name", "d"),
            ]
        );
    }
}
