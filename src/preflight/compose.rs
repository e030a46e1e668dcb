//! Does Compose serve, and does the model keep the rules (C05, C20, R003-27, R003-43).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{Subject, listed};
use crate::host::compose::ComposeError;
use crate::host::docker::{Docker, DockerError};
use crate::model::compose::{ComposeModel, Healthcheck, Service};
use crate::model::{CheckProbe, Finding, Profile};

/// `compose.installed`.
pub(super) fn installed(subject: &Subject<'_>) -> Vec<Finding> {
    vec![match subject.compose {
        Ok(compose) => Finding::passed(
            "compose.installed",
            format!("Docker Compose {} is installed (`{}`)", compose.version(), compose.program()),
        ),
        Err(error) => {
            let report = error.report();
            Finding::error("compose.installed", report.message, report.hint.unwrap_or_default())
        }
    }]
}

/// `compose.file` and `compose.model`; nothing when it could not be read for a reason that is told elsewhere.
pub(super) fn model(subject: &Subject<'_>) -> Vec<Finding> {
    match subject.model {
        Ok(model) => {
            let count = model.services.len();
            if count == 0 {
                return vec![Finding::error(
                    "compose.model",
                    "the compose model has no active service",
                    "add services, or name their profiles under `profiles:` in deployments.yaml",
                )];
            }
            let files = listed(&subject.app.compose_files);
            vec![Finding::passed("compose.model", format!("{files}: {count} active services"))]
        }
        Err(
            ComposeError::NoDocker { .. }
            | ComposeError::NotInstalled { .. }
            | ComposeError::VersionOne { .. }
            | ComposeError::EnvFileMissing { .. },
        ) => Vec::new(),
        Err(error) => {
            let report = error.report();
            let cause =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let message = crate::text::harmless(&format!("{}{cause}", report.message));
            vec![Finding::error(&report.code, message, report.hint.unwrap_or_default())]
        }
    }
}

/// `compose.external`: what the model wants to find, and does not make.
pub(super) async fn externals(subject: &Subject<'_>, engine: Result<&Docker, &DockerError>) -> Vec<Finding> {
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
        format!("could not ask for the external {what}: {}", crate::text::harmless(&report.message)),
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

/// What is to be done about a bind whose source is missing.
enum Missing {
    /// A directory of the app's own that nobody listed; setup makes it, or Docker does.
    Directory,
    /// One that the app lists under `setup` or `shared`: setup makes it.
    Listed,
    /// Docker would make a directory where a file is meant, or one of root's somewhere on the host, or refuse.
    Refused,
}

/// `compose.bind-source`.
pub(super) fn bind_sources(subject: &Subject<'_>) -> Vec<Finding> {
    if subject.known_model().is_none() {
        return Vec::new();
    }
    let missing = missing_sources(subject);
    let mut findings: Vec<Finding> = missing
        .iter()
        .filter_map(|(path, (service, what))| bind_finding(subject, path, service, what))
        .collect();
    if findings.is_empty() {
        findings.push(Finding::passed(
            "compose.bind-source",
            "the sources of all binds are there, or setup makes them",
        ));
    }
    findings
}

fn bind_finding(subject: &Subject<'_>, path: &Path, service: &str, what: &Missing) -> Option<Finding> {
    let shown = path.strip_prefix(subject.project_dir).unwrap_or(path).display();
    let message = format!("`{shown}`, which service `{service}` mounts, is missing");
    let finding = match what {
        Missing::Listed => return None,
        Missing::Directory if !subject.is_in_place() => return None,
        Missing::Directory => Finding::warning(
            "compose.bind-source",
            format!("{message}; an empty directory will be made"),
            format!("list it under `setup.directories` in deployments.yaml: `{shown}`"),
        ),
        Missing::Refused => Finding::error(
            "compose.bind-source",
            format!("{message}; Docker would make a directory of root's in its place, or fail"),
            format!("create {} on the host", path.display()),
        ),
    };
    Some(finding.detail("path", path.display().to_string()))
}

pub(super) fn directories_to_make(subject: &Subject<'_>) -> Vec<PathBuf> {
    let missing = missing_sources(subject).into_iter();
    missing.filter(|(_, (_, what))| !matches!(what, Missing::Refused)).map(|(path, _)| path).collect()
}

fn missing_sources<'a>(subject: &Subject<'a>) -> BTreeMap<PathBuf, (&'a str, Missing)> {
    let services = subject.known_model().into_iter().flat_map(|model| &model.services);
    let binds = services.flat_map(|(name, service)| {
        service.volumes.iter().filter_map(move |mount| Some((name, mount, mount.bind_source()?)))
    });
    binds
        .filter(|(_, _, source)| std::fs::symlink_metadata(source).is_err())
        .map(|(service, mount, source)| {
            let path = PathBuf::from(source);
            let inside =
                path.strip_prefix(subject.shared).or_else(|_| path.strip_prefix(subject.project_dir));
            let what = match inside {
                Ok(relative) if is_listed(subject, relative) => Missing::Listed,
                Ok(relative)
                    if mount.create_host_path()
                        && !is_file_name(relative)
                        && !is_file_name(Path::new(&mount.target)) =>
                {
                    Missing::Directory
                }
                _ => Missing::Refused,
            };
            (path, (service.as_str(), what))
        })
        .collect()
}

