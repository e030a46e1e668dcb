//! What a service's container has to say for itself when a check has failed: its state and its last words.

use std::time::Duration;

use super::container;
use crate::event::EventKind;
use crate::host::docker::Docker;
use crate::model::{ContainerFacts, ContainerState, HealthState};
use crate::text::{harmless, shortened};

/// Log lines that are kept (R000-42), and the longest of them, in characters.
const LINES: usize = 50;
const LONGEST_LINE: usize = 4000;
/// Longest wait for Docker's answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// State and last log lines of one container, harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its service.
    pub service: String,
    /// Its name.
    pub container: String,
    /// What it does in words: `exited with 1`, `running, unhealthy: <last output of its healthcheck>`.
    pub state: String,
    /// The last 50 lines of its log at most, oldest first; empty when its log driver cannot be read.
    pub lines: Vec<String>,
}

impl From<Explanation> for EventKind {
    fn from(explanation: Explanation) -> Self {
        let Explanation { service, container, state, lines } = explanation;
        Self::LogsCollected { service, container, state, lines }
    }
}

/// Returns what there is to say of a service's worst container; nothing when it has none or Docker does not answer.
pub async fn explain_failure(docker: &Docker, project: &str, service: &str) -> Option<Explanation> {
    let found = tokio::time::timeout(PATIENCE, docker.containers(project)).await.ok()?.ok()?;
    let worst = found.into_iter().filter(|facts| facts.service == service).min_by_key(rank)?;
    let logs = tokio::time::timeout(PATIENCE, docker.logs(&worst.id, LINES)).await;
    let lines = logs.ok().and_then(Result::ok).unwrap_or_default();
    Some(Explanation {
        service: service.to_owned(),
        state: container::in_words(&worst),
        container: worst.name,
        lines: lines.iter().map(|line| shortened(&harmless(line), LONGEST_LINE)).collect(),
    })
}

/// The lower, the worse.
fn rank(facts: &ContainerFacts) -> u8 {
    match (facts.state, facts.health) {
        (ContainerState::Exited, _) if facts.exit_code == Some(0) => 6,
        (ContainerState::Exited | ContainerState::Dead, _) => 0,
        (ContainerState::Restarting, _) => 1,
        (ContainerState::Running, HealthState::Unhealthy) => 2,
        (ContainerState::Created | ContainerState::Paused | ContainerState::Removing, _) => 3,
        (ContainerState::Running, HealthState::Starting) => 4,
        (ContainerState::Running, HealthState::None | HealthState::Healthy) => 5,
    }
}
