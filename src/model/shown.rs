//! The configuration as it counts, and where each value came from (`validate --show-config`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The effective configuration of one app and environment. Holds no secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigAnswer {
    /// Files that were read, in the order in which they lie on each other.
    pub files: Vec<String>,
    /// Every key, also those that nobody has written.
    pub settings: Vec<ShownSetting>,
    /// Variables of the app that the runner knows, by the layer that wins.
    pub variables: Vec<ShownVariable>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownSetting {
    /// Its path, such as `environments.production.port`.
    pub key: String,
    /// What counts; `***` for a secret, `null` for nothing.
    pub value: Value,
    /// Who said so.
    pub origin: ShownOrigin,
    /// The flag, the variable, or file and line; absent for a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Variables of the job that were filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filled_from: Vec<String>,
}

/// Who said what counts, highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownOrigin {
    /// A flag, or the argument that names the environment.
    Flag,
    /// A variable of the job.
    Variable,
    /// `overrides` of the environment.
    Override,
    /// A `*.local.yaml`.
    Overlay,
    /// One of the two files.
    File,
    /// Nobody: this is what the program does by itself.
    Default,
}

/// One variable of the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownVariable {
    /// Its name.
    pub name: String,
    /// Its value; `***` for a secret.
    pub value: String,
    /// File and line, or who else brought it.
    pub from: String,
}
