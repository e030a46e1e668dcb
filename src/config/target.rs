//! Where a release goes, and how to get there: flags above `<ENV>_*` variables above the files (DESIGN section 7).

use std::path::Path;

use crate::model::{ErrorKind, FailureReport};
use crate::text::Secret;

use super::environment::{NamedVariable, WrittenEnvironment};
use super::interpolate::Vars;
use super::job_values;
use super::problem::{ConfigError, Problem};
use super::reader::Problems;

/// What `host` accepts, in words.
pub(super) const HOST: &str = "[USER@]HOST[:PORT], or `local`";
/// What `host_key` accepts, in words.
pub(super) const HOST_KEY: &str = "a line of known_hosts, a public key, the path of a known_hosts file (with a `/`), or a SHA256:… fingerprint";

/// The machine that a release goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This machine.
    Local,
    /// A host over SSH.
    Ssh(Box<SshTarget>),
}

/// `local`, or `user@host:port` as far as it is written.
impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Ssh(target) = self else { return out.write_str("local") };
        if let Some(user) = &target.user {
            write!(out, "{user}@")?;
        }
        out.write_str(&target.host)?;
        target.port.map_or(Ok(()), |port| write!(out, ":{port}"))
    }
}

/// How to reach a host over SSH. What is absent is left to the user's `ssh_config`, agent and known_hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshTarget {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Who logs in.
    pub user: Option<String>,
    /// 1 to 65535.
    pub port: Option<u16>,
    /// Private key.
    pub key: Option<Secret>,
    /// Passphrase of the key.
    pub passphrase: Option<Secret>,
    /// Lines of known_hosts, a public key, the path of a file of them, or a SHA256 fingerprint.
    pub host_key: Option<String>,
    /// Hosts on the way, the first one first.
    pub jump: Vec<Jump>,
    /// Whether the agent is started by `sudo -n`.
    pub become_root: bool,
}

/// One host on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jump {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Who logs in.
    pub user: Option<String>,
    /// 1 to 65535.
    pub port: Option<u16>,
    /// As in [`SshTarget::host_key`].
    pub host_key: Option<String>,
}

/// What a `host` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostText {
    Local,
    Remote { host: String, user: Option<String>, port: Option<u16> },
}

/// Reads `[USER@]HOST[:PORT]` or `local`. IPv6 addresses with a port stand in brackets.
pub(super) fn parse_host(text: &str) -> Option<HostText> {
    if text == "local" {
        return Some(HostText::Local);
    }
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user).filter(|user| is_user(user))?.to_owned().into(), rest),
        None => (None, text),
    };
    let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
        let (host, after) = inner.split_once(']')?;
        (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
    } else if rest.matches(':').count() == 1 {
        rest.split_once(':').map(|(host, port)| (host, Some(port)))?
    } else {
        (rest, None)
    };
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => None,
    };
    is_host(host).then(|| HostText::Remote { host: host.to_owned(), user, port })
}

fn is_host(host: &str) -> bool {
    host.len() <= 255
        && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':')
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%'))
}

pub(super) fn is_user(user: &str) -> bool {
    (1..=64).contains(&user.len())
        && !user.starts_with('-')
        && user
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'\\' | b'@' | b'$'))
}

pub(super) fn is_host_key(text: &str) -> bool {
    let is_line = |line: &str| {
        let known = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-", "@cert-authority"];
        line.split_whitespace().any(|word| known.iter().any(|start| word.starts_with(start)))
            && line.split_whitespace().count() >= 2
    };
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let is_fingerprint = |text: &str| text.starts_with("SHA256:") && text.len() > 40 && !text.contains(' ');
    let one = text.trim();
    !one.is_empty() && (is_fingerprint(one) || is_known_hosts_file(one) || lines.all(is_line))
}

/// A path has a `/`, so that a word that was meant to be something else is not looked for on the disk.
fn is_known_hosts_file(text: &str) -> bool {
    text.contains('/') && !text.contains(char::is_whitespace) && !text.starts_with("SHA256:")
}

