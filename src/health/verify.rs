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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::fixtures::{Web, check, response};
    use super::*;
    use crate::model::{CheckResult, Overall};

    const MINUTE: Duration = Duration::from_secs(60);

    /// Verifies checks that do not ask Docker; also returns the names of the events.
    async fn verified(
        checks: &[Check],
        cancelled: impl Future<Output = ()> + Send,
    ) -> Option<(HealthReport, Vec<EventKind>)> {
        let engine = super::super::fixtures::Engine::connect().await?;
        let events = Mutex::new(Vec::new());
        let observer = |event| events.lock().unwrap().push(event);
        let report = verify(checks, MINUTE * 2, &engine.docker, cancelled, &observer).await;
        Some((report, events.into_inner().unwrap()))
    }

    fn attempts_in(events: &[EventKind]) -> usize {
        events.iter().filter(|event| matches!(event, EventKind::HealthAttempted { .. })).count()
    }

    #[tokio::test]
    async fn three_503_and_a_200_pass_at_the_fourth_request_with_growing_gaps() {
        let busy = response("503 Service Unavailable", "starting");
        let web = Web::answering(&[&busy, &busy, &busy, &response("200 OK", "")]).await;
        let Some((report, events)) = verified(&[web.check("web", MINUTE)], std::future::pending()).await
        else {
            return;
        };
        let result = &report.checks[0];
        assert_eq!((report.overall, result.attempts), (Overall::Healthy, 4));
        assert_eq!((attempts_in(&events), events.len()), (4, 5));
        let times = web.times();
        let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.len() == 3 && gaps.is_sorted_by(|a, b| a < b), "{gaps:?}");
    }

    #[tokio::test]
    async fn a_check_fails_at_its_own_deadline_with_its_last_answer() {
        let web = Web::answering(&[&response("500 Internal Server Error", "no database"), ""]).await;
        let limit = Duration::from_millis(700);
        let Some((report, _)) = verified(&[web.check("web", limit)], std::future::pending()).await else {
            return;
        };
        let CheckResult { verdict, waited_ms, detail, .. } = &report.checks[0];
        assert_eq!((*verdict, detail.as_str()), (Verdict::Failed, "500 Internal Server Error: no database"));
        assert!((700..2500).contains(waited_ms), "{waited_ms} ms");
        assert_eq!(report.overall, Overall::Unhealthy);
    }

    #[tokio::test]
    async fn an_optional_failure_only_degrades_and_is_waited_for() {
        let (bad, well) = (response("500 Internal Server Error", ""), response("200 OK", ""));
        let (bad, well) = (Web::answering(&[&bad]).await, Web::answering(&[&bad, &bad, &bad, &well]).await);
        let mut optional = bad.check("extra", Duration::from_millis(200));
        optional.optional = true;
        let checks = [optional, well.check("web", MINUTE)];
        let Some((report, _)) = verified(&checks, std::future::pending()).await else { return };
        assert_eq!(report.overall, Overall::Degraded);
        assert_eq!(report.checks.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["extra", "web"]);
    }

    #[tokio::test]
    async fn once_a_check_has_failed_for_good_the_others_are_not_waited_for() {
        let (slow, silent) = (response("503 Service Unavailable", ""), Web::answering(&[""]).await);
        let slow = Web::answering(&[&slow]).await;
        let missing = Probe::Command {
            argv: vec!["./none".to_owned()],
            // Nobody can put a file there.
            directory: "/proc".into(),
            env: std::collections::BTreeMap::new(),
        };
        let checks =
            [check("smoke", missing, MINUTE), slow.check("slow", MINUTE), silent.check("silent", MINUTE)];
        let Some((report, _)) = verified(&checks, std::future::pending()).await else { return };
        let told: Vec<_> = report.checks.iter().map(|c| (c.verdict, c.detail.as_str())).collect();
        let why = "not waited for, because smoke had failed";
        assert_eq!(told[0], (Verdict::Failed, "`./none` is not installed or not on PATH"));
        assert_eq!(told[1], (Verdict::Failed, format!("503 Service Unavailable ({why})").as_str()));
        assert_eq!(told[2], (Verdict::Skipped, why));
    }

    #[tokio::test]
    async fn what_is_undecided_when_it_is_cancelled_counts_as_failed() {
        let web = Web::answering(&[""]).await;
        let cancelled = tokio::time::sleep(Duration::from_millis(100));
        let Some((report, events)) = verified(&[web.check("web", MINUTE)], cancelled).await else { return };
        assert_eq!((report.overall, report.checks[0].detail.as_str()), (Overall::Unhealthy, "cancelled"));
        assert!(matches!(events.as_slice(), [EventKind::CheckFinished { .. }]), "{events:?}");
    }

    #[tokio::test]
    async fn a_check_that_is_skipped_says_why_and_asks_nobody() {
        let web = Web::answering(&[&response("200 OK", "")]).await;
        let mut skipped = web.check("web", MINUTE);
        skipped.skip = Some("optional in dev".to_owned());
        let Some((report, _)) = verified(&[skipped], std::future::pending()).await else { return };
        let CheckResult { verdict, attempts, detail, .. } = &report.checks[0];
        assert_eq!((*verdict, *attempts, detail.as_str()), (Verdict::Skipped, 0, "optional in dev"));
        assert_eq!((report.overall, web.times().len()), (Overall::Healthy, 0));
    }
}
