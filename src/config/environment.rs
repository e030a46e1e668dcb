//! Reader of one environment: the keys of an entry of `environments`, after overlays and filling.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{Hook, OnLost, Profile};

use super::duration;
use super::hooks;
use super::interpolate::is_variable_name;
use super::problem::Problem;
use super::reader::{Field, Problems, Section, is_bare};
use super::rules;
use super::target::{self, HostText};
use super::yaml::{Node, Place, Value};

const KEYS: [&str; 18] = [
    "profile",
    "host",
    "user",
    "port",
    "ssh_key",
    "host_key",
    "jump",
    "become",
    "root",
    "require_confirmation",
    "backup",
    "allow_network_root",
    "recover_at_boot",
    "timeout",
    "on_lost",
    "rules",
    "hooks",
    "overrides",
];
const LATER: [&str; 1] = ["notify"];
const PROFILES: [(&str, Profile); 6] = [
    ("dev", Profile::Dev),
    ("development", Profile::Dev),
    ("staging", Profile::Staging),
    ("production", Profile::Production),
    ("prod", Profile::Production),
    ("testing", Profile::Testing),
];

const ON_LOST: [(&str, OnLost); 2] = [("continue", OnLost::Continue), ("rollback", OnLost::Rollback)];

/// What is written for an environment.
#[derive(Default)]
pub(super) struct WrittenEnvironment {
    pub(super) profile: Option<Profile>,
    pub(super) host: Option<HostText>,
    pub(super) user: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) ssh_key: Option<KeySource>,
    pub(super) host_key: Option<String>,
    pub(super) jump: Vec<target::Jump>,
    pub(super) become_root: bool,
    pub(super) root: Option<PathBuf>,
    pub(super) require_confirmation: Option<bool>,
    pub(super) backup: Option<bool>,
    pub(super) allow_network_root: bool,
    pub(super) recover_at_boot: Option<bool>,
    pub(super) timeout: Option<Duration>,
    pub(super) on_lost: OnLost,
    /// Rules that do not count here, by id, with the reason.
    pub(super) silenced: BTreeMap<String, String>,
    pub(super) hooks: Vec<Hook>,
}

/// Names of the variables that hold the key and its passphrase.
pub(super) struct KeySource {
    pub(super) env: NamedVariable,
    pub(super) passphrase: Option<NamedVariable>,
}

impl WrittenEnvironment {
    /// Lets the paths in it begin at the project's root.
    pub(super) fn in_project(mut self, project_root: &Path) -> Self {
        let keys = self.jump.iter_mut().map(|jump| &mut jump.host_key);
        for key in keys.chain([&mut self.host_key]) {
            *key = key.take().map(|key| target::host_key_from(project_root, key));
        }
        self
    }
}

/// A variable that the configuration names, and where.
pub(super) struct NamedVariable {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) place: Place,
}

/// Reads all keys of an environment.
pub(super) fn read(node: &Node, key: &str, problems: &mut Problems) -> WrittenEnvironment {
    let Some(section) = Section::of(node, key, problems) else { return WrittenEnvironment::default() };
    section.only(&KEYS, &LATER, problems);
    WrittenEnvironment {
        profile: section.get("profile").and_then(|field| field.word(&PROFILES, &[], problems)),
        host: section.get("host").and_then(|field| read_host(&field, problems)),
        user: section
            .get("user")
            .and_then(|field| field.text_that("a user's name", target::is_user, problems)),
        port: section.get("port").and_then(|field| read_port(&field, problems)),
        ssh_key: section.get("ssh_key").and_then(|field| read_key(&field, problems)),
        host_key: section
            .get("host_key")
            .and_then(|field| field.text_that(target::HOST_KEY, target::is_host_key, problems)),
        jump: section.get("jump").map(|field| read_jumps(&field, problems)).unwrap_or_default(),
        become_root: section.get("become").and_then(|field| read_become(&field, problems)).unwrap_or(false),
        root: section.get("root").and_then(|field| read_root(&field, problems)),
        require_confirmation: section.get("require_confirmation").and_then(|field| field.boolean(problems)),
        backup: section.get("backup").and_then(|field| field.boolean(problems)),
        timeout: section
            .get("timeout")
            .and_then(|field| field.duration(duration::LEAST_TIMEOUT, duration::MOST_TIMEOUT, problems)),
        on_lost: section
            .get("on_lost")
            .and_then(|field| field.word(&ON_LOST, &[], problems))
            .unwrap_or_default(),
        hooks: section.get("hooks").map(|field| hooks::read(&field, problems)).unwrap_or_default(),
        allow_network_root: section
            .get("allow_network_root")
            .and_then(|field| field.boolean(problems))
            .unwrap_or(false),
        silenced: section.get("rules").map(|field| rules::read(&field, problems)).unwrap_or_default(),
        recover_at_boot: section.get("recover_at_boot").and_then(|field| field.boolean(problems)),
    }
}

