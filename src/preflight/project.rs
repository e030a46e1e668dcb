//! Whose project is it (DESIGN section 6, "One project, one root").
//!
//! Our labels on the project's containers say which app, environment and root they belong to. Containers without
//! them are somebody's who knows nothing of us: this app as it ran before us, or a stranger's. Only the user can say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::containers::{Containers, Seen};
use super::{Subject, listed};
use crate::model::{Adopt, Finding, labels};
use crate::text::harmless;

const OTHER: &str = "project.other-root";
const NEIGHBOUR: &str = "project.neighbour";

/// Nothing is said where the engine does not answer: that is a finding of its own.
pub(super) fn check(subject: &Subject<'_>, containers: Result<Containers, ()>) -> Vec<Finding> {
    let Ok(containers) = containers else { return Vec::new() };
    let present: Vec<&Seen> = containers.of_project(subject.project).collect();
    let (ours, strangers): (Vec<&Seen>, Vec<&Seen>) =
        present.into_iter().partition(|seen| seen.label(labels::APP).is_some());
    if let Some(finding) = ours.iter().find_map(|seen| other_owner(subject, seen)) {
        return vec![finding];
    }
    if !ours.is_empty() {
        return vec![Finding::passed(OTHER, format!("project `{}` is this app's", subject.project))];
    }
    if subject.deployed && !strangers.is_empty() {
        let found =
            format!("project `{}` is this app's, although others made its containers anew", subject.project);
        return vec![Finding::passed(OTHER, found)];
    }
    if !strangers.is_empty() {
        return vec![under_our_name(subject, &strangers)];
    }
    match under_another_name(subject, &containers) {
        Some(finding) => vec![finding],
        None => vec![Finding::passed(OTHER, format!("project `{}` is nobody else's", subject.project))],
    }
}

/// `project.other-root`: labelled by us for another app, environment or root.
fn other_owner(subject: &Subject<'_>, seen: &Seen) -> Option<Finding> {
    let theirs = [labels::APP, labels::ENVIRONMENT, labels::ROOT]
        .map(|name| harmless(seen.label(name).unwrap_or_default()));
    let ours = [
        subject.app.name.to_string(),
        subject.environment.name.to_string(),
        subject.root.display().to_string(),
    ];
    if theirs == ours {
        return None;
    }
    let message = format!(
        "project `{}` on this host belongs to {}; this is {}",
        subject.project,
        owner(&theirs),
        owner(&ours)
    );
    let hint = format!(
        "give this one a project of its own in environments.yaml (`{}`), or end the other first: `ffe-deploy down {} --app {}` there",
        project_line(subject, &own_name(subject)),
        theirs[1],
        theirs[0],
    );
    Some(Finding::error(OTHER, message, hint).detail("container", harmless(&seen.name)))
}

fn owner([app, environment, root]: &[String; 3]) -> String {
    format!("app `{app}`, environment `{environment}`, root {root}")
}

/// `project.neighbour`: our project name, but not our labels. Without a word `--remove-orphans` would take away what
/// the compose file does not name.
fn under_our_name(subject: &Subject<'_>, strangers: &[&Seen]) -> Finding {
    let services: BTreeSet<&str> = strangers.iter().map(|seen| seen.service()).collect();
    let shown = listed(services.iter().map(|name| harmless(name)));
    if let (Some(Adopt::WithRollback), Some(file)) = (subject.adopt, missing_file(strangers)) {
        let message = format!(
            "what runs as project `{}` came from {}, which is gone: it cannot be recorded as a release to return to",
            subject.project,
            harmless(&file)
        );
        let hint = "put the file back, or say `--adopt=no-rollback` to take the app over without a release to return to";
        return Finding::error(NEIGHBOUR, message, hint);
    }
    if subject.adopt.is_some() {
        return Finding::passed(
            NEIGHBOUR,
            format!("the running project `{}` ({shown}) will be taken over", subject.project),
        );
    }
    let mine = own_services(subject);
    let foreign: Vec<_> =
        services.iter().filter(|name| !mine.contains(*name)).map(|name| harmless(name)).collect();
    let message = format!(
        "project `{}` already runs here ({shown}), and was not deployed by ffe-deploy{}",
        subject.project,
        from(strangers)
    );
    let own = project_line(subject, &own_name(subject));
    if same_app(subject, strangers) {
        let hint = format!("it is this app: `--adopt`; it is not: `{own}` in environments.yaml");
        return Finding::error(NEIGHBOUR, message, hint);
    }
    let removed =
        if foreign.is_empty() { String::new() } else { format!(" (this removes {})", listed(foreign)) };
    let hint = format!(
        "it looks like another app: give this one a project of its own, `{own}` in environments.yaml; if it is this app after all: `--adopt`{removed}"
    );
    Finding::error(NEIGHBOUR, message, hint)
}

