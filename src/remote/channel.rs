//! The way to one `ffe-agent attach`: its stdin, its stdout, and how it ended.

use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use crate::host::kept::Said;
use crate::text;

/// Writes to the agent's stdin; dropping it tells the agent that the runner is gone.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;
/// Reads the agent's stdout.
pub type Output = Pin<Box<dyn AsyncRead + Send>>;

/// One running `ffe-agent attach`.
pub struct Channel {
    /// Its stdin.
    pub stdin: Input,
    /// Its stdout.
    pub stdout: Output,
    /// How it will have ended.
    pub ending: Ending,
}

/// What tells how an agent ended; take it out of a [`Channel`] to hold the streams elsewhere.
pub struct Ending {
    pub(super) process: Process,
    pub(super) said: Said,
    pub(super) listener: JoinHandle<()>,
}

pub(super) enum Process {
    Local(tokio::process::Child),
    Ssh(Box<RemoteProcess>),
}

pub(super) struct RemoteProcess {
    pub(super) child: openssh::Child<Arc<openssh::Session>>,
    /// What the connection's own `ssh` says, such as why it was lost.
    pub(super) connection: Said,
}

/// How an agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// In which way.
    pub how: How,
    /// The last lines of its stderr, at most 50, and what `ssh` said when the connection was lost; harmless.
    pub last_lines: Vec<String>,
}

/// In which way an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal.
    Killed,
    /// Nobody knows: the connection was lost. The host goes on by itself.
    ConnectionLost,
}

impl Channel {
    /// Closes its stdin, and returns once it or the connection has ended; its stdout is thrown away.
    pub async fn ended(self) -> Ended {
        let Self { stdin, mut stdout, ending } = self;
        drop(stdin);
        // It might wait for room in the pipe; an error is an end, too.
        tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await.ok();
        ending.ended().await
    }
}

impl Ending {
    /// Returns once the agent or the connection has ended. The streams should be dropped or read to their end.
    pub async fn ended(self) -> Ended {
        let Self { process, said, listener } = self;
        let (how, connection) = match process {
            Process::Local(mut child) => (local_end(child.wait().await), None),
            Process::Ssh(remote) => (remote_end(remote.child).await, Some(remote.connection)),
        };
        // What it started may still hold its stderr: the last words come at once or not at all.
        tokio::time::timeout(std::time::Duration::from_millis(200), listener).await.ok();
        let mut last_lines = said.lines();
        if let (How::ConnectionLost, Some(connection)) = (how, connection) {
            last_lines.extend(connection.lines());
        }
        Ended { how, last_lines: last_lines.iter().map(|line| text::harmless(line)).collect() }
    }
}

fn local_end(status: std::io::Result<ExitStatus>) -> How {
    status.ok().and_then(|status| status.code()).map_or(How::Killed, How::Exited)
}

async fn remote_end(child: openssh::Child<Arc<openssh::Session>>) -> How {
    let session = child.session();
    match child.wait().await {
        Ok(status) => local_end(Ok(status)),
        // The crate turns status 127 into this.
        Err(openssh::Error::Remote(_)) => How::Exited(127),
        // A lost connection and a kill by signal look alike (openssh says so itself): the connection is asked.
        Err(_) if session.check().await.is_ok() => How::Killed,
        Err(_) => How::ConnectionLost,
    }
}
