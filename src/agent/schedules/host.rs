//! A host of the simulation: real files, a made-up engine, workers that can be killed, and guards.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::{Event, Kind, Walk};
use crate::agent::guard::{self, LEASE_TAKEN};
use crate::agent::log;
use crate::agent::order::Order;
use crate::agent::work::work;
use crate::executor::compose::place::copy_tree;
use crate::host::layout::Layout;
use crate::host::lease;
use crate::host::simulated::{Act, Killed, World};
use crate::model::{Action, DeploymentId, Hook, HookKind, HookPlace, Job, OnError, Placement};
use crate::pipeline::journal;

/// Size of the ballast (`host::ballast`): made as a hole, so that a thousand hosts fit into memory.
const BALLAST: u64 = 16 << 20;

/// Label that names the release that a container is of.
pub(super) const RELEASE: &str = "release";

/// A host. Cheap to clone.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) world: World,
    base: Arc<tempfile::TempDir>,
    /// Deployments and clients so far.
    count: Arc<AtomicU32>,
}

/// Where files are that need not outlive a power cut.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// Hosts on which so many releases were deployed, one after the other. Each thread has its own, because labels of
/// containers and files of releases name the path where they lie.
#[derive(Default)]
struct Models {
    base: Option<Arc<tempfile::TempDir>>,
    by_releases: BTreeMap<u32, (World, u32)>,
}

thread_local! {
    static MODELS: RefCell<Models> = RefCell::default();
}

impl Host {
    /// Returns a host for a walk.
    pub(super) fn new(walk: Walk, lingers: u32) -> Self {
        let releases = match walk {
            Walk::First(_) => 0,
            Walk::Rollback => 2,
            Walk::Deploy(_) | Walk::Hooked(_) | Walk::Restart | Walk::Down => 1,
        };
        let host = MODELS.with_borrow_mut(|models| models.copy(releases));
        host.world.lingers(lingers);
        fs::File::create(host.layout().ballast()).unwrap().set_len(BALLAST).unwrap();
        host
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("root")
    }

    pub(super) fn layout(&self) -> Layout {
        let job = self.job("any");
        Layout::of(&job.app.name, &job.environment)
    }

    fn job(&self, id: &str) -> Job {
        let mut job = crate::model::example_job();
        job.deployment_id = id.parse().unwrap();
        job.version.label = id.to_owned();
        job.environment.placement = Placement::Root { base: Some(self.root()) };
        // What is never healthy is given up after its first look.
        job.app.health.timeout = std::time::Duration::from_millis(1);
        job
    }

    fn order(&self, action: Action) -> Order {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let id = format!("deploy-{number}");
        let job = Job { action, ..self.job(&id) };
        fs::create_dir_all(self.layout().job(&job.deployment_id)).unwrap();
        Order { job, staged: None, compose: None, recover: false }
    }

    /// Returns the order to deploy a new release.
    pub(super) fn deploy(&self, kind: Kind) -> Order {
        let order = self.order(Action::Deploy);
        let id = order.job.deployment_id.as_str();
        let app = self.root().join("stage").join(id).join("app");
        fs::create_dir_all(&app).unwrap();
        fs::write(app.join("compose.yml"), compose_file(id, kind)).unwrap();
        Order { staged: Some(app), ..order }
    }

    pub(super) fn order_of(&self, walk: Walk) -> Order {
        match walk {
            Walk::First(kind) | Walk::Deploy(kind) => self.deploy(kind),
            Walk::Hooked(kind) => {
                let mut order = self.deploy(kind);
                order.job.app.hooks = hooks();
                order
            }
            Walk::Rollback => self.order(Action::Rollback { to: None, reason: None }),
            Walk::Restart => self.order(Action::Restart),
            Walk::Down => self.order(Action::Down),
        }
    }

    /// Returns the order of whoever attaches to what is unfinished, if anything is: what the journal names, or, where there
    /// is none yet, what has no last word.
    pub(super) fn recovery(&self) -> Option<Order> {
        let entry = journal::read(&self.layout().journal()).unwrap();
        let silent = || logs(self).into_iter().find(|(_, path)| !log::has_ended(path)).map(|(id, _)| id);
        let mut job = self.job("any").without_secrets();
        job.deployment_id = entry.map(|entry| entry.job.deployment_id).or_else(silent)?;
        Some(Order { job, staged: None, compose: None, recover: true })
    }

