//! Rolling deployments back: one transaction each, which begins by taking the entity's turn.

use sqlx::{Any, Transaction};
use uuid::Uuid;

use super::records::{find, find_previous, mark_deployed, reactivate, take_back};
use super::told::rolled_back_data;
use super::turns::{Whose, repeated, take_turn};
use super::{Changes, Deployment, LifecycleError, OnConflict, Refused, Store, StoreError, Told, now};
use crate::model::lifecycle::DeploymentStatus::{Active, Inactive, RolledBack};

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

impl Store {
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
        repeated(|| self.roll_back_once(order, &current.entity_id, on_conflict)).await
    }

    async fn roll_back_once(
        &self,
        order: &Rollback,
        entity: &str,
        on_conflict: OnConflict,
    ) -> Result<Deployment, LifecycleError> {
        let mut transaction = self.begin_turn(on_conflict).await?;
        let entity_id = entity.parse().map_err(StoreError::of_column(2))?;
        take_turn(&mut transaction, Whose::Any(entity_id)).await?;
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
        tell_rolled_back(&mut changes, &current, &target);
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

fn tell_rolled_back(changes: &mut Changes, current: &Deployment, target: &Deployment) {
    let (by, reason) =
        (current.rolled_back_by.as_deref().unwrap_or_default(), current.rollback_reason.as_deref());
    let environment = current.environment.as_str();
    changes.step((&current.deployment_id, environment), (Some(Active), RolledBack), by, reason);
    changes.step((&target.deployment_id, environment), (Some(Inactive), Active), by, reason);
    changes.tell(Told::RolledBack, &current.deployment_id, rolled_back_data(current));
}
