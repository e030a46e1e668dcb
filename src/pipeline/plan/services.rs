//! What would become of each service, and why: Compose says what, the comparison of two models says why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::switch::unwell_services;
use super::{Ground, Sketch};
use crate::event::{FileChanges, PlannedService, Reason, ServiceChange, Why};
use crate::executor::compose::drift::Drift;
use crate::executor::compose::mounts;
use crate::executor::compose::rehearse::{self, Difference, Rehearsal, View, compare};
use crate::model::compose::ComposeModel;
use crate::model::{ContainerFacts, labels};
use crate::text::harmless;

/// What is compared.
pub(super) struct Sides<'a> {
    pub(super) ground: &'a Ground<'a>,
    pub(super) sketch: &'a Sketch,
    /// Directory and model of the release that runs.
    pub(super) before: Option<(&'a Path, &'a ComposeModel)>,
    pub(super) found: &'a [ContainerFacts],
    pub(super) files: &'a FileChanges,
}

/// Nothing happens to what runs.
pub(super) fn unchanged(found: &[ContainerFacts]) -> Vec<PlannedService> {
    let names: BTreeSet<&String> = found.iter().map(|container| &container.service).collect();
    names.into_iter().map(|name| planned(name, ServiceChange::Unchanged, Vec::new())).collect()
}

fn planned(service: &str, change: ServiceChange, reasons: Vec<Reason>) -> PlannedService {
    PlannedService { service: service.to_owned(), change, reasons, if_image_differs: false }
}

/// Returns what would become of every service. `is_same`: the release that runs is the one that would be deployed, and
/// only what is not as it should be is made anew.
pub(super) async fn judge(
    sides: &Sides<'_>,
    drift: Option<&Drift>,
    is_same: bool,
    notes: &mut Vec<String>,
) -> Vec<PlannedService> {
    let executor = sides.ground.executor;
    let model = &sides.sketch.whole;
    let own: BTreeMap<String, Vec<Reason>> =
        model.services.keys().map(|name| (name.clone(), sides.reasons(name))).collect();
    let rehearsed = match rehearse::rehearse(
        &executor.compose,
        &sides.sketch.site,
        model,
        sides.found,
        sides.ground.scratch,
    )
    .await
    {
        Ok(rehearsed) => rehearsed,
        Err(error) => {
            let redactor = sides.sketch.outline.variables.redactor();
            let said = harmless(&redactor.redact(&error.report().message));
            notes.push(format!(
                    "Compose could not say what it would do ({said}); services are compared by their definitions, and those \
                     that depend on one that is recreated may be recreated, too"
                ));
            by_comparison(model, &own, sides.found)
        }
    };
    let forced = forced(sides.found, drift, is_same);
    rehearsed.iter().map(|(name, change)| sides.judge_one(name, *change, &own, &forced, &rehearsed)).collect()
}

/// Services that are made anew although nothing changed, with the reason.
fn forced(found: &[ContainerFacts], drift: Option<&Drift>, is_same: bool) -> BTreeMap<String, Why> {
    let unwell = if is_same { unwell_services(found) } else { Vec::new() };
    let mut forced: BTreeMap<String, Why> =
        unwell.into_iter().map(|service| (service, Why::Unhealthy)).collect();
    let drifted = drift.into_iter().flat_map(|drift| drift.services.iter().cloned());
    forced.extend(drifted.map(|service| (service, Why::Drift)));
    forced
}

fn by_comparison(
    model: &ComposeModel,
    own: &BTreeMap<String, Vec<Reason>>,
    found: &[ContainerFacts],
) -> Rehearsal {
    let has = |name: &String| found.iter().any(|container| container.service == *name);
    let change = |name: &String| match (has(name), own.get(name).is_some_and(|own| !own.is_empty())) {
        (false, _) => ServiceChange::Created,
        (true, true) => ServiceChange::Recreated,
        (true, false) => ServiceChange::Unchanged,
    };
    let leaving = found.iter().filter(|container| !model.services.contains_key(&container.service));
    let leaving = leaving.map(|container| (container.service.clone(), ServiceChange::Removed));
    model.services.keys().map(|name| (name.clone(), change(name))).chain(leaving).collect()
}

