//! What CI jobs report of their deployments: kept as it came, and told in the ledger's own words beside.
//!
//! A report never goes back: its `sequence` rises, a deployment that ended stays as it ended, and one that was superseded
//! meanwhile does not become active again because its last report came late.

use serde_json::{Value, json};
use sqlx::{Any, AssertSqlSafe, Transaction};
use uuid::Uuid;

use super::lifecycle::{find, insert, mark_deployed, supersede, take_back};
use super::lines::keep_lines;
use super::rows::{ENTITY, entity, get};
use super::{Changes, Deployment, Entity, Json, Store, StoreError, Told, now};
use crate::model::lifecycle::DeploymentStatus::{
    self, Active, Deploying, Failed, Inactive, Pending, RolledBack,
};
use crate::model::lifecycle::{Report, ReportAction, ReportStatus};

/// Type of the entities that reports make.
const APPLICATION: &str = "application";
/// How often a transaction that lost to another one is made again.
const ATTEMPTS: u32 = 5;

/// What became of a report.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Whether it was the first of its deployment.
    pub is_first: bool,
    /// Whether it said something newer than what is known; otherwise nothing was changed.
    pub is_applied: bool,
    /// Sequence of the latest report.
    pub sequence: i64,
    /// The deployment that it is about.
    pub deployment: Deployment,
}

/// A report as it is kept.
#[derive(Clone, Debug)]
pub struct KeptReport {
    /// Its sequence.
    pub sequence: i64,
    /// What came, letter by letter.
    pub body: Json,
    /// When the first one came; microseconds, UTC.
    pub created_at: i64,
    /// When this one came; microseconds, UTC.
    pub updated_at: i64,
    /// The deployment that it is about.
    pub deployment: Deployment,
}

/// Why a report was not kept; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The id is that of another deployment.
    #[error(
        "report {0} is of another app or environment, or its id is that of a deployment that no job reports"
    )]
    Foreign(Uuid),
    /// The database is against it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Keeps a report and what follows from it, unless a newer one of the same deployment is known.
    ///
    /// # Errors
    /// When the id is another deployment's, or the database does not answer; nothing was changed.
    pub async fn put_report(&self, id: Uuid, report: &Report, body: &Json) -> Result<Kept, ReportError> {
        let mut attempt = 1;
        loop {
            match self.put_once(id, report, body).await {
                Err(ReportError::Store(error)) if error.is_worth_repeating() && attempt < ATTEMPTS => {
                    attempt += 1
                }
                ended => return ended,
            }
        }
    }

    async fn put_once(&self, id: Uuid, report: &Report, body: &Json) -> Result<Kept, ReportError> {
        let mut transaction = self.begin().await?;
        let at = now();
        let entity = entity_of(&mut transaction, report, at).await?;
        let known = sequence_of(&mut transaction, id).await?;
        let before = find(&mut transaction, id).await?;
        if let Some(before) = &before {
            let is_ours = before.entity_id == entity.entity_id
                && before.environment == report.environment.as_str()
                && known.is_some();
            if !is_ours {
                return Err(ReportError::Foreign(id));
            }
        }
        if let (Some(sequence), Some(deployment)) = (known, &before)
            && i64::from(report.sequence) <= sequence
        {
            return Ok(Kept { is_first: false, is_applied: false, sequence, deployment: deployment.clone() });
        }
        let entity_id = entity.entity_id.parse().map_err(StoreError::of_column(0))?;
        let mut changes = Changes::new(entity_id, at);
        let turn = Turn { report, entity: &entity, at };
        let deployment = turn.apply(&mut transaction, &mut changes, id, before.clone()).await?;
        keep(&mut transaction, id, &turn, body).await?;
        keep_lines(&mut transaction, &deployment.deployment_id, &report.lines).await?;
        changes.write(&mut transaction).await?;
        self.commit(transaction).await?;
        tracing::info!(
            deployment_id = deployment.deployment_id,
            "{} reports {} in {}: {}",
            report.deployed_by,
            report.app,
            report.environment,
            deployment.status
        );
        let sequence = i64::from(report.sequence);
        Ok(Kept { is_first: before.is_none(), is_applied: true, sequence, deployment })
    }

    /// Returns the latest report of a deployment, if a job reported it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn report(&self, id: Uuid) -> Result<Option<KeptReport>, StoreError> {
        let text = "SELECT sequence, body, created_at, updated_at FROM reports WHERE report_id = $1";
        let row = sqlx::query(text).bind(id.to_string()).fetch_optional(self.read()).await?;
        let (Some(row), Some(deployment)) = (row, self.deployment(id).await?) else { return Ok(None) };
        let body = Json::new(get(&row, 1)?).map_err(StoreError::of_column(1))?;
        Ok(Some(KeptReport {
            sequence: get(&row, 0)?,
            body,
            created_at: get(&row, 2)?,
            updated_at: get(&row, 3)?,
            deployment,
        }))
    }
}

