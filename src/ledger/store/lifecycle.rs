//! Why a deployment is not created or rolled back.

use uuid::Uuid;

use super::StoreError;
use super::turns::Repeatable;
use crate::ledger::validation::Validation;
use crate::model::lifecycle::DeploymentStatus;

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

impl Repeatable for LifecycleError {
    fn is_worth_repeating(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_worth_repeating())
    }
}
