//! Answers as people read them: a headline, facts, tables. Plain text without colours; every value is harmless.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;

use super::story::PrunedTold;
use super::{plan_words, summary, words};
use crate::event::{DeploymentResult, Plan};
use crate::model::{
    BackupListed, CheckAnswer, CheckStats, ConfigAnswer, ContainerState, Durations, HealthAnswer,
    HealthState, HistoryEntry, HistoryStats, ListAnswer, ListedRunning, Rollbacks, RunningAnswer,
    StatusAnswer, Verdict,
};
use crate::text::{harmless, harmless_lines};

/// Returns the answer of `status`. `width` is that of the terminal, in columns; without one nothing is wrapped.
pub fn status(answer: &StatusAnswer, width: Option<u16>) -> String {
    let mut page = Page::new(format!("{} in {}: {}", answer.app, answer.environment, in_a_word(answer)));
    if let Some(current) = &answer.current {
        page.fact("version", &current.version);
        page.fact("release", &format!("{}  (since {})", current.id, time(current.deployed_at)));
    }
    page.fact("project", &answer.project);
    page.fact("root", &answer.root);
    if let Some(last) = &answer.last_deployment {
        let ended = time(last.ended_at);
        page.fact("last", &format!("{} of {}: {} at {ended}", last.verb, last.version, last.outcome));
    }
    if let Some(lease) = &answer.lease {
        let run = lease.run_url.as_ref().map(|url| format!("  {url}")).unwrap_or_default();
        let (id, who, since) = (&lease.deployment_id, &lease.who, time(lease.since));
        page.fact("under way", &format!("{id} by {who} in {} since {since}{run}", lease.stage));
    }
    if let Some(unfinished) = &answer.unfinished {
        let (id, since) = (&unfinished.deployment_id, time(unfinished.since));
        page.fact("unfinished", &format!("{id} stopped in {} (began {since})", unfinished.stage));
        page.fact("", "→ end it with `ffe-deploy recover`; the next deploy does so, too");
    }
    for warning in &answer.warnings {
        page.fact("warning", &warning.message);
        page.fact("", &format!("→ {}", warning.hint.as_deref().unwrap_or_default()));
    }
    for (service, url) in &answer.urls {
        page.fact("url", &format!("{url}  ({service})"));
    }
    if !answer.volumes.is_empty() {
        page.fact("volumes", &answer.volumes.join(", "));
    }
    page.table(
        width,
        &["SERVICE", "CONTAINER", "STATE", "HEALTH", "IMAGE", "STARTED"],
        container_rows(answer),
    );
    if let Some(report) = &answer.health {
        page.table(width, &CHECK_HEADINGS, check_rows(&HealthAnswer::from(report)));
    }
    page.end()
}

/// Returns the answer of `health`.
pub fn health(answer: &HealthAnswer, width: Option<u16>) -> String {
    let mut page = Page::new(summary::health_text(answer.status).to_owned());
    page.table(width, &CHECK_HEADINGS, check_rows(answer));
    page.end()
}

/// Returns the answer of `list`.
pub fn list(answer: &ListAnswer, width: Option<u16>) -> String {
    let any = || "any".to_owned();
    let apps = answer.apps.iter().map(|app| {
        let environments =
            Some(app.environments.join(", ")).filter(|names| !names.is_empty()).unwrap_or_else(any);
        vec![app.name.clone(), app.kind.clone(), app.path.clone(), environments]
    });
    let mut page = Page::default();
    page.table(width, &["APP", "TYPE", "PATH", "ENVIRONMENTS"], apps);
    page.end()
}

/// Returns the answer of `list --ledger`.
pub fn running(answer: &RunningAnswer, width: Option<u16>) -> String {
    if answer.running.is_empty() {
        return "the ledger knows of nothing that runs\n".to_owned();
    }
    let rows = answer.running.iter().map(|one| {
        let ListedRunning { app, environment, version, deployed_at, deployed_by, deployment_id } = one;
        let since = time(*deployed_at);
        vec![
            app.clone(),
            environment.clone(),
            version.clone(),
            since,
            deployed_by.clone(),
            deployment_id.to_string(),
        ]
    });
    let mut page = Page::default();
    page.table(width, &["APP", "ENVIRONMENT", "VERSION", "SINCE", "BY", "DEPLOYMENT"], rows);
    page.end()
}