impl Sides<'_> {
    fn judge_one(
        &self,
        name: &str,
        change: ServiceChange,
        own: &BTreeMap<String, Vec<Reason>>,
        forced: &BTreeMap<String, Why>,
        rehearsed: &Rehearsal,
    ) -> PlannedService {
        let is_there = change != ServiceChange::Created && change != ServiceChange::Removed;
        if let Some(why) = forced.get(name).filter(|_| is_there) {
            let mut reasons = vec![Reason { why: *why, names: Vec::new() }];
            reasons.extend(own.get(name).cloned().unwrap_or_default());
            return planned(name, ServiceChange::Recreated, reasons);
        }
        if change != ServiceChange::Recreated {
            return planned(name, change, Vec::new());
        }
        let mut reasons = own.get(name).cloned().unwrap_or_default();
        if reasons.is_empty() {
            let anew = |other: &String| rehearsed.get(other) == Some(&ServiceChange::Recreated);
            let needs = rehearse::needs(&self.sketch.whole, name).into_iter().filter(anew);
            let needs: Vec<String> = needs.collect();
            // What is made anew by force is made anew by itself, before Compose looks at what depends on it.
            if !needs.is_empty() && needs.iter().all(|other| forced.contains_key(other)) {
                return planned(name, ServiceChange::Unchanged, Vec::new());
            }
            let why = if needs.is_empty() { Why::Compose } else { Why::DependsOn };
            reasons.push(Reason { why, names: needs });
        }
        let built = |reason: &Reason| reason.why == Why::Image && !self.is_foreseen(name);
        let if_image_differs = reasons.iter().all(built) && self.is_built(name);
        PlannedService { if_image_differs, ..planned(name, change, reasons) }
    }

    fn is_foreseen(&self, service: &str) -> bool {
        self.sketch.forecast.services.get(service).is_some_and(|foreseen| foreseen.is_known)
    }

    fn is_built(&self, service: &str) -> bool {
        self.sketch.model.services.get(service).is_some_and(|service| service.build.is_some())
    }

    /// What a service has otherwise.
    fn reasons(&self, name: &str) -> Vec<Reason> {
        let mine: Vec<&ContainerFacts> =
            self.found.iter().filter(|container| container.service == name).collect();
        if mine.is_empty() {
            return Vec::new();
        }
        let mut reasons = Vec::new();
        if mine.iter().any(|container| !container.labels.contains_key(labels::ROOT)) {
            reasons.push(Reason { why: Why::Adopted, names: Vec::new() });
        }
        reasons.extend(self.image(name, &mine));
        let files = self.files_of(name);
        let mut difference = self.difference(name);
        if !files.is_empty() {
            // Where a mounted file lies is its content.
            difference.config.retain(|key| !matches!(key.as_str(), "volumes" | "configs" | "secrets"));
        }
        reasons.extend(difference.reasons());
        if !files.is_empty() {
            reasons.push(Reason { why: Why::Files, names: files });
        }
        reasons
    }

    fn image(&self, name: &str, mine: &[&ContainerFacts]) -> Option<Reason> {
        let foreseen = self.sketch.forecast.services.get(name)?;
        let same = foreseen.is_known && mine.iter().all(|c| c.image_id == foreseen.pinned.id);
        let names = vec![foreseen.pinned.reference.clone()];
        (!same).then_some(Reason { why: Why::Image, names })
    }

    fn difference(&self, name: &str) -> Difference {
        let Some((project, model)) = self.before else { return Difference::default() };
        let files = self.ground.layout.files();
        let before = View { model, project, files: &files };
        let (model, project) = (&self.sketch.whole, self.sketch.site.project_dir.as_path());
        compare(name, &before, &View { model, project, files: &files })
    }

    /// Files that a service mounts, and that are otherwise than before.
    fn files_of(&self, name: &str) -> Vec<String> {
        let Some(service) = self.sketch.model.services.get(name) else { return Vec::new() };
        let project = self.sketch.outline.site.project_dir.as_path();
        let model = &self.sketch.model;
        let defined = service.configs.iter().filter_map(|used| model.configs.get(&used.source));
        let secret = service.secrets.iter().filter_map(|used| model.secrets.get(&used.source));
        let definitions = defined.chain(secret).filter_map(|definition| definition.file.as_deref());
        let binds = service.volumes.iter().filter_map(|mount| mount.bind_source());
        let sources: Vec<String> =
            binds.chain(definitions).filter_map(|source| mounts::relative(source, project)).collect();
        let release = |source: &&String| {
            let placed = self.sketch.mounts.sources.get(*source);
            placed.is_none_or(|placed| matches!(placed, mounts::Source::Release(_)))
        };
        let sources: Vec<&String> = sources.iter().filter(release).collect();
        let within = |path: &&String| {
            sources.iter().any(|source| {
                source.is_empty()
                    || path
                        .strip_prefix(source.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let FileChanges { added, changed, removed, .. } = self.files;
        added.iter().chain(changed).chain(removed).filter(within).cloned().collect()
    }
}
