//! Makes containers such that Compose can work on them, by their ids: what was killed half-way leaves two of one service,
//! one of them perhaps about to stop, and a plain `up` would then recreate the wrong one (DESIGN section 6, recovery).
//!
//! A restart policy makes the same picture: after a reboot the old one and the new one of a service both run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::journal::Entry;
use super::prepare::Ready;
use super::run::Run;
use super::stop::Stop;
use super::switch::Manner;
use crate::model::compose::ComposeModel;
use crate::model::{ContainerFacts, ContainerState};

/// Time between two looks at what a dead client's orders still bring about.
const LOOK: Duration = Duration::from_millis(250);
/// Most of these looks: a minute.
const LOOKS: usize = 240;
/// How often is settled again what came meanwhile.
pub(super) const ROUNDS: usize = 3;

/// Whose containers stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Those that were there before the switch.
    Before,
    /// Those that it brought.
    After,
}

/// What is done about containers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// They are stopped to their end, because the engine goes on with a stop whose client is gone, and would end what was
    /// verified meanwhile.
    stop: Vec<String>,
    /// They go.
    remove: Vec<String>,
}

impl Plan {
    fn of(found: &[ContainerFacts], model: &ComposeModel, side: Side, entry: &Entry) -> Self {
        let mut plan = Self::default();
        for (service, wanted) in &model.services {
            let mine: Vec<_> = found.iter().filter(|container| container.service == *service).collect();
            let is_old = |container: &&&ContainerFacts| entry.keep.contains_key(&container.id);
            let (old, new): (Vec<_>, Vec<_>) = mine.iter().copied().partition(|container| is_old(&container));
            let (stay, mut go) = if side == Side::Before { (old, new) } else { (new, old) };
            let surplus = mine.len().saturating_sub(wanted.replicas() as usize);
            if surplus > 0 && !go.is_empty() {
                if stay.is_empty() {
                    // One of them has what the others had, anonymous volumes too: the one that was started last.
                    go.sort_by(|a, b| a.started_at.cmp(&b.started_at));
                    go.truncate(surplus);
                }
                plan.remove.extend(go.iter().map(|container| container.id.clone()));
            }
            let waits = |c: &&&ContainerFacts| {
                is_active(c)
                    && !plan.remove.contains(&c.id)
                    && (surplus > 0 && !go.is_empty() || entry.remove.contains(&c.id))
            };
            plan.stop.extend(mine.iter().filter(waits).map(|container| container.id.clone()));
        }
        plan
    }
}

/// Returns those containers that a switch may tell to stop although no other one of their service stands beside them: they
/// leave, or become fewer, or everything is stopped first, or Compose restarts them with what they depend on.
pub(super) fn may_stop(old: &[ContainerFacts], model: &ComposeModel, manner: Manner) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    old.iter().for_each(|container| *counts.entry(container.service.as_str()).or_default() += 1);
    let stops = |container: &&ContainerFacts| {
        let Some(service) = model.services.get(&container.service) else { return true };
        let fewer = counts.get(container.service.as_str()) > Some(&(service.replicas() as usize));
        let needs = model.raw["services"][&container.service]["depends_on"].as_object();
        let follows =
            needs.is_some_and(|needs| needs.values().any(|need| need["restart"].as_bool() == Some(true)));
        manner.down_first || fewer || follows
    };
    old.iter().filter(stops).map(|container| container.id.clone()).collect()
}

/// Returns the containers that run, in the order in which they were started.
pub(super) fn in_order(containers: &[ContainerFacts]) -> Vec<String> {
    let mut running: Vec<_> = containers.iter().filter(|container| is_active(container)).collect();
    running.sort_by(|a, b| a.started_at.cmp(&b.started_at));
    running.into_iter().map(|container| container.id.clone()).collect()
}

fn is_active(container: &ContainerFacts) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting | ContainerState::Paused)
}

impl Run {
    /// Stops and removes by id what stands in the way of a release; `interrupted` says that something was killed, and that
    /// the engine may still be at its orders.
    ///
    /// # Errors
    /// Docker fails, or is gone.
    pub(super) async fn settle(&self, ready: &Ready, side: Side, interrupted: bool) -> Result<(), Stop> {
        let project = ready.site.project.as_str();
        for round in 1..=ROUNDS {
            let found =
                if interrupted { self.calm(project).await? } else { self.containers(project).await? };
            let Some(mut entry) = self.book.entry() else { return Ok(()) };
            if !interrupted {
                entry.remove.clear();
            }
            let plan = Plan::of(&found, &ready.model, side, &entry);
            if plan == Plan::default() {
                break;
            }
            let told = plan.stop.iter().chain(&plan.remove).filter(|id| !entry.remove.contains(id));
            let told: Vec<String> = told.cloned().collect();
            self.book_or_warn(|entry| entry.remove.extend(told));
            let settled = async {
                self.executor.stop(&plan.stop).await?;
                self.executor.remove(&plan.remove).await
            };
            match settled.await {
                // One that goes by itself meanwhile is an error for Docker; the next look tells.
                Err(_) if round < ROUNDS => {}
                settled => settled?,
            }
        }
        // They have stopped: whoever comes now need not wait for them again.
        self.book_or_warn(|entry| entry.remove.clear());
        Ok(())
    }

    /// Starts by id what ran before and is still there: faster than Compose, and without it.
    pub(super) async fn start_again(&self, project: &str) -> Result<(), Stop> {
        let found = self.containers(project).await?;
        let rests = |id: &&String| found.iter().any(|c| c.id == **id && !is_active(c));
        let start = self.book.entry().map(|entry| entry.start).unwrap_or_default();
        let start: Vec<String> = start.iter().filter(rests).cloned().collect();
        // What does not start is told by Docker, and then recreated by Compose.
        self.executor.start(&start).await.ok();
        Ok(())
    }

    /// Whether a service has more containers than it should.
    pub(super) async fn has_surplus(&self, ready: &Ready) -> Result<bool, Stop> {
        let found = self.containers(&ready.site.project).await?;
        Ok(ready.model.services.iter().any(|(service, wanted)| {
            found.iter().filter(|c| c.service == *service).count() > wanted.replicas() as usize
        }))
    }

    /// Returns the containers when nothing comes and goes any more that a client ordered who is dead.
    pub(super) async fn calm(&self, project: &str) -> Result<Vec<ContainerFacts>, Stop> {
        let mut last = self.containers(project).await?;
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK).await;
            let found = self.containers(project).await?;
            let same = found.iter().map(|c| &c.id).eq(last.iter().map(|c| &c.id));
            if same && found.iter().all(|container| container.state != ContainerState::Removing) {
                return Ok(found);
            }
            last = found;
        }
        Ok(last)
    }
}
