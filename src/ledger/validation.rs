//! What is asked before and after a deployment (R004-16 to R004-24), with the document's texts.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::lifecycle::DeploymentStatus;

/// Statuses of an entity that can be deployed (R004-17).
const DEPLOYABLE: [&str; 4] = ["registered", "validated", "deployed", "active"];

/// What was found; errors stop a deployment, warnings do not (R004-22).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// Whether there are no errors.
    pub passed: bool,
    /// What was looked at, and what it was.
    pub checks: Map<String, Value>,
    /// What stands against it.
    pub errors: Vec<String>,
    /// What does not.
    pub warnings: Vec<String>,
}

impl Validation {
    fn new() -> Self {
        Self { passed: true, checks: Map::new(), errors: Vec::new(), warnings: Vec::new() }
    }

    fn check(&mut self, name: &str, value: impl Into<Value>) {
        self.checks.insert(name.to_owned(), value.into());
    }

    /// Adds what stands against it.
    pub fn refuse(&mut self, error: String) {
        self.errors.push(error);
        self.passed = false;
    }
}

/// What is known of an entity before it is deployed.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// Status of the entity.
    pub status: &'a str,
    /// Its health.
    pub health_status: &'a str,
    /// Its version.
    pub version: Option<&'a str>,
    /// Where it goes.
    pub environment: &'a str,
    /// Whether it is active there.
    pub is_active: bool,
}

/// Returns what stands against deploying it; dependencies are looked up by the store, which knows them.
pub fn before(entity: Before<'_>) -> Validation {
    let mut found = Validation::new();
    if !DEPLOYABLE.contains(&entity.status) {
        found.refuse(format!("Entity status '{}' not deployable", entity.status));
    }
    found.check("entity_status", entity.status);
    if entity.is_active {
        found.warnings.push(format!("Active deployment already exists in {}", entity.environment));
    }
    found.check("existing_deployment", entity.is_active);
    if entity.health_status == "unhealthy" {
        found.refuse("Entity health is unhealthy".to_owned());
    }
    found.check("health_status", entity.health_status);
    let has_version = entity.version.is_some_and(|version| !version.is_empty());
    if !has_version {
        found.refuse("Entity version is required".to_owned());
    }
    found.check("has_version", has_version);
    found
}

/// Returns what is wrong with a deployment of this status and configuration (JSON) after it was made.
pub fn after(status: DeploymentStatus, config: &str) -> Validation {
    let mut found = Validation::new();
    found.check("deployment_exists", true);
    let is_empty = serde_json::from_str::<Map<String, Value>>(config).is_ok_and(|config| config.is_empty());
    if is_empty {
        found.warnings.push("No configuration snapshot saved".to_owned());
    }
    found.check("has_config", true);
    if !matches!(status, DeploymentStatus::Active | DeploymentStatus::Deploying) {
        found.refuse(format!("Deployment status '{status}' unexpected"));
    }
    found.check("status", status.as_str());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_words_are_said_for_each_thing_that_stands_against_a_deployment() {
        let good = Before {
            status: "registered",
            health_status: "unknown",
            version: Some("1.0.0"),
            environment: "staging",
            is_active: false,
        };
        assert!(before(good).passed);
        let bad = Before {
            status: "deprecated",
            health_status: "unhealthy",
            version: Some(""),
            is_active: true,
            ..good
        };
        let found = before(bad);
        assert!(!found.passed);
        assert_eq!(
            found.errors,
            [
                "Entity status 'deprecated' not deployable",
                "Entity health is unhealthy",
                "Entity version is required"
            ]
        );
        assert_eq!(found.warnings, ["Active deployment already exists in staging"]);
    }

    #[test]
    fn a_deployment_that_does_not_run_fails_its_validation_and_an_empty_configuration_warns() {
        let failed = after(DeploymentStatus::Failed, "{\"a\":1}");
        assert_eq!(
            (failed.passed, failed.errors.as_slice()),
            (false, &["Deployment status 'failed' unexpected".to_owned()][..])
        );
        let warned = after(DeploymentStatus::Active, "{ }");
        assert_eq!(
            (warned.passed, warned.warnings.as_slice()),
            (true, &["No configuration snapshot saved".to_owned()][..])
        );
    }
}
