//! The way to the machine that is changed: a local child, or an SSH session of our own that brings the agent along.
//!
//! Enter by [`connect`]; [`Remote::attach`] then gives one `ffe-agent attach` at a time, and another one after the
//! connection was lost. Nothing here survives this process, `kill -9` included. What the agent speaks, `agent` knows.

mod agent_binary;
mod channel;
mod error;
mod local;
mod packing;
pub mod session;
mod ssh;
#[cfg(test)]
pub(crate) use ssh::read_any_host_key;

use std::path::PathBuf;
use std::time::Duration;

pub use agent_binary::{AgentBinary, Agents};
pub use channel::{Channel, Ended, Ending, How, Input, Output};
pub use error::RemoteError;
pub use local::Local;
pub use ssh::SshSession;

use crate::config::Target;

/// How connections are made; the same for all targets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The agents that can be brought along.
    pub agents: Agents,
    /// The only ssh configuration that is read; absent: the user's and the machine's.
    pub ssh_config: Option<PathBuf>,
    /// Silence after which the host is asked whether it lives, in whole seconds; two unanswered questions end the
    /// connection. 5 s, so that a frozen host is noticed within 15 s.
    pub alive_interval: Duration,
    /// Wait before the second of three attempts to connect; it doubles.
    pub first_delay: Duration,
}

impl Settings {
    /// Returns the usual settings.
    pub fn new(agents: Agents) -> Self {
        Self {
            agents,
            ssh_config: None,
            alive_interval: Duration::from_secs(5),
            first_delay: Duration::from_millis(500),
        }
    }
}

/// A target that can be reached.
pub enum Remote {
    /// This machine.
    Local(Local),
    /// A host over SSH.
    Ssh(Box<SshSession>),
}

/// Connects to a target: nothing for this machine; for a host a login, tried three times where that can help.
///
/// # Errors
/// See [`RemoteError`]; nothing was touched.
pub async fn connect(target: &Target, settings: Settings) -> Result<Remote, RemoteError> {
    match target {
        Target::Local => Ok(Remote::Local(Local::new(settings.agents))),
        Target::Ssh(target) => Ok(Remote::Ssh(Box::new(SshSession::connect(target, settings).await?))),
    }
}

impl Remote {
    /// Returns `local`, or `user@host:port` as the ssh configuration completes it.
    pub fn describe(&self) -> String {
        match self {
            Self::Local(_) => "local".to_owned(),
            Self::Ssh(session) => session.describe().to_owned(),
        }
    }

    /// Starts an `ffe-agent attach`, bringing the agent first where it is not there in this version; connects again
    /// when the connection was lost.
    ///
    /// # Errors
    /// See [`RemoteError`]; this call touched nothing but the agent's cache.
    pub async fn attach(&mut self) -> Result<Channel, RemoteError> {
        match self {
            Self::Local(local) => local.attach().await,
            Self::Ssh(session) => session.attach().await,
        }
    }

    /// Ends the connection, and returns when nothing of it is left on this machine. Dropping does the same a moment later.
    pub async fn close(self) {
        match self {
            Self::Local(_) => {}
            Self::Ssh(session) => session.close().await,
        }
    }
}
