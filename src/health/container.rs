//! Asks Docker about the containers of services: one look a round for all of a project's checks.
//!
//! With a healthcheck a container is well when that says so; without one when it has run for 5 s; a one-shot one when
//! it has exited with 0. `docker compose up --wait` is no help: it fails when a one-shot service exits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::answer::{Answer, Asking};
use super::{Lifetime, Probe, http};
use crate::host::docker::Docker;
use crate::model::{ContainerFacts, ContainerState, HealthState};
use crate::text::{harmless, shortened};

/// Time between two looks: a twentieth of what was waited so far, within these bounds. So nobody waits much longer than
/// the container takes, and one that takes long is not asked all the time.
const PART: u32 = 20;
const SHORTEST_GAP: Duration = Duration::from_millis(40);
const LONGEST_GAP: Duration = Duration::from_millis(500);
/// What Docker gets for its answer also when a deadline is near, so that the last answer is a container's.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);
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
    let first = Instant::now();
    loop {
        let (begun, found) = (Instant::now(), look(docker, project, group).await);
        for (asking, watch) in group.iter().zip(&mut watches).filter(|(asking, _)| asking.is_open()) {
            let answer = match &found {
                Ok(containers) => watch.judge(&asking.check.probe, containers, Now::read()),
                Err(words) => Answer::NotYet(words.clone()),
            };
            asking.answered(begun.elapsed(), &answer, false);
        }
        if looks == Looks::One || !group.iter().any(|asking| asking.is_open()) {
            return;
        }
        tokio::time::sleep((first.elapsed() / PART).clamp(SHORTEST_GAP, LONGEST_GAP)).await;
        group.iter().for_each(|asking| asking.end_if_due());
    }
}

