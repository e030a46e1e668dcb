//! Rollbacks that somebody asked a CI job for: who, why, and what became of the asking. Rows are added, never changed.

use sqlx::{Any, Transaction};
use uuid::Uuid;

use super::rows::get;
use super::{Deployment, Store, StoreError, now};
use crate::model::lifecycle::{Report, ReportAction};

/// How long an earlier request counts as perhaps under way, in microseconds.
const UNDER_WAY: i64 = 15 * 60 * 1_000_000;
/// How many earlier deployments are offered to go back to.
const OFFERED: i64 = 10;

/// A deployment that can be gone back to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its id.
    pub deployment_id: String,
    /// Its version.
    pub version: String,
    /// When it was deployed; microseconds, UTC.
    pub deployed_at: i64,
    /// Who deployed it.
    pub deployed_by: String,
    /// What the host calls its release; only jobs tell that.
    pub release: Option<String>,
}

/// A rollback that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The deployment that is to be taken back.
    pub deployment: &'a Deployment,
    /// The version that is to run again, if it is known.
    pub target_version: Option<&'a str>,
    /// The workflow that is to do it.
    pub workflow: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Who asks.
    pub who: &'a str,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestStep {
    /// It is being sent, or the ledger ended meanwhile.
    Asked,
    /// The workflow was started.
    Started,
    /// It was not.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl RequestStep {
    /// Returns the word that the database has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Started => "started",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    fn of(word: &str) -> Self {
        [Self::Started, Self::Refused, Self::Unknown]
            .into_iter()
            .find(|step| step.as_str() == word)
            .unwrap_or(Self::Asked)
    }
}

/// A request as it is kept.
#[derive(Clone, Debug)]
pub struct RollbackRequest {
    /// When it was asked for; microseconds, UTC.
    pub at: i64,
    /// Who asked.
    pub who: String,
    /// Why.
    pub reason: String,
    /// The version that was to run again.
    pub target_version: Option<String>,
    /// The workflow.
    pub workflow: String,
    /// What became of it.
    pub step: RequestStep,
    /// The address of the workflow's run, or why it was not started.
    pub detail: Option<String>,
}

impl RollbackRequest {
    /// Returns whether its workflow may still be at work.
    pub fn is_under_way(&self, now: i64) -> bool {
        self.step != RequestStep::Refused && now - self.at < UNDER_WAY
    }
}

