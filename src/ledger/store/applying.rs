//! What a report makes of its deployment: a new record, changes of a known one, and what becomes of the one before.

use serde_json::{Value, json};
use sqlx::{Any, Transaction};
use uuid::Uuid;

use super::checks::count_checks;
use super::records::{active, find, insert, mark_deployed, supersede, take_back, update};
use super::told::{deployed_data, rolled_back_data};
use super::{Changes, Deployment, Entity, Json, StoreError, Told};
use crate::model::lifecycle::DeploymentStatus::{
    self, Active, Deploying, Failed, Inactive, Pending, RolledBack,
};
use crate::model::lifecycle::{Report, ReportAction, ReportStatus};

/// One report that is being applied.
pub(super) struct Applying<'a> {
    pub(super) report: &'a Report,
    pub(super) entity: &'a Entity,
    pub(super) at: i64,
}

impl Applying<'_> {
    /// Writes the deployment as it is now, and notes its changes.
    pub(super) async fn apply(
        &self,
        transaction: &mut Transaction<'static, Any>,
        changes: &mut Changes,
        id: Uuid,
        before: Option<Deployment>,
    ) -> Result<Deployment, StoreError> {
        let (from, mut deployment) = match before {
            Some(known) => (known.status, known),
            None => {
                let new = self.begun(id)?;
                insert(transaction, &new).await?;
                changes.step(place(&new), (None, Pending), &new.deployed_by, None);
                changes.step(place(&new), (Some(Pending), Deploying), &new.deployed_by, None);
                changes.tell(Told::Started, &new.deployment_id, self.data(&new));
                (Deploying, new)
            }
        };
        self.fill(&mut deployment)?;
        // What has ended stays as it ended.
        if matches!(from, Pending | Deploying) {
            self.end(transaction, changes, &mut deployment, from).await?;
            if deployment.status != Deploying {
                count_checks(transaction, &deployment, &self.report.health_checks).await?;
            }
        }
        let committed_at = self.report.committed_at.map(|time| self.told(time));
        update(transaction, &deployment, committed_at, self.report.action).await?;
        Ok(deployment)
    }

    /// The record of a deployment that is under way.
    fn begun(&self, id: Uuid) -> Result<Deployment, StoreError> {
        let report = self.report;
        let place = (self.entity.entity_id.as_str(), report.environment.as_str());
        Ok(Deployment {
            version: report.version.clone(),
            deployed_at: self.told(report.started_at),
            deployed_by: report.deployed_by.clone(),
            deployment_method: Some(report.method.clone()),
            ..Deployment::begun(id, place, json_of(&report.config)?, self.at)?
        })
    }

    /// A job's clock may be wrong; nothing happens after it was told.
    fn told(&self, time: jiff::Timestamp) -> i64 {
        time.as_microsecond().clamp(0, self.at)
    }

    /// Takes over what every report says.
    fn fill(&self, deployment: &mut Deployment) -> Result<(), StoreError> {
        let report = self.report;
        deployment.version.clone_from(&report.version);
        deployment.config_snapshot = json_of(&report.config)?;
        deployment.health_checks = json_of(&report.health_checks)?;
        let finished = report.finished_at.map(|time| self.told(time));
        if !report.health_checks.is_empty() {
            deployment.last_health_check = finished.or(Some(self.at));
        }
        let errors =
            || report.errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("\n");
        deployment.error_logs =
            report.error_logs.clone().or_else(|| (!report.errors.is_empty()).then(errors)).map(without_nul);
        deployment.validation_results = report.validation.as_ref().map(json_of).transpose()?;
        deployment.deployment_duration_seconds =
            finished.map(|finished| (finished - self.told(report.started_at)).max(0) / 1_000_000);
        deployment.updated_at = self.at;
        Ok(())
    }

    /// Ends a deployment that is under way, when the report says that it has ended.
    async fn end(
        &self,
        transaction: &mut Transaction<'static, Any>,
        changes: &mut Changes,
        deployment: &mut Deployment,
        from: DeploymentStatus,
    ) -> Result<(), StoreError> {
        let by = self.report.deployed_by.as_str();
        let reason = self.report.rollback.as_ref().map(|rollback| without_nul(rollback.reason.clone()));
        match self.report.status {
            ReportStatus::Deploying => return Ok(()),
            ReportStatus::Active => return self.activate(transaction, changes, deployment, from).await,
            ReportStatus::Failed => {
                deployment.status = Failed;
                changes.step(place(deployment), (Some(from), Failed), by, deployment.error_logs.as_deref());
                changes.tell(Told::Failed, &deployment.deployment_id, self.data(deployment));
            }
            ReportStatus::RolledBack => {
                let running = active(transaction, deployment).await?;
                deployment.status = RolledBack;
                deployment.rolled_back_at =
                    Some(self.report.finished_at.map_or(self.at, |time| self.told(time)));
                deployment.rolled_back_by = Some(by.to_owned());
                deployment.rollback_reason =
                    reason.clone().or_else(|| Some("the release was not healthy".to_owned()));
                deployment.previous_deployment_id = running.map(|(id, _)| id);
                changes.step(
                    place(deployment),
                    (Some(from), RolledBack),
                    by,
                    deployment.rollback_reason.as_deref(),
                );
                changes.tell(Told::RolledBack, &deployment.deployment_id, rolled_back_data(deployment));
            }
        }
        Ok(())
    }

    /// The release runs: what ran before is superseded, or was taken back when that was asked for.
    async fn activate(
        &self,
        transaction: &mut Transaction<'static, Any>,
        changes: &mut Changes,
        deployment: &mut Deployment,
        from: DeploymentStatus,
    ) -> Result<(), StoreError> {
        let by = self.report.deployed_by.clone();
        deployment.deployed_at = self.report.finished_at.map_or(self.at, |time| self.told(time));
        let running = active(transaction, deployment).await?;
        changes.step(place(deployment), (Some(from), Active), &by, None);
        if running.as_ref().is_some_and(|(_, since)| *since > deployment.deployed_at) {
            // It was superseded before this report arrived.
            deployment.status = Inactive;
            changes.step(place(deployment), (Some(Active), Inactive), &by, Some("reported late"));
            return Ok(());
        }
        deployment.status = Active;
        if let Some((old, _)) = running {
            self.end_old(transaction, changes, deployment, &old).await?;
        }
        let entity = self.entity.entity_id.as_str();
        mark_deployed(transaction, entity, deployment, (self.at, &by), true).await?;
        changes.tell(Told::Completed, &deployment.deployment_id, self.data(deployment));
        Ok(())
    }

    async fn end_old(
        &self,
        transaction: &mut Transaction<'static, Any>,
        changes: &mut Changes,
        new: &Deployment,
        old: &str,
    ) -> Result<(), StoreError> {
        let by = self.report.deployed_by.as_str();
        let Some(rollback) =
            self.report.rollback.as_ref().filter(|_| self.report.action == ReportAction::Rollback)
        else {
            supersede(transaction, (&new.entity_id, &new.environment), self.at).await?;
            changes.step((old, &new.environment), (Some(Active), Inactive), by, None);
            return Ok(());
        };
        let id = old.parse().map_err(StoreError::of_column(0))?;
        let Some(mut old) = find(transaction, id).await? else { return Ok(()) };
        old.rolled_back_at = Some(new.deployed_at);
        old.rolled_back_by = Some(by.to_owned());
        old.rollback_reason = Some(without_nul(rollback.reason.clone()));
        old.previous_deployment_id = Some(new.deployment_id.clone());
        take_back(transaction, &old).await?;
        changes.step(place(&old), (Some(Active), RolledBack), by, old.rollback_reason.as_deref());
        changes.tell(Told::RolledBack, &old.deployment_id, rolled_back_data(&old));
        Ok(())
    }

    /// What only a report knows of it: how it ended, and where the job ran.
    fn data(&self, deployment: &Deployment) -> Value {
        let more = [
            ("app", json!(self.report.app)),
            ("status", json!(deployment.status)),
            ("run", json!(self.report.deployment_id)),
            ("ci_url", json!(self.report.ci_url)),
        ];
        deployed_data(deployment, more.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

fn place(deployment: &Deployment) -> (&str, &str) {
    (&deployment.deployment_id, &deployment.environment)
}

fn json_of(value: &impl serde::Serialize) -> Result<Json, StoreError> {
    Json::of(value).map_err(StoreError::of_column(0))
}

/// PostgreSQL's text has no NUL, and lines of a log may.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}
