//! Creating deployments and rolling them back: one transaction each, which begins by taking the entity's turn.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use sqlx::{Any, AssertSqlSafe, Transaction};
use tokio::time::Instant;
use uuid::Uuid;

use super::entities::names_of;
use super::rows::{DEPLOYMENT, ENTITY, deployment, entity, get};
use super::together::Together;
use super::{Changes, Deployment, Entity, Json, Kind, Store, StoreError, Told, now};
use crate::ledger::validation::{self, Before, Validation};
use crate::model::lifecycle::DeploymentStatus::{
    self, Active, Deploying, Failed, Inactive, Pending, RolledBack,
};

/// How often a transaction that lost to another one is made again.
const ATTEMPTS: u32 = 5;

/// What happens to a create or rollback while another one of the same entity and environment is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnConflict {
    /// It waits for its turn.
    #[default]
    Wait,
    /// It is refused.
    Refuse,
}

/// A deployment that is asked for (R004-10).
#[derive(Clone, Debug)]
pub struct Create {
    /// What to deploy.
    pub entity: Uuid,
    /// Where.
    pub environment: String,
    /// Who asks.
    pub deployed_by: String,
    /// How it is deployed.
    pub method: String,
    /// Configuration in place of the entity's; never an empty one (R004-34).
    pub config: Option<Json>,
    /// Parameters in place of the entity's; never empty ones.
    pub parameters: Option<Json>,
    /// When the request began.
    pub began: Instant,
}

/// A rollback that is asked for (R004-15).
#[derive(Clone, Debug)]
pub struct Rollback {
    /// The deployment that is taken back.
    pub deployment: Uuid,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub by: String,
    /// What becomes active in its place; nothing means the one before.
    pub target: Option<Uuid>,
}

/// Why a deployment was not created, or not rolled back; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The rules are against it.
    #[error("refused")]
    Refused(Refused),
    /// The database is.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which rule is against it.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// There is no such entity, or it is deleted.
    NoEntity(Uuid),
    /// There is no such deployment.
    NoDeployment(Uuid),
    /// What was found before a deployment.
    Validation(Validation),
    /// Nothing to go back to (R004-44).
    NoTarget,
    /// The target is another entity's, or in another environment (R004-45).
    ForeignTarget(Uuid),
    /// The target never ran, or was taken back itself (C17).
    BadTarget(Uuid, DeploymentStatus),
    /// Only what is active is rolled back: two would be active otherwise.
    NotActive(Uuid, DeploymentStatus),
}

impl From<Refused> for LifecycleError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Entities and environments that a change is under way for, in this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashSet<(String, String)>>>);

/// Gives its turn back when it goes.
struct Turn(Turns, (String, String));

