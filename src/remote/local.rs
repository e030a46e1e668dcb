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
        let mut child = start(&with_faults(Command::new(&path).arg("attach"))).await?;
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

/// Tells an agent with fault injection what we were told (`host::seam`).
fn with_faults(command: Command) -> Command {
    if !cfg!(feature = "fault-injection") {
        return command;
    }
    let faults = std::env::vars().filter(|(name, _)| name.starts_with("FFE_FAULT_"));
    faults.fold(command, |command, (name, value)| command.env(&name, value))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::config::Target;
    use crate::remote::{AgentBinary, Agents, Channel, How, RemoteError, Settings, connect};

    #[tokio::test]
    async fn the_agent_is_a_child_that_sees_the_end_of_its_stdin_and_whose_last_words_are_kept() {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let script = "#!/bin/sh\necho \"$*\"; cat; printf 'bye ##[error]\\n' >&2; exit 7\n";
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        let agent = AgentBinary::file(std::env::consts::ARCH, &file).unwrap();
        let mut remote = connect(&Target::Local, Settings::new(Agents::these(vec![agent]))).await.unwrap();
        assert_eq!(remote.describe(), "local");
        let Channel { mut stdin, mut stdout, ending } = remote.attach().await.unwrap();
        stdin.write_all(b"ping").await.unwrap();
        drop(stdin);
        let mut said = String::new();
        stdout.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "attach\nping");
        let ended = ending.ended().await;
        assert_eq!(ended.how, How::Exited(7));
        assert_eq!(ended.last_lines.len(), 1);
        assert!(!ended.last_lines[0].contains("##["), "{ended:?}");
    }

    #[tokio::test]
    async fn an_agent_for_another_machine_is_not_started() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let agent = AgentBinary::file("riscv64", file.path()).unwrap();
        let mut remote = connect(&Target::Local, Settings::new(Agents::these(vec![agent]))).await.unwrap();
        assert!(matches!(remote.attach().await.err().unwrap(), RemoteError::WrongArchitecture { .. }));
    }
}