/// An empty host is the one value that must never mean "here".
fn read_host(field: &Field<'_>, problems: &mut Problems) -> Option<HostText> {
    if field.node.text() == Some("") {
        let problem = field.problem("is empty").found(field.shown()).accepted(target::HOST);
        problems.add(problem.suggest("set the variable, or write `host: local` to deploy on this machine"));
        return None;
    }
    let text = field.node.text().filter(|_| !is_bare(field.node));
    match text.and_then(target::parse_host) {
        Some(host) => Some(host),
        None => field.wrong(target::HOST, problems),
    }
}

fn read_port(field: &Field<'_>, problems: &mut Problems) -> Option<u16> {
    field.integer(1..=65535, problems).and_then(|port| u16::try_from(port).ok())
}

fn read_become(field: &Field<'_>, problems: &mut Problems) -> Option<bool> {
    field.word(&[("sudo", true), ("no", false)], &[], problems)
}

fn read_root(field: &Field<'_>, problems: &mut Problems) -> Option<PathBuf> {
    let is_root = |path: &str| path.starts_with('/') && path.split('/').all(|part| part != "..");
    field.text_that("an absolute path without `..`", is_root, problems).map(PathBuf::from)
}

fn read_key(field: &Field<'_>, problems: &mut Problems) -> Option<KeySource> {
    let wanted = "{ env: NAME, passphrase: { env: NAME } }; a key stands only in a variable";
    if !matches!(field.node.value, Value::Map(_) | Value::Broken) {
        problems.add(field.problem("has the wrong value (it is not shown)").accepted(wanted));
        return None;
    }
    let section = field.section(problems)?;
    section.only(&["env", "passphrase"], &[], problems);
    let passphrase = section.get("passphrase").and_then(|field| {
        let section = field.section(problems)?;
        section.only(&["env"], &[], problems);
        read_variable(&field, &section, problems)
    });
    Some(KeySource { env: read_variable(field, &section, problems)?, passphrase })
}

pub(super) fn read_variable(
    field: &Field<'_>,
    section: &Section<'_>,
    problems: &mut Problems,
) -> Option<NamedVariable> {
    let Some(named) = section.get("env") else {
        problems.add(field.problem("has no `env`").accepted("{ env: NAME }"));
        return None;
    };
    // Whoever writes the value itself there must not see it in a log.
    let is_name = named.node.text().is_some_and(is_variable_name) && !is_bare(named.node);
    let wanted = "the name of a variable";
    let Some(name) = named.node.text().filter(|_| is_name) else {
        problems
            .add(named.problem("has the wrong value").found("a value that is not shown").accepted(wanted));
        return None;
    };
    let name = name.to_owned();
    Some(NamedVariable { name, key: named.key, place: named.node.place.clone() })
}

fn read_jumps(field: &Field<'_>, problems: &mut Problems) -> Vec<target::Jump> {
    let items = field.items("a list of {host, user, port, host_key}", problems).unwrap_or_default();
    items.iter().filter_map(|item| read_jump(item, problems)).collect()
}

fn read_jump(field: &Field<'_>, problems: &mut Problems) -> Option<target::Jump> {
    let section = field.section(problems)?;
    section.only(&["host", "user", "port", "host_key"], &[], problems);
    let Some(host) = section.get("host") else {
        problems.add(
            Problem::at(section.place(), &field.key, "has no `host`")
                .accepted("{host, user, port, host_key}"),
        );
        return None;
    };
    let user =
        section.get("user").and_then(|field| field.text_that("a user's name", target::is_user, problems));
    let port = section.get("port").and_then(|field| read_port(&field, problems));
    let host_key = section.get("host_key");
    let host_key =
        host_key.and_then(|field| field.text_that(target::HOST_KEY, target::is_host_key, problems));
    match read_host(&host, problems)? {
        HostText::Remote { host, user: u, port: p } => {
            Some(target::Jump { host, user: user.or(u), port: port.or(p), host_key })
        }
        HostText::Local => host.wrong("a host that is not this machine", problems),
    }
}
