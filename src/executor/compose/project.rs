//! What an app's Compose project is called (DESIGN section 6, one project one root).

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::executor::variables::Resolved;
use crate::model::{App, Environment, Profile};

/// Returns the project's name: `project:` of the overrides, else `COMPOSE_PROJECT_NAME` of the variables, else `name:` of
/// the compose files, else the app's, with the environment's outside production.
pub fn name(app: &App, environment: &Environment, variables: &Resolved, files: &[PathBuf]) -> String {
    let variable = variables.values.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty()).cloned();
    app.project.clone().or(variable).or_else(|| written(files)).unwrap_or_else(|| match environment.profile {
        Profile::Production => app.name.to_string(),
        _ => format!("{}-{}", app.name, environment.name),
    })
}

/// Returns the last literal `name:` of the compose files; one with variables is left to Compose, and so is not ours.
fn written(files: &[PathBuf]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: Option<String>,
    }
    let mut names = files
        .iter()
        .filter_map(|file| serde_saphyr::from_str::<Named>(&fs::read_to_string(file).ok()?).ok()?.name);
    names.rfind(|name| !name.contains('$'))
}
