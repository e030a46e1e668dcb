//! Labels by which containers are known.

/// The app that a container belongs to; set by us.
pub const APP: &str = "ffe-deploy.app";
/// The environment that a container belongs to; set by us.
pub const ENVIRONMENT: &str = "ffe-deploy.environment";
/// The root (or the directory of the state, in place) that a container belongs to; set by us.
pub const ROOT: &str = "ffe-deploy.root";
/// Digest of the tracked files that a service mounts in place, so that changed ones recreate it; set by us.
pub const FILES: &str = "ffe-deploy.files";
/// What a helper container of ours is for.
pub const HELPER: &str = "ffe-deploy.helper";
/// Id of the deployment whose hook a container runs; set by us.
pub const HOOK: &str = "ffe-deploy.hook";
/// Compose's project.
pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";
/// Compose's service.
pub const COMPOSE_SERVICE: &str = "com.docker.compose.service";
/// Compose files that a container came from, separated by commas.
pub const COMPOSE_FILES: &str = "com.docker.compose.project.config_files";
/// Digest of the settings that Compose made a container of.
pub const COMPOSE_CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// `True` on containers made by `docker compose run`.
pub const COMPOSE_ONEOFF: &str = "com.docker.compose.oneoff";