/// What setup makes: its directories and databases, what `shared` names, and what lies below or above those.
fn is_listed(subject: &Subject<'_>, relative: &Path) -> bool {
    let setup = &subject.app.setup;
    let directories = setup.directories.iter().map(|directory| directory.path.as_str());
    let above = directories
        .clone()
        .chain(setup.databases.iter().map(String::as_str))
        .any(|made| plain(made).starts_with(relative));
    let shared = subject.app.shared.iter().map(String::as_str);
    above || shared.chain(directories).any(|listed| plain(listed) == relative)
}

/// Without `./`.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

/// Whether a name is one that files have: with an extension (`conf.d` and its like are directories), or a well-known one.
fn is_file_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| !extension.is_empty() && extension != "d")
        || name.to_ascii_lowercase().ends_with("file")
        || matches!(name, "passwd" | "group" | "hosts" | "crontab")
}

/// `compose.services`: those that must be there (C20).
pub(super) fn services(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(model) = subject.known_model() else { return Vec::new() };
    let required = &subject.app.required_services;
    let missing: Vec<_> = required.iter().filter(|name| !model.services.contains_key(*name)).collect();
    if !missing.is_empty() {
        return vec![Finding::error(
            "compose.services",
            format!("required services are not in the compose model, or not active: {}", listed(missing)),
            "add them to the compose file, or name their profile under `profiles:` in deployments.yaml",
        )];
    }
    let there = |name: &str| model.services.contains_key(name);
    let lonely = match (there("backend"), there("frontend")) {
        (true, false) => Some(("backend", "frontend")),
        (false, true) => Some(("frontend", "backend")),
        (true, true) | (false, false) => None,
    };
    match lonely.filter(|_| required.is_empty()) {
        Some((one, other)) => vec![Finding::warning(
            "compose.services",
            format!("the compose file has service `{one}` but no service `{other}`"),
            format!(
                "add `{other}`, or say what must be there: `required_services: [{one}]` in deployments.yaml"
            ),
        )],
        None => vec![Finding::passed("compose.services", "the required services are there")],
    }
}

/// `compose.healthcheck`: one for each service that does not just run once (C20). Its own Dockerfile or image may
/// have one, and a written check that speaks for the service counts.
pub(super) async fn healthchecks(
    subject: &Subject<'_>,
    engine: Result<&Docker, &DockerError>,
) -> Vec<Finding> {
    let Some(model) = subject.known_model() else { return Vec::new() };
    let mut findings = Vec::new();
    for (name, service) in &model.services {
        if service.healthcheck == Healthcheck::Present
            || runs_once(subject, model, name, service)
            || is_checked(subject, name)
        {
            continue;
        }
        if service.healthcheck == Healthcheck::Absent && image_has_one(service, engine).await {
            continue;
        }
        findings.extend(no_healthcheck(subject, name, service));
    }
    if findings.is_empty() {
        findings.push(Finding::passed("compose.healthcheck", "every service has a healthcheck"));
    }
    findings
}

