//! An engine and a Compose that are made up, for unit tests: as fast as memory, and able to be interrupted anywhere.
//!
//! A test makes a [`World`] and enters it: from then on this thread's [`super::docker`], [`super::compose`],
//! [`super::change`] and [`super::children`] reach it instead of the machine's. What it does was seen of Engine 20.10 with
//! Compose 2.26 (`docker events`), and a test compares it with the real one.
//!
//! Every small step of a change is a point, as every point of [`super::seam`] is ([`World::reached`]), at which the test may end the worker; what a killed client
//! leaves goes on, as it does in reality: an `up` as a program that nobody ended, a stop in the daemon.

mod containers;
mod project;
mod up;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::change::Change;
use super::docker::{DockerError, InUse};
use super::process::{Finished, ProcessError};
use super::seam;
use crate::model::{ContainerFacts, DeploymentId, ImageFacts};
use containers::{Container, Stopping};
pub(crate) use project::model;
use up::Program;

/// A client of the engine: one life of one worker.
pub(crate) type Client = u32;

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing.
    GoOn,
    /// The process is killed.
    Die,
    /// The daemon is killed and started again, at once.
    RestartDaemon,
}

/// Unwinds out of a worker that is killed.
pub(crate) struct Killed;

/// Decides what happens at each point, by its name.
pub(crate) type Script = Box<dyn FnMut(&str) -> Act>;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static SCRIPT: RefCell<Option<Script>> = const { RefCell::new(None) };
    static CLIENT: Cell<Client> = const { Cell::new(0) };
}

/// Returns the world that this thread is in, if it is in one.
pub(crate) fn world() -> Option<World> {
    WORLD.with_borrow(Clone::clone)
}

/// This thread's stay in a world.
pub(crate) struct Stay;

impl Drop for Stay {
    fn drop(&mut self) {
        seam::hook::set(None);
        WORLD.set(None);
        SCRIPT.set(None);
    }
}

/// A made-up machine's engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

/// All that there is in it.
#[derive(Clone, Default)]
pub(super) struct State {
    containers: Vec<Container>,
    /// Image ids by name.
    images: BTreeMap<String, String>,
    ids: BTreeSet<String>,
    /// What clients are at, those included that are dead.
    programs: Vec<Program>,
    stopping: Vec<Stopping>,
    /// Points that a stop takes whose client does not wait for it any more.
    pub(super) lingers: u32,
    /// Clients that were killed.
    dead: BTreeSet<Client>,
    /// Deployments of clients: what their programs carry in their environment.
    clients: BTreeMap<Client, DeploymentId>,
    count: u64,
    /// Points and questions until the daemon is there again; 0: it is.
    away: u32,
    /// Questions that nobody answered.
    unanswered: u64,
    /// Two clients changed something at the same time; how.
    quarrel: Option<String>,
}

impl World {
    /// Returns a world without anything.
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Returns another one that is like this one now.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Sets how many points a stop takes whose client is dead.
    pub(crate) fn lingers(&self, points: u32) {
        self.state().lingers = points;
    }

