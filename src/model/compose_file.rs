//! What the runner has read in a compose file, so that the host's half needs no YAML parser.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Place;

/// The little that is known of one compose file; what it means is for Compose on the host to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeFile {
    /// Relative to the app's directory: one of `App::compose_files`.
    pub path: String,
    /// Its `name:`, when it is there and has no variables.
    pub name: Option<String>,
    /// What its services name in `env_file`, in their order: the last one wins. `include` and `extends` are not followed.
    pub env_files: Vec<EnvFileRef>,
    /// Line and column, both from 1, of each service that it names.
    #[serde(default)]
    pub services: BTreeMap<String, (u32, u32)>,
    /// Line and column, both from 1, at which it stops being YAML.
    pub broken_at: Option<(u32, u32)>,
}

/// A file that a service names in `env_file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFileRef {
    /// Service that names it.
    pub service: String,
    /// As written: relative to the compose file's project directory, variables not filled in.
    pub path: String,
    /// Whether Compose refuses to go on without it.
    pub required: bool,
}

/// A place that findings of a rule belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Id of the rule.
    pub rule: String,
    /// Part of the messages that are about it; empty: each one is.
    pub words: String,
    /// Where it is.
    pub place: Place,
}
