//! Are the files and variables there that the app needs (R000-53 to R000-57, C06).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Subject, listed};
use crate::host::compose::ComposeError;
use crate::model::{BuildMode, Finding};

pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = files(subject);
    findings.extend(env_files(subject));
    findings.extend(required_variables(subject));
    findings.extend(unset_variables(subject));
    findings
}

/// `files.required`: what the app names, and what the model refers to. One error for each missing file.
fn files(subject: &Subject<'_>) -> Vec<Finding> {
    let wanted = wanted_files(subject);
    let missing: Vec<_> = wanted.iter().filter(|(path, _)| !path.is_file()).collect();
    if missing.is_empty() {
        let found = match wanted.len() {
            0 => "no file is required".to_owned(),
            1 => "the required file is there".to_owned(),
            count => format!("the {count} required files are there"),
        };
        return vec![Finding::passed("files.required", found)];
    }
    missing
        .into_iter()
        .map(|(path, why)| {
            let found = if path.is_dir() { "is a directory" } else { "is missing" };
            let shown = path.strip_prefix(subject.project_dir).unwrap_or(path).display();
            Finding::error("files.required", format!("`{shown}` {found}: {why}"), file_hint(subject, path))
                .detail("path", path.display().to_string())
        })
        .collect()
}

fn file_hint(subject: &Subject<'_>, path: &Path) -> String {
    if subject.is_in_place() || !path.starts_with(subject.project_dir) {
        return format!("create {} on the host", path.display());
    }
    "add it to git, or name it under `bundle:` in deployments.yaml".to_owned()
}

/// The documents' files are required where git tracks them, whether or not somebody says so (R000-55, R000-56).
fn why_required(file: &str) -> String {
    match file {
        "config.yaml" | "config/config.yaml" | "Dockerfile" => {
            "the app requires it (`required_files`, or because git tracks it)".to_owned()
        }
        _ => "the app requires it (`required_files`)".to_owned(),
    }
}

/// By path, with the reason.
fn wanted_files(subject: &Subject<'_>) -> BTreeMap<PathBuf, String> {
    let named = subject.app.required_files.iter();
    let mut wanted: BTreeMap<_, _> =
        named.map(|file| (subject.project_dir.join(file), why_required(file))).collect();
    let Some(model) = subject.known_model() else { return wanted };
    let builds = model.built().filter(|_| subject.app.build == BuildMode::Host);
    for (service, build) in builds {
        if let Some(path) = build.dockerfile_path() {
            wanted.entry(path).or_insert_with(|| format!("service `{service}` is built from it"));
        }
    }
    let definitions = [("config", &model.configs), ("secret", &model.secrets)];
    for (kind, name, definition) in
        definitions.iter().flat_map(|(kind, all)| all.iter().map(move |(name, one)| (*kind, name, one)))
    {
        if let Some(file) = definition.file.as_ref().filter(|_| !definition.external) {
            wanted.entry(file.into()).or_insert_with(|| format!("{kind} `{name}` is this file"));
        }
    }
    wanted
}

/// `env.file`: an env file that the compose file names and no layer has (C06).
fn env_files(subject: &Subject<'_>) -> Vec<Finding> {
    let mut missing: BTreeSet<&str> = subject.missing_env_files.iter().map(String::as_str).collect();
    if let Err(ComposeError::EnvFileMissing { file }) = &subject.model {
        let shown = Path::new(file).strip_prefix(subject.project_dir).ok().and_then(Path::to_str);
        missing.insert(shown.unwrap_or(file));
    }
    let told = missing.into_iter().map(|file| {
        let message = format!("env file `{file}` is missing: the compose file names it, and no layer of the app's variables has it");
        let mut hint = format!("create {file} from {}", example_of(file));
        if !subject.is_in_place() {
            hint = format!("{hint} beside the project, or {} on the host", subject.shared.join(file).display());
        }
        let is_refused =
            subject.passes_over_env_files || matches!(subject.model, Err(ComposeError::EnvFileMissing { .. }));
        // Where Compose refuses there is nothing to go on with, in dev neither.
        if is_refused {
            Finding::error("env.file", message, hint)
        } else {
            subject.strict("env.file", message, hint)
        }
    });
    told.collect()
}

/// The example beside a file, by the documents' names (R003-53).
fn example_of(file: &str) -> String {
    format!("{file}.example")
}