/// One report that is being applied.
struct Turn<'a> {
    report: &'a Report,
    entity: &'a Entity,
    at: i64,
}

impl Turn<'_> {
    async fn apply(
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
        }
        update(transaction, &deployment, self.report.committed_at.map(|time| self.told(time))).await?;
        Ok(deployment)
    }

    /// The record of a deployment that is under way.
    fn begun(&self, id: Uuid) -> Result<Deployment, StoreError> {
        let started = self.told(self.report.started_at);
        Ok(Deployment {
            id: 0,
            deployment_id: id.to_string(),
            entity_id: self.entity.entity_id.clone(),
            version: self.report.version.clone(),
            environment: self.report.environment.to_string(),
            config_snapshot: json_of(&self.report.config)?,
            parameters_snapshot: None,
            status: Deploying,
            deployed_at: started,
            deployed_by: self.report.deployed_by.clone(),
            deployment_method: Some(self.report.method.clone()),
            rolled_back_at: None,
            rolled_back_by: None,
            rollback_reason: None,
            previous_deployment_id: None,
            health_checks: json_of(&self.report.health_checks)?,
            last_health_check: None,
            error_logs: None,
            deployment_duration_seconds: None,
            validation_results: None,
            created_at: self.at,
            updated_at: self.at,
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
        old.rolled_back_at = Some(self.at);
        old.rolled_back_by = Some(by.to_owned());
        old.rollback_reason = Some(without_nul(rollback.reason.clone()));
        old.previous_deployment_id = Some(new.deployment_id.clone());
        take_back(transaction, &old).await?;
        changes.step(place(&old), (Some(Active), RolledBack), by, old.rollback_reason.as_deref());
        changes.tell(Told::RolledBack, &old.deployment_id, rolled_back_data(&old));
        Ok(())
    }

    /// The document's fields of an event (R004-40), and how it ended.
    fn data(&self, deployment: &Deployment) -> Value {
        json!({
            "entity_id": deployment.entity_id,
            "deployment_id": deployment.deployment_id,
            "environment": deployment.environment,
            "version": deployment.version,
            "metadata": {
                "deployed_by": deployment.deployed_by,
                "duration_seconds": deployment.deployment_duration_seconds,
                "app": self.report.app,
                "status": deployment.status,
                "run": self.report.deployment_id,
                "ci_url": self.report.ci_url,
            },
        })
    }
}

fn place(deployment: &Deployment) -> (&str, &str) {
    (&deployment.deployment_id, &deployment.environment)
}

fn rolled_back_data(deployment: &Deployment) -> Value {
    json!({
        "deployment_id": deployment.deployment_id,
        "target_deployment_id": deployment.previous_deployment_id,
        "environment": deployment.environment,
        "reason": deployment.rollback_reason,
        "rolled_back_by": deployment.rolled_back_by,
    })
}

fn json_of(value: &impl serde::Serialize) -> Result<Json, StoreError> {
    Json::of(value).map_err(StoreError::of_column(0))
}

/// PostgreSQL's text has no NUL, and lines of a log may.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// Takes the turn of the app's entity: the one that is known, one of its name, or a new one.
async fn entity_of(
    transaction: &mut Transaction<'static, Any>,
    report: &Report,
    at: i64,
) -> Result<Entity, StoreError> {
    if let Some(entity) = take_turn(transaction, report).await? {
        return Ok(entity);
    }
    let app = report.app.as_str();
    sqlx::query(
        "UPDATE entities SET app = $1 WHERE id = (SELECT MIN(id) FROM entities WHERE name = $1 AND deleted_at IS NULL \
         AND app IS NULL) AND NOT EXISTS (SELECT 1 FROM entities WHERE app = $1)",
    )
    .bind(app)
    .execute(&mut **transaction)
    .await?;
    sqlx::query(
        "INSERT INTO entities (entity_id, name, type, version, config, parameters, dependencies, status, health_status, \
         created_at, updated_at, app) VALUES ($1, $2, $3, $4, '{}', '{}', '[]', 'registered', 'unknown', $5, $5, $2) \
         ON CONFLICT (app) DO NOTHING",
    )
    .bind(Uuid::new_v4().to_string())
    .bind(app)
    .bind(APPLICATION)
    .bind(report.version.as_str())
    .bind(at)
    .execute(&mut **transaction)
    .await?;
    take_turn(transaction, report).await?.ok_or(StoreError::Busy)
}

async fn take_turn(
    transaction: &mut Transaction<'static, Any>,
    report: &Report,
) -> Result<Option<Entity>, StoreError> {
    let text = format!(
        "UPDATE entities SET turn = turn + 1 WHERE app = $1 AND deleted_at IS NULL RETURNING {ENTITY}"
    );
    let row =
        sqlx::query(AssertSqlSafe(text)).bind(report.app.as_str()).fetch_optional(&mut **transaction).await?;
    row.as_ref().map(entity).transpose()
}

async fn sequence_of(
    transaction: &mut Transaction<'static, Any>,
    id: Uuid,
) -> Result<Option<i64>, StoreError> {
    let row = sqlx::query("SELECT sequence FROM reports WHERE report_id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut **transaction)
        .await?;
    row.map(|row| get(&row, 0)).transpose()
}

/// The other deployment that is active in the same place, and since when.
async fn active(
    transaction: &mut Transaction<'static, Any>,
    deployment: &Deployment,
) -> Result<Option<(String, i64)>, StoreError> {
    let row = sqlx::query(
        "SELECT deployment_id, deployed_at FROM deployments WHERE entity_id = $1 AND environment = $2 AND status = 'active'",
    )
    .bind(deployment.entity_id.as_str())
    .bind(deployment.environment.as_str())
    .fetch_optional(&mut **transaction)
    .await?;
    row.map(|row| Ok((get(&row, 0)?, get(&row, 1)?))).transpose()
}

async fn update(
    transaction: &mut Transaction<'static, Any>,
    told: &Deployment,
    committed_at: Option<i64>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE deployments SET version = $2, config_snapshot = $3, status = $4, deployed_at = $5, rolled_back_at = $6, \
         rolled_back_by = $7, rollback_reason = $8, previous_deployment_id = $9, health_checks = $10, \
         last_health_check = $11, error_logs = $12, deployment_duration_seconds = $13, validation_results = $14, \
         updated_at = $15, committed_at = $16 WHERE deployment_id = $1",
    )
    .bind(told.deployment_id.as_str())
    .bind(told.version.as_str())
    .bind(told.config_snapshot.text())
    .bind(told.status.as_str())
    .bind(told.deployed_at)
    .bind(told.rolled_back_at)
    .bind(told.rolled_back_by.as_deref())
    .bind(told.rollback_reason.as_deref())
    .bind(told.previous_deployment_id.as_deref())
    .bind(told.health_checks.text())
    .bind(told.last_health_check)
    .bind(told.error_logs.as_deref())
    .bind(told.deployment_duration_seconds)
    .bind(told.validation_results.as_ref().map(Json::text))
    .bind(told.updated_at)
    .bind(committed_at)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn keep(
    transaction: &mut Transaction<'static, Any>,
    id: Uuid,
    turn: &Turn<'_>,
    body: &Json,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO reports (report_id, deployment_id, entity_id, sequence, body, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (report_id) DO UPDATE SET sequence = excluded.sequence, \
         body = excluded.body, updated_at = excluded.updated_at",
    )
    .bind(id.to_string())
    .bind(turn.report.deployment_id.as_str())
    .bind(turn.entity.entity_id.as_str())
    .bind(i64::from(turn.report.sequence))
    .bind(body.text())
    .bind(turn.at)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
