//! Waits for a Docker daemon that is gone: a question that nobody answers is an error, never an empty answer.

use std::time::Duration;

use super::run::Run;
use super::stop::Stop;
use crate::event::{Emitter, EventKind};
use crate::here;
use crate::host::clock::Moment;
use crate::host::docker::{Docker, DockerError};
use crate::model::{ContainerFacts, FailureReport, Severity};

/// Longest wait for a daemon.
const LONGEST: Duration = Duration::from_secs(300);
/// How often is asked whether it is back.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 500 });

impl Run {
    /// Returns the containers of the project; waits for the daemon when it is gone.
    ///
    /// # Errors
    /// It does not come back.
    pub(super) async fn containers(&self, project: &str) -> Result<Vec<ContainerFacts>, Stop> {
        if let Ok(found) = self.executor.containers(project).await {
            return Ok(found);
        }
        self.wait_for_daemon().await?;
        Ok(self.executor.containers(project).await?)
    }

    /// Returns when the daemon answers.
    ///
    /// # Errors
    /// It does not come back.
    pub(super) async fn wait_for_daemon(&self) -> Result<(), Stop> {
        Ok(patiently(&self.emitter, async || self.executor.docker.answers().await).await?)
    }
}

/// Connects to the daemon; waits for it when it is not there, as after a start of the machine.
///
/// # Errors
/// It does not come, or this user may not use it.
pub async fn connect(emitter: &Emitter) -> Result<Docker, FailureReport> {
    patiently(emitter, async || Docker::connect().await).await
}

async fn patiently<T>(
    emitter: &Emitter,
    ask: impl AsyncFn() -> Result<T, DockerError>,
) -> Result<T, FailureReport> {
    let until = Moment::now().after(LONGEST);
    let mut told = false;
    loop {
        let error = match ask().await {
            Ok(answer) => {
                if told {
                    tell(emitter, "docker.back", "the Docker daemon answers again".to_owned());
                }
                return Ok(answer);
            }
            Err(error @ (DockerError::Permission { .. } | DockerError::NotLocal { .. })) => {
                return Err(error.report());
            }
            Err(error) => error,
        };
        if until.left().is_zero() {
            return Err(error.report());
        }
        if !std::mem::replace(&mut told, true) {
            let notice = format!("{error}; waiting up to {} s for it", LONGEST.as_secs());
            tell(emitter, "docker.waiting", notice);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(emitter: &Emitter, code: &str, notice: String) {
    let (code, severity) = (code.to_owned(), Severity::Warning);
    emitter.emit(here!(), EventKind::Noticed { code, notice, hint: None, severity });
}