/// A service is not excused by having written nothing at all: that would be the rule's own hole.
fn runs_once(subject: &Subject<'_>, model: &ComposeModel, name: &str, service: &Service) -> bool {
    let wrote_restart = service.restart.is_some()
        || service.deploy.as_ref().is_some_and(|deploy| deploy.restart_policy.is_some());
    model.is_declared_one_shot(name, &subject.app.one_shot)
        || (wrote_restart && model.is_one_shot(name, &subject.app.one_shot))
}

fn no_healthcheck(subject: &Subject<'_>, name: &str, service: &Service) -> Option<Finding> {
    const RULE: &str = "compose.healthcheck";
    let hint = format!(
        "add `healthcheck:` to service `{name}`, or a check named `{name}` under `health.checks` in deployments.yaml"
    );
    let finding = if service.build.is_some() {
        subject.strict(RULE, format!("service `{name}` is built here and has no healthcheck"), hint)
    } else if matches!(subject.environment.profile, Profile::Dev | Profile::Testing) {
        return None;
    } else {
        Finding::warning(RULE, format!("service `{name}` has no healthcheck"), hint)
    };
    Some(finding.detail("service", name))
}

/// Whether a written check bears the service's name, or is the documents' check of it.
fn is_checked(subject: &Subject<'_>, service: &str) -> bool {
    subject.app.health.checks.iter().any(|check| {
        check.name == service
            || matches!(&check.probe, CheckProbe::Preset(preset) if preset.service() == service)
    })
}

/// Asks the Dockerfile of what is built, and the engine about an image that is there already.
async fn image_has_one(service: &Service, engine: Result<&Docker, &DockerError>) -> bool {
    if let Some(build) = &service.build {
        let text = build.dockerfile_path().and_then(|path| std::fs::read_to_string(path).ok());
        return has_healthcheck(&text.or_else(|| build.dockerfile_inline.clone()).unwrap_or_default());
    }
    let (Ok(docker), Some(image)) = (engine, &service.image) else { return false };
    let Ok(found) = docker.client().inspect_image(image).await else { return false };
    let test = found.config.and_then(|config| config.healthcheck).and_then(|check| check.test);
    test.is_some_and(|test| test.first().is_some_and(|word| word != "NONE"))
}