/// `env.required`: variables that the app names and no layer has.
fn required_variables(subject: &Subject<'_>) -> Vec<Finding> {
    let empty = |name: &&String| subject.variables.get(*name).is_none_or(|value| value.trim().is_empty());
    let missing: Vec<_> = subject.app.required_vars.iter().filter(empty).collect();
    if missing.is_empty() {
        let found = match subject.app.required_vars.len() {
            0 => "no variable is required".to_owned(),
            1 => "the required variable is set".to_owned(),
            count => format!("the {count} required variables are set"),
        };
        return vec![Finding::passed("env.required", found)];
    }
    let finding = subject.strict(
        "env.required",
        format!("required variables are missing or empty: {}", listed(&missing)),
        variable_hint(subject),
    );
    vec![missing.into_iter().fold(finding, |finding, name| finding.detail(name, "missing or empty"))]
}

/// `env.unset`: variables that the compose file uses without a default, and nobody has.
fn unset_variables(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(model) = subject.known_model() else { return Vec::new() };
    if model.unset_variables.is_empty() {
        return vec![Finding::passed("env.unset", "every variable of the compose file has a value")];
    }
    let names = listed(&model.unset_variables);
    let hint = format!(
        "{}, or give it a default in the compose file: ${{NAME:-default}}; a dollar sign that is meant as such is written $$",
        variable_hint(subject)
    );
    vec![subject.strict(
        "env.unset",
        format!("the compose file uses variables that are not set: {names}"),
        hint,
    )]
}

/// The resolution of the documents (R003-53), and where else a value can come from.
fn variable_hint(subject: &Subject<'_>) -> String {
    let environment = &subject.environment.name;
    format!(
        "create .env from .env.example (here: .env.{environment} from .env.{environment}.example), or name the variable \
         under `secrets:` and set it in the environment of the job"
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::model::{Profile, Severity};

    #[test]
    fn every_missing_file_is_named_with_the_reason() {
        let mut bench = Bench::new();
        bench.app.required_files = vec!["config/config.yaml".to_owned(), "there.txt".to_owned()];
        bench.write("there.txt", "");
        bench.model(
            r#"{"services": {"backend": {"build": {"context": "@"}}}, "secrets": {"tok": {"file": "@/tok.txt"}}}"#,
        );
        let found = check(&bench.subject());
        let errors: Vec<_> =
            found.iter().filter(|f| f.severity == Severity::Error).map(|f| f.message.as_str()).collect();
        assert_eq!(
            errors,
            [
                "`Dockerfile` is missing: service `backend` is built from it",
                "`config/config.yaml` is missing: the app requires it (`required_files`, or because git tracks it)",
                "`tok.txt` is missing: secret `tok` is this file",
            ]
        );
    }

    #[test]
    fn a_dockerfile_does_not_matter_when_nobody_builds() {
        let mut bench = Bench::new();
        bench.app.build = BuildMode::Never;
        bench.model(r#"{"services": {"backend": {"build": {"context": "@"}}}}"#);
        assert!(!super::super::refuses(&check(&bench.subject())));
    }

    #[test]
    fn missing_variables_are_errors_in_production_and_warnings_in_dev() {
        let mut bench = Bench::new();
        bench.app.required_vars = ["JWT_SECRET_KEY", "EMPTY", "SET"].map(str::to_owned).into();
        bench.variables = [("SET", "x"), ("EMPTY", " ")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (profile, severity) in [
            (Profile::Production, Severity::Error),
            (Profile::Staging, Severity::Error),
            (Profile::Dev, Severity::Warning),
        ] {
            bench.environment.profile = profile;
            let found = required_variables(&bench.subject()).remove(0);
            assert_eq!(found.severity, severity);
            assert_eq!(found.message, "required variables are missing or empty: `EMPTY`, `JWT_SECRET_KEY`");
            assert!(found.hint.unwrap().contains("create .env from .env.example"));
        }
    }

    #[test]
    fn a_missing_env_file_is_named() {
        let mut bench = Bench::new();
        bench.missing_env_files = vec![".env.production".to_owned()];
        let found = env_files(&bench.subject()).remove(0);
        assert_eq!(found.severity, Severity::Error);
        assert!(found.message.starts_with("env file `.env.production` is missing"), "{}", found.message);
        assert_eq!(found.hint.as_deref(), Some("create .env.production from .env.production.example"));
    }

    #[test]
    fn variables_that_compose_took_as_empty_are_named() {
        let mut bench = Bench::new();
        bench.model(r#"{"services": {}}"#);
        if let Ok(model) = &mut bench.model {
            model.unset_variables.insert("API_BASE".to_owned());
        }
        let found = unset_variables(&bench.subject()).remove(0);
        assert_eq!(found.severity, Severity::Error);
        assert!(found.message.ends_with("not set: `API_BASE`"), "{}", found.message);
    }
}
