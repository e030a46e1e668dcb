//! This machine as a target: the agent is a child.

use std::process::Stdio;
use std::time::Duration;

use super::RemoteError;
use super::agent_binary::Agents;
use super::channel::{Channel, Ending, Process};
use crate::host::kept::Said;
use crate::host::process::Command;

/// Starts of a program that is being written by another process, at most.
const STARTS: u32 = 20;

/// This machine.
#[derive(Debug)]
pub struct Local {
    agents: Agents,
}

impl Local {
    pub(super) fn new(agents: Agents) -> Self {
        Self { agents }
    }

    /// Starts an agent with a cleared environment, in a process group of its own: it is told of a Ctrl-C by us.
    pub(super) async fn attach(&self) -> Result<Channel, RemoteError> {
        let path = self.agents.for_arch(std::env::consts::ARCH, "local")?.here()?;
        let mut child = start(&Command::new(&path).arg("attach")).await?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(RemoteError::here("starting the agent")(std::io::ErrorKind::BrokenPipe.into()));
        };
        let said = Said::default();
        let listener = tokio::spawn(said.clone().listen(stderr));
        let ending = Ending { process: Process::Local(child), said, listener };
        Ok(Channel { stdin: Box::pin(stdin), stdout: Box::pin(stdout), ending })
    }
}

async fn start(command: &Command) -> Result<tokio::process::Child, RemoteError> {
    let mut starts = 0;
    loop {
        let mut prepared = command.prepared();
        // The agent must see our end by its stdin, not by a kill in the middle of something.
        prepared.kill_on_drop(false).stdin(Stdio::piped());
        match prepared.spawn() {
            // Another thread of ours was about to start a program just when the file was written.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && starts < STARTS => {
                starts += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            result => return result.map_err(RemoteError::here(format!("starting `{}`", command.shown()))),
        }
    }
}
