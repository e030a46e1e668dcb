//! What others changed behind the current release: what a switch makes anew, and what is written down when it is verified.

use super::prepare::Ready;
use super::run::{Ending, Run};
use crate::executor::compose::drift::{self, Drift};
use crate::model::{ContainerFacts, Outcome, Release};

impl Run {
    /// Returns the services of the target whose containers somebody changed: Compose goes by labels, and may take them
    /// for what it made itself.
    pub(super) fn drifted(
        &self,
        target: &Ready,
        before: Option<&Release>,
        old: &[ContainerFacts],
    ) -> Vec<String> {
        let drift = before.and_then(|before| Drift::of(&self.layout, before, old)).unwrap_or_default();
        drift.services.into_iter().filter(|service| target.model.services.contains_key(service)).collect()
    }

    /// Writes down what a verified release consists of, so that the next deployment sees what others changed. An
    /// ending that left something else running than the current release leaves no record.
    pub async fn remember(&self, ending: &Ending) {
        let ended_well =
            matches!(ending.outcome, Some(Outcome::Succeeded | Outcome::RolledBack | Outcome::Cancelled));
        let Some(release) = ending.release.as_ref().filter(|_| ended_well && ending.changed) else { return };
        if !self.job.action.is_recorded() || self.layout.current_release().as_ref() != Some(&release.id) {
            return;
        }
        let Ok(found) = self.executor.containers(&release.project).await else { return };
        // Without a record the next deployment compares nothing, and verifies what it finds.
        drift::remember(&self.layout, release, &found).ok();
    }
}
