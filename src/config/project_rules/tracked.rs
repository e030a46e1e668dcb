//! `secrets.tracked` and `secrets.ignored`: git has no env files and no private keys (R001-23, R001-53).

use std::collections::BTreeSet;
use std::path::Path;

use super::{Files, place};
use crate::config::envfile;
use crate::config::files::read_text;
use crate::config::git;
use crate::config::interpolate::Vars;
use crate::config::secret_names::holds_secret;
use crate::config::templates::is_template;
use crate::model::Finding;
use crate::text::{harmless, shell_word};

const TRACKED: &str = "secrets.tracked";
const IGNORED: &str = "secrets.ignored";
/// Most that is read of one file, in bytes.
const LARGEST: usize = 1024 * 1024;
/// What git is asked about, below the app's directory.
const PATTERNS: [&str; 5] =
    [":(glob)**/.env", ":(glob)**/.env.*", ":(glob)**/*.key", ":(glob)**/*.pem", ":(glob)**/id_*"];

/// `secrets.tracked`: one finding for each file. An env file without secrets is a warning, for who adds one does not look.
pub(super) fn secrets(files: &Files) -> Vec<Finding> {
    let mut paths: BTreeSet<String> = git::listed(&files.app_dir, &PATTERNS).into_iter().collect();
    paths.extend(of_services(files));
    let mut findings: Vec<Finding> = paths.iter().filter_map(|path| judge(files, path)).collect();
    if findings.is_empty() {
        findings.push(Finding::passed(TRACKED, "git tracks no env file and no private key"));
    }
    findings
}

/// Env files of the compose files, whatever they are called.
fn of_services(files: &Files) -> Vec<String> {
    let named = files.compose_files.iter().flat_map(|file| &file.env_files);
    let plain: BTreeSet<&str> = named
        .map(|reference| reference.path.trim_start_matches("./"))
        .filter(|path| !path.contains('$') && !path.starts_with('/') && !path.contains(".."))
        .collect();
    if plain.is_empty() {
        return Vec::new();
    }
    git::tracked(&files.app_dir, &plain.into_iter().collect::<Vec<_>>())
}

fn judge(files: &Files, path: &str) -> Option<Finding> {
    let name = Path::new(path).file_name()?.to_str()?;
    // Not in the work tree any more, or no text: nothing can be said of it.
    let text = read_text(&files.app_dir.join(path), LARGEST).ok()?;
    // `id_ed25519` and its like; beside it lies a public one.
    if name.ends_with(".key") || name.ends_with(".pem") || name.starts_with("id_") {
        let line = text.lines().zip(1..).find(|(line, _)| line.contains("PRIVATE KEY-----"))?.1;
        let message = format!("git tracks a private key: `{}`", harmless(path));
        return Some(files.strict(TRACKED, message, untrack(path)).at(place(path, line, 1)));
    }
    if is_template(name) {
        return None;
    }
    let lines = envfile::parse(&text, &Vars::new()).unwrap_or_default();
    let secret: Vec<_> = lines.iter().filter(|line| holds_secret(&line.name, &line.value)).collect();
    let Some(first) = secret.first() else {
        // One that compose files name may well be a part of the project.
        if !name.starts_with(".env") {
            return None;
        }
        let message = format!("git tracks the env file `{}`; it holds no secret yet", harmless(path));
        return Some(Finding::warning(TRACKED, message, untrack(path)).at(place(path, 1, 1)));
    };
    let names: BTreeSet<String> = secret.iter().map(|line| format!("`{}`", harmless(&line.name))).collect();
    let names: Vec<_> = names.into_iter().collect();
    let message = format!(
        "git tracks the env file `{}`, which holds secrets: {} (not shown)",
        harmless(path),
        names.join(", ")
    );
    Some(files.strict(TRACKED, message, untrack(path)).at(place(path, first.line, 1)))
}

fn untrack(path: &str) -> String {
    let word = shell_word(&harmless(path));
    format!(
        "`git rm --cached {word}`, add it to .gitignore and commit; secrets that were in it must be replaced, for they stay in \
         git's history; a copy without values, such as `.env.example`, may be tracked"
    )
}

