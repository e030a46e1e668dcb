//! Statements on the rows of deployments, for transactions that have their turn.

use sqlx::{Any, AssertSqlSafe, Transaction};
use uuid::Uuid;

use super::rows::{DEPLOYMENT, deployment, get};
use super::together::Together;
use super::{Deployment, Json, StoreError};
use crate::model::lifecycle::ReportAction;

/// Returns a deployment as it is within the transaction.
pub(super) async fn find(
    transaction: &mut Transaction<'static, Any>,
    id: Uuid,
) -> Result<Option<Deployment>, StoreError> {
    let text = format!("SELECT {DEPLOYMENT} FROM deployments d WHERE d.deployment_id = $1");
    let row =
        sqlx::query(AssertSqlSafe(text)).bind(id.to_string()).fetch_optional(&mut **transaction).await?;
    row.as_ref().map(|row| deployment(row)).transpose()
}

/// Returns the latest deployment of the same place before this one that ran.
pub(super) async fn find_previous(
    transaction: &mut Transaction<'static, Any>,
    current: &Deployment,
) -> Result<Option<Deployment>, StoreError> {
    let text = format!(
        "SELECT {DEPLOYMENT} FROM deployments d WHERE d.entity_id = $1 AND d.environment = $2 AND d.status = 'inactive' \
         AND (d.deployed_at < $3 OR (d.deployed_at = $3 AND d.id < $4)) ORDER BY d.deployed_at DESC, d.id DESC LIMIT 1"
    );
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(current.entity_id.as_str())
        .bind(current.environment.as_str())
        .bind(current.deployed_at)
        .bind(current.id)
        .fetch_optional(&mut **transaction)
        .await?;
    row.as_ref().map(|row| deployment(row)).transpose()
}

/// The other deployment that is active in the same place, and since when.
pub(super) async fn active(
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

/// Makes what is active inactive; returns its id, and when it was deployed.
pub(super) async fn supersede(
    transaction: &mut Transaction<'static, Any>,
    (entity, environment): (&str, &str),
    at: i64,
) -> Result<Option<(String, i64)>, StoreError> {
    let row = sqlx::query(
        "UPDATE deployments SET status = 'inactive', updated_at = $3 \
         WHERE entity_id = $1 AND environment = $2 AND status = 'active' RETURNING deployment_id, deployed_at",
    )
    .bind(entity)
    .bind(environment)
    .bind(at)
    .fetch_optional(&mut **transaction)
    .await?;
    row.map(|row| Ok((get(&row, 0)?, get(&row, 1)?))).transpose()
}

/// Keeps a new record.
pub(super) async fn insert(
    transaction: &mut Transaction<'static, Any>,
    new: &Deployment,
) -> Result<(), StoreError> {
    let mut one = Together::default();
    insertion(&mut one, new);
    one.run(transaction).await
}

/// Adds what keeps a new record.
pub(super) fn insertion<'v>(last: &mut Together<'v>, new: &'v Deployment) {
    let text = "INSERT INTO deployments (deployment_id, entity_id, version, environment, config_snapshot, parameters_snapshot, \
         status, deployed_at, deployed_by, deployment_method, health_checks, error_logs, deployment_duration_seconds, \
         validation_results, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    let values = vec![
        new.deployment_id.as_str().into(),
        new.entity_id.as_str().into(),
        new.version.as_str().into(),
        new.environment.as_str().into(),
        new.config_snapshot.text().into(),
        new.parameters_snapshot.as_ref().map(Json::text).into(),
        new.status.as_str().into(),
        new.deployed_at.into(),
        new.deployed_by.as_str().into(),
        new.deployment_method.as_deref().into(),
        new.health_checks.text().into(),
        new.error_logs.as_deref().into(),
        new.deployment_duration_seconds.into(),
        new.validation_results.as_ref().map(Json::text).into(),
        new.created_at.into(),
        new.updated_at.into(),
    ];
    last.add(text, values);
}

/// Writes what a report may change of a record.
pub(super) async fn update(
    transaction: &mut Transaction<'static, Any>,
    told: &Deployment,
    committed_at: Option<i64>,
    action: ReportAction,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE deployments SET version = $2, config_snapshot = $3, status = $4, deployed_at = $5, rolled_back_at = $6, \
         rolled_back_by = $7, rollback_reason = $8, previous_deployment_id = $9, health_checks = $10, \
         last_health_check = $11, error_logs = $12, deployment_duration_seconds = $13, validation_results = $14, \
         updated_at = $15, committed_at = $16, goes_back = $17 WHERE deployment_id = $1",
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
    .bind(i64::from(action == ReportAction::Rollback))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Writes that a deployment was taken back.
pub(super) async fn take_back(
    transaction: &mut Transaction<'static, Any>,
    current: &Deployment,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE deployments SET status = 'rolled_back', rolled_back_at = $2, rolled_back_by = $3, rollback_reason = $4, \
         previous_deployment_id = $5, updated_at = $2 WHERE deployment_id = $1",
    )
    .bind(current.deployment_id.as_str())
    .bind(current.rolled_back_at)
    .bind(current.rolled_back_by.as_deref())
    .bind(current.rollback_reason.as_deref())
    .bind(current.previous_deployment_id.as_deref())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Makes an earlier deployment the one that runs.
pub(super) async fn reactivate(
    transaction: &mut Transaction<'static, Any>,
    target: &str,
    at: i64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE deployments SET status = 'active', updated_at = $2 WHERE deployment_id = $1")
        .bind(target)
        .bind(at)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// The entity runs what this deployment has (R004-36); its status stays when it went back (R004-47).
pub(super) async fn mark_deployed(
    transaction: &mut Transaction<'static, Any>,
    entity: &str,
    running: &Deployment,
    by: (i64, &str),
    is_new: bool,
) -> Result<(), StoreError> {
    let mut one = Together::default();
    marking(&mut one, entity, running, by, is_new);
    one.run(transaction).await
}

/// Adds what says of the entity what it runs.
pub(super) fn marking<'v>(
    last: &mut Together<'v>,
    entity: &'v str,
    running: &'v Deployment,
    (at, by): (i64, &'v str),
    is_new: bool,
) {
    let text = if is_new {
        "UPDATE entities SET deployed_at = $2, deployed_by = $3, deployment_config = $4, updated_at = $2, \
         status = 'deployed' WHERE entity_id = $1"
    } else {
        "UPDATE entities SET deployed_at = $2, deployed_by = $3, deployment_config = $4, updated_at = $2 \
         WHERE entity_id = $1"
    };
    last.add(text, vec![entity.into(), at.into(), by.into(), running.config_snapshot.text().into()]);
}
