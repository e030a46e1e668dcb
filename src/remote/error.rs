//! Why a target could not be reached or made ready: one variant a cause, each with its next step.
//!
//! Whatever stands here happened before the agent was asked for anything: nothing was touched (exit 7).

use std::io;
use std::path::PathBuf;

use crate::host::process::ProcessError;
use crate::model::{ErrorKind, FailureReport, Outcome};

/// Why there is no connection to an agent. `host` is as [`super::Remote::describe`] says it, or the jump host.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The name has no address.
    #[error("the name of `{host}` cannot be resolved: {said}")]
    Dns {
        /// Which host.
        host: String,
        /// What `ssh` said.
        said: String,
        /// The name server did not answer, which passes; otherwise the name does not exist.
        passing: bool,
    },
    /// Nothing listens there.
    #[error("`{host}` refused the connection")]
    Refused {
        /// Which host.
        host: String,
    },
    /// No answer in time.
    #[error("`{host}` did not answer in time: {said}")]
    Timeout {
        /// Which host.
        host: String,
        /// What `ssh` said, or what was waited for.
        said: String,
    },
    /// No way there, or the connection broke before anybody was logged in.
    #[error("the connection to `{host}` could not be made: {said}")]
    Broken {
        /// Which host.
        host: String,
        /// What `ssh` said.
        said: String,
    },
    /// Nobody has said which key the host has.
    #[error("the host key of `{host}` is not known")]
    HostKeyUnknown {
        /// Which host.
        host: String,
        /// The known_hosts line of the key that the host shows now; empty when it could not be asked.
        line: String,
        /// The fingerprint of that key.
        fingerprint: String,
    },
    /// The host shows another key than the one that is known.
    #[error("the host key of `{host}` has changed: expected {expected}, but the host shows {found}")]
    HostKeyChanged {
        /// Which host.
        host: String,
        /// Fingerprints of the known keys.
        expected: String,
        /// Fingerprint of the key it shows.
        found: String,
    },
    /// `host_key` is neither a known_hosts line nor a file nor a fingerprint.
    #[error("`host_key` of `{host}` cannot be used: {why}")]
    HostKeyInvalid {
        /// Which host.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// The host refused all keys.
    #[error("`{host}` refused the login: {said}")]
    Authentication {
        /// Which host.
        host: String,
        /// What `ssh` said.
        said: String,
        /// Whether a key was given as a value.
        own_key: bool,
    },
    /// The key or its passphrase cannot be used.
    #[error("the ssh key cannot be used: {why}")]
    KeyInvalid {
        /// What is wrong with it; nothing of the key.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// The name of a host or a user could be mistaken for something else.
    #[error("`{value}` is not a name that can be connected to")]
    Name {
        /// What was found.
        value: String,
    },
    /// The ssh configuration of the user has an error.
    #[error("`ssh` does not accept its configuration: {said}")]
    Configuration {
        /// What `ssh` said.
        said: String,
    },
    /// A program of the OpenSSH client is missing.
    #[error("`{program}` is not installed on this machine or not on PATH")]
    NoSshClient {
        /// Its name.
        program: String,
    },
    /// `become: sudo` does not work.
    #[error("`sudo -n` does not work on `{host}`: {said}")]
    Sudo {
        /// Which host.
        host: String,
        /// Who is logged in there.
        user: String,
        /// What was said.
        said: String,
    },
    /// The login shell did not run our command.
    #[error("the login on `{host}` works, but no command can be run there: {said}")]
    Shell {
        /// Which host.
        host: String,
        /// What was said.
        said: String,
    },
    /// No directory of the user's own in which programs may run.
    #[error("no directory on `{host}` can hold the agent: {tried}")]
    NoExecutableDirectory {
        /// Which host.
        host: String,
        /// The directories, each with its reason.
        tried: String,
    },
    /// The agent did not arrive whole.
    #[error("the agent could not be brought to `{host}`: {said}")]
    AgentUpload {
        /// Which host.
        host: String,
        /// What was said.
        said: String,
    },
    /// There is no agent for the machine's architecture.
    #[error("`{host}` is a {found} machine, and this ffe-deploy brings the agent for {available}")]
    WrongArchitecture {
        /// Which host.
        host: String,
        /// Its `uname -m`.
        found: String,
        /// Those that there are.
        available: String,
    },
    /// This program has no agent with it.
    #[error("there is no `ffe-agent`: none is built in, and none is at {}", looked.display())]
    NoAgent {
        /// Where it was looked for.
        looked: PathBuf,
    },
    /// A file or program of this machine.
    #[error("{what} failed on this machine")]
    Here {
        /// What was tried.
        what: String,
        /// Why.
        source: io::Error,
    },
}

impl RemoteError {
    /// Returns an error of this machine, for `map_err`.
    pub(super) fn here(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Here { what, source }
    }

    /// Returns the error of a program of the OpenSSH client that did not run.
    pub(super) fn client(error: ProcessError) -> Self {
        match error {
            ProcessError::Missing { program } => Self::NoSshClient { program },
            ProcessError::Start { program, source } => {
                Self::Here { what: format!("starting `{program}`"), source }
            }
            other => Self::Here { what: "the ssh client".to_owned(), source: io::Error::other(other) },
        }
    }

    /// Returns whether trying again in a moment can help.
    pub fn passes(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::Dns { passing, .. } => *passing,
            _ => false,
        }
    }

    /// Returns how a deployment ends by this: nothing was touched, be it for a wrong value or for want of a connection.
    pub fn outcome(&self) -> Outcome {
        match self.kind() {
            ErrorKind::ConfigurationError => Outcome::Invalid,
            _ => Outcome::Unreachable,
        }
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dns { .. } => "remote.dns",
            Self::Refused { .. } => "remote.refused",
            Self::Timeout { .. } => "remote.timeout",
            Self::Broken { .. } => "remote.broken",
            Self::HostKeyUnknown { .. } => "remote.host-key-unknown",
            Self::HostKeyChanged { .. } => "remote.host-key-changed",
            Self::HostKeyInvalid { .. } => "remote.host-key-invalid",
            Self::Authentication { .. } => "remote.authentication",
            Self::KeyInvalid { .. } => "remote.key-invalid",
            Self::Name { .. } => "remote.name",
            Self::Configuration { .. } => "remote.ssh-configuration",
            Self::NoSshClient { .. } => "remote.no-ssh-client",
            Self::Sudo { .. } => "remote.sudo",
            Self::Shell { .. } => "remote.shell",
            Self::NoExecutableDirectory { .. } => "remote.no-executable-directory",
            Self::AgentUpload { .. } => "remote.agent-upload",
            Self::WrongArchitecture { .. } => "remote.architecture",
            Self::NoAgent { .. } => "remote.no-agent",
            Self::Here { .. } => "remote.here",
        }
    }

    /// Returns the error as people and programs read it.
    pub fn report(&self) -> FailureReport {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        message.push_str("; nothing was touched");
        FailureReport::new(self.kind(), self.code(), message).hint(self.hint())
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::HostKeyInvalid { .. }
            | Self::KeyInvalid { .. }
            | Self::Name { .. }
            | Self::Configuration { .. } => ErrorKind::ConfigurationError,
            _ => ErrorKind::DeploymentError,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Dns { passing: true, .. } => {
                "the name server did not answer; check the network of this machine and deploy again".to_owned()
            }
            Self::Dns { .. } => "check the spelling of `host`; a name inside a private network needs a runner there, \
                 or `jump:` with a host that knows it"
                .to_owned(),
            Self::Refused { .. } => "check that sshd runs there, and on this `port`; a firewall may refuse this machine".to_owned(),
            Self::Timeout { .. } => {
                "check that the host is up and that a firewall lets this machine through; a host behind a bastion needs `jump:`"
                    .to_owned()
            }
            Self::Broken { .. } => {
                "deploy again; if it stays, read the log of sshd on the host (MaxStartups, fail2ban, hosts.deny)".to_owned()
            }
            Self::HostKeyUnknown { line, fingerprint, .. } => unknown_key_hint(line, fingerprint),
            Self::HostKeyChanged { .. } => "find out why before anything else: a reinstalled host has a new key, and so has \
                 an attacker; run `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host's own console, and only if \
                 it shows the second fingerprint replace `host_key` (or the line in known_hosts)"
                .to_owned(),
            Self::HostKeyInvalid { .. } => "write what `ssh-keyscan HOST` prints (after comparing it with the host's own), the \
                 path of a known_hosts file, or a fingerprint `SHA256:…`"
                .to_owned(),
            Self::Authentication { own_key: true, .. } => "put the public half of this key into `~/.ssh/authorized_keys` of \
                 that `user` on the host, and check `user`"
                .to_owned(),
            Self::Authentication { .. } => "no key was given: set `ssh_key`, or load a key that the host knows into the \
                 ssh-agent of this machine, and check `user`"
                .to_owned(),
            Self::KeyInvalid { hint, .. } => (*hint).to_owned(),
            Self::Name { .. } => "names of hosts and users have letters, digits and `. - _ : % @ +`, and do not begin with `-`".to_owned(),
            Self::Configuration { .. } => "correct that line of ~/.ssh/config or /etc/ssh/ssh_config".to_owned(),
            Self::NoSshClient { .. } => "install the OpenSSH client (`apt-get install openssh-client`, `apk add openssh-client`)".to_owned(),
            Self::Sudo { user, .. } => format!(
                "put this line into /etc/sudoers.d/ffe-deploy on the host with `visudo -f`, or remove `become: sudo`: \
                 `{user} ALL=(root) NOPASSWD: ALL`"
            ),
            Self::Shell { .. } => {
                "give the user a login shell that runs commands, such as /bin/sh (`usermod -s /bin/sh USER`)".to_owned()
            }
            Self::NoExecutableDirectory { .. } => {
                "free space there, or set XDG_CACHE_HOME of that user to a directory of its own on a disk without noexec".to_owned()
            }
            Self::AgentUpload { .. } => "check the space of the user's home directory on the host, and deploy again".to_owned(),
            Self::WrongArchitecture { .. } => {
                "take a release of ffe-deploy that has the agent for it, or build one with `scripts/build`".to_owned()
            }
            Self::NoAgent { .. } => {
                "build it with `cargo build --bin ffe-agent`, or use a release, which has it inside (`scripts/build`)".to_owned()
            }
            Self::Here { .. } => "check the space and the rights in /tmp and $XDG_RUNTIME_DIR of this machine".to_owned(),
        }
    }
}

