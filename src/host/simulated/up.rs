//! Changes as programs of small steps. `up` does what Compose 2.26 does (tried, `docker events`): it looks once at what
//! there is; for all services side by side it creates what replaces a container, stops, removes the old one, and gives the
//! new one its name; then it starts what does not run.

use std::collections::VecDeque;

use super::containers::Container;
use super::{Client, State, project};
use crate::host::change::Change;
use crate::host::compose::Call;
use crate::model::ContainerState;
use crate::model::compose::ComposeModel;

/// One thing that is asked of the daemon.
#[derive(Clone, Debug)]
enum Step {
    Create(Box<Container>),
    BeginStop(String),
    /// Waits for the end of a stop.
    EndStop(String),
    Remove(String),
    Kill(String),
    Rename(String, String),
    Start(String),
    Pull(String),
    Tag(String, String),
    Untag(String),
    /// Looks again: what of the project does not run is started.
    StartAll(String, Vec<String>),
    Fail(String),
}

/// What a client is at. Lanes go on side by side; the first error ends all of them.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) number: u64,
    pub(super) client: Client,
    pub(super) name: &'static str,
    lanes: Vec<VecDeque<Step>>,
    /// What comes when all lanes have ended.
    then: VecDeque<Step>,
    said: String,
    turn: usize,
    /// The one that made the last step.
    lane: usize,
    /// The first error. What is under way beside it still comes to its end.
    error: Option<String>,
}

impl Program {
    /// The daemon went away under it.
    pub(super) fn fail(&mut self) {
        self.lanes.clear();
        self.fail_with("error during connect: EOF".to_owned());
    }

    fn fail_with(&mut self, error: String) {
        self.then.clear();
        self.error.get_or_insert(error);
    }

    fn next(&mut self) -> Option<Step> {
        self.lanes.retain(|lane| !lane.is_empty());
        if self.lanes.is_empty() {
            return self.then.pop_front();
        }
        self.lane = self.turn % self.lanes.len();
        self.turn += 1;
        self.lanes[self.lane].pop_front()
    }
}

type Lanes = Vec<VecDeque<Step>>;

impl State {
    /// Begins a change; returns the number of its program.
    pub(super) fn begin(&mut self, client: Client, change: &Change<'_>) -> u64 {
        self.count += 1;
        let number = self.count;
        let (lanes, then) = self.steps_of(change);
        self.programs.push(Program {
            number,
            client,
            name: change.name(),
            lanes,
            then,
            said: String::new(),
            // Which of them is first is a matter of chance, too.
            turn: self.lingers as usize,
            lane: 0,
            error: None,
        });
        if self.away > 0 {
            self.programs.iter_mut().filter(|program| program.number == number).for_each(Program::fail);
        }
        number
    }

    /// Makes the next step of a program; returns how it has ended, when it has.
    pub(super) fn step(&mut self, number: u64) -> Option<Result<String, String>> {
        let at = self.programs.iter().position(|program| program.number == number);
        let Some(at) = at else { return Some(Err("it was ended".to_owned())) };
        match self.programs[at].next() {
            Some(step) => {
                let error = self.apply(number, step).err()?;
                let program = &mut self.programs[at];
                if let Some(lane) = program.lanes.get_mut(program.lane) {
                    lane.clear();
                }
                program.fail_with(error);
                None
            }
            None => {
                let program = self.programs.remove(at);
                Some(program.error.map_or(Ok(program.said), Err))
            }
        }
    }

    fn apply(&mut self, number: u64, step: Step) -> Result<(), String> {
        match step {
            Step::Create(container) => self.create(*container),
            Step::BeginStop(id) => self.begin_stop(&id),
            Step::EndStop(id) => {
                self.end_stop(&id);
                Ok(())
            }
            Step::Remove(id) => self.remove(&id, false),
            Step::Kill(id) => {
                // `rm --force` of one that is not there is no error (tried).
                self.remove(&id, true).ok();
                Ok(())
            }
            Step::Rename(id, name) => self.rename(&id, &name),
            Step::Start(id) => self.start(&id),
            Step::Fail(error) => Err(error),
            Step::Pull(reference) => {
                let id = format!("sha256:{:0<64}", project::hash_of(&reference));
                self.ids.insert(id.clone());
                self.images.insert(reference, id);
                Ok(())
            }
            Step::Tag(image, tag) => {
                let id = self.image_id(&image).ok_or_else(|| format!("No such image: {image}"))?;
                self.images.insert(tag, id);
                Ok(())
            }
            Step::Untag(name) => {
                let said = self.untag(&name)?;
                let mine = self.programs.iter_mut().find(|program| program.number == number);
                mine.into_iter().for_each(|program| program.said.clone_from(&said));
                Ok(())
            }
            Step::StartAll(project, services) => {
                let rests =
                    |c: &&Container| c.project == project && services.contains(&c.service) && !c.is_running();
                let starts: Vec<_> =
                    self.containers.iter().filter(rests).map(|c| Step::Start(c.id.clone())).collect();
                let mine = self.programs.iter_mut().find(|program| program.number == number);
                mine.into_iter().for_each(|program| program.then.extend(starts.clone()));
                Ok(())
            }
        }
    }

