//! Env files that a mount hands to a container with everything else.

use std::path::{Path, PathBuf};

use super::Subject;
use crate::model::{Finding, Profile};
use crate::text::harmless;

const RULE: &str = "compose.env-exposed";

/// `compose.env-exposed`: a bind of a directory (often `./`) in which an env file lies.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let is_strict = matches!(subject.environment.profile, Profile::Production | Profile::Staging);
    let Some(model) = subject.known_model().filter(|_| is_strict) else { return Vec::new() };
    let files = env_files(&[subject.project_dir, subject.shared]);
    let mut findings = Vec::new();
    for (name, service) in &model.services {
        let sources = service.volumes.iter().filter_map(|mount| mount.bind_source());
        let mut exposed = sources.filter_map(|source| {
            let file = files.iter().find(|file| file.starts_with(source))?;
            Some((source, file))
        });
        findings.extend(exposed.next().map(|(source, file)| exposes(subject, name, source, file)));
    }
    if findings.is_empty() {
        findings.push(Finding::passed(RULE, "no mount shows an env file to a container"));
    }
    findings
}

fn exposes(subject: &Subject<'_>, service: &str, source: &str, file: &Path) -> Finding {
    let within = |path: &Path| {
        let inside = path.strip_prefix(subject.project_dir).unwrap_or(path).display().to_string();
        harmless(if inside.is_empty() { "./" } else { &inside })
    };
    let message = format!(
        "service `{service}` mounts `{}`, and with it `{}`: whoever makes it show a file can read every secret",
        within(Path::new(source)),
        within(file)
    );
    let hint = "mount only what the service needs, such as `./src:/app/src:ro`, or keep the env file on the host outside of it";
    Finding::warning(RULE, message, hint).detail("service", service)
}

/// `.env` and `.env.*` that lie in these directories, without examples.
fn env_files(directories: &[&Path]) -> Vec<PathBuf> {
    let entries = directories.iter().flat_map(|directory| std::fs::read_dir(directory).into_iter().flatten());
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_env_file(path)).collect();
    files.sort();
    files
}

fn is_env_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_example = ["example", "sample", "template", "dist"]
        .iter()
        .any(|word| name.split('.').any(|part| part == *word));
    (name == ".env" || name.starts_with(".env.")) && !is_example && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::model::Severity;

    #[test]
    fn a_mount_of_the_project_shows_its_env_files_and_one_of_a_part_does_not() {
        let mut bench = Bench::new();
        bench.write(".env.example", "");
        bench.write("src/x", "");
        let model = r#"{"services": {
            "part": {"volumes": [{"type": "bind", "source": "@/src", "target": "/a"}]},
            "web": {"volumes": [{"type": "bind", "source": "@", "target": "/srv", "read_only": true}]}}}"#;
        bench.model(model);
        assert_eq!(check(&bench.subject())[0].severity, Severity::Passed);
        bench.write(".env.production", "A=1");
        let found = check(&bench.subject());
        assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
        assert!(
            found[0].message.starts_with("service `web` mounts `./`, and with it `.env.production`"),
            "{found:?}"
        );
        bench.environment.profile = Profile::Dev;
        assert!(check(&bench.subject()).is_empty());
    }
}
