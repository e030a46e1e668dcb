//! Asks Docker about the containers of services: one look a round for all of a project's checks.
//!
//! With a healthcheck a container is well when that says so; without one when it has run for 5 s; a one-shot one when
//! it has exited with 0. `docker compose up --wait` is no help: it fails when a one-shot service exits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::answer::{Answer, Asking};
use super::{Probe, http};
use crate::host::docker::Docker;
use crate::model::{ContainerFacts, ContainerState, HealthState};
use crate::text::harmless;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(200);
/// A container without healthcheck is well when it has run for this long.
const STEADY: Duration = Duration::from_secs(5);
/// A container that Docker has restarted this often while we looked on, for at least this long, will not get better.
/// (Three restarts alone take a second: less than the database that it may be waiting for.)
const RESTARTS: i64 = 3;
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest output of a healthcheck in an answer, in characters.
const SHOWN: usize = 200;

/// Whether there will be a next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// Until the verdict.
    Many,
    /// This is the only one.
    One,
}

/// Asks about all of one project's checks, until each has its verdict.
pub(super) async fn ask_all(docker: &Docker, project: &str, group: &[&Asking<'_>], looks: Looks) {
    let mut watches: Vec<Watch> = group.iter().map(|_| Watch::new(looks)).collect();
    while group.iter().any(|asking| asking.is_open()) {
        let (begun, found) = (Instant::now(), look(docker, project, group).await);
        for (asking, watch) in group.iter().zip(&mut watches).filter(|(asking, _)| asking.is_open()) {
            let answer = match &found {
                Ok(containers) => watch.judge(&asking.check.probe, containers, Now::read()),
                Err(words) => Answer::NotYet(words.clone()),
            };
            asking.answered(begun.elapsed(), &answer, false);
            asking.end_if_due();
        }
        if looks == Looks::One {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn look(docker: &Docker, project: &str, group: &[&Asking<'_>]) -> Result<Vec<ContainerFacts>, String> {
    let open = group.iter().filter(|asking| asking.is_open());
    let limit = open.map(|asking| asking.limit()).max().unwrap_or_default();
    match tokio::time::timeout(limit, docker.containers(project)).await {
        Ok(Ok(containers)) => Ok(containers),
        Ok(Err(error)) => Err(harmless(&error.to_string())),
        Err(_) => Err(format!("Docker: {}", http::no_answer(limit))),
    }
}

/// The same moment on both clocks: ours for how long we have looked, Docker's for when a container started.
#[derive(Clone, Copy)]
struct Now {
    instant: Instant,
    time: Timestamp,
}

impl Now {
    fn read() -> Self {
        Self { instant: Instant::now(), time: Timestamp::now() }
    }
}

/// What earlier looks saw of the containers of one service, by id.
struct Watch {
    looks: Looks,
    seen: BTreeMap<String, Seen>,
}

struct Seen {
    first_look: Instant,
    first_restarts: i64,
    started_at: String,
    started_seen: Instant,
}

impl Watch {
    fn new(looks: Looks) -> Self {
        Self { looks, seen: BTreeMap::new() }
    }

    fn judge(&mut self, probe: &Probe, containers: &[ContainerFacts], now: Now) -> Answer {
        let Probe::Container { service, one_shot, replicas, .. } = probe else {
            return Answer::Never("not a question about containers".to_owned());
        };
        let own: Vec<&ContainerFacts> = containers.iter().filter(|c| c.service == *service).collect();
        if own.is_empty() {
            return Answer::Never("there is no container".to_owned());
        }
        if own.len() < *replicas {
            return Answer::Never(format!("there are {} of {replicas} containers", own.len()));
        }
        let answers = own.iter().map(|facts| self.judge_one(facts, *one_shot, now)).collect();
        together(answers)
    }

    fn judge_one(&mut self, facts: &ContainerFacts, one_shot: bool, now: Now) -> Answer {
        let seen = self.remember(facts, now);
        let hopeless = !one_shot
            && facts.restart_count - seen.first_restarts >= RESTARTS
            && now.instant.duration_since(seen.first_look) >= PATIENCE;
        let steady = is_steady(facts, seen.started_seen, now)
            || (self.looks == Looks::One && facts.restart_count == 0);
        let words = in_words(facts);
        match (facts.state, facts.health) {
            (ContainerState::Exited, _) if one_shot && facts.exit_code == Some(0) => Answer::Good(words),
            (ContainerState::Exited | ContainerState::Dead, _) => Answer::Never(words),
            (ContainerState::Running, _) if one_shot => {
                Answer::NotYet("running, is to exit with 0".to_owned())
            }
            (ContainerState::Running, HealthState::Healthy) => Answer::Good("healthy".to_owned()),
            (ContainerState::Running, HealthState::None) if steady => Answer::Good(words),
            _ if hopeless => Answer::Never(words),
            (ContainerState::Running, HealthState::None) => {
                Answer::NotYet(format!("{words} for less than {} s", STEADY.as_secs()))
            }
            (
                ContainerState::Running
                | ContainerState::Restarting
                | ContainerState::Created
                | ContainerState::Paused
                | ContainerState::Removing,
                _,
            ) => Answer::NotYet(words),
        }
    }

    fn remember(&mut self, facts: &ContainerFacts, now: Now) -> &Seen {
        let seen = self.seen.entry(facts.id.clone()).or_insert_with(|| Seen {
            first_look: now.instant,
            first_restarts: facts.restart_count,
            started_at: facts.started_at.clone(),
            started_seen: now.instant,
        });
        if seen.started_at != facts.started_at {
            seen.started_at.clone_from(&facts.started_at);
            seen.started_seen = now.instant;
        }
        seen
    }
}

/// Either Docker's clock or ours says so: the machine's time may have been set meanwhile.
fn is_steady(facts: &ContainerFacts, started_seen: Instant, now: Now) -> bool {
    let started = facts.started_at.parse::<Timestamp>().ok();
    let by_docker =
        started.is_some_and(|at| now.time.duration_since(at).as_secs_f64() >= STEADY.as_secs_f64());
    by_docker || now.instant.duration_since(started_seen) >= STEADY
}

/// The worst answer speaks for all containers of a service.
fn together(mut answers: Vec<Answer>) -> Answer {
    let count = answers.len();
    let rank = |answer: &Answer| match answer {
        Answer::Never(_) => 0,
        Answer::NotYet(_) => 1,
        Answer::Good(_) => 2,
    };
    answers.sort_by_key(rank);
    match answers.into_iter().next() {
        Some(Answer::Good(words)) if count > 1 => Answer::Good(format!("{count} containers, {words}")),
        Some(answer) => answer,
        None => Answer::Never("there is no container".to_owned()),
    }
}

/// Returns what a container does, and why, in words.
pub(super) fn in_words(facts: &ContainerFacts) -> String {
    let restarts = match facts.restart_count {
        1 => "1 restart".to_owned(),
        count => format!("{count} restarts"),
    };
    let code = facts.exit_code.map_or_else(|| "an unknown code".to_owned(), |code| code.to_string());
    match facts.state {
        ContainerState::Running if facts.restart_count > 0 && facts.health == HealthState::None => {
            format!("running after {restarts}")
        }
        ContainerState::Running => format!("running{}", health_words(facts)),
        ContainerState::Restarting if facts.oom_killed => {
            format!("restarting ({restarts}), killed for memory")
        }
        ContainerState::Restarting => format!("restarting ({restarts}), last exit {code}"),
        ContainerState::Exited if facts.oom_killed => format!("killed for memory, exited with {code}"),
        ContainerState::Exited => format!("exited with {code}"),
        ContainerState::Dead => "dead: Docker could not remove it".to_owned(),
        ContainerState::Created => "created, not started".to_owned(),
        ContainerState::Paused => "paused".to_owned(),
        ContainerState::Removing => "being stopped or removed".to_owned(),
    }
}

fn health_words(facts: &ContainerFacts) -> String {
    let word = match facts.health {
        HealthState::None => return String::new(),
        HealthState::Healthy => return ", healthy".to_owned(),
        HealthState::Starting => ", not yet healthy",
        HealthState::Unhealthy => ", unhealthy",
    };
    let output = harmless(facts.health_output.as_deref().unwrap_or_default().trim());
    let said = if output.is_empty() { output } else { format!(": {output}") };
    format!("{word}{}", said.chars().take(SHOWN).collect::<String>())
}
