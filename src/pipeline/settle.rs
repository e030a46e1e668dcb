//! Makes containers such that Compose can work on them, by their ids: what was killed half-way leaves two of one service,
//! one of them perhaps about to stop, and a plain `up` would then recreate the wrong one (DESIGN section 6, recovery).
//!
//! A restart policy makes the same picture: after a reboot the old one and the new one of a service both run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::journal::Entry;
use super::prepare::Ready;
use super::run::{Ending, Run};
use super::stop::Stop;
use super::switch::Manner;
use crate::model::compose::ComposeModel;
use crate::model::{ContainerFacts, ContainerState};

/// Time between two looks at what a dead client's orders still bring about.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 250 });
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

/// Returns those containers that are more than a release wants of their service: an attempt that was killed left them, and
/// nothing has put them right. First those that rest, then those that were started first.
///
/// Compose recreates one of them and removes the others at the same time; one may have the name that it needs for a moment.
pub(super) fn surplus(old: &[ContainerFacts], model: &ComposeModel) -> Vec<String> {
    let surplus = model.services.iter().flat_map(|(service, wanted)| {
        let mut mine: Vec<_> = old.iter().filter(|container| container.service == *service).collect();
        mine.sort_by(|a, b| (is_active(a), &a.started_at).cmp(&(is_active(b), &b.started_at)));
        mine.truncate(mine.len().saturating_sub(wanted.replicas() as usize));
        mine
    });
    surplus.map(|container| container.id.clone()).collect()
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

    /// Starts what ran when this began, if it ended before anything was switched and the daemon went away meanwhile: one
    /// that is killed ends what it ran, and when it is back it leaves all but `restart: always` alone (tried: Engine 20.10).
    pub(super) async fn wake_what_ran(&self, seen: u64, mut ending: Ending) -> Ending {
        let Some(entry) = self.book.entry().filter(|entry| !entry.phase.has_switched()) else {
            return ending;
        };
        if entry.start.is_empty() || ending.changed || !self.has_lost_daemon(seen).await {
            return ending;
        }
        if let Err(stop) = self.wake(&entry.project).await {
            ending.unended = stop.is_no_daemon();
            ending.errors.push(stop.failure());
        }
        ending
    }

    /// Waits for the daemon, and starts what rests of what ran when this began.
    pub(super) async fn wake(&self, project: &str) -> Result<(), Stop> {
        self.wait_for_daemon().await?;
        self.start_again(project).await
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

#[cfg(test)]
mod tests {
    use super::*;

    fn model(services: &[(&str, u32)]) -> ComposeModel {
        let services: serde_json::Map<String, serde_json::Value> = services
            .iter()
            .map(|(name, scale)| ((*name).to_owned(), serde_json::json!({ "image": "a", "scale": scale })))
            .collect();
        let raw = serde_json::json!({ "name": "shop", "services": services });
        ComposeModel::from_json(&raw.to_string()).unwrap()
    }

    /// A container of a service; `started` is empty when it never was.
    fn container(id: &str, service: &str, state: ContainerState, started: &str) -> ContainerFacts {
        ContainerFacts {
            id: id.to_owned(),
            name: id.to_owned(),
            service: service.to_owned(),
            state,
            health: crate::model::HealthState::None,
            exit_code: None,
            restart_count: 0,
            started_at: started.to_owned(),
            image_id: String::new(),
            oom_killed: false,
            health_output: None,
            labels: BTreeMap::new(),
        }
    }

    fn running(id: &str, service: &str, started: &str) -> ContainerFacts {
        container(id, service, ContainerState::Running, started)
    }

    fn entry(keep: &[&str], remove: &[&str]) -> Entry {
        let keep = keep.iter().map(|id| ((*id).to_owned(), "web".to_owned())).collect();
        let remove = remove.iter().map(|id| (*id).to_owned()).collect();
        Entry { keep, remove, ..super::super::journal::example_entry() }
    }

    fn planned(found: &[ContainerFacts], scale: u32, side: Side, entry: &Entry) -> (String, String) {
        let plan = Plan::of(found, &model(&[("web", scale)]), side, entry);
        (plan.stop.join(" "), plan.remove.join(" "))
    }

    #[test]
    fn of_two_releases_the_containers_of_one_stay() {
        let found = [running("old", "web", "1"), running("new", "web", "2")];
        let entry = entry(&["old"], &[]);
        assert_eq!(planned(&found, 1, Side::Before, &entry), ("old".into(), "new".into()));
        assert_eq!(planned(&found, 1, Side::After, &entry), ("new".into(), "old".into()));
        assert_eq!(planned(&found[..1], 1, Side::Before, &entry), (String::new(), String::new()));
        assert_eq!(planned(&found, 2, Side::Before, &entry), (String::new(), String::new()));
    }

    #[test]
    fn what_may_still_be_told_to_stop_is_stopped_to_its_end_and_what_rests_is_left_alone() {
        let found = [running("told", "web", "1"), container("rests", "web", ContainerState::Exited, "1")];
        let entry = entry(&["told", "rests"], &["told", "rests"]);
        assert_eq!(planned(&found, 2, Side::Before, &entry), ("told".into(), String::new()));
    }

    #[test]
    fn where_nothing_of_before_is_left_the_one_that_was_started_last_stays() {
        let made = container("made", "web", ContainerState::Created, "0001-01-01T00:00:00Z");
        let found = [made, running("new", "web", "2026-01-01T00:00:00Z")];
        assert_eq!(planned(&found, 1, Side::Before, &entry(&["gone"], &[])), ("new".into(), "made".into()));
    }

    #[test]
    fn more_of_before_than_the_file_says_is_for_compose_to_mend() {
        let found = [running("one", "web", "1"), running("two", "web", "2")];
        let entry = entry(&["one", "two"], &[]);
        assert_eq!(planned(&found, 1, Side::Before, &entry), (String::new(), String::new()));
    }

    #[test]
    fn of_more_containers_than_a_release_wants_those_that_rest_go_first() {
        let old = [
            running("first", "web", "1"),
            container("made", "web", ContainerState::Created, "0001"),
            running("last", "web", "2"),
            running("gone", "gone", "1"),
        ];
        assert_eq!(surplus(&old, &model(&[("web", 2)])), ["made"]);
        assert_eq!(surplus(&old, &model(&[("web", 1)])), ["made", "first"]);
        assert!(surplus(&old, &model(&[("web", 3), ("db", 1)])).is_empty());
    }

    #[test]
    fn only_what_leaves_becomes_fewer_or_follows_may_be_stopped_without_a_successor() {
        let old = [
            running("a", "web", "2"),
            running("b", "web", "1"),
            running("c", "db", "3"),
            running("d", "gone", "4"),
        ];
        let both = model(&[("web", 2), ("db", 1)]);
        assert_eq!(may_stop(&old, &both, Manner::default()), ["d"]);
        let fewer = model(&[("web", 1), ("db", 1)]);
        assert_eq!(may_stop(&old, &fewer, Manner::default()), ["a", "b", "d"]);
        assert_eq!(may_stop(&old, &both, Manner { down_first: true, repair: false }).len(), 4);
        let mut follows = both;
        follows.raw["services"]["web"]["depends_on"] = serde_json::json!({ "db": { "restart": true } });
        assert_eq!(may_stop(&old, &follows, Manner::default()), ["a", "b", "d"]);
        assert_eq!(in_order(&old), ["b", "a", "c", "d"]);
    }
}
