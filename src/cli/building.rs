//! What the runner builds before the host may start (`build: runner`, DESIGN section 5).

use std::collections::BTreeMap;
use std::path::Path;

use super::own::Own;
use crate::event::Emitter;
use crate::executor::runner::{Workshop, platform_of};
use crate::model::{BuildOrders, Job};
use crate::text::Redactor;

/// Builds and pushes what the host asks for; returns `repository@sha256:…` by service.
///
/// # Errors
/// It cannot be done, or is not the project's; nothing was touched on the host.
pub(super) async fn build(
    job: &Job,
    app_dir: &Path,
    architecture: &str,
    orders: &BuildOrders,
    emitter: &Emitter,
) -> Result<BTreeMap<String, String>, Own> {
    let hidden = orders.hidden.iter().map(String::as_str);
    let secrets: Vec<&str> = job.secret_values().chain(hidden).collect();
    let layers = [&job.variables.below_host, &job.variables.above_host];
    let workshop = Workshop {
        app_dir,
        compose_files: &job.app.compose_files,
        values: layers.iter().flat_map(|layer| layer.values()).map(String::as_str).collect(),
        logins: &job.registries,
        platform: platform_of(architecture),
        no_cache: job.options.no_cache,
        emitter,
        redactor: Redactor::new(secrets.iter().copied()),
        secrets,
    };
    workshop.build(orders).await.map_err(|error| Own::of(error.outcome(), error.report()))
}