/// Whether a Dockerfile's last HEALTHCHECK is one.
fn has_healthcheck(dockerfile: &str) -> bool {
    let checks = dockerfile.lines().filter_map(|line| {
        let (instruction, rest) = line.trim().split_once(char::is_whitespace)?;
        instruction.eq_ignore_ascii_case("HEALTHCHECK").then(|| rest.trim())
    });
    checks.last().is_some_and(|rest| !rest.eq_ignore_ascii_case("NONE"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::model::{CheckSpec, SetupDirectory, Severity};
    use std::time::Duration;

    const NO_ENGINE: DockerError = DockerError::NotRunning { host: String::new() };

    async fn health(bench: &Bench) -> Vec<(Severity, String)> {
        let found = healthchecks(&bench.subject(), Err(&NO_ENGINE)).await;
        found.into_iter().map(|f| (f.severity, f.message)).collect()
    }

    #[tokio::test]
    async fn a_built_service_without_healthcheck_is_an_error_in_production_and_a_warning_in_dev() {
        let mut bench = Bench::new();
        bench.model(
            r#"{"services": {"backend": {"build": {"context": "@"}},
                "cache": {"image": "redis:7", "restart": "always"},
                "fine": {"build": {"context": "@"}, "healthcheck": {"test": ["CMD", "true"]}},
                "migrate": {"build": {"context": "@"}, "restart": "no"}}}"#,
        );
        assert_eq!(
            health(&bench).await,
            [
                (Severity::Error, "service `backend` is built here and has no healthcheck".to_owned()),
                (Severity::Warning, "service `cache` has no healthcheck".to_owned()),
            ]
        );
        bench.environment.profile = Profile::Dev;
        assert_eq!(
            health(&bench).await,
            [(Severity::Warning, "service `backend` is built here and has no healthcheck".to_owned())]
        );
    }

    #[tokio::test]
    async fn a_healthcheck_of_the_dockerfile_or_a_written_check_counts() {
        let mut bench = Bench::new();
        bench.write("Dockerfile", "FROM scratch\nHEALTHCHECK --interval=5s CMD true\n");
        let json = r#"{"services": {"backend": {"build": {"context": "@"}}}}"#;
        bench.model(json);
        assert_eq!(health(&bench).await[0].0, Severity::Passed);
        bench.write("Dockerfile", "FROM scratch\nHEALTHCHECK NONE\n");
        assert_eq!(health(&bench).await[0].0, Severity::Error);
        bench.app.health.checks.push(CheckSpec {
            name: "backend".to_owned(),
            probe: CheckProbe::Tcp { address: "localhost:1".to_owned() },
            timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(1),
            optional: false,
            optional_in: Vec::new(),
        });
        assert_eq!(health(&bench).await[0].0, Severity::Passed);
    }

    #[test]
    fn a_backend_without_frontend_is_a_warning_unless_the_app_says_what_must_be_there() {
        let mut bench = Bench::new();
        bench.model(r#"{"services": {"backend": {}}}"#);
        let found = services(&bench.subject()).remove(0);
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.message.contains("no service `frontend`"));
        bench.app.required_services = vec!["backend".to_owned()];
        assert_eq!(services(&bench.subject())[0].severity, Severity::Passed);
        bench.app.required_services.push("worker".to_owned());
        let found = services(&bench.subject()).remove(0);
        assert_eq!(found.severity, Severity::Error);
        assert!(found.message.ends_with("not active: `worker`"));
    }

    #[test]
    fn missing_bind_sources_are_told_by_what_would_become_of_them() {
        let mut bench = Bench::new();
        let bind = |source: &str, target: &str| {
            format!(
                r#"{{"type": "bind", "source": "{source}", "target": "{target}", "bind": {{"create_host_path": true}}}}"#
            )
        };
        bench.write("there.conf", "");
        let mounts = [
            bind("@/there.conf", "/a"),
            bind("@/Caddyfile", "/etc/caddy/Caddyfile"),
            bind("@/cfg", "/etc/app.toml"),
            bind("/nonexistent/place", "/b"),
            bind("@/uploads", "/c"),
            bind("@/data", "/d"),
            bind("@/logs", "/e"),
            r#"{"type": "bind", "source": "@/long", "target": "/f"}"#.to_owned(),
        ];
        bench.model(&format!(r#"{{"services": {{"a": {{"volumes": [{}]}}}}}}"#, mounts.join(",")));
        bench.app.setup.directories =
            vec![SetupDirectory { path: "./data/decisions".to_owned(), mode: None }];
        bench.app.shared = vec!["logs".to_owned()];
        let found = bind_sources(&bench.subject());
        let told: Vec<_> = found.iter().map(|f| (f.severity, f.message.split('`').nth(1).unwrap())).collect();
        assert_eq!(
            told,
            [
                (Severity::Error, "/nonexistent/place"),
                (Severity::Error, "Caddyfile"),
                (Severity::Error, "cfg"),
                (Severity::Error, "long"),
                (Severity::Warning, "uploads"),
            ]
        );
        let mut made = directories_to_make(&bench.subject());
        made.iter_mut().for_each(|path| *path = path.strip_prefix(bench.directory.path()).unwrap().into());
        assert_eq!(made, ["data", "logs", "uploads"].map(PathBuf::from));
    }

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
        let found = externals(&bench.subject(), Ok(&docker)).await;
        let hints: Vec<_> = found.iter().map(|f| f.hint.as_deref().unwrap()).collect();
        assert_eq!(
            hints,
            [
                "create it: `docker network create ffe-ut-none`",
                "create it: `docker volume create ffe-ut-novol`"
            ]
        );
    }

    #[test]
    fn a_missing_compose_file_is_told_in_the_documents_words() {
        let mut bench = Bench::new();
        bench.model = Err(ComposeError::FileMissing { file: "docker-compose.yml".to_owned() });
        let found = model(&bench.subject()).remove(0);
        assert_eq!(
            (found.rule.as_str(), found.message.as_str()),
            ("compose.file", "Compose file not found: docker-compose.yml")
        );
    }
}
