//! Compose files of the made-up world are JSON: read, merged, and told as `docker compose config` does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::containers::Temper;
use crate::host::compose::{Call, ComposeError};
use crate::model::compose::ComposeModel;

/// Returns the model of a call's files.
///
/// # Errors
/// One is missing, or not of this kind.
pub(crate) fn model(call: &Call<'_>) -> Result<ComposeModel, ComposeError> {
    let mut services = Map::new();
    for file in call.files {
        let path: PathBuf = call.project_directory.join(file);
        let missing = |_| ComposeError::FileMissing { file: path.display().to_string() };
        let text = std::fs::read_to_string(&path).map_err(missing)?;
        let read: Value =
            serde_json::from_str(&text.replace("$$", "$")).map_err(|_| ComposeError::Garbage)?;
        for (name, service) in read["services"].as_object().into_iter().flatten() {
            let merged = services.entry(name.clone()).or_insert_with(|| json!({}));
            for (key, value) in service.as_object().into_iter().flatten() {
                match (merged[key].as_object_mut(), value.as_object()) {
                    (Some(both), Some(value)) => both.extend(value.clone()),
                    _ => merged[key] = value.clone(),
                }
            }
        }
    }
    let text = json!({ "name": call.project, "services": services }).to_string();
    ComposeModel::from_json(&text).map_err(|_| ComposeError::Garbage)
}

/// Returns what makes a service's containers be recreated when it changes.
pub(super) fn hash(model: &ComposeModel, service: &str) -> String {
    hash_of(&model.raw["services"][service].to_string())
}

/// Returns 16 hexadecimal digits that stand for a text.
pub(super) fn hash_of(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Returns what a service does when it runs.
pub(super) fn temper(model: &ComposeModel, service: &str) -> Temper {
    match model.raw["services"][service]["command"][0].as_str() {
        Some("sick") => Temper::Sick,
        Some("exits") => Temper::Exits,
        _ => Temper::Good,
    }
}
