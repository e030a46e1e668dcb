//! Where secrets lie on this machine, and how good they are (R001-53, R001-54, C31). Names and paths only.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Subject, listed};
use crate::config::{holds_secret, is_template, names_secret};
use crate::model::compose::Service;
use crate::model::{Finding, Profile};
use crate::text::harmless;

const WEAK: &str = "secrets.weak";
const MODE: &str = "secrets.mode";
/// Fewest characters of a secret in production (R001-53).
const FEWEST: usize = 20;
/// Values that everybody tries first.
const KNOWN_TO_ALL: [&str; 14] = [
    "admin",
    "administrator",
    "password",
    "passwd",
    "secret",
    "root",
    "postgres",
    "mysql",
    "guest",
    "test",
    "letmein",
    "qwerty",
    "default",
    "minioadmin",
];
/// Values that stand for one that was to come.
const PLACEHOLDERS: [&str; 3] = ["dummy", "placeholder", "redacted"];
/// Values as short as these are counted as secrets only by their names, in bytes.
const SHORT: usize = 4;
/// Short values that switch something on or off.
const SWITCHES: [&str; 6] = ["on", "off", "yes", "no", "0", "1"];
/// Parts of values that were to be replaced.
const TO_REPLACE: [&str; 6] = ["changeme", "change-me", "change_me", "replace-me", "replace_me", "your-"];

pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(weak(subject));
    findings.extend(modes(subject));
    findings
}

/// `secrets.weak` (C31): only production is asked; elsewhere weak ones are the rule.
fn weak(subject: &Subject<'_>) -> Option<Finding> {
    if subject.environment.profile != Profile::Production {
        return None;
    }
    let mut found: BTreeMap<String, &'static str> = BTreeMap::new();
    let services = || subject.known_model().into_iter().flat_map(|model| &model.services);
    let of_services = services().flat_map(|(_, service)| service.environment.iter());
    let of_services = of_services.filter_map(|(name, value)| Some((name, value.as_ref()?)));
    for (name, value) in subject.variables.iter().chain(of_services) {
        if let Some(why) = weakness(name, value) {
            found.insert(harmless(name), why);
        }
    }
    let grafana = services().find(|(_, service)| has_grafanas_own_password(service));
    if let Some((name, _)) = grafana {
        let key = format!("GF_SECURITY_ADMIN_PASSWORD of service {}", harmless(name));
        found.insert(key, "not set, so it is Grafana's own `admin`");
    }
    if found.is_empty() {
        return Some(Finding::passed(WEAK, "no secret of production is short or known to all"));
    }
    let message = format!("weak secrets in production: {}", listed(found.keys()));
    let hint = format!(
        "make new ones of at least {FEWEST} characters (`openssl rand -base64 24`), in the env file on the host or in the \
         secrets of the job; change them where they are used, too"
    );
    let finding = Finding::warning(WEAK, message, hint);
    Some(found.into_iter().fold(finding, |finding, (name, why)| finding.detail(&name, why)))
}

fn weakness(name: &str, value: &str) -> Option<&'static str> {
    let value = value.trim();
    let lower = value.to_ascii_lowercase();
    let is_known = KNOWN_TO_ALL.contains(&lower.trim_end_matches(|c: char| c.is_ascii_digit()))
        || TO_REPLACE.iter().any(|part| lower.contains(part))
        || lower == name.to_ascii_lowercase();
    let is_placeholder = PLACEHOLDERS.contains(&lower.as_str());
    // What is no secret to be masked may still be a bad one.
    let is_bad = names_secret(name)
        && !value.is_empty()
        && (is_placeholder || (value.len() < SHORT && !SWITCHES.contains(&lower.as_str())));
    match holds_secret(name, value) || is_bad {
        false => None,
        true if is_known || is_placeholder => Some("a default, or a word that everybody tries"),
        true if value.chars().count() < FEWEST => Some("shorter than 20 characters"),
        true => None,
    }
}

/// Grafana begins with admin/admin when nobody says otherwise.
fn has_grafanas_own_password(service: &Service) -> bool {
    let image = service.image.as_deref().unwrap_or_default();
    let is_grafana = image
        .split([':', '@'])
        .next()
        .is_some_and(|name| name.ends_with("grafana/grafana") || name.ends_with("grafana/grafana-oss"));
    let is_set = |name: &str| service.environment.contains_key(name);
    is_grafana && !is_set("GF_SECURITY_ADMIN_PASSWORD") && !is_set("GF_SECURITY_ADMIN_PASSWORD__FILE")
}

/// What a file is to be allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// 600.
    EnvFile,
    /// 600.
    Key,
    /// 644: read by all, written by the owner alone.
    Certificate,
}

/// `secrets.mode` (R001-54): what lies beside the project in place, and in `shared/` on a root. What a release brings
/// lies in directories that are closed to others.
fn modes(subject: &Subject<'_>) -> Vec<Finding> {
    let directory = if subject.is_in_place() { subject.project_dir } else { subject.shared };
    let mut open: Vec<(PathBuf, u32, Kind)> = Vec::new();
    for (path, kind) in files(directory) {
        // A link is not followed: containers can plant them below `shared/`.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        let wrong = match kind {
            Kind::EnvFile | Kind::Key => 0o077,
            Kind::Certificate => 0o022,
        };
        if metadata.is_file() && mode & wrong != 0 {
            open.push((path, mode, kind));
        }
    }
    if open.is_empty() {
        return vec![Finding::passed(MODE, "env files, keys and certificates are closed as they should be")];
    }
    open.into_iter().map(|(path, mode, kind)| too_open(subject, directory, &path, mode, kind)).collect()
}