/// Returns a `host_key` of the configuration files: the path in it, if it is one, goes on from the project's root.
pub(super) fn host_key_from(project_root: &Path, key: String) -> String {
    let is_relative = is_known_hosts_file(&key) && !key.starts_with(['/', '~']);
    if is_relative { project_root.join(&key).display().to_string() } else { key }
}

/// `FFE_DEPLOY_*` variables of the job, then `<ENV>_*`: the environment's own name first, then its other spelling.
pub(super) struct EnvironmentVars<'a> {
    job: &'a Vars,
    prefixes: Vec<String>,
}

impl<'a> EnvironmentVars<'a> {
    pub(super) fn new(environment: &str, job: &'a Vars) -> Self {
        let prefix = |name: &str| name.replace('-', "_").to_uppercase();
        let prefixes = std::iter::once("FFE_DEPLOY").chain(spellings(environment)).map(prefix).collect();
        Self { job, prefixes }
    }

    /// Returns the name and value of the first such variable that is set, if only to nothing.
    pub(super) fn get(&self, suffix: &str) -> Option<(String, &'a str)> {
        self.prefixes.iter().find_map(|prefix| {
            let name = format!("{prefix}_{suffix}");
            self.job.get(&name).map(|value| (name, value.as_str()))
        })
    }

    /// As [`EnvironmentVars::get`], where an empty value counts as not set.
    fn filled(&self, suffix: &str) -> Option<(String, &'a str)> {
        self.prefixes.iter().find_map(|prefix| {
            let name = format!("{prefix}_{suffix}");
            let value = self.job.get(&name).filter(|value| !value.is_empty())?;
            Some((name, value.as_str()))
        })
    }

    /// Returns the name of the first such variable with a value, or with the name of a file that has it
    /// (`<NAME>_FILE`), and the value or why it cannot be had.
    pub(super) fn secret(&self, suffix: &str) -> Option<(String, Result<Secret, String>)> {
        self.prefixes.iter().find_map(|prefix| {
            let name = format!("{prefix}_{suffix}");
            match job_values::value(self.job, &name) {
                Ok(found) => {
                    let found = found?;
                    let file = if found.from == job_values::From::Variable { "" } else { "_FILE" };
                    Some((format!("{name}{file}"), Ok(found.value)))
                }
                Err(why) => Some((name, Err(why))),
            }
        })
    }
}

/// Returns the names that an environment has in files and variables: its own, then the other one (C02).
pub(super) fn spellings(environment: &str) -> Vec<&str> {
    let other = match environment {
        "production" => Some("prod"),
        "prod" => Some("production"),
        "development" => Some("dev"),
        "dev" => Some("development"),
        _ => None,
    };
    std::iter::once(environment).chain(other).collect()
}

/// What decides on the target besides the files.
pub(super) struct Above<'a> {
    /// `--host`.
    pub(super) host: Option<&'a str>,
    /// `--host-key`.
    pub(super) host_key: Option<&'a str>,
    pub(super) vars: EnvironmentVars<'a>,
    pub(super) job: &'a Vars,
}

