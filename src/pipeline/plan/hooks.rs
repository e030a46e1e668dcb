//! Which hooks a deploy would run.

use super::{Ground, Sketch};
use crate::event::{ImageHow, PlannedHook};
use crate::executor::compose::place;
use crate::model::{BuildMode, Hook, HookKind, HookPlace};

/// What a deploy would do, as far as hooks ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing: it already runs.
    None,
    /// What runs is mended.
    Repair,
    /// Another release comes.
    Release,
}

/// Returns the hooks, in the order in which they can come.
pub(super) fn planned(ground: &Ground<'_>, sketch: &Sketch, work: Work) -> Vec<PlannedHook> {
    let would_run = |hook: &&Hook| match (hook.kind, &hook.place) {
        (HookKind::PreBuild, HookPlace::Runner) => ground.runner_builds(sketch),
        (HookKind::PreBuild, _) => work == Work::Release && ground.host_builds(sketch),
        (HookKind::PreDeploy | HookKind::PostDeploy, _) => work == Work::Release,
        (HookKind::OnRollback, _) => work != Work::None && ground.current.is_some(),
        (HookKind::OnFailure | HookKind::Finally, _) => work != Work::None,
    };
    ground.job.app.hooks.iter().filter(would_run).map(one).collect()
}

fn one(hook: &Hook) -> PlannedHook {
    let only_if = match hook.kind {
        HookKind::OnFailure => Some("the deploy fails"),
        HookKind::OnRollback => Some("the release before is put back"),
        HookKind::PreBuild | HookKind::PreDeploy | HookKind::PostDeploy | HookKind::Finally => None,
    };
    PlannedHook {
        hook: hook.name.clone(),
        kind: hook.kind,
        place: hook.place.shown(),
        command: hook.argv.clone(),
        timeout_ms: u64::try_from(hook.timeout.as_millis()).unwrap_or(u64::MAX),
        on_error: (hook.kind == HookKind::PostDeploy).then_some(hook.on_error),
        only_if: only_if.map(str::to_owned),
    }
}

impl Ground<'_> {
    fn host_builds(&self, sketch: &Sketch) -> bool {
        let is_built = self.job.app.build == BuildMode::Host;
        is_built && sketch.forecast.work.iter().any(|image| image.how == ImageHow::Built)
    }

    /// The runner knows no images: it goes by version and files, and by what it is to build itself.
    fn runner_builds(&self, sketch: &Sketch) -> bool {
        let files = place::recorded(&self.job.bundle.entries);
        let seems_same = self.current.is_some_and(|now| now.seems(&self.job.version.label, &files));
        let is_asked = self.job.app.build == BuildMode::Runner;
        !seems_same || (is_asked && sketch.model.services.values().any(|service| service.build.is_some()))
    }
}