/// Returns the answer of `validate --show-config`.
pub fn configuration(answer: &ConfigAnswer, width: Option<u16>) -> String {
    let settings = answer.settings.iter().map(|setting| {
        let value = match &setting.value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => "-".to_owned(),
            value => value.to_string(),
        };
        let filled = setting.filled_from.iter().map(|name| format!(" ${{{name}}}"));
        let from = setting.from.clone().unwrap_or_else(|| "default".to_owned());
        vec![setting.key.clone(), value, std::iter::once(from).chain(filled).collect()]
    });
    let mut page = Page::default();
    page.table(width, &["KEY", "VALUE", "FROM"], settings);
    let variables = answer.variables.iter();
    let variables = variables.map(|shown| vec![shown.name.clone(), shown.value.clone(), shown.from.clone()]);
    page.table(width, &["VARIABLE", "VALUE", "FROM"], variables);
    page.end()
}

/// Returns the answer of `history`, newest first.
pub fn history(entries: &[HistoryEntry], width: Option<u16>) -> String {
    if entries.is_empty() {
        return "no deployment is recorded\n".to_owned();
    }
    let headings = ["ENDED", "VERB", "VERSION", "OUTCOME", "TOOK", "RELEASE", "BY", "DEPLOYMENT"];
    let mut page = Page::default();
    page.table(width, &headings, entries.iter().filter_map(history_row));
    for entry in entries {
        if let HistoryEntry::Unreadable { file, unreadable } = entry {
            page.paragraph("! ", &format!("{file} cannot be read: {unreadable}"));
        }
    }
    page.end()
}

/// Returns the answer of `history --stats`.
pub fn stats(stats: &HistoryStats, width: Option<u16>) -> String {
    if stats.deployments == 0 {
        return "no deployment is recorded\n".to_owned();
    }
    let percent = |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{:.1} %", part * 100.0));
    let seconds = |time: Option<f64>| {
        let time = time.and_then(|time| std::time::Duration::try_from_secs_f64(time).ok());
        time.map_or("-".to_owned(), words::duration)
    };
    let count = usize::try_from(stats.deployments).unwrap_or(usize::MAX);
    let mut page = Page::new(words::count(count, "deployment"));
    if let (Some(from), Some(to)) = (stats.from, stats.to) {
        page.fact("from", &format!("{} to {}", time(from), time(to)));
    }
    page.fact("succeeded", &format!("{}  ({})", stats.succeeded, percent(stats.success_rate)));
    page.fact("failed", &format!("{}  ({})", stats.failed, percent(stats.failure_rate)));
    page.fact("cancelled", &stats.cancelled.to_string());
    let Durations { median_seconds, p95_seconds, longest_seconds } = stats.duration;
    let times = [median_seconds, p95_seconds, longest_seconds].map(seconds);
    page.fact("took", &format!("median {}, 95 % within {}, longest {}", times[0], times[1], times[2]));
    let Rollbacks { automatic, by_hand, per_deployment } = stats.rollbacks;
    let often = percent(per_deployment);
    page.fact("rollbacks", &format!("{automatic} by itself, {by_hand} by hand  ({often} of deployments)"));
    let health = stats.healthy_last.map_or("-", |healthy| if healthy { "healthy" } else { "unhealthy" });
    page.fact("last checks", health);
    if stats.unreadable > 0 {
        page.fact("unreadable", &stats.unreadable.to_string());
    }
    let row = |(name, check): (&String, &CheckStats)| {
        vec![name.clone(), check.passed.to_string(), check.failed.to_string(), check.skipped.to_string()]
    };
    page.table(width, &["CHECK", "PASSED", "FAILED", "SKIPPED"], stats.checks.iter().map(row));
    page.end()
}

/// Returns the answer of `backup list`, in the order given.
pub fn backups(backups: &[BackupListed], width: Option<u16>) -> String {
    if backups.is_empty() {
        return "there is no backup\n".to_owned();
    }
    let rows = backups.iter().map(|backup| {
        let state = backup.problem.clone().unwrap_or_else(|| backup.includes.join(", "));
        let taken = backup.created_at.map_or_else(|| "-".to_owned(), time);
        vec![backup.name.clone(), taken, words::size(backup.size_bytes), state]
    });
    let mut page = Page::default();
    page.table(width, &["ARCHIVE", "TAKEN", "SIZE", "HOLDS"], rows);
    page.end()
}