    fn steps_of(&mut self, change: &Change<'_>) -> (Lanes, VecDeque<Step>) {
        let each = |ids: &[String], steps: &dyn Fn(&String) -> Vec<Step>| -> Lanes {
            ids.iter().map(|id| steps(id).into()).collect()
        };
        let alone = |step: Step| (vec![VecDeque::from([step])], VecDeque::new());
        match change {
            Change::Up { site, force } => self.up(site, force),
            Change::Down { site, .. } => {
                let mine = self.containers.iter().filter(|container| container.project == site.project);
                (mine.map(|container| leave(&container.id)).collect(), VecDeque::new())
            }
            Change::Start(ids) => (each(ids, &|id| vec![Step::Start(id.clone())]), VecDeque::new()),
            Change::Stop(ids) => (
                each(ids, &|id| vec![Step::BeginStop(id.clone()), Step::EndStop(id.clone())]),
                VecDeque::new(),
            ),
            Change::Remove(ids) => (each(ids, &|id| vec![Step::Kill(id.clone())]), VecDeque::new()),
            Change::Run { .. } => (Lanes::new(), VecDeque::new()),
            Change::Pull { reference, .. } => alone(Step::Pull((*reference).to_owned())),
            Change::Tag { image, tag } => alone(Step::Tag((*image).to_owned(), (*tag).to_owned())),
            Change::Untag(name) => alone(Step::Untag((*name).to_owned())),
            Change::Build { .. } => alone(Step::Fail("nothing is built here".to_owned())),
        }
    }

    fn up(&mut self, site: &Call<'_>, force: &[String]) -> (Lanes, VecDeque<Step>) {
        let model = match project::model(site) {
            Ok(model) => model,
            Err(error) => return (vec![VecDeque::from([Step::Fail(error.to_string())])], VecDeque::new()),
        };
        let is_meant = |service: &str| force.is_empty() || force.iter().any(|forced| forced == service);
        let services: Vec<String> = model.services.keys().filter(|name| is_meant(name)).cloned().collect();
        let mut lanes: Lanes = Vec::new();
        if force.is_empty() {
            let is_orphan =
                |c: &&Container| c.project == site.project && !model.services.contains_key(&c.service);
            lanes.extend(self.containers.iter().filter(is_orphan).map(|container| leave(&container.id)));
        }
        for service in &services {
            lanes.extend(self.converge(site.project, &model, service, !force.is_empty()));
        }
        (lanes, VecDeque::from([Step::StartAll(site.project.to_owned(), services)]))
    }

    /// Compose's `ensureService`: obsolete containers come first, so that they are what is kept in number and replaced.
    fn converge(&mut self, project: &str, model: &ComposeModel, service: &str, force: bool) -> Lanes {
        let (hash, wanted) = (project::hash(model, service), model.services[service].replicas() as usize);
        let image = model.services[service].image.clone().unwrap_or_default();
        let image = self.image_id(&image).unwrap_or(image);
        let is_obsolete = |c: &Container| force || c.hash != hash || c.image != image;
        let mut mine: Vec<Container> = self
            .containers
            .iter()
            .filter(|c| c.project == project && c.service == service)
            .cloned()
            .collect();
        mine.sort_by_key(|container| !is_obsolete(container));
        let mut next = mine.iter().map(|container| container.number).max().unwrap_or(0);
        let mut lanes = Lanes::new();
        for (at, old) in mine.iter().enumerate() {
            if at >= wanted {
                lanes.push(leave(&old.id));
            } else if is_obsolete(old) {
                let name = format!("{project}-{service}-{}", old.number);
                let new = self.new_container(project, model, service, (&image, &hash), old.number);
                let id = new.id.clone();
                let new = Container { name: format!("{}_{name}", &old.id[..12]), ..new };
                let mut lane = VecDeque::from([Step::Create(Box::new(new))]);
                lane.extend(leave(&old.id));
                lane.push_back(Step::Rename(id, name));
                lanes.push(lane);
            }
        }
        for _ in mine.len()..wanted {
            next += 1;
            let new = self.new_container(project, model, service, (&image, &hash), next);
            lanes.push(VecDeque::from([Step::Create(Box::new(new))]));
        }
        lanes
    }

    fn new_container(
        &mut self,
        project: &str,
        model: &ComposeModel,
        service: &str,
        (image, hash): (&str, &str),
        number: usize,
    ) -> Container {
        self.count += 1;
        let definition = &model.services[service];
        Container {
            id: format!("{:012x}{:052x}", self.count, 0),
            name: format!("{project}-{service}-{number}"),
            project: project.to_owned(),
            service: service.to_owned(),
            number,
            image: image.to_owned(),
            hash: hash.to_owned(),
            labels: definition.labels.clone(),
            policy: definition.restart_policy(),
            temper: project::temper(model, service),
            state: ContainerState::Created,
            exit_code: 0,
            started: 0,
            is_stopped: false,
        }
    }

    /// A client that lives changes something while what another one began still goes on.
    pub(super) fn quarrels(&mut self, client: Client, number: u64) {
        let other = self.programs.iter().find(|p| p.client != client && p.number != number);
        if let (Some(other), None) = (other, &self.quarrel) {
            self.quarrel = Some(format!(
                "client {client} changes something during a {} of {}",
                other.name, other.client
            ));
        }
    }
}

/// Stops a container, waits for that, and removes it.
fn leave(id: &str) -> VecDeque<Step> {
    let id = || id.to_owned();
    VecDeque::from([Step::BeginStop(id()), Step::EndStop(id()), Step::Remove(id())])
}