impl Turns {
    fn take(&self, entity: &str, environment: &str) -> Option<Turn> {
        let place = (entity.to_owned(), environment.to_owned());
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone());
        taken.then(|| Turn(self.clone(), place))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Store {
    /// Deploys an entity to an environment (R004-30 to R004-40): what was active there becomes inactive.
    ///
    /// # Errors
    /// When a rule or the database is against it; nothing was changed.
    pub async fn create(
        &self,
        order: &Create,
        on_conflict: OnConflict,
    ) -> Result<Deployment, LifecycleError> {
        let _turn = self.turn(&order.entity.to_string(), &order.environment, on_conflict)?;
        let mut attempt = 1;
        loop {
            match self.create_once(order, on_conflict).await {
                Err(LifecycleError::Store(error)) if error.is_worth_repeating() && attempt < ATTEMPTS => {
                    attempt += 1
                }
                ended => return ended,
            }
        }
    }

    async fn create_once(
        &self,
        order: &Create,
        on_conflict: OnConflict,
    ) -> Result<Deployment, LifecycleError> {
        let mut transaction = self.begin_turn(on_conflict).await?;
        let entity = take_turn(&mut transaction, order.entity, Deleted::IsNone).await?;
        let Some(entity) = entity else { return Err(Refused::NoEntity(order.entity).into()) };
        let at = now();
        let mut changes = Changes::new(order.entity, at);
        let place = (entity.entity_id.as_str(), order.environment.as_str());
        let superseded = supersede(&mut transaction, place, at).await?;
        let found = self.validate(&mut transaction, &entity, order, superseded.is_some()).await?;
        if !found.passed {
            return Err(Refused::Validation(found).into());
        }
        // Clocks of two machines differ; the order of an entity's deployments does not.
        let at = superseded.as_ref().map_or(at, |(_, deployed_at)| at.max(deployed_at + 1));
        let made = make(order, &entity, at)?;
        if let Some((old, _)) = &superseded {
            if made.status == Active {
                changes.step((old, &order.environment), (Some(Active), Inactive), &order.deployed_by, None);
            } else {
                reactivate(&mut transaction, old, at).await?;
            }
        }
        tell_created(&mut changes, &made);
        let mut last = Together::default();
        insertion(&mut last, &made);
        if made.status == Active {
            marking(&mut last, &made.entity_id, &made, (at, &made.deployed_by), true);
        }
        changes.add_to(&mut last);
        last.run(&mut transaction).await?;
        self.commit(transaction).await?;
        if let Some((old, _)) = superseded {
            tracing::info!(deployment_id = old, "Deactivated deployment {old}");
        }
        tracing::info!(
            deployment_id = made.deployment_id,
            "Deployed {} ({}) to {} as {}",
            entity.name,
            entity.entity_id,
            made.environment,
            made.deployment_id
        );
        Ok(made)
    }

    async fn validate(
        &self,
        transaction: &mut Transaction<'static, Any>,
        entity: &Entity,
        order: &Create,
        is_active: bool,
    ) -> Result<Validation, StoreError> {
        let mut found = validation::before(Before {
            status: &entity.status,
            health_status: &entity.health_status,
            version: entity.version.as_deref(),
            environment: &order.environment,
            is_active,
        });
        for name in names_of(&entity.dependencies) {
            if !is_running(transaction, &name, &order.environment).await? {
                found.refuse(format!("Dependency '{name}' is not active in {}", order.environment));
            }
        }
        Ok(found)
    }

    /// Takes a deployment back: an earlier one that succeeded is active in its place (C17, R004-42 to R004-49).
    /// Returns the deployment that was taken back.
    ///
    /// # Errors
    /// When a rule or the database is against it; nothing was changed.
    pub async fn roll_back(
        &self,
        order: &Rollback,
        on_conflict: OnConflict,
    ) -> Result<Deployment, LifecycleError> {
        let current = self.deployment(order.deployment).await?;
        let current = current.ok_or(Refused::NoDeployment(order.deployment))?;
        let _turn = self.turn(&current.entity_id, &current.environment, on_conflict)?;
        let mut attempt = 1;
        loop {
            match self.roll_back_once(order, &current.entity_id, on_conflict).await {
                Err(LifecycleError::Store(error)) if error.is_worth_repeating() && attempt < ATTEMPTS => {
                    attempt += 1
                }
                ended => return ended,
            }
        }
    }

    async fn roll_back_once(
        &self,
        order: &Rollback,
        entity: &str,
        on_conflict: OnConflict,
    ) -> Result<Deployment, LifecycleError> {
        let mut transaction = self.begin_turn(on_conflict).await?;
        let entity_id = entity.parse().map_err(StoreError::of_column(2))?;
        take_turn(&mut transaction, entity_id, Deleted::IsFine).await?;
        // Read again: before the turn was taken it may have been another one's.
        let current = find(&mut transaction, order.deployment).await?;
        let mut current = current.ok_or(Refused::NoDeployment(order.deployment))?;
        let target = target_of(&mut transaction, order, &current).await?;
        let at = now();
        current.status = RolledBack;
        current.rolled_back_at = Some(at);
        current.rolled_back_by = Some(order.by.clone());
        current.rollback_reason = Some(order.reason.clone());
        current.previous_deployment_id = Some(target.deployment_id.clone());
        current.updated_at = at;
        take_back(&mut transaction, &current).await?;
        reactivate(&mut transaction, &target.deployment_id, at).await?;
        mark_deployed(&mut transaction, entity, &target, (at, &order.by), false).await?;
        let mut changes = Changes::new(entity_id, at);
        tell_rolled_back(&mut changes, order, &current, &target);
        changes.write(&mut transaction).await?;
        self.commit(transaction).await?;
        tracing::info!(
            deployment_id = current.deployment_id,
            "Rolled back deployment {} to {} in {}",
            current.deployment_id,
            target.deployment_id,
            current.environment
        );
        Ok(current)
    }

    fn turn(
        &self,
        entity: &str,
        environment: &str,
        on_conflict: OnConflict,
    ) -> Result<Option<Turn>, StoreError> {
        match on_conflict {
            OnConflict::Wait => Ok(None),
            OnConflict::Refuse => self.turns.take(entity, environment).map(Some).ok_or(StoreError::Busy),
        }
    }

    /// Another process of PostgreSQL's may have the turn: there the wait for its lock is cut short.
    async fn begin_turn(&self, on_conflict: OnConflict) -> Result<Transaction<'static, Any>, StoreError> {
        let mut transaction = self.begin().await?;
        if on_conflict == OnConflict::Refuse && self.kind == Kind::Postgres {
            sqlx::query("SET LOCAL lock_timeout = '100ms'").execute(&mut *transaction).await?;
        }
        Ok(transaction)
    }
}

