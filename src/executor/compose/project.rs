//! What an app's Compose project is called (DESIGN section 6, one project one root).

use crate::executor::variables::Resolved;
use crate::model::{Job, Profile};

/// Returns the project's name: `project:` of the overrides, else `COMPOSE_PROJECT_NAME` of the variables, else `name:` of
/// the compose files (the last one wins), else the app's, with the environment's outside production.
pub fn name(job: &Job, variables: &Resolved) -> String {
    let variable = variables.values.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty()).cloned();
    let mut written = job.compose_files.iter().filter_map(|file| file.name.clone());
    let (app, environment) = (&job.app, &job.environment);
    app.project.clone().or(variable).or_else(|| written.next_back()).unwrap_or_else(|| {
        match environment.profile {
            Profile::Production => app.name.to_string(),
            _ => format!("{}-{}", app.name, environment.name),
        }
    })
}