    /// Watches over a worker by the guard's own rule; returns false when the guard was killed, too.
    pub(super) fn guarded(&self, mut order: Order, fate: &Fate) -> bool {
        let watched = guard::watch(&mut order, |order| match self.life(order, fate) {
            Some(status) => Ok(ExitStatus::from_raw(i32::from(status) << 8)),
            None => match fate.has_fallen(self) {
                true => Err(std::io::ErrorKind::Interrupted.into()),
                false => Ok(ExitStatus::from_raw(9)),
            },
        });
        watched.is_ok()
    }

    /// One life of a worker: its exit status, or nothing when it was killed.
    fn life(&self, order: &Order, fate: &Fate) -> Option<u8> {
        let client = self.count.fetch_add(1, Ordering::SeqCst);
        let (host, script) = (self.clone(), fate.clone());
        let script = Box::new(move |name: &str| script.at(&host, name));
        let _stay = self.world.enter(client, &order.job.deployment_id, script);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lived = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work(order.clone()))));
        lived.map(Some).unwrap_or_else(|cause| match cause.is::<Killed>() {
            true => None,
            false => resume_unwind(cause),
        })
    }

    /// Another deployer comes while things are as they are; returns its id and what its worker said.
    fn arrive(&self) -> (DeploymentId, Option<u8>) {
        let order = self.deploy(Kind::Good);
        let id = order.job.deployment_id.clone();
        let nothing = Fate::of(&VecDeque::new());
        let said = std::thread::scope(|scope| scope.spawn(|| self.life(&order, &nothing)).join());
        (id, said.unwrap_or_else(|cause| resume_unwind(cause)))
    }

    fn is_leased(&self) -> bool {
        !lease::is_free(&self.layout().lease())
    }
}

impl Models {
    fn copy(&mut self, releases: u32) -> Host {
        let make = || tempfile::Builder::new().prefix("ffe-schedule-").tempdir_in(memory()).unwrap();
        let base = Arc::clone(self.base.get_or_insert_with(|| Arc::new(make())));
        let (root, kept) = (base.path().join("root"), base.path().join(releases.to_string()));
        // The first time there is none.
        fs::remove_dir_all(&root).ok();
        let (world, count) = self.by_releases.entry(releases).or_insert_with(|| {
            let host = Host { world: World::new(), base: Arc::clone(&base), count: Arc::default() };
            host.layout().make().unwrap();
            for _ in 0..releases {
                assert!(host.guarded(host.deploy(Kind::GoodAll), &Fate::of(&VecDeque::new())));
                fs::remove_file(host.layout().ballast()).unwrap();
            }
            fs::rename(&root, &kept).unwrap();
            (host.world, host.count.load(Ordering::SeqCst))
        });
        copy_tree(&kept, &root).unwrap();
        Host { world: world.copy(), base, count: Arc::new(AtomicU32::new(*count)) }
    }
}

/// Hooks in containers, which are made up as the others are.
fn hooks() -> Vec<Hook> {
    let of = |kind: HookKind, number: u32, on_error: OnError| Hook {
        kind,
        name: format!("{kind}-{number}"),
        place: HookPlace::Service("web".into()),
        argv: Vec::new(),
        timeout: std::time::Duration::from_secs(60),
        on_error,
    };
    vec![
        of(HookKind::PreDeploy, 1, OnError::Fail),
        of(HookKind::PreDeploy, 2, OnError::Fail),
        of(HookKind::PostDeploy, 1, OnError::Warn),
        of(HookKind::PostDeploy, 2, OnError::Rollback),
        of(HookKind::OnFailure, 1, OnError::Fail),
        of(HookKind::OnRollback, 1, OnError::Fail),
        of(HookKind::Finally, 1, OnError::Fail),
    ]
}