/// Whether an entity that is deleted will do.
#[derive(Clone, Copy)]
enum Deleted {
    IsNone,
    IsFine,
}

/// The first statement of each transaction: the row's lock makes those of one entity take turns, on both databases.
async fn take_turn(
    transaction: &mut Transaction<'static, Any>,
    id: Uuid,
    deleted: Deleted,
) -> Result<Option<Entity>, StoreError> {
    let condition = match deleted {
        Deleted::IsNone => " AND deleted_at IS NULL",
        Deleted::IsFine => "",
    };
    let text =
        format!("UPDATE entities SET turn = turn + 1 WHERE entity_id = $1{condition} RETURNING {ENTITY}");
    let row =
        sqlx::query(AssertSqlSafe(text)).bind(id.to_string()).fetch_optional(&mut **transaction).await?;
    row.as_ref().map(entity).transpose()
}

pub(super) async fn find(
    transaction: &mut Transaction<'static, Any>,
    id: Uuid,
) -> Result<Option<Deployment>, StoreError> {
    let text = format!("SELECT {DEPLOYMENT} FROM deployments d WHERE d.deployment_id = $1");
    let row =
        sqlx::query(AssertSqlSafe(text)).bind(id.to_string()).fetch_optional(&mut **transaction).await?;
    row.as_ref().map(|row| deployment(row)).transpose()
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

/// Whether a dependency, named by id or by name, is active in an environment.
async fn is_running(
    transaction: &mut Transaction<'static, Any>,
    name: &str,
    environment: &str,
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT CAST(COUNT(*) AS BIGINT) FROM entities e JOIN deployments d ON d.entity_id = e.entity_id \
         WHERE (e.entity_id = $1 OR e.name = $1) AND e.deleted_at IS NULL AND d.environment = $2 AND d.status = 'active'",
    )
    .bind(name)
    .bind(environment)
    .fetch_one(&mut **transaction)
    .await?;
    Ok(get::<i64>(&row, 0)? > 0)
}

