//! Creating deployments: one transaction each, which begins by taking the entity's turn.

use serde_json::Map;
use sqlx::{Any, Transaction};
use tokio::time::Instant;
use uuid::Uuid;

use super::entities::names_of;
use super::records::{insertion, marking, reactivate, supersede};
use super::rows::get;
use super::together::Together;
use super::told::deployed_data;
use super::turns::{Whose, repeated, take_turn};
use super::{
    Changes, Deployment, Entity, Json, LifecycleError, OnConflict, Refused, Store, StoreError, Told, now,
};
use crate::ledger::validation::{self, Before, Validation};
use crate::model::lifecycle::DeploymentStatus::{Active, Deploying, Failed, Inactive, Pending};

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
        repeated(|| self.create_once(order, on_conflict)).await
    }

    async fn create_once(
        &self,
        order: &Create,
        on_conflict: OnConflict,
    ) -> Result<Deployment, LifecycleError> {
        let mut transaction = self.begin_turn(on_conflict).await?;
        let entity = take_turn(&mut transaction, Whose::Living(order.entity)).await?;
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
    let id = Uuid::new_v4();
    Ok(Deployment {
        version: entity.version.clone().unwrap_or_default(),
        parameters_snapshot: Some(parameters),
        status: if validation.passed { Active } else { Failed },
        deployed_by: order.deployed_by.clone(),
        deployment_method: Some(order.method.clone()),
        error_logs: (!validation.passed).then(|| validation.errors.join("\n")),
        deployment_duration_seconds: Some(i64::try_from(order.began.elapsed().as_secs()).unwrap_or(i64::MAX)),
        validation_results: Some(results),
        ..Deployment::begun(id, (&entity.entity_id, &order.environment), config, at)?
    })
}

/// All statuses occur, although they happen within one transaction (C19).
fn tell_created(changes: &mut Changes, made: &Deployment) {
    let place = (made.deployment_id.as_str(), made.environment.as_str());
    let by = made.deployed_by.as_str();
    changes.step(place, (None, Pending), by, None);
    changes.step(place, (Some(Pending), Deploying), by, None);
    changes.step(place, (Some(Deploying), made.status), by, made.error_logs.as_deref());
    let told = if made.status == Active { Told::Completed } else { Told::Failed };
    changes.tell(told, &made.deployment_id, deployed_data(made, Map::new()));
}