impl Store {
    /// Returns the app that jobs report an entity as; nothing when none does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reported_app(&self, entity: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT app FROM entities WHERE entity_id = $1")
            .bind(entity)
            .fetch_optional(self.read())
            .await?;
        row.map_or(Ok(None), |row| get(&row, 0))
    }

    /// Returns what can be gone back to from a deployment that is active, the latest first: of each release its latest
    /// deployment, and not the release that runs.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn targets(&self, current: &Deployment) -> Result<Vec<Target>, StoreError> {
        let running = self.release_of(&current.deployment_id).await?;
        let rows = sqlx::query(
            "SELECT d.deployment_id, d.version, d.deployed_at, d.deployed_by, r.body FROM deployments d \
             LEFT JOIN reports r ON r.report_id = d.deployment_id WHERE d.entity_id = $1 AND d.environment = $2 \
             AND d.status = 'inactive' AND (d.deployed_at < $3 OR (d.deployed_at = $3 AND d.id < $4)) \
             ORDER BY d.deployed_at DESC, d.id DESC LIMIT $5",
        )
        .bind(current.entity_id.as_str())
        .bind(current.environment.as_str())
        .bind(current.deployed_at)
        .bind(current.id)
        .bind(OFFERED)
        .fetch_all(self.read())
        .await?;
        let mut targets: Vec<Target> = Vec::new();
        for row in &rows {
            let release = get::<Option<String>>(row, 4)?.and_then(|body| release_in(&body));
            let is_known = release.is_some()
                && (release == running || targets.iter().any(|target| target.release == release));
            if !is_known {
                let (deployment_id, version) = (get(row, 0)?, get(row, 1)?);
                targets.push(Target {
                    deployment_id,
                    version,
                    deployed_at: get(row, 2)?,
                    deployed_by: get(row, 3)?,
                    release,
                });
            }
        }
        Ok(targets)
    }

    async fn release_of(&self, deployment: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query("SELECT body FROM reports WHERE report_id = $1").bind(deployment);
        let row = query.fetch_optional(self.read()).await?;
        Ok(row.map(|row| get::<String>(&row, 0)).transpose()?.and_then(|body| release_in(&body)))
    }

    /// Keeps that a rollback is asked for, and returns the request's id; nothing when one is perhaps under way already
    /// and `again` does not say that this is meant.
    ///
    /// # Errors
    /// When the database does not answer; nothing was kept.
    pub async fn ask_rollback(&self, asked: &Asked<'_>, again: bool) -> Result<Option<String>, StoreError> {
        let mut transaction = self.begin().await?;
        let Deployment { deployment_id, entity_id, environment, .. } = asked.deployment;
        // Two who ask at once take turns.
        sqlx::query("UPDATE entities SET turn = turn + 1 WHERE entity_id = $1")
            .bind(entity_id.as_str())
            .execute(&mut *transaction)
            .await?;
        let text = format!("{REQUESTS} WHERE deployment_id = $1 ORDER BY id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(deployment_id.as_str())
            .fetch_all(&mut *transaction)
            .await?;
        let at = now();
        if !again && requests_of(&rows)?.iter().any(|request| request.is_under_way(at)) {
            return Ok(None);
        }
        let request = Uuid::new_v4().to_string();
        let row = Row { request: &request, at, step: RequestStep::Asked, detail: None };
        sqlx::query(
            "INSERT INTO rollback_requests (request_id, deployment_id, entity_id, environment, at, step, who, reason, \
             target_version, workflow) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(row.request)
        .bind(deployment_id.as_str())
        .bind(entity_id.as_str())
        .bind(environment.as_str())
        .bind(row.at)
        .bind(row.step.as_str())
        .bind(asked.who)
        .bind(asked.reason)
        .bind(asked.target_version)
        .bind(asked.workflow)
        .execute(&mut *transaction)
        .await?;
        self.commit(transaction).await?;
        Ok(Some(request))
    }

    /// Keeps what became of a request.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn end_request(
        &self,
        deployment: &Deployment,
        request: &str,
        step: RequestStep,
        detail: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let row = Row { request, at: now(), step, detail };
        add(&mut transaction, deployment, &row).await?;
        self.commit(transaction).await
    }

    /// Returns the rollbacks of a deployment that were asked for, the latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rollback_requests(&self, deployment: &str) -> Result<Vec<RollbackRequest>, StoreError> {
        let text = format!("{REQUESTS} WHERE deployment_id = $1 ORDER BY id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(deployment).fetch_all(self.read()).await?;
        let mut all = requests_of(&rows)?;
        all.reverse();
        Ok(all)
    }
}

const REQUESTS: &str =
    "SELECT request_id, at, step, who, reason, target_version, workflow, detail FROM rollback_requests";

/// One row that says what became of a request.
struct Row<'a> {
    request: &'a str,
    at: i64,
    step: RequestStep,
    detail: Option<&'a str>,
}

async fn add(
    transaction: &mut Transaction<'static, Any>,
    deployment: &Deployment,
    row: &Row<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO rollback_requests (request_id, deployment_id, entity_id, environment, at, step, detail) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(row.request)
    .bind(deployment.deployment_id.as_str())
    .bind(deployment.entity_id.as_str())
    .bind(deployment.environment.as_str())
    .bind(row.at)
    .bind(row.step.as_str())
    .bind(row.detail)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Each request with its last step, in the order of asking.
fn requests_of(rows: &[sqlx::any::AnyRow]) -> Result<Vec<RollbackRequest>, StoreError> {
    let mut all: Vec<(String, RollbackRequest)> = Vec::new();
    for row in rows {
        let (id, step): (String, String) = (get(row, 0)?, get(row, 2)?);
        let (step, detail) = (RequestStep::of(&step), get(row, 7)?);
        match all.iter_mut().find(|(known, _)| *known == id) {
            Some((_, request)) => (request.step, request.detail) = (step, detail),
            None => {
                let request = RollbackRequest {
                    at: get(row, 1)?,
                    who: get::<Option<String>>(row, 3)?.unwrap_or_default(),
                    reason: get::<Option<String>>(row, 4)?.unwrap_or_default(),
                    target_version: get(row, 5)?,
                    workflow: get::<Option<String>>(row, 6)?.unwrap_or_default(),
                    step,
                    detail,
                };
                all.push((id, request));
            }
        }
    }
    Ok(all.into_iter().map(|(_, request)| request).collect())
}

/// The release that a report brought: its own, or for a way back the one that it went to.
fn release_in(body: &str) -> Option<String> {
    // What is kept was read as a report before; one that a newer program wrote may say less to this one.
    let report: Report = serde_json::from_str(body).ok()?;
    match report.action {
        ReportAction::Deploy => Some(report.deployment_id.to_string()),
        ReportAction::Rollback => Some(report.rollback?.target_deployment_id?.to_string()),
    }
}