fn make(order: &Create, entity: &Entity, at: i64) -> Result<Deployment, StoreError> {
    let config = order.config.as_ref().unwrap_or(&entity.config).clone();
    let parameters = order.parameters.as_ref().unwrap_or(&entity.parameters).clone();
    // It is asked of the status that it is about to have; what does not pass has failed (C19).
    let validation = validation::after(Active, config.text());
    let results = Json::of(&validation).map_err(StoreError::of_column(19))?;
    Ok(Deployment {
        id: 0,
        deployment_id: Uuid::new_v4().to_string(),
        entity_id: entity.entity_id.clone(),
        version: entity.version.clone().unwrap_or_default(),
        environment: order.environment.clone(),
        config_snapshot: config,
        parameters_snapshot: Some(parameters),
        status: if validation.passed { Active } else { Failed },
        deployed_at: at,
        deployed_by: order.deployed_by.clone(),
        deployment_method: Some(order.method.clone()),
        rolled_back_at: None,
        rolled_back_by: None,
        rollback_reason: None,
        previous_deployment_id: None,
        health_checks: Json::of(&[(); 0]).map_err(StoreError::of_column(15))?,
        last_health_check: None,
        error_logs: (!validation.passed).then(|| validation.errors.join("\n")),
        deployment_duration_seconds: Some(i64::try_from(order.began.elapsed().as_secs()).unwrap_or(i64::MAX)),
        validation_results: Some(results),
        created_at: at,
        updated_at: at,
    })
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

fn insertion<'v>(last: &mut Together<'v>, new: &'v Deployment) {
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

fn marking<'v>(
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

/// The earlier deployment that succeeded, or the one that was named.
async fn target_of(
    transaction: &mut Transaction<'static, Any>,
    order: &Rollback,
    current: &Deployment,
) -> Result<Deployment, LifecycleError> {
    if current.status != Active {
        return Err(Refused::NotActive(order.deployment, current.status).into());
    }
    let target = match order.target {
        Some(target) => find(transaction, target).await?,
        None => find_previous(transaction, current).await?,
    };
    let target = target.ok_or(Refused::NoTarget)?;
    let id = order.target.unwrap_or_default();
    if target.entity_id != current.entity_id || target.environment != current.environment {
        return Err(Refused::ForeignTarget(id).into());
    }
    if target.status != Inactive {
        return Err(Refused::BadTarget(id, target.status).into());
    }
    Ok(target)
}

async fn find_previous(
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

async fn reactivate(
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

/// All statuses occur, although they happen within one transaction (C19).
fn tell_created(changes: &mut Changes, made: &Deployment) {
    let place = (made.deployment_id.as_str(), made.environment.as_str());
    let by = made.deployed_by.as_str();
    changes.step(place, (None, Pending), by, None);
    changes.step(place, (Some(Pending), Deploying), by, None);
    changes.step(place, (Some(Deploying), made.status), by, made.error_logs.as_deref());
    let data = json!({
        "entity_id": made.entity_id,
        "deployment_id": made.deployment_id,
        "environment": made.environment,
        "version": made.version,
        "metadata": { "deployed_by": by, "duration_seconds": made.deployment_duration_seconds },
    });
    let told = if made.status == Active { Told::Completed } else { Told::Failed };
    changes.tell(told, &made.deployment_id, data);
}

fn tell_rolled_back(changes: &mut Changes, order: &Rollback, current: &Deployment, target: &Deployment) {
    let reason = Some(order.reason.as_str());
    let environment = current.environment.as_str();
    changes.step((&current.deployment_id, environment), (Some(Active), RolledBack), &order.by, reason);
    changes.step((&target.deployment_id, environment), (Some(Inactive), Active), &order.by, reason);
    let data = json!({
        "deployment_id": current.deployment_id,
        "target_deployment_id": target.deployment_id,
        "environment": environment,
        "reason": order.reason,
        "rolled_back_by": order.by,
    });
    changes.tell(Told::RolledBack, &current.deployment_id, data);
}
