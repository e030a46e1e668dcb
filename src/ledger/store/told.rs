//! What others are told of a deployment: the document's fields, however the ledger came to know.

use serde_json::{Map, Value, json};

use super::Deployment;

/// The event about a deployment that began or ended (R004-40), with more about it where a job reports it.
pub(super) fn deployed_data(deployment: &Deployment, more: Map<String, Value>) -> Value {
    let mut data = json!({
        "entity_id": deployment.entity_id,
        "deployment_id": deployment.deployment_id,
        "environment": deployment.environment,
        "version": deployment.version,
        "metadata": {
            "deployed_by": deployment.deployed_by,
            "duration_seconds": deployment.deployment_duration_seconds,
        },
    });
    if let Some(metadata) = data["metadata"].as_object_mut() {
        metadata.extend(more);
    }
    data
}

/// The event about a deployment that was taken back (R004-49).
pub(super) fn rolled_back_data(deployment: &Deployment) -> Value {
    json!({
        "deployment_id": deployment.deployment_id,
        "target_deployment_id": deployment.previous_deployment_id,
        "environment": deployment.environment,
        "reason": deployment.rollback_reason,
        "rolled_back_by": deployment.rolled_back_by,
    })
}
