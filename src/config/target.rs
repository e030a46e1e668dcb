//! Where a deployment goes: this machine, or a host over SSH.

use crate::text::Secret;

/// The machine that is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Local,
    /// A host over SSH.
    Ssh(SshTarget),
}

/// How a host is reached; what is absent is left to the user's ssh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshTarget {
    /// Name or address, as `ssh` takes it.
    pub host: String,
    /// Who logs in.
    pub user: Option<String>,
    /// Port of its sshd.
    pub port: Option<u16>,
    /// The text of a private key; absent: the user's agent and keys.
    pub key: Option<Secret>,
    /// Passphrase of that key.
    pub passphrase: Option<Secret>,
    /// A known_hosts line, the path of such a file, or a `SHA256:…` fingerprint; absent: the user's known_hosts.
    pub host_key: Option<String>,
    /// Hosts to go through, the first one first.
    pub jump: Vec<Jump>,
    /// Start the agent by `sudo -n`.
    pub become_root: bool,
}

/// A host on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jump {
    /// Name or address, as `ssh` takes it.
    pub host: String,
    /// Who logs in there.
    pub user: Option<String>,
    /// Port of its sshd.
    pub port: Option<u16>,
    /// As [`SshTarget::host_key`].
    pub host_key: Option<String>,
}