impl Above<'_> {
    /// Returns the keys of the environment's entry that something above it decides.
    pub(super) fn overruled(&self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let is_set = |suffix: &str| match suffix {
            "SSH_KEY" => self.vars.secret(suffix).is_some(),
            _ => self.vars.filled(suffix).is_some(),
        };
        if self.host.is_some() || is_set("HOST") {
            keys.push("host");
        }
        for (key, suffix) in [("user", "USER"), ("port", "PORT"), ("ssh_key", "SSH_KEY")] {
            if is_set(suffix) {
                keys.push(key);
            }
        }
        if self.host_key.is_some() || is_set("HOST_KEY") {
            keys.push("host_key");
        }
        keys
    }

    /// Decides on the target; `None` when nobody says where.
    pub(super) fn target(&self, written: &WrittenEnvironment, problems: &mut Problems) -> Option<Target> {
        let said = match self.host {
            Some(text) => self.host_of("--host", text, problems),
            None => match self.vars.get("HOST") {
                Some((name, text)) => self.host_of(&name, text, problems),
                None => written.host.clone(),
            },
        };
        match said? {
            HostText::Local => Some(Target::Local),
            HostText::Remote { host, user, port } => {
                Some(Target::Ssh(Box::new(self.ssh(written, host, user, port, problems))))
            }
        }
    }

    fn host_of(&self, name: &str, text: &str, problems: &mut Problems) -> Option<HostText> {
        let host = parse_host(text);
        if host.is_none() {
            let message = if text.is_empty() { "is empty" } else { "names no host" };
            let problem = Problem::of(name, message).accepted(HOST);
            let problem = if text.is_empty() { problem } else { problem.found(format!("`{text}`")) };
            problems.add(problem.suggest(
                "set it to the host (is the secret there, and may this job read it?), or to `local` to deploy on this machine",
            ));
        }
        host
    }

    fn ssh(
        &self,
        written: &WrittenEnvironment,
        host: String,
        user: Option<String>,
        port: Option<u16>,
        problems: &mut Problems,
    ) -> SshTarget {
        // A user or port in the flag or variable that names the host is as high as that one.
        let above = self.host.is_some() || self.vars.get("HOST").is_some();
        let (flag_user, flag_port) = if above { (user.clone(), port) } else { (None, None) };
        let user = flag_user.or_else(|| self.user(problems)).or_else(|| written.user.clone()).or(user);
        let port = flag_port.or_else(|| self.port(problems)).or(written.port).or(port);
        SshTarget {
            host,
            user,
            port,
            key: self.key(written, problems),
            passphrase: self.passphrase(written, problems),
            host_key: self.host_key(written, problems),
            jump: written.jump.clone(),
            become_root: written.become_root,
        }
    }

    fn user(&self, problems: &mut Problems) -> Option<String> {
        let (name, user) = self.vars.filled("USER")?;
        if !is_user(user) {
            problems.add(Problem::of(&name, "is not a user's name").accepted("letters, digits, . _ -"));
        }
        Some(user.to_owned())
    }

    fn port(&self, problems: &mut Problems) -> Option<u16> {
        let (name, port) = self.vars.filled("PORT")?;
        let number = port.trim().parse::<u16>().ok().filter(|port| *port > 0);
        if number.is_none() {
            problems.add(Problem::of(&name, "is not a port").accepted("a number from 1 to 65535"));
        }
        number
    }

    fn host_key(&self, written: &WrittenEnvironment, problems: &mut Problems) -> Option<String> {
        let given = match self.host_key {
            Some(text) => Some(("--host-key".to_owned(), text)),
            None => self.vars.filled("HOST_KEY"),
        };
        let Some((name, text)) = given else { return written.host_key.clone() };
        if !is_host_key(text) {
            problems.add(Problem::of(&name, "is not a host key").accepted(HOST_KEY));
        }
        Some(text.to_owned())
    }

    fn key(&self, written: &WrittenEnvironment, problems: &mut Problems) -> Option<Secret> {
        if let Some(found) = self.vars.secret("SSH_KEY") {
            return brought(found, problems);
        }
        if let (Some((name, _)), None) = (self.vars.get("SSH_KEY"), &written.ssh_key) {
            let problem = Problem::of(&name, "is set, but empty").accepted("a private key");
            problems
                .add(problem.suggest("set the secret, or remove the variable to use the user's own keys"));
        }
        self.named(&written.ssh_key.as_ref()?.env, problems)
    }

    fn passphrase(&self, written: &WrittenEnvironment, problems: &mut Problems) -> Option<Secret> {
        if let Some(found) = self.vars.secret("SSH_KEY_PASSPHRASE") {
            return brought(found, problems);
        }
        let named = written.ssh_key.as_ref()?.passphrase.as_ref()?;
        // A key without passphrase: the variable is there, and empty.
        if self.job.get(&named.name).is_some_and(String::is_empty) {
            return None;
        }
        self.named(named, problems)
    }

    fn named(&self, variable: &NamedVariable, problems: &mut Problems) -> Option<Secret> {
        let name = &variable.name;
        let why = match job_values::value(self.job, name) {
            Ok(Some(found)) if !found.value.reveal().trim().is_empty() => return Some(found.value),
            Ok(_) => "is not set in the job".to_owned(),
            Err(why) => why,
        };
        let message = format!("names the variable `{name}`, which {why}");
        let problem = Problem::at(&variable.place, &variable.key, message);
        problems.add(
            problem.suggest(format!("set `{name}` from a secret, or `{name}_FILE` to the path of a file")),
        );
        None
    }
}