/// The first compose file that containers came from and that is not there any more.
fn missing_file(strangers: &[&Seen]) -> Option<String> {
    let files = strangers.iter().filter_map(|seen| seen.label(labels::COMPOSE_FILES));
    files.flat_map(|files| files.split(',')).find(|file| !Path::new(file).is_file()).map(str::to_owned)
}

/// `project.neighbour`: all our services from a file of our file's name, under another project name. A project name
/// that the user wrote is the answer to this question.
fn under_another_name(subject: &Subject<'_>, containers: &Containers) -> Option<Finding> {
    if subject.app.project.is_some() {
        return None;
    }
    let mut projects: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for seen in containers.0.iter().filter(|seen| seen.label(labels::APP).is_none()) {
        if let Some(project) = seen.project() {
            projects.entry(project).or_default().push(seen);
        }
    }
    let (project, seen) = projects.into_iter().find(|(_, seen)| same_app(subject, seen))?;
    let project = harmless(project);
    let message = format!(
        "project `{project}` on this host has all services of this app{}, and was not deployed by ffe-deploy",
        from(&seen)
    );
    let hint = format!(
        "it is this app: `{}` in environments.yaml, and `--adopt`; it is not: `{}`",
        project_line(subject, &project),
        project_line(subject, subject.project)
    );
    Some(Finding::error(NEIGHBOUR, message, hint).detail("project", project))
}

/// All our services, and a compose file of this name.
fn same_app(subject: &Subject<'_>, seen: &[&Seen]) -> bool {
    let services: BTreeSet<&str> = seen.iter().map(|seen| seen.service()).collect();
    let mine = own_services(subject);
    let files: BTreeSet<&str> = seen.iter().flat_map(|seen| file_names(seen)).collect();
    let named = subject.app.compose_files.iter().filter_map(|file| Path::new(file).file_name()?.to_str());
    !mine.is_empty() && mine.is_subset(&services) && named.into_iter().any(|name| files.contains(name))
}

fn own_services<'a>(subject: &Subject<'a>) -> BTreeSet<&'a str> {
    subject.known_model().into_iter().flat_map(|model| model.services.keys()).map(String::as_str).collect()
}

/// Base names of the compose files that a container came from.
fn file_names(seen: &Seen) -> impl Iterator<Item = &str> {
    let files = seen.label(labels::COMPOSE_FILES).unwrap_or_default().split(',');
    files.filter_map(|file| Path::new(file).file_name()?.to_str())
}

fn from(seen: &[&Seen]) -> String {
    let files = seen.iter().find_map(|seen| seen.label(labels::COMPOSE_FILES));
    files.map(|files| format!(" from {}", harmless(files))).unwrap_or_default()
}

/// The line of environments.yaml that sets the project's name.
fn project_line(subject: &Subject<'_>, project: &str) -> String {
    format!("overrides: {{ {}: {{ project: {project} }} }}", subject.app.name)
}