    /// Lets this thread be in it, as this client of this deployment.
    pub(crate) fn enter(&self, client: Client, deployment: &DeploymentId, script: Script) -> Stay {
        self.state().clients.insert(client, deployment.clone());
        let here = self.clone();
        seam::hook::set(Some(Box::new(move |name| here.reached(name))));
        WORLD.set(Some(self.clone()));
        SCRIPT.set(Some(script));
        CLIENT.set(client);
        Stay
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A point at which something may happen. Time passes: what dead clients left goes on.
    pub(crate) fn reached(&self, name: &str) {
        self.state().pass();
        // Taken out while it runs: what it lets arrive here has a script of its own.
        let Some(mut script) = SCRIPT.take() else { return };
        let act = script(name);
        SCRIPT.set(Some(script));
        match act {
            Act::GoOn => {}
            Act::RestartDaemon => self.state().restart_daemon(),
            Act::Die => {
                self.state().dead.insert(CLIENT.get());
                std::panic::resume_unwind(Box::new(Killed));
            }
        }
    }

    /// Carries a change out, step by step.
    pub(crate) fn make(&self, change: &Change<'_>) -> Result<Finished, ProcessError> {
        let client = CLIENT.get();
        self.reached(change.name());
        let number = self.state().begin(client, change);
        loop {
            self.reached(&format!("{} (running)", change.name()));
            let mut state = self.state();
            state.quarrels(client, number);
            if let Some(ended) = state.step(number) {
                return finished(change, ended);
            }
        }
    }

    /// Ends the programs of a deployment, as `children::end_all`; what the daemon does for them goes on.
    pub(crate) fn end_programs(&self, deployment: &DeploymentId) -> usize {
        let mut state = self.state();
        let State { programs, clients, .. } = &mut *state;
        let before = programs.len();
        programs.retain(|program| clients.get(&program.client) != Some(deployment));
        before - programs.len()
    }

    /// Lets what a killed client left go on for some steps.
    pub(crate) fn go_on(&self, steps: u32) {
        (0..steps).for_each(|_| self.state().pass());
    }

    /// The machine is cut off and started again; restart policies bring containers back.
    pub(crate) fn reboot(&self) {
        let mut state = self.state();
        state.programs.clear();
        state.restart_daemon();
    }

    /// A question to the daemon: it takes time, and there may be nobody to answer it.
    pub(super) fn asked(&self) -> Result<(), DockerError> {
        let mut state = self.state();
        state.pass();
        if state.away == 0 {
            return Ok(());
        }
        state.unanswered += 1;
        Err(DockerError::NotRunning { host: "a made-up engine".to_owned() })
    }

    pub(super) fn unanswered(&self) -> u64 {
        self.state().unanswered
    }

    /// Returns the containers of a project.
    pub(crate) fn containers(&self, project: &str) -> Vec<ContainerFacts> {
        let state = self.state();
        let mine = state.containers.iter().filter(|container| container.project == project);
        let mut facts: Vec<_> = mine.map(Container::facts).collect();
        facts.sort_by(|a, b| a.name.cmp(&b.name));
        facts
    }

    pub(super) fn all_containers(&self) -> Vec<ContainerFacts> {
        self.state().containers.iter().map(Container::facts).collect()
    }

    pub(super) fn image(&self, name: &str) -> Option<ImageFacts> {
        let state = self.state();
        let id = state.image_id(name)?;
        let repo_digests = vec![format!("registry.test/shop@{id}")];
        let platform = "linux/amd64".to_owned();
        Some(ImageFacts { id, platform, repo_digests, size_bytes: 1, user: String::new() })
    }

    pub(super) fn in_use(&self) -> InUse {
        let images = self.state().containers.iter().map(|container| container.image.clone()).collect();
        InUse { images, ..InUse::default() }
    }

    pub(super) fn tags(&self, prefix: &str) -> BTreeMap<String, String> {
        let state = self.state();
        let tags = state.images.iter().filter(|(tag, _)| tag.starts_with(prefix));
        tags.map(|(tag, id)| (tag.clone(), id.clone())).collect()
    }

    /// Returns what is still going on although nobody lives to wait for it, and whether two ever quarrelled.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let state = self.state();
        let programs = state.programs.iter().map(|program| format!("a {} still runs", program.name));
        programs.chain(state.quarrel.clone()).collect()
    }
}

fn finished(change: &Change<'_>, ended: Result<String, String>) -> Result<Finished, ProcessError> {
    let of = |code: i32, text: String| Finished {
        status: ExitStatus::from_raw(code << 8),
        last_lines: text.lines().map(str::to_owned).collect(),
        stdout: text,
    };
    ended.map(|text| of(0, text)).map_err(|text| {
        let (shown, finished) = (change.name().to_owned(), Box::new(of(1, text)));
        ProcessError::Failed { shown, finished }
    })
}