/// `secrets.ignored`: asked where there are env files at all, templates included.
pub(super) fn ignored(files: &Files) -> Option<Finding> {
    let entries = std::fs::read_dir(&files.app_dir).into_iter().flatten().flatten();
    let has_some = entries.into_iter().any(|entry| {
        entry.file_name().to_str().is_some_and(|name| name == ".env" || name.starts_with(".env."))
    });
    if !has_some {
        return None;
    }
    let names = [".env".to_owned(), format!(".env.{}", files.environment)];
    let missing: Vec<&String> = names.iter().filter(|name| !git::ignores(&files.app_dir, name)).collect();
    if missing.is_empty() {
        return Some(Finding::passed(IGNORED, "git ignores env files"));
    }
    let shown: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("git does not ignore {}: the next `git add .` commits it", shown.join(" and "));
    let hint = "add to .gitignore the lines `.env`, `.env.*` and `!.env*.example`";
    let there = files.app_dir.join(".gitignore").is_file().then(|| place(".gitignore", 1, 1)).flatten();
    Some(Finding::warning(IGNORED, message, hint).at(there))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::{Files, check};
    use crate::model::{ComposeFile, EnvFileRef, Finding, Profile, Severity};

    fn git(directory: &std::path::Path, arguments: &[&str]) {
        let mut command = Command::new("git");
        command
            .current_dir(directory)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments);
        assert!(command.output().unwrap().status.success(), "{arguments:?}");
    }

    /// A repository that tracks these files.
    fn project(tracked: &[(&str, &str)]) -> (tempfile::TempDir, Files) {
        let directory = tempfile::tempdir().unwrap();
        git(directory.path(), &["init", "--quiet"]);
        for (path, text) in tracked.iter().chain(&[("README", "")]) {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(directory.path(), &["add", "--all", "--force"]);
        let files = Files {
            app_dir: directory.path().to_owned(),
            environment: "production".parse().unwrap(),
            profile: Profile::Production,
            compose_files: vec![ComposeFile { path: "compose.yml".into(), ..ComposeFile::default() }],
        };
        (directory, files)
    }

    /// Rule, severity, file and line of what is not as wanted.
    fn wrong(files: &Files) -> Vec<(String, Severity, String)> {
        let bad = |finding: &Finding| finding.severity != Severity::Passed;
        let at = |finding: &Finding| {
            finding.place.as_ref().map(|place| format!("{}:{}", place.file, place.line.unwrap_or_default()))
        };
        let found = check(files);
        assert!(!format!("{found:?}").contains("MARKER"), "{found:?}");
        found
            .iter()
            .filter(|finding| bad(finding))
            .map(|f| (f.rule.clone(), f.severity, at(f).unwrap_or_default()))
            .collect()
    }

    fn expected(lines: &[(&str, Severity, &str)]) -> Vec<(String, Severity, String)> {
        lines.iter().map(|(rule, severity, at)| ((*rule).to_owned(), *severity, (*at).to_owned())).collect()
    }

    #[test]
    fn tracked_env_files_and_keys_are_told_and_examples_are_fine() {
        let ignore = (".gitignore", ".env\n.env.*\n!.env*.example\n");
        let (_kept, mut files) = project(&[
            ignore,
            (".env.production", "A=1\n\nAPI_KEY=MARKER-1\n"),
            ("web/.env", "PORT=80\n"),
            (".env.production.example", "API_KEY=MARKER-2\n"),
            ("certs/a.key", "-----BEGIN PRIVATE KEY-----\nMARKER\n"),
            ("certs/ca.pem", "-----BEGIN CERTIFICATE-----\n"),
            ("settings/prod.env", "DB_PASSWORD=MARKER-3\n"),
            ("settings/plain.env", "PORT=1\n"),
        ]);
        let named = |path: &str| EnvFileRef { service: "a".into(), path: path.into(), required: true };
        files.compose_files[0].env_files = vec![named("./settings/prod.env"), named("settings/plain.env")];
        use Severity::{Error, Warning};
        assert_eq!(
            wrong(&files),
            expected(&[
                ("secrets.tracked", Error, ".env.production:3"),
                ("secrets.tracked", Error, "certs/a.key:1"),
                ("secrets.tracked", Error, "settings/prod.env:1"),
                ("secrets.tracked", Warning, "web/.env:1"),
            ])
        );
        files.profile = Profile::Dev;
        assert!(wrong(&files).iter().all(|(_, severity, _)| *severity == Warning));
        let (_kept, files) = project(&[ignore, (".env.example", "")]);
        assert_eq!(wrong(&files), []);
    }

    #[test]
    fn env_files_that_git_would_add_are_told() {
        let (_kept, files) = project(&[(".gitignore", "*.log\n.env\n"), (".env.example", "")]);
        assert_eq!(wrong(&files), expected(&[("secrets.ignored", Severity::Warning, ".gitignore:1")]));
        let (_kept, files) = project(&[("a", "")]);
        assert_eq!(wrong(&files), [], "no env files, nothing to ignore");
    }

    #[test]
    fn secrets_on_a_command_line_are_told_and_what_only_looks_so_is_not() {
        let text = "services:\n  a:\n    command: redis-server --requirepass MARKER-1 --port 6379\n  b:\n    command:\n      - serve\n      - \
                    --api-token=MARKER-2\n  c:\n    command: [app, --password, MARKER-3]\n  fine:\n    command: app --password $${PASS} --token ${TOKEN} --tls-key \
                    server.key --token-ttl 3600 --password-file /run/secrets/p --password --verbose\n    entrypoint: [sh, -c, 'true']\n";
        let (_kept, files) = project(&[("compose.yml", text)]);
        let mut found: Vec<_> = wrong(&files).into_iter().map(|(rule, _, at)| (rule, at)).collect();
        found.sort();
        let at = |line| ("secrets.literal".to_owned(), format!("compose.yml:{line}"));
        assert_eq!(found, [at(3), at(7), at(9)]);
    }

    #[test]
    fn literal_credentials_of_compose_files_are_refused_at_their_line_and_never_shown() {
        let text = "x-common: &common\n  environment: &env\n    API_KEY: MARKER-1\nservices:\n  a:\n    <<: *common\n  b:\n    environment: *env\n  c:\n    \
                    environment:\n      - DB_PASSWORD=MARKER-2\n      - TOKEN=${TOKEN}\n      - SECRET_FILE=/run/secrets/x\n      - DATABASE_URL=postgres://u:MARKER-3@db/x\n    \
                    build:\n      context: .\n      args: {NPM_TOKEN: MARKER-4, KEY: null, DEBUG_TOKEN: true, PASSWORD: \"$PASSWORD\"}\n";
        let (_kept, mut files) = project(&[("compose.yml", text)]);
        use Severity::{Error, Warning};
        let at = |severity| {
            [3, 11, 14, 17]
                .map(|line| ("secrets.literal".to_owned(), severity, format!("compose.yml:{line}")))
        };
        let mut found = wrong(&files);
        found.sort_by_key(|(_, _, at)| at.rsplit(':').next().unwrap().parse::<u32>().unwrap());
        assert_eq!(found, at(Error));
        files.profile = Profile::Testing;
        assert!(wrong(&files).iter().all(|(_, severity, _)| *severity == Warning));
    }
}