/// Returns the plan of a deploy: what would become of each service, and why.
pub fn plan(plan: &Plan, width: Option<u16>) -> String {
    let before = plan.previous_version.as_ref().map(|before| format!(" (now: {before})"));
    let says = if plan.changes { "would change this" } else { "would change nothing" };
    let mut page = Page::new(format!("a deploy of {}{} {says}", plan.version, before.unwrap_or_default()));
    page.table(width, &["SERVICE", "WOULD BE", "BECAUSE OF"], plan_words::services(plan));
    page.table(width, &["IMAGE", "WOULD BE", "SIZE", "FOR"], plan_words::images(plan));
    page.table(width, &["FILE", "WOULD BE"], plan_words::files(plan));
    for file in &plan.files.changed {
        let Some(diff) = &file.diff else { continue };
        page.paragraph("", &format!("\n{}", file.path));
        page.paragraph("  ", diff);
    }
    if plan.changes {
        page.paragraph("\n", &format!("backup: {}", plan_words::backup(&plan.backup)));
    }
    page.table(width, &["CHECK", "WOULD ASK"], plan_words::checks(plan));
    page.table(width, &["HOOK", "WHEN", "WHERE", "WOULD RUN"], plan_words::hooks(plan));
    for note in &plan.notes {
        page.paragraph("! ", note);
    }
    page.end()
}

/// Returns the end of a deployment, for stdout: the console tells the rest.
pub fn result(result: &DeploymentResult) -> String {
    let mut page = Page::new(summary::headline(result));
    for (name, value) in summary::facts(result, None) {
        page.fact(&name, &value);
    }
    page.end()
}

/// Returns what `prune` and `backup prune` took away.
pub fn pruned(told: &PrunedTold) -> String {
    let count = |number: u64, what: &str| words::count(usize::try_from(number).unwrap_or(usize::MAX), what);
    if *told == PrunedTold::default() {
        return "there was nothing to take away\n".to_owned();
    }
    let freed = told.freed_bytes.saturating_add(told.freed_image_bytes);
    let mut page = Page::new(format!("taken away; {} freed", words::size(freed)));
    let kinds = [("release", &told.releases), ("image tag", &told.images), ("backup", &told.backups)];
    for (kind, names) in kinds {
        names.iter().for_each(|name| page.fact(kind, name));
    }
    if told.files > 0 {
        page.fact("files", &count(told.files, "release file"));
    }
    if told.agents > 0 {
        page.fact("agents", &count(told.agents, "old agent"));
    }
    if told.freed_image_bytes > 0 {
        page.fact(
            "of images",
            &format!("{}, with layers that others share", words::size(told.freed_image_bytes)),
        );
    }
    page.end()
}

const CHECK_HEADINGS: [&str; 5] = ["CHECK", "VERDICT", "LATENCY", "ASKED", "ANSWER"];

fn in_a_word(answer: &StatusAnswer) -> &'static str {
    match (&answer.current, answer.stopped, &answer.health) {
        (None, _, _) => "nothing is deployed",
        (Some(_), true, _) => "stopped",
        (Some(_), false, Some(health)) => summary::health_text(health.overall),
        (Some(_), false, None) if answer.overall => "running",
        (Some(_), false, None) => "not as it should be",
    }
}

fn container_rows(answer: &StatusAnswer) -> impl Iterator<Item = Vec<String>> {
    answer.containers.iter().map(|container| {
        let started = container.started_at.as_deref().and_then(|at| at.parse().ok());
        vec![
            container.service.clone(),
            container.name.clone(),
            state_word(container.state).to_owned(),
            health_word(container.health).to_owned(),
            container.image.clone(),
            started.map_or_else(|| "-".to_owned(), time),
        ]
    })
}

fn check_rows(answer: &HealthAnswer) -> Vec<Vec<String>> {
    let row = |(name, check): (&String, &CheckAnswer)| {
        let verdict = match (check.verdict, check.optional) {
            (Verdict::Passed, _) => "✓ healthy",
            (Verdict::Skipped, _) => "- skipped",
            (Verdict::Failed, false) => "✗ unhealthy",
            (Verdict::Failed, true) => "! unhealthy, optional",
        };
        let latency = format!("{} ms", check.latency_ms);
        vec![name.clone(), verdict.to_owned(), latency, check.asked.clone(), check.detail.clone()]
    };
    answer.checks.iter().map(row).collect()
}

fn history_row(entry: &HistoryEntry) -> Option<Vec<String>> {
    let record = entry.record()?;
    let outcome = match &record.rolled_back_to {
        Some(release) => format!("{} to {release}", record.outcome),
        None => record.outcome.to_string(),
    };
    let took = std::time::Duration::try_from_secs_f64(record.duration_seconds).unwrap_or_default();
    Some(vec![
        time(record.timestamp),
        record.verb.clone(),
        record.version.clone(),
        outcome,
        words::duration(took),
        record.release.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        record.who.clone(),
        record.deployment_id.to_string(),
    ])
}

