//! What CI jobs report of their deployments: kept as it came, and told in the ledger's own words beside.
//!
//! A report never goes back: its `sequence` rises, a deployment that ended stays as it ended, and one that was superseded
//! meanwhile does not become active again because its last report came late.

use sqlx::{Any, Transaction};
use uuid::Uuid;

use super::applying::Applying;
use super::lines::keep_lines;
use super::records::find;
use super::rows::get;
use super::turns::{Repeatable, Whose, repeated, take_turn};
use super::{Changes, Deployment, Entity, Json, Store, StoreError, now};
use crate::model::lifecycle::Report;

/// Type of the entities that reports make.
const APPLICATION: &str = "application";

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

impl Repeatable for ReportError {
    fn is_worth_repeating(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_worth_repeating())
    }
}

/// When what a report says is written down as happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// A job tells it now.
    Now,
    /// It was long ago.
    Then,
}

impl When {
    fn of(self, report: &Report) -> i64 {
        let ended = report.finished_at.filter(|_| self == Self::Then).map(|time| time.as_microsecond());
        ended.map_or_else(now, |ended| ended.clamp(0, now()))
    }
}

impl Store {
    /// Keeps a report and what follows from it, unless a newer one of the same deployment is known.
    ///
    /// # Errors
    /// When the id is another deployment's, or the database does not answer; nothing was changed.
    pub async fn put_report(&self, id: Uuid, report: &Report, body: &Json) -> Result<Kept, ReportError> {
        repeated(|| self.put_once(id, report, body, When::Now)).await
    }

    /// As [`Store::put_report`], of a deployment that has long ended: all that is written happened then, and nothing is told
    /// to others.
    ///
    /// # Errors
    /// As [`Store::put_report`].
    pub async fn import_report(&self, id: Uuid, report: &Report) -> Result<Kept, ReportError> {
        let body = Json::of(report).map_err(StoreError::of_column(0))?;
        repeated(|| self.put_once(id, report, &body, When::Then)).await
    }

    async fn put_once(
        &self,
        id: Uuid,
        report: &Report,
        body: &Json,
        when: When,
    ) -> Result<Kept, ReportError> {
        let mut transaction = self.begin().await?;
        let at = when.of(report);
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
        if when == When::Then {
            changes.tell_nobody();
        }
        let applying = Applying { report, entity: &entity, at };
        let deployment = applying.apply(&mut transaction, &mut changes, id, before.clone()).await?;
        keep(&mut transaction, id, &applying, body).await?;
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

/// Takes the turn of the app's entity: the one that is known, one of its name, or a new one.
async fn entity_of(
    transaction: &mut Transaction<'static, Any>,
    report: &Report,
    at: i64,
) -> Result<Entity, StoreError> {
    let app = report.app.as_str();
    if let Some(entity) = take_turn(transaction, Whose::App(app)).await? {
        return Ok(entity);
    }
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
    take_turn(transaction, Whose::App(app)).await?.ok_or(StoreError::Busy)
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

async fn keep(
    transaction: &mut Transaction<'static, Any>,
    id: Uuid,
    applying: &Applying<'_>,
    body: &Json,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO reports (report_id, deployment_id, entity_id, sequence, body, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (report_id) DO UPDATE SET sequence = excluded.sequence, \
         body = excluded.body, updated_at = excluded.updated_at",
    )
    .bind(id.to_string())
    .bind(applying.report.deployment_id.as_str())
    .bind(applying.entity.entity_id.as_str())
    .bind(i64::from(applying.report.sequence))
    .bind(body.text())
    .bind(applying.at)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