/// A name that is not taken by the one in the way.
fn own_name(subject: &Subject<'_>) -> String {
    let usual = format!("{}-{}", subject.app.name, subject.environment.name);
    if usual == subject.project { format!("{usual}-2") } else { usual }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, container};
    use super::*;
    use crate::model::Severity;

    const MODEL: &str = r#"{"services": {"backend": {}, "db": {}}}"#;

    fn bench() -> Bench {
        let mut bench = Bench::new();
        bench.model(MODEL);
        bench
    }

    fn of(project: &str, service: &str, more: &[(&str, &str)]) -> Seen {
        let mut seen = container(
            &format!("{project}-{service}-1"),
            &[
                (labels::COMPOSE_PROJECT, project),
                (labels::COMPOSE_SERVICE, service),
                (labels::COMPOSE_FILES, "/old/docker-compose.yml"),
            ],
        );
        seen.labels.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        seen
    }

    fn one(bench: &Bench, containers: Vec<Seen>) -> Finding {
        let mut found = check(&bench.subject(), Ok(Containers(containers)));
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn an_empty_host_and_our_own_containers_are_fine() {
        let bench = bench();
        assert_eq!(one(&bench, vec![]).severity, Severity::Passed);
        let root = bench.root.display().to_string();
        let ours =
            [(labels::APP, "shop"), (labels::ENVIRONMENT, "production"), (labels::ROOT, root.as_str())];
        assert_eq!(one(&bench, vec![of("shop", "backend", &ours)]).severity, Severity::Passed);
    }

    #[test]
    fn another_root_is_refused_naming_both() {
        let bench = bench();
        let theirs = [(labels::APP, "shop"), (labels::ENVIRONMENT, "staging"), (labels::ROOT, "/srv/other")];
        let found = one(&bench, vec![of("shop", "backend", &theirs)]);
        assert_eq!((found.rule.as_str(), found.severity), ("project.other-root", Severity::Error));
        for word in ["`staging`", "/srv/other", "`production`", &bench.root.display().to_string()] {
            assert!(found.message.contains(word), "{}", found.message);
        }
        assert!(found.hint.unwrap().contains("overrides: { shop: { project: shop-production } }"));
    }

    #[test]
    fn what_ran_before_us_is_refused_with_both_lines_and_taken_over_on_request() {
        let mut bench = bench();
        let running = || vec![of("shop", "backend", &[]), of("shop", "db", &[])];
        let found = one(&bench, running());
        assert_eq!((found.rule.as_str(), found.severity), ("project.neighbour", Severity::Error));
        let hint = found.hint.unwrap();
        assert!(
            hint.contains("it is this app: `--adopt`") && hint.contains("project: shop-production"),
            "{hint}"
        );
        bench.adopt = Some(Adopt::WithRollback);
        let gone = one(&bench, running()).hint.unwrap();
        assert!(gone.contains("--adopt=no-rollback"), "{gone}");
        bench.adopt = Some(Adopt::NoRollback);
        assert_eq!(one(&bench, running()).severity, Severity::Passed);
        bench.adopt = Some(Adopt::WithRollback);
        let files = [(labels::COMPOSE_FILES, "/proc/self/status")];
        let found = one(&bench, vec![of("shop", "backend", &files), of("shop", "db", &files)]);
        assert_eq!(found.severity, Severity::Passed);
    }

    #[test]
    fn a_stranger_under_our_name_is_not_removed_as_an_orphan() {
        let found = one(&bench(), vec![of("shop", "wiki", &[])]);
        assert_eq!(found.severity, Severity::Error);
        assert!(found.hint.unwrap().contains("this removes `wiki`"));
    }

    #[test]
    fn the_same_services_under_another_name_ask_which_it_is() {
        let mut bench = bench();
        let running = || vec![of("oldshop", "backend", &[]), of("oldshop", "db", &[])];
        let found = one(&bench, running());
        let hint = found.hint.unwrap();
        assert!(
            hint.contains("project: oldshop") && hint.contains("--adopt") && hint.contains("project: shop }"),
            "{hint}"
        );
        bench.adopt = Some(Adopt::WithRollback);
        assert_eq!(
            one(&bench, running()).severity,
            Severity::Error,
            "there is nothing to adopt under our name"
        );
        bench.app.project = Some("shop".to_owned());
        assert_eq!(one(&bench, running()).severity, Severity::Passed, "the name is the answer");
    }

    #[test]
    fn neighbours_with_other_services_files_or_labels_of_ours_do_not_matter() {
        let bench = bench();
        assert_eq!(one(&bench, vec![of("x", "backend", &[])]).severity, Severity::Passed);
        let labelled = |service| of("x", service, &[(labels::APP, "x")]);
        assert_eq!(one(&bench, vec![labelled("backend"), labelled("db")]).severity, Severity::Passed);
        let other_file = |service| of("x", service, &[(labels::COMPOSE_FILES, "/y/stack.yml")]);
        assert_eq!(one(&bench, vec![other_file("backend"), other_file("db")]).severity, Severity::Passed);
    }
}
