//! Does Compose serve, and does the model keep the rules (C05, C20, R003-27, R003-43).

use super::image::Images;
use super::{Subject, listed, pasted};
use crate::host::compose::{Compose, ComposeError};
use crate::model::compose::{ComposeModel, Healthcheck, Service};
use crate::model::{CheckProbe, ComposeFile, Finding, Profile};

/// `compose.installed`; nothing where Docker itself is missing, which is told already.
pub(super) fn installed(subject: &Subject<'_>) -> Vec<Finding> {
    vec![match subject.compose {
        Err(ComposeError::NoDocker { .. }) => return Vec::new(),
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

/// Oldest Compose that reads `env_file:` with `required:`.
const OPTIONAL_ENV_FILES: (u32, u32) = (2, 24);

/// `compose.version`: the files use what this Compose does not know.
pub fn too_old(compose: &Compose, files: &[ComposeFile]) -> Option<Finding> {
    older(compose.version(), files)
}

fn older(found: &str, files: &[ComposeFile]) -> Option<Finding> {
    let mut optional = files.iter().flat_map(|file| &file.env_files).filter(|file| !file.required);
    let service = &optional.next()?.service;
    let mut numbers =
        found.trim_start_matches('v').split(['.', '-', '+']).map_while(|word| word.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).filter(|version| *version < OPTIONAL_ENV_FILES)?;
    let message = format!(
        "Docker Compose is {}, and 2.24 is needed for `required: false` in `env_file:` of service `{service}`",
        crate::text::harmless(found)
    );
    let hint = "update Docker Compose on the host, or write `env_file:` as a list of paths that exist";
    Some(Finding::error("compose.version", message, hint).detail("service", service.as_str()))
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
            let services = if count == 1 { "service" } else { "services" };
            vec![Finding::passed("compose.model", format!("{files}: {count} active {services}"))]
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
pub(super) fn healthchecks(subject: &Subject<'_>, images: &Images<'_>) -> Vec<Finding> {
    let Some(model) = subject.known_model() else { return Vec::new() };
    let mut findings = Vec::new();
    for (name, service) in &model.services {
        if service.healthcheck == Healthcheck::Present
            || runs_once(subject, model, name, service)
            || is_checked(subject, name)
        {
            continue;
        }
        if service.healthcheck == Healthcheck::Absent && images.has_healthcheck(name) {
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
    let hint = pasted::healthcheck(name, service);
    let lacks = match service.healthcheck {
        Healthcheck::Disabled => "switches its healthcheck off",
        Healthcheck::Absent | Healthcheck::Present => "has no healthcheck",
    };
    let finding = if service.build.is_some() {
        subject.strict(RULE, format!("service `{name}` is built here and {lacks}"), hint)
    } else if matches!(subject.environment.profile, Profile::Dev | Profile::Testing) {
        return None;
    } else {
        Finding::warning(RULE, format!("service `{name}` {lacks}"), hint)
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

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, NO_ENGINE};
    use super::*;
    use crate::model::{CheckSpec, EnvFileRef, Severity};
    use std::time::Duration;

    async fn health(bench: &Bench) -> Vec<(Severity, String)> {
        let subject = bench.subject();
        let found = healthchecks(&subject, &Images::of(&subject, Err(&NO_ENGINE)).await);
        found.into_iter().map(|f| (f.severity, f.message)).collect()
    }

    #[tokio::test]
    async fn a_built_service_without_healthcheck_is_an_error_in_production_and_a_warning_in_dev() {
        let mut bench = Bench::new();
        bench.model(
            r#"{"services": {"backend": {"build": {"context": "@"}},
                "cache": {"image": "redis:7", "restart": "always"},
                "fine": {"build": {"context": "@"}, "healthcheck": {"test": ["CMD", "true"]}},
                "off": {"image": "redis:7", "restart": "always", "healthcheck": {"disable": true}},
                "migrate": {"build": {"context": "@"}, "restart": "no"}}}"#,
        );
        assert_eq!(
            health(&bench).await,
            [
                (Severity::Error, "service `backend` is built here and has no healthcheck".to_owned()),
                (Severity::Warning, "service `cache` has no healthcheck".to_owned()),
                (Severity::Warning, "service `off` switches its healthcheck off".to_owned()),
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
    fn an_optional_env_file_needs_a_compose_that_knows_it() {
        let of = |required| {
            let reference = EnvFileRef { service: "web".to_owned(), path: "x.env".to_owned(), required };
            [ComposeFile { env_files: vec![reference], ..ComposeFile::default() }]
        };
        for old in ["2.20.3", "v2.23.3-desktop.2", "2.0.1+ds1"] {
            let found = older(old, &of(false)).unwrap();
            assert_eq!((found.severity, found.rule.as_str()), (Severity::Error, "compose.version"));
            assert_eq!(older(old, &of(true)), None, "{old}");
        }
        for new in ["2.24.0", "v2.40.3", "5.0.1", "dev", ""] {
            assert_eq!(older(new, &of(false)), None, "{new}");
        }
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
