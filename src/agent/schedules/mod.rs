//! Schedules: what may die when, tried on the simulated engine with the code that ships.
//!
//! Every place where the host is changed is a point. A schedule names a walk and what happens at which points; the worker,
//! the guard's rule and recovery are the real ones, on real files and a real lock, and only the engine is made up
//! (`host::simulated`). However it goes, [`verdict`] asks for the same: never two owners, never stuck, always recoverable.

mod alike;
mod host;
mod tried;
mod verdict;

use std::collections::VecDeque;

use host::Host;

/// What is asked of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// The first release ever.
    First(Kind),
    /// A release after another one.
    Deploy(Kind),
    /// A release with hooks after another one.
    Hooked(Kind),
    /// Back from the second release to the first.
    Rollback,
    /// Everything stopped and started.
    Restart,
    /// Everything stopped.
    Down,
}

/// What a release is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Healthy; one service changed.
    Good,
    /// Healthy; all services changed.
    GoodAll,
    /// It exits at once.
    Exits,
    /// It runs and is never healthy.
    Sick,
}

const WALKS: [Walk; 11] = [
    Walk::Deploy(Kind::Good),
    Walk::Deploy(Kind::GoodAll),
    Walk::Deploy(Kind::Exits),
    Walk::Deploy(Kind::Sick),
    Walk::First(Kind::Good),
    Walk::First(Kind::Exits),
    Walk::Hooked(Kind::Good),
    Walk::Hooked(Kind::Exits),
    Walk::Rollback,
    Walk::Restart,
    Walk::Down,
];

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The worker is killed; what it had begun goes on for so many steps before anybody comes.
    Kill(u32),
    /// The same, and another deployer comes before the guard has started the next worker.
    KillOvertaken(u32),
    /// Worker and guard are killed.
    KillBoth(u32),
    /// The machine is cut off and started again.
    Reboot,
    /// The daemon is killed and started again.
    RestartDaemon,
    /// Another deployer comes.
    Arrive,
}

/// Who comes when nobody is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// `recover`, the unit at boot, or the runner's next attach.
    Recovery,
    /// A deployer.
    Deployer,
}

/// One course of things.
#[derive(Clone, Debug)]
struct Schedule {
    walk: Walk,
    /// What happens, after how many points since what happened before; from 1.
    events: VecDeque<(u32, Event)>,
    next: Next,
    /// Points that a stop takes whose client is dead.
    lingers: u32,
}

impl Schedule {
    fn of(walk: Walk, events: &[(u32, Event)], next: Next, lingers: u32) -> Self {
        Self { walk, events: events.iter().copied().collect(), next, lingers }
    }

    /// Tries it; returns how many points there were.
    ///
    /// # Errors
    /// What does not hold at the end, in words.
    fn run(&self) -> Result<u32, String> {
        let host = Host::new(self.walk, self.lingers);
        let fate = host::Fate::of(&self.events);
        let mut order = host.order_of(self.walk);
        for _ in 0..10 {
            if host.guarded(order, &fate) {
                break;
            }
            order = match self.next {
                Next::Recovery => match host.recovery() {
                    Some(order) => order,
                    None => break,
                },
                Next::Deployer => host.deploy(Kind::Good),
            };
        }
        // Nobody acts any more; what the engine is still at comes to its end.
        host.world.go_on(self.lingers + 500);
        for _ in 0..10 {
            let Some(order) = host.recovery() else { break };
            host.guarded(order, &fate);
        }
        host.world.go_on(self.lingers + 500);
        let points = fate.points();
        fate.quarrels()?;
        verdict::of(&host).map_err(|why| format!("{why}\n{}", fate.told()))?;
        let last = host.deploy(Kind::Good);
        let id = last.job.deployment_id.clone();
        host.guarded(last, &host::Fate::of(&VecDeque::new()));
        host.world.go_on(self.lingers + 500);
        verdict::succeeded(&host, &id).map_err(|why| format!("the next deploy: {why}\n{}", fate.told()))?;
        verdict::of(&host).map_err(|why| format!("after the next deploy: {why}\n{}", fate.told()))?;
        Ok(points)
    }
}