async fn look(docker: &Docker, project: &str, group: &[&Asking<'_>]) -> Result<Vec<ContainerFacts>, String> {
    let open = group.iter().filter(|asking| asking.is_open());
    let limit = open.map(|asking| asking.limit()).max().unwrap_or_default().max(SHORTEST_LOOK);
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
        Self { instant: Instant::now(), time: crate::host::clock::wall() }
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
        let Probe::Container { service, lifetime, replicas, .. } = probe else {
            return Answer::Never("not a question about containers".to_owned());
        };
        let own: Vec<&ContainerFacts> = containers.iter().filter(|c| c.service == *service).collect();
        if own.is_empty() {
            return Answer::Never("there is no container".to_owned());
        }
        if own.len() < *replicas {
            return Answer::Never(format!("there are {} of {replicas} containers", own.len()));
        }
        let answers = own.iter().map(|facts| self.judge_one(facts, *lifetime, now)).collect();
        together(answers)
    }

    fn judge_one(&mut self, facts: &ContainerFacts, lifetime: Lifetime, now: Now) -> Answer {
        let seen = self.remember(facts, now);
        let hopeless = lifetime != Lifetime::OneShot
            && facts.restart_count - seen.first_restarts >= RESTARTS
            && now.instant.duration_since(seen.first_look) >= PATIENCE;
        let steady = is_steady(facts, seen.started_seen, now)
            || (self.looks == Looks::One && facts.restart_count == 0);
        let words = in_words(facts);
        match (facts.state, facts.health) {
            (ContainerState::Exited, _) if lifetime != Lifetime::Lasting && facts.exit_code == Some(0) => {
                Answer::Good(words)
            }
            (ContainerState::Exited | ContainerState::Dead, _) => Answer::Never(words),
            (ContainerState::Running, _) if lifetime == Lifetime::OneShot => {
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
    format!("{word}{}", shortened(&said, SHOWN))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::explain_failure;
    use super::super::fixtures::{Engine, check, docker};
    use super::super::{Check, ask_once, verify};
    use super::*;
    use crate::event::EventKind;
    use crate::model::{CheckResult, HealthReport, Overall, Verdict};

    const MINUTE: Duration = Duration::from_secs(60);

    async fn verified(engine: &Engine, checks: &[Check]) -> (HealthReport, Vec<EventKind>) {
        let events = Mutex::new(Vec::new());
        let observer = |event| events.lock().unwrap().push(event);
        let report = verify(checks, MINUTE, &engine.docker, std::future::pending(), &observer).await;
        (report, events.into_inner().unwrap())
    }

    async fn result(engine: &Engine, check: Check) -> CheckResult {
        verified(engine, &[check]).await.0.checks.remove(0)
    }

    #[tokio::test]
    async fn services_are_well_each_in_its_own_way() {
        let Some(engine) = Engine::connect().await else { return };
        let health = ["--health-cmd", "test -f /well", "--health-interval", "200ms", "--health-retries", "1"];
        engine.start("backend", &health, "sleep 1; touch /well; sleep 600");
        let worker = engine.start("worker", &[], "sleep 600");
        engine.start("migrate", &[], "sleep 1");
        engine.start("once", &[], "exit 0");
        let retried = "test -f /tried && exit 0; touch /tried; exit 1";
        engine.start("seed", &["--restart", "on-failure"], retried);
        let checks = [
            ("backend", Lifetime::Lasting),
            ("worker", Lifetime::Unsaid),
            ("migrate", Lifetime::OneShot),
            ("seed", Lifetime::OneShot),
            ("once", Lifetime::Unsaid),
        ]
        .map(|(service, lifetime)| engine.container(service, lifetime, MINUTE));
        let (report, events) = verified(&engine, &checks).await;
        let told: Vec<_> = report.checks.iter().map(|c| (c.verdict, c.detail.as_str())).collect();
        let words = ["healthy", "running", "exited with 0", "exited with 0", "exited with 0"];
        assert_eq!(told, words.map(|words| (Verdict::Passed, words)));
        let started: Timestamp =
            docker(&["inspect", "--format", "{{.State.StartedAt}}", &worker], None).parse().unwrap();
        let ran = Timestamp::now().duration_since(started);
        assert!(ran.as_secs() >= 5, "a container without healthcheck must run for 5 s: {ran:?}");
        assert!(events.len() < 20, "only new answers are told: {events:?}");
        let (report, _) = verified(&engine, &checks).await;
        // What has run for 5 s is well at once.
        assert!(report.checks.iter().all(|c| c.attempts == 1), "{report:?}");
    }

    #[tokio::test]
    async fn what_has_exited_fails_at_once_and_is_explained_harmlessly() {
        let Some(engine) = Engine::connect().await else { return };
        engine.start(
            "backend",
            &[],
            "for i in 1 2 3; do echo line $i; done; echo '::error::boom' >&2; exit 3",
        );
        docker(&["wait", &format!("{}-backend-1", engine.project)], None);
        let begun = Instant::now();
        let failed = result(&engine, engine.container("backend", Lifetime::Lasting, MINUTE)).await;
        assert_eq!((failed.verdict, failed.detail.as_str()), (Verdict::Failed, "exited with 3"));
        assert!(begun.elapsed() < MINUTE, "it waited for its deadline");
        let told = explain_failure(&engine.docker, &engine.project, "backend").await.unwrap();
        assert_eq!((told.state.as_str(), told.lines.len()), ("exited with 3", 4));
        assert!(told.lines.contains(&"line 3".to_owned()), "{told:?}");
        assert!(told.lines.iter().all(|line| !line.starts_with("::")), "{told:?}");
        let nobody = explain_failure(&engine.docker, &engine.project, "nobody").await;
        assert_eq!(nobody, None);
    }

    #[tokio::test]
    async fn a_missing_container_or_replica_and_a_failed_one_shot_fail_at_once() {
        let Some(engine) = Engine::connect().await else { return };
        engine.start("migrate", &[], "exit 4");
        engine.start("web", &[], "sleep 600");
        let probe = Probe::Container {
            project: engine.project.clone(),
            service: "web".to_owned(),
            lifetime: Lifetime::Lasting,
            replicas: 2,
        };
        let checks = [
            engine.container("nobody", Lifetime::Lasting, MINUTE),
            check("web", probe, MINUTE),
            engine.container("migrate", Lifetime::OneShot, MINUTE),
        ];
        let (report, _) = verified(&engine, &checks).await;
        let told: Vec<&str> = report.checks.iter().map(|c| c.detail.as_str()).collect();
        assert_eq!(told, ["there is no container", "there are 1 of 2 containers", "exited with 4"]);
    }

    #[tokio::test]
    async fn an_unhealthy_container_fails_at_its_deadline_with_what_its_healthcheck_said() {
        let Some(engine) = Engine::connect().await else { return };
        let health = ["--health-cmd", "echo no database; exit 1", "--health-interval", "200ms"];
        engine.start("backend", &[&health[..], &["--health-retries", "1"]].concat(), "sleep 600");
        let failed =
            result(&engine, engine.container("backend", Lifetime::Lasting, Duration::from_secs(3))).await;
        assert_eq!(failed.detail, "running, unhealthy: no database");
        assert!((3000..6000).contains(&failed.waited_ms), "{failed:?}");
        let report =
            ask_once(&[engine.container("backend", Lifetime::Lasting, MINUTE)], &engine.docker).await;
        assert_eq!((report.overall, report.checks[0].attempts), (Overall::Unhealthy, 1));
    }

    #[tokio::test]
    async fn a_crash_loop_tells_its_last_exit() {
        let Some(engine) = Engine::connect().await else { return };
        engine.start("backend", &["--restart", "always"], "exit 7");
        let check = engine.container("backend", Lifetime::Lasting, Duration::from_secs(4));
        let (report, events) = verified(&engine, &[check]).await;
        assert_eq!(report.overall, Overall::Unhealthy);
        let told =
            events.iter().map(ToString::to_string).any(|words| words.ends_with("restarts), last exit 7"));
        assert!(told, "{events:?}");
    }

    #[tokio::test]
    async fn docker_accepting_for_a_port_where_nobody_listens_is_not_well() {
        let Some(engine) = Engine::connect().await else { return };
        let id = engine.start("db", &["-p", "127.0.0.1::5432"], "sleep 600");
        let address = docker(&["port", &id, "5432"], None);
        let failed = result(&engine, check("db", Probe::Tcp { address }, Duration::from_millis(500))).await;
        assert_eq!(failed.verdict, Verdict::Failed, "{failed:?}");
        let running = ask_once(&[engine.container("db", Lifetime::Lasting, MINUTE)], &engine.docker).await;
        assert_eq!(running.checks[0].detail, "running", "one look takes a container that never restarted");
    }

    fn facts(state: ContainerState, restart_count: i64) -> ContainerFacts {
        ContainerFacts {
            id: "1".to_owned(),
            name: "shop-backend-1".to_owned(),
            service: "backend".to_owned(),
            state,
            health: HealthState::None,
            exit_code: Some(1),
            restart_count,
            started_at: Timestamp::now().to_string(),
            image_id: "sha256:0".to_owned(),
            oom_killed: false,
            health_output: None,
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn a_crash_loop_is_given_up_after_three_restarts_and_ten_seconds() {
        let mut watch = Watch::new(Looks::Many);
        let begin = Now::read();
        let mut look = |seconds: u64, facts: &ContainerFacts| {
            watch.judge_one(
                facts,
                Lifetime::Lasting,
                Now { instant: begin.instant + Duration::from_secs(seconds), ..begin },
            )
        };
        let words = "restarting (9 restarts), last exit 1".to_owned();
        let waits = |answer| matches!(answer, Answer::NotYet(_));
        assert!(waits(look(0, &facts(ContainerState::Restarting, 6))), "old restarts do not count");
        assert!(waits(look(2, &facts(ContainerState::Restarting, 9))), "it may be waiting for its database");
        assert!(waits(look(11, &facts(ContainerState::Restarting, 8))), "two restarts are no loop");
        assert_eq!(look(11, &facts(ContainerState::Restarting, 9)), Answer::Never(words));
        let mut once = Watch::new(Looks::One);
        assert!(waits(once.judge_one(&facts(ContainerState::Running, 2), Lifetime::Lasting, begin)));
    }

    #[test]
    fn states_are_told_in_words() {
        let mut killed = facts(ContainerState::Exited, 0);
        (killed.oom_killed, killed.exit_code) = (true, Some(137));
        assert_eq!(in_words(&killed), "killed for memory, exited with 137");
        assert_eq!(in_words(&facts(ContainerState::Running, 1)), "running after 1 restart");
        assert_eq!(in_words(&facts(ContainerState::Created, 0)), "created, not started");
    }

    #[test]
    fn the_worst_of_several_containers_speaks() {
        let good = || Answer::Good("healthy".to_owned());
        assert_eq!(together(vec![good(), good()]), Answer::Good("2 containers, healthy".to_owned()));
        let waiting = Answer::NotYet("running, not yet healthy".to_owned());
        assert_eq!(together(vec![good(), waiting.clone()]), waiting);
    }
}