/// What a release's compose file says. Services are `web`, which every release changes, and `db`.
fn compose_file(id: &str, kind: Kind) -> String {
    let command = match kind {
        Kind::Good | Kind::GoodAll => "good",
        Kind::Exits => "exits",
        Kind::Sick => "sick",
    };
    let restart = if kind == Kind::Exits { "no" } else { "unless-stopped" };
    let db = if kind == Kind::Good { "deploy-0" } else { id };
    let service = |name: &str, of: &str, command: &str, restart: &str| {
        json!({
            "image": format!("registry.test/shop/{name}:{of}"), "command": [command], "restart": restart,
            "healthcheck": { "test": ["CMD", "true"] }, "labels": { RELEASE: of },
        })
    };
    let web = service("web", id, command, restart);
    let db = service("db", db, "good", "unless-stopped");
    json!({ "services": { "web": web, "db": db } }).to_string()
}

/// What is to happen, and what has happened. Shared by all who come.
#[derive(Clone)]
pub(super) struct Fate(Arc<Mutex<Course>>);

#[derive(Default)]
struct Course {
    events: VecDeque<(u32, Event)>,
    /// Points since the last event, and in all.
    since: u32,
    points: u32,
    fallen: Option<Event>,
    /// What was seen that must not be.
    quarrel: Option<String>,
    /// What happened where, for whoever has to understand it.
    told: Vec<String>,
}

impl Fate {
    pub(super) fn of(events: &VecDeque<(u32, Event)>) -> Self {
        Self(Arc::new(Mutex::new(Course { events: events.clone(), ..Course::default() })))
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, host: &Host, name: &str) -> Act {
        let event = {
            let mut course = self.course();
            course.points += 1;
            course.since += 1;
            let since = course.since;
            let Some(&(_, event)) = course.events.front().filter(|(at, _)| *at == since) else {
                return Act::GoOn;
            };
            course.since = 0;
            course.events.pop_front();
            course.told.push(format!("{event:?} at `{name}`"));
            event
        };
        match event {
            Event::Arrive => {
                self.arrived(host, host.is_leased());
                Act::GoOn
            }
            Event::RestartDaemon => Act::RestartDaemon,
            Event::Kill(_) | Event::KillOvertaken(_) | Event::KillBoth(_) | Event::Reboot => {
                self.course().fallen = Some(event);
                Act::Die
            }
        }
    }

    /// Somebody came; while the lease is held nothing but a refusal is right.
    fn arrived(&self, host: &Host, is_leased: bool) {
        let (id, said) = host.arrive();
        let wanted = if is_leased { LEASE_TAKEN } else { 0 };
        let mut course = self.course();
        course.told.push(format!("{id} came and ended with {said:?}"));
        if said != Some(wanted) {
            course.quarrel =
                Some(format!("{id} ended with {said:?} instead of {wanted}\n{}", course.told.join("\n")));
        }
    }

    /// What happens when a worker was killed; returns whether its guard was, too.
    fn has_fallen(&self, host: &Host) -> bool {
        let event = self.course().fallen.take();
        match event {
            Some(Event::Kill(steps)) => host.world.go_on(steps),
            Some(Event::KillBoth(steps)) => {
                host.world.go_on(steps);
                return true;
            }
            Some(Event::KillOvertaken(steps)) => {
                host.world.go_on(steps);
                self.arrived(host, false);
            }
            Some(Event::Reboot) => {
                host.world.reboot();
                return true;
            }
            Some(Event::RestartDaemon | Event::Arrive) | None => {}
        }
        false
    }

    pub(super) fn points(&self) -> u32 {
        self.course().points
    }

    pub(super) fn told(&self) -> String {
        self.course().told.join("\n")
    }

    pub(super) fn quarrels(&self) -> Result<(), String> {
        self.course().quarrel.clone().map_or(Ok(()), Err)
    }
}

/// Returns the event logs of all jobs.
pub(super) fn logs(host: &Host) -> Vec<(DeploymentId, PathBuf)> {
    let layout = host.layout();
    let names = fs::read_dir(layout.jobs()).unwrap().map(|entry| entry.unwrap().file_name());
    let ids = names.map(|name| name.to_str().unwrap().parse::<DeploymentId>().unwrap());
    let mut logs: Vec<_> = ids.map(|id| (id.clone(), layout.events(&id))).collect();
    logs.retain(|(_, path): &(DeploymentId, PathBuf)| Path::exists(path));
    logs.sort();
    logs
}
