//! What a run does for the ledger: begins to tell it, says what is known besides the events, and ends.

use super::super::ancestry;
use super::super::drive::Drive;
use super::super::order::Wish;
use super::super::stage::Telling;
use super::courier::{Courier, Way};
use super::pending;
use crate::config::{Audience, Resolved};
use crate::model::{Action, Job};

/// Begins to tell the ledger, where there is one and the verb is told of.
pub(in crate::cli) fn begin(wish: &Wish, audience: &Audience, telling: &Telling) -> Option<Courier> {
    let ledger = audience.ledger.clone().filter(|_| is_told(&wish.action))?;
    let pending = pending::beside(&telling.event_log);
    let courier = Courier::start(Way { ledger, pending, sync: wish.sync_words() });
    telling.add_first(courier.listener());
    Some(courier)
}

/// Returns whether a verb is told of: what brings a release, what may end an earlier deployment, and what follows one.
fn is_told(action: &Action) -> bool {
    action.changes_what_runs() || matches!(action, Action::Recover | Action::Follow)
}

impl Drive {
    /// Takes in what the ledger is told besides the events.
    pub(in crate::cli) async fn know_for_ledger(&self, resolved: &Resolved, job: &Job) {
        let Some(courier) = &self.courier else { return };
        let (commit, requester) = (job.bundle.commit.clone(), self.surroundings.requester());
        let committed_at = match &commit {
            Some(commit) => ancestry::committed_at(commit, &resolved.app_dir).await,
            None => None,
        };
        courier.know(|known| {
            (known.who, known.run_url) = (Some(requester.who), requester.run_url);
            (known.commit, known.committed_at) = (commit, committed_at);
            if let Ok(serde_json::Value::Object(keys)) = serde_json::to_value(&resolved.app) {
                known.config = keys;
            }
            if let Action::Rollback { reason, .. } = &self.wish.action {
                known.reason = reason.as_deref().map(crate::text::harmless);
            }
            known.redactor = self.redactor.clone();
        });
    }

    /// Tells the ledger of the end. A failure is one more line, and changes nothing.
    pub(in crate::cli) async fn tell_ledger(&self, courier: Option<Courier>) {
        let Some(courier) = courier else { return };
        let story = self.telling.story();
        match courier.finish(story.result()).await {
            Ok(false) => {}
            Ok(true) => self.telling.notified("the ledger", None),
            Err(why) => self.telling.notified("the ledger", Some(self.redactor.redact(&why).into_owned())),
        }
    }
}