/// A secret of the job, or the problem that it cannot be had.
fn brought((name, found): (String, Result<Secret, String>), problems: &mut Problems) -> Option<Secret> {
    found
        .map_err(|why| {
            let problem = Problem::of(&name, why);
            problems.add(problem.suggest(format!(
                "set `{name}` from a secret, or `{name}_FILE` to the path of a file, and not both"
            )));
        })
        .ok()
}

/// The refusal of a deployment that nobody said where to put.
pub(super) fn not_said(environment: &str, why: &str) -> ConfigError {
    let message = format!("nobody says where `{environment}` is, and {why}; nothing was touched");
    let prefix = environment.replace('-', "_").to_uppercase();
    let hint =
        format!("pass `--host USER@HOST`, set {prefix}_HOST, or write `host:`; `local` means this machine");
    ConfigError::Refused(FailureReport::new(ErrorKind::ValidationError, "local.not-said", message).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_apart() {
        let remote = |host: &str, user: Option<&str>, port| {
            Some(HostText::Remote { host: host.to_owned(), user: user.map(str::to_owned), port })
        };
        assert_eq!(parse_host("local"), Some(HostText::Local));
        assert_eq!(parse_host("h"), remote("h", None, None));
        assert_eq!(parse_host("u@h.example.com:2222"), remote("h.example.com", Some("u"), Some(2222)));
        assert_eq!(parse_host("u@[::1]:22"), remote("::1", Some("u"), Some(22)));
        assert_eq!(parse_host("fe80::1"), remote("fe80::1", None, None));
        for bad in [
            "",
            "-oProxyCommand=x",
            "u@-x",
            "h:0",
            "h:x",
            "h h",
            "@h",
            "h:70000",
            "[::1",
            "-u@h",
            "h;x",
            "a/b",
        ] {
            assert_eq!(parse_host(bad), None, "{bad}");
        }
    }

    #[test]
    fn known_hosts_files_of_the_configuration_lie_in_the_project() {
        let found = |key: &str| host_key_from(Path::new("/p"), key.to_owned());
        assert_eq!(found("deploy/known_hosts"), "/p/deploy/known_hosts");
        for other in ["/etc/known_hosts", "~/.ssh/known_hosts", "SHA256:a/b", "h ssh-ed25519 AA/A"] {
            assert_eq!(found(other), other);
        }
    }

    #[test]
    fn host_keys_are_lines_or_fingerprints() {
        assert!(is_host_key("SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDMHGsJP8JnTK4l7Pc"));
        assert!(
            is_host_key("h ssh-ed25519 AAAAC3Nz\n[h]:22 ssh-rsa AAAA\n") && is_host_key("ssh-ed25519 AAAA")
        );
        assert!(is_host_key("/etc/ssh/ssh_known_hosts") && is_host_key("~/.ssh/known_hosts"));
        assert!(!is_host_key("yes") && !is_host_key("") && !is_host_key("h AAAA BBBB"));
        assert!(!is_host_key("SHA256:a/b"));
    }
}