fn too_open(subject: &Subject<'_>, directory: &Path, path: &Path, mode: u32, kind: Kind) -> Finding {
    let shown = harmless(&path.strip_prefix(directory).unwrap_or(path).display().to_string());
    let (what, wanted) = match kind {
        Kind::EnvFile => ("env file", "600"),
        Kind::Key => ("private key", "600"),
        Kind::Certificate => ("certificate", "644"),
    };
    let done = if kind == Kind::Certificate { "written" } else { "read" };
    let message = format!("{what} `{shown}` has mode {mode:03o}: others on this host can have it {done}");
    let hint = format!(
        "`chmod {wanted} {}` on the host{}",
        crate::text::shell_word(&harmless(&path.display().to_string())),
        if kind == Kind::Key { ", and make a new key if others work there" } else { "" }
    );
    let finding = match kind {
        Kind::Key => subject.strict(MODE, message, hint),
        Kind::EnvFile | Kind::Certificate => Finding::warning(MODE, message, hint),
    };
    finding.detail("path", path.display().to_string())
}

/// `.env`, `.env.*` but templates, and keys and certificates in `certs/`; sorted.
fn files(directory: &Path) -> Vec<(PathBuf, Kind)> {
    let named = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    };
    let mut found: Vec<(PathBuf, Kind)> = Vec::new();
    for name in named(directory) {
        if (name == ".env" || name.starts_with(".env.")) && !is_template(&name) {
            found.push((directory.join(name), Kind::EnvFile));
        }
    }
    let certs = directory.join("certs");
    if fs::symlink_metadata(&certs).is_ok_and(|metadata| metadata.is_dir()) {
        for name in named(&certs) {
            let kind = match Path::new(&name).extension().and_then(|ending| ending.to_str()) {
                Some("key") => Kind::Key,
                Some("crt") => Kind::Certificate,
                _ => continue,
            };
            found.push((certs.join(name), kind));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::model::{Placement, Severity};

    fn weak_ones(bench: &Bench) -> Option<(Severity, String)> {
        weak(&bench.subject()).map(|found| (found.severity, format!("{} {:?}", found.message, found.details)))
    }

    #[test]
    fn weak_secrets_of_production_are_named_and_not_told() {
        let mut bench = Bench::new();
        bench.model(
            r#"{"services": {"db": {"environment": {"POSTGRES_PASSWORD": "hunter2-short", "POSTGRES_USER": "admin"}},
                "grafana": {"image": "docker.io/grafana/grafana:11", "environment": {}}}}"#,
        );
        bench.variables = [
            ("GRAFANA_ADMIN_PASSWORD", "Admin123"),
            ("JWT_SECRET_KEY", "please-changeme-this-is-long-enough"),
            ("API_KEY", "0123456789abcdef0123"),
            ("REDIS_PASSWORD", "123"),
            ("SIGNING_SECRET", "placeholder"),
            ("USE_TOKEN", "yes"),
            ("TOKEN_TTL", "admin"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let (severity, told) = weak_ones(&bench).unwrap();
        assert_eq!(severity, Severity::Warning);
        for name in [
            "`GRAFANA_ADMIN_PASSWORD`",
            "`JWT_SECRET_KEY`",
            "`POSTGRES_PASSWORD`",
            "`REDIS_PASSWORD`",
            "`SIGNING_SECRET`",
            "of service grafana",
        ] {
            assert!(told.contains(name), "{told}");
        }
        for not in ["hunter2", "Admin123", "API_KEY", "POSTGRES_USER", "TOKEN_TTL", "USE_TOKEN", "`123`"] {
            assert!(!told.contains(not), "{told}");
        }
        bench.environment.profile = Profile::Staging;
        assert_eq!(weak_ones(&bench), None);
        bench.environment.profile = Profile::Production;
        bench.model(r#"{"services": {"grafana": {"image": "grafana/grafana", "environment": {"GF_SECURITY_ADMIN_PASSWORD": "0123456789abcdef0123"}}}}"#);
        bench.variables.clear();
        assert_eq!(weak_ones(&bench).unwrap().0, Severity::Passed);
    }

    fn modes_of(bench: &Bench) -> Vec<(Severity, String)> {
        modes(&bench.subject()).into_iter().map(|found| (found.severity, found.message)).collect()
    }

    #[test]
    fn env_files_and_keys_that_others_can_read_are_told_with_what_to_do() {
        let mut bench = Bench::new();
        let put = |path: &str, mode: u32| {
            bench.write(path, "");
            fs::set_permissions(bench.directory.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        put(".env.production", 0o600);
        put(".env.production.example", 0o644);
        put("certs/a.key", 0o600);
        put("certs/a.crt", 0o644);
        assert_eq!(modes_of(&bench)[0].0, Severity::Passed);
        put(".env", 0o640);
        put("certs/a.key", 0o644);
        put("certs/a.crt", 0o664);
        let found = modes_of(&bench);
        let told: Vec<_> =
            found.iter().map(|(severity, text)| (*severity, text.split(':').next().unwrap())).collect();
        assert_eq!(
            told,
            [
                (Severity::Warning, "env file `.env` has mode 640"),
                (Severity::Warning, "certificate `certs/a.crt` has mode 664"),
                (Severity::Error, "private key `certs/a.key` has mode 644"),
            ]
        );
        bench.environment.profile = Profile::Dev;
        assert!(modes_of(&bench).iter().all(|(severity, _)| *severity == Severity::Warning));
        bench.environment.placement = Placement::Root { base: None };
        assert_eq!(modes_of(&bench).len(), 3, "`shared/` is the same directory here");
    }
}
