//! Containers and images of the made-up engine, and what the daemon does with them.

use std::collections::BTreeMap;

use super::{State, up};
use crate::model::compose::RestartPolicy;
use crate::model::{ContainerFacts, ContainerState, HealthState, labels};

/// What a container does when it runs: `command` of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temper {
    /// It is healthy at once.
    Good,
    /// It is never healthy.
    Sick,
    /// It exits with 1 at once.
    Exits,
}

#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) project: String,
    pub(super) service: String,
    pub(super) number: usize,
    pub(super) image: String,
    /// Digest of its service's definition.
    pub(super) hash: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) policy: RestartPolicy,
    pub(super) temper: Temper,
    pub(super) state: ContainerState,
    pub(super) exit_code: i64,
    /// When it was started, in steps of the world; 0: never.
    pub(super) started: u64,
    /// Somebody told it to stop, and nobody to start again since.
    pub(super) is_stopped: bool,
}

/// A stop that the daemon carries out, whoever waits for it.
#[derive(Clone, Debug)]
pub(super) struct Stopping {
    id: String,
    /// Points until it has done so.
    left: u32,
}

impl Container {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Restarting)
    }

    fn start(&mut self, now: u64) {
        (self.started, self.is_stopped) = (now, false);
        (self.state, self.exit_code) = match (self.temper, self.policy) {
            (Temper::Exits, RestartPolicy::No) => (ContainerState::Exited, 1),
            (Temper::Exits, _) => (ContainerState::Restarting, 1),
            (Temper::Good | Temper::Sick, _) => (ContainerState::Running, 0),
        };
    }

    fn end(&mut self, exit_code: i64) {
        (self.state, self.exit_code) = (ContainerState::Exited, exit_code);
    }

    /// Source: dockerd's `restartmanager`; what was never started is not started by it either.
    fn comes_back(&self) -> bool {
        let wants = match self.policy {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure => self.exit_code != 0,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !self.is_stopped,
        };
        wants && self.started > 0
    }

    pub(super) fn facts(&self) -> ContainerFacts {
        let health = match (self.state, self.temper) {
            (ContainerState::Running, Temper::Good) => HealthState::Healthy,
            (ContainerState::Running, _) => HealthState::Unhealthy,
            _ => HealthState::None,
        };
        let mut labelled = self.labels.clone();
        labelled.insert(labels::COMPOSE_PROJECT.to_owned(), self.project.clone());
        labelled.insert(labels::COMPOSE_SERVICE.to_owned(), self.service.clone());
        labelled.insert(labels::COMPOSE_ONEOFF.to_owned(), "False".to_owned());
        let started = i64::try_from(self.started).unwrap();
        ContainerFacts {
            id: self.id.clone(),
            name: self.name.clone(),
            service: self.service.clone(),
            state: self.state,
            health,
            exit_code: (self.state != ContainerState::Running).then_some(self.exit_code),
            restart_count: 0,
            started_at: jiff::Timestamp::from_second(1_700_000_000 + started).unwrap().to_string(),
            image_id: self.image.clone(),
            oom_killed: false,
            health_output: None,
            labels: labelled,
        }
    }
}

type Done = Result<(), String>;

impl State {
    /// Time passes by one point: stops come to their end, and programs of dead clients make a step.
    pub(super) fn pass(&mut self) {
        self.count += 1;
        self.away = self.away.saturating_sub(1);
        self.stopping.iter_mut().for_each(|stop| stop.left = stop.left.saturating_sub(1));
        let due: Vec<String> =
            self.stopping.iter().filter(|stop| stop.left == 0).map(|stop| stop.id.clone()).collect();
        due.iter().for_each(|id| self.end_stop(id));
        let orphans = self.programs.iter().filter(|program| self.dead.contains(&program.client));
        for number in orphans.map(|program| program.number).collect::<Vec<_>>() {
            self.step(number);
        }
    }

    pub(super) fn container(&mut self, id: &str) -> Result<&mut Container, String> {
        let found = self.containers.iter_mut().find(|container| container.id == id);
        found.ok_or_else(|| format!("Error response from daemon: No such container: {id}"))
    }

    pub(super) fn create(&mut self, container: Container) -> Done {
        self.is_name_free(&container.name)?;
        if !self.ids.contains(&container.image) {
            return Err(format!("Error response from daemon: No such image: {}", container.image));
        }
        self.containers.push(container);
        Ok(())
    }

    fn is_name_free(&self, name: &str) -> Done {
        match self.containers.iter().find(|other| other.name == name) {
            Some(other) => Err(format!(
                "Error response from daemon: Conflict. The container name \"/{name}\" is already in use by container \"{}\"",
                other.id
            )),
            None => Ok(()),
        }
    }

    pub(super) fn rename(&mut self, id: &str, name: &str) -> Done {
        self.is_name_free(name)?;
        self.container(id)?.name = name.to_owned();
        Ok(())
    }

    pub(super) fn start(&mut self, id: &str) -> Done {
        let now = self.count;
        let container = self.container(id)?;
        // One that is about to stop counts as running: that is what makes a stop of a dead client dangerous.
        if !container.is_running() {
            container.start(now);
        }
        Ok(())
    }

    /// The daemon begins to stop it, and remembers at once that somebody wanted that.
    pub(super) fn begin_stop(&mut self, id: &str) -> Done {
        let left = self.lingers + 1;
        let container = self.container(id)?;
        container.is_stopped = true;
        if container.is_running() && !self.stopping.iter().any(|stop| stop.id == id) {
            self.stopping.push(Stopping { id: id.to_owned(), left });
        }
        Ok(())
    }

    pub(super) fn end_stop(&mut self, id: &str) {
        if self.stopping.iter().any(|stop| stop.id == id) {
            self.stopping.retain(|stop| stop.id != id);
            // One that was removed meanwhile needs no end.
            if let Ok(container) = self.container(id) {
                container.end(137);
            }
        }
    }

    pub(super) fn remove(&mut self, id: &str, force: bool) -> Done {
        let container = self.container(id)?;
        if container.is_running() && !force {
            return Err(format!("Error response from daemon: You cannot remove a running container {id}"));
        }
        self.containers.retain(|container| container.id != id);
        self.stopping.retain(|stop| stop.id != id);
        Ok(())
    }

    /// The daemon is killed with everything that it runs, and started again, which takes a while. Programs that talk to it fail.
    pub(super) fn restart_daemon(&mut self) {
        let now = self.count;
        // Never so short that whoever lost it finds it back when he asks: a daemon takes a second at least.
        self.away = 12 + self.lingers % 5;
        self.stopping.clear();
        self.programs.iter_mut().for_each(up::Program::fail);
        for container in &mut self.containers {
            if container.is_running() {
                container.end(255);
            }
            if container.comes_back() {
                container.start(now);
            }
        }
    }

    pub(super) fn image_id(&self, name: &str) -> Option<String> {
        self.images.get(name).or_else(|| self.ids.get(name)).cloned()
    }

    pub(super) fn untag(&mut self, name: &str) -> Result<String, String> {
        let Some(id) = self.images.remove(name) else { return Err(format!("Error: No such image: {name}")) };
        let is_used = self.containers.iter().any(|container| container.image == id);
        if is_used || self.images.values().any(|other| *other == id) {
            return Ok(format!("Untagged: {name}"));
        }
        self.ids.remove(&id);
        Ok(format!("Untagged: {name}\nDeleted: {id}"))
    }
}
