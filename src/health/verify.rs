//! Asks all checks side by side, each until its verdict or its deadline, and says what they mean together.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Client;
use tokio::sync::Notify;

use super::answer::{Answer, Asking, Round};
use super::backoff::Gaps;
use super::container::Looks;
use super::{Check, Probe, command, container, http, tcp};
use crate::event::EventKind;
use crate::host::docker::Docker;
use crate::model::{HealthReport, Verdict};

/// How long the others still get when a check that counts has failed: enough for those that are well to say so.
const GRACE: Duration = Duration::from_secs(2);

/// Asks until every check has its verdict, at most for `timeout`; emits each attempt and each verdict.
///
/// A check that fails before its deadline fails for good (its container has exited). As soon as one that counts has
/// failed the release is lost, and the others get 2 s more: nobody is helped by a longer outage. When `cancelled` ends
/// what is undecided counts as failed. Of container checks only attempts with a new answer are emitted.
pub async fn verify(
    checks: &[Check],
    timeout: Duration,
    docker: &Docker,
    cancelled: impl Future<Output = ()> + Send,
    observer: &(dyn Fn(EventKind) + Send + Sync),
) -> HealthReport {
    let lost = Notify::new();
    let askings = begin(checks, Round { longest: timeout, observer, lost: &lost });
    tokio::select! {
        biased;
        () = ask_all(&askings, docker, Looks::Many) => {}
        () = cancelled => give_up(&askings, Verdict::Failed, "cancelled"),
        () = async { lost.notified().await; tokio::time::sleep(GRACE).await } => {
            let name = askings.iter().find(|asking| asking.is_lost()).map_or("another check", |a| &a.check.name);
            give_up(&askings, Verdict::Skipped, &format!("not waited for, because {name} had failed"));
        }
    }
    report(&askings)
}

/// Asks every check once, and takes that answer: for `status` and `health`.
///
/// A container without healthcheck that Docker never restarted is well also in its first 5 s.
pub async fn ask_once(checks: &[Check], docker: &Docker) -> HealthReport {
    let lost = Notify::new();
    let askings = begin(checks, Round { longest: Duration::MAX, observer: &|_| {}, lost: &lost });
    ask_all(&askings, docker, Looks::One).await;
    for asking in &askings {
        asking.finish(Verdict::Failed, asking.last_words().unwrap_or_else(|| "no answer".to_owned()));
    }
    report(&askings)
}

fn begin<'a>(checks: &'a [Check], round: Round<'a>) -> Vec<Asking<'a>> {
    checks.iter().map(|check| Asking::begin(check, round)).collect()
}

fn report(askings: &[Asking<'_>]) -> HealthReport {
    HealthReport::of(askings.iter().map(Asking::result).collect())
}

/// Ends what is open: as failed where there was an answer, which was not good; else with this verdict.
fn give_up(askings: &[Asking<'_>], unanswered: Verdict, why: &str) {
    for asking in askings.iter().filter(|asking| asking.is_open()) {
        match asking.last_words() {
            Some(words) => asking.finish(Verdict::Failed, format!("{words} ({why})")),
            None => asking.finish(unanswered, why.to_owned()),
        }
    }
}

async fn ask_all(askings: &[Asking<'_>], docker: &Docker, looks: Looks) {
    let open: Vec<&Asking<'_>> = askings.iter().filter(|asking| asking.is_open()).collect();
    let (containers, others): (Vec<_>, Vec<_>) = open.into_iter().partition(|a| project_of(a).is_some());
    let client = if others.iter().any(|asking| matches!(asking.check.probe, Probe::Http { .. })) {
        http::client()
    } else {
        Err("there is no HTTP client".to_owned())
    };
    let mut projects: Vec<&str> = containers.iter().filter_map(|asking| project_of(asking)).collect();
    projects.sort_unstable();
    projects.dedup();
    let groups = join_all(projects.into_iter().map(|project| {
        let group: Vec<_> =
            containers.iter().copied().filter(|asking| project_of(asking) == Some(project)).collect();
        async move { container::ask_all(docker, project, &group, looks).await }
    }));
    let singles = join_all(others.into_iter().map(|asking| ask(asking, &client, looks)));
    tokio::join!(groups, singles);
}

fn project_of<'a>(asking: &Asking<'a>) -> Option<&'a str> {
    match &asking.check.probe {
        Probe::Container { project, .. } => Some(project),
        Probe::Http { .. } | Probe::Tcp { .. } | Probe::Command { .. } => None,
    }
}

/// Asks one check until its verdict.
async fn ask(asking: &Asking<'_>, client: &Result<Client, String>, looks: Looks) {
    let mut gaps = Gaps::new();
    while asking.is_open() {
        let (limit, begun) = (asking.limit(), Instant::now());
        let answer = attempt(&asking.check.probe, client, limit).await;
        let cut_off = limit < asking.check.request_timeout && begun.elapsed() >= limit;
        asking.answered(begun.elapsed(), &answer, cut_off);
        if looks == Looks::One {
            return;
        }
        if asking.is_open() {
            let next = (Instant::now() + gaps.next_gap()).min(asking.deadline());
            tokio::time::sleep_until(next.into()).await;
            asking.end_if_due();
        }
    }
}

async fn attempt(probe: &Probe, client: &Result<Client, String>, limit: Duration) -> Answer {
    match (probe, client) {
        (Probe::Http { url, status }, Ok(client)) => http::ask(client, url, *status, limit).await,
        (Probe::Http { .. }, Err(words)) => Answer::Never(words.clone()),
        (Probe::Tcp { address }, _) => tcp::ask(address, limit).await,
        (Probe::Command { argv, directory, env }, _) => command::ask(argv, directory, env, limit).await,
        (Probe::Container { .. }, _) => Answer::Never("asked of Docker only".to_owned()),
    }
}