fn unknown_key_hint(line: &str, fingerprint: &str) -> String {
    if line.is_empty() {
        return "set `host_key` to a known_hosts line or a `SHA256:…` fingerprint that you have from the host's own console"
            .to_owned();
    }
    format!(
        "compare first: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` (or the key of that type) on the host's own \
         console must show {fingerprint}; only then set `host_key: \"{line}\"` in environments.yaml, or add this line to \
         ~/.ssh/known_hosts"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_the_cause_what_was_not_touched_and_the_line_to_paste() {
        let error = RemoteError::HostKeyUnknown {
            host: "shop".into(),
            line: "shop ssh-ed25519 AAAA".into(),
            fingerprint: "SHA256:abc".into(),
        };
        let report = error.report();
        assert_eq!(report.code, "remote.host-key-unknown");
        assert_eq!(report.message, "the host key of `shop` is not known; nothing was touched");
        let hint = report.hint.unwrap();
        assert!(hint.contains("host_key: \"shop ssh-ed25519 AAAA\"") && hint.starts_with("compare first"));
        assert_eq!(error.outcome(), Outcome::Unreachable);
    }

    #[test]
    fn causes_are_part_of_the_report() {
        let error = RemoteError::here("making a directory")(io::Error::other("disk full"));
        assert_eq!(
            error.report().message,
            "making a directory failed on this machine: disk full; nothing was touched"
        );
    }
}