fn state_word(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Restarting => "restarting",
        ContainerState::Removing => "removing",
        ContainerState::Exited => "exited",
        ContainerState::Dead => "dead",
    }
}

fn health_word(health: HealthState) -> &'static str {
    match health {
        HealthState::None => "-",
        HealthState::Starting => "starting",
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
    }
}

/// UTC to the second, as people compare it.
fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// What is printed, part below part.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn new(headline: String) -> Self {
        Self(format!("{}\n", harmless(&headline)))
    }

    fn fact(&mut self, name: &str, value: &str) {
        self.0.push_str(&format!("  {name:<12} {}\n", harmless(value)));
    }

    /// A part of its own, below an empty line.
    pub(super) fn heading(&mut self, text: &str) {
        self.0.push_str(&format!("\n{}\n", harmless(text)));
    }

    pub(super) fn paragraph(&mut self, lead: &str, text: &str) {
        let gap = " ".repeat(lead.chars().count());
        for (at, line) in harmless_lines(text).lines().enumerate() {
            let lead = if at == 0 { lead } else { gap.as_str() };
            self.0.push_str(&format!("{lead}{line}\n"));
        }
    }

    fn table(&mut self, width: Option<u16>, headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(headings.iter().copied());
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| harmless(cell)));
        }
        if table.is_empty() {
            return;
        }
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        for line in table.lines() {
            self.0.push_str(line.trim_end().strip_prefix(' ').unwrap_or(line.trim_end()));
            self.0.push('\n');
        }
    }

    pub(super) fn end(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{
        ArchiveFormat, ContainerStatus, CurrentRelease, HealthReport, LastDeployment, LeaseHolder, ListedApp,
        Outcome, Stage, Unfinished,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn answer() -> StatusAnswer {
        let container = |service: &str, health, started: Option<&str>| ContainerStatus {
            name: format!("shop-{service}-1"),
            service: service.into(),
            state: ContainerState::Running,
            health,
            image: format!("shop/{service}:1.1.0"),
            started_at: started.map(str::to_owned),
        };
        StatusAnswer {
            app: "shop".parse().unwrap(),
            environment: "production".parse().unwrap(),
            project: "shop".into(),
            root: "/srv/shop/production".into(),
            current: Some(CurrentRelease {
                id: "deploy-1".parse().unwrap(),
                version: "1.1.0".into(),
                deployed_at: at(0),
            }),
            last_deployment: Some(LastDeployment {
                deployment_id: "deploy-2".parse().unwrap(),
                verb: "deploy".into(),
                version: "1.2.0".into(),
                outcome: Outcome::RolledBack,
                ended_at: at(60),
                hooks: vec![],
            }),
            unfinished: Some(Unfinished {
                deployment_id: "deploy-3".parse().unwrap(),
                stage: Stage::Deploying,
                since: at(70),
            }),
            stopped: false,
            containers: vec![
                container("backend", HealthState::Healthy, Some("2026-09-21T14:13:20.123456789Z")),
                container("db", HealthState::None, None),
            ],
            health: Some(HealthReport::of(crate::event::examples::result().checks)),
            overall: false,
            volumes: vec!["shop_data".into()],
            urls: BTreeMap::from([("backend".into(), "http://localhost:8000".into())]),
            warnings: Vec::new(),
            lease: Some(LeaseHolder {
                deployment_id: "deploy-4".parse().unwrap(),
                who: "ada".into(),
                run_url: Some("https://github.example/runs/1".into()),
                since: at(80),
                stage: Stage::Pulling,
            }),
        }
    }

    #[test]
    fn status_says_what_runs_since_when_and_who_is_at_it() {
        let expected = "shop in production: unhealthy
  version      1.1.0
  release      deploy-1  (since 2026-09-21 14:13:20Z)
  project      shop
  root         /srv/shop/production
  last         deploy of 1.2.0: rolled_back at 2026-09-21 14:14:20Z
  under way    deploy-4 by ada in pulling since 2026-09-21 14:14:40Z  https://github.example/runs/1
  unfinished   deploy-3 stopped in deploying (began 2026-09-21 14:14:30Z)
               → end it with `ffe-deploy recover`; the next deploy does so, too
  url          http://localhost:8000  (backend)
  volumes      shop_data

SERVICE  CONTAINER       STATE    HEALTH   IMAGE               STARTED
backend  shop-backend-1  running  healthy  shop/backend:1.1.0  2026-09-21 14:13:20Z
db       shop-db-1       running  -        shop/db:1.1.0       -

CHECK    VERDICT      LATENCY  ASKED                             ANSWER
backend  ✗ unhealthy  12 ms    GET http://localhost:8000/health  connection refused
";
        assert_eq!(status(&answer(), None), expected);
        let narrow = status(&answer(), Some(60));
        assert!(narrow.lines().skip_while(|line| !line.is_empty()).all(|line| line.chars().count() <= 60));
    }

    #[test]
    fn a_plan_says_what_would_become_of_each_service_and_why() {
        let text = plan(&crate::event::examples::plan(), None);
        for part in [
            "a deploy of 1.2.0 (now: 1.1.0) would change this\n",
            "backend  recreated  image ghcr.io/three-rivers-tech/shop-backend:1.4.0; environment LOG_LEVEL\n",
            "db       unchanged\n",
            "config/shop.yaml\n  @@ -1 +1 @@\n  -listen: 8000\n  +listen: 8080\n",
            "backup: data, volume db → /srv/shop/production/backups\n",
            "before the deploy  every check of 1.1.0, which runs; one that fails is a warning\n",
            "test     before anything else  runner           ./scripts/test.sh, at most 10 min 00 s\n",
            "migrate  pre_deploy            service backend  ./manage.py migrate, at most 5 min 00 s\n",
            "! deploy-20261121063900-0c0ffee0 is under way\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let same = Plan { version: "1".into(), ..Plan::default() };
        assert_eq!(plan(&same, None), "a deploy of 1 would change nothing\n");
    }

    #[test]
    fn status_without_a_release_and_of_a_stopped_one_say_so() {
        let stopped = StatusAnswer { stopped: true, ..answer() };
        assert!(status(&stopped, None).starts_with("shop in production: stopped\n"));
        let nothing = StatusAnswer { current: None, containers: vec![], ..answer() };
        assert!(status(&nothing, None).starts_with("shop in production: nothing is deployed\n"));
    }

    #[test]
    fn list_history_and_backups_are_tables_and_say_when_they_are_empty() {
        let answer = ListAnswer {
            apps: vec![ListedApp {
                name: "shop".into(),
                kind: "docker-compose".into(),
                path: ".".into(),
                environments: vec!["dev".into(), "production".into()],
            }],
        };
        let expected =
            "APP   TYPE            PATH  ENVIRONMENTS\nshop  docker-compose  .     dev, production\n";
        assert_eq!(list(&answer, None), expected);
        assert_eq!(history(&[], None), "no deployment is recorded\n");
        let torn = HistoryEntry::Unreadable { file: "/h/x.json".into(), unreadable: "EOF\n::error::".into() };
        assert_eq!(history(&[torn], None), "! /h/x.json cannot be read: EOF\n  :\u{200b}:error::\n");
        assert_eq!(backups(&[], None), "there is no backup\n");
        let backup = BackupListed {
            name: "ffe_backup_20260921_141320.tar.gz".into(),
            path: "/srv/shop/production/backups/ffe_backup_20260921_141320.tar.gz".into(),
            created_at: Some(at(0)),
            size_bytes: 2_000_000,
            format: ArchiveFormat::Gzip,
            includes: vec!["data".into(), "volume db".into()],
            problem: None,
        };
        let expected = "ffe_backup_20260921_141320.tar.gz  2026-09-21 14:13:20Z  2 MB  data, volume db";
        assert_eq!(backups(&[backup], None).lines().nth(1), Some(expected));
    }

    #[test]
    fn answers_are_the_same_after_a_way_through_json_and_hold_no_command() {
        let mut answer = answer();
        answer.volumes = vec!["##[error]x".into()];
        let json = crate::report::json::answer(&answer).unwrap();
        assert!(!json.contains("##["));
        assert_eq!(serde_json::from_str::<StatusAnswer>(&json).unwrap(), answer);
        let health = HealthAnswer::from(answer.health.as_ref().unwrap());
        let json = crate::report::json::answer(&health).unwrap();
        assert_eq!(serde_json::from_str::<HealthAnswer>(&json).unwrap(), health);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["overall"], false);
        assert_eq!(
            (&value["status"], &value["checks"]["backend"]["healthy"]),
            (&"unhealthy".into(), &false.into())
        );
        assert!(status(&answer, None).contains("##\u{200b}[error]x"));
    }
}
