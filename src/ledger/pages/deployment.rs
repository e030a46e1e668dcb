//! One deployment: what it is, what went wrong, its stages, its log, and what differs from the one before.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use uuid::Uuid;

use super::difference::{self, Told};
use super::session::Who;
use super::words::{ago, at, duration, name, short, status};
use super::{findings, links, log, page, rollback, timeline};
use crate::ledger::Shared;
use crate::ledger::api::error::ApiError;
use crate::ledger::api::extract::Id;
use crate::ledger::api::fields::Query;
use crate::ledger::store::{Beside, Deployment, KeptLine, RollbackRequest, Standing, Step, now};
use crate::model::lifecycle::DeploymentStatus::{Active, Inactive, RolledBack};
use crate::model::lifecycle::{Report, ReportAction};

/// All that the page shows.
struct View {
    deployment: Deployment,
    app: String,
    report: Option<Report>,
    beside: Beside,
    replaced: Option<Report>,
    steps: Vec<Step>,
    lines: Vec<KeptLine>,
    /// Lines before this number are shown, and not the last ones.
    before: Option<i64>,
    asked: Vec<RollbackRequest>,
    now: i64,
}

/// Answers the page.
pub(super) async fn show(
    State(ledger): State<Shared>,
    who: Who,
    Id(id): Id,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "There is no deployment of this id.");
    let uuid = Uuid::parse_str(&id).map_err(|_| unknown())?;
    let deployment = ledger.store.deployment(uuid).await?.ok_or_else(unknown)?;
    let before = Query::of(raw.as_deref()).text("before").and_then(|text| text.parse::<i64>().ok());
    let view = read(&ledger, deployment, uuid, before).await?;
    let title = format!("{} {} in {}", view.app, view.deployment.version, view.deployment.environment);
    Ok(page(&short(&title, 200), &who, view.body(&who)))
}

async fn read(
    ledger: &Shared,
    deployment: Deployment,
    id: Uuid,
    before: Option<i64>,
) -> Result<View, ApiError> {
    let store = &ledger.store;
    let entity = [deployment.entity_id.as_str()];
    let (names, beside, steps, lines, report, asked) = tokio::try_join!(
        store.names(&entity),
        store.beside(&deployment),
        store.steps(id),
        store.lines_before(id, before.unwrap_or(i64::MAX), log::SHOWN),
        store.report(id),
        store.rollback_requests(&deployment.deployment_id),
    )?;
    let replaced = match beside.replaced.as_ref().and_then(|replaced| replaced.deployment_id.parse().ok()) {
        Some(id) => store.report(id).await?.and_then(|kept| parsed(kept.body.text())),
        None => None,
    };
    let app = names.into_values().next().unwrap_or_else(|| "app".to_owned());
    let report = report.and_then(|kept| parsed(kept.body.text()));
    Ok(View { deployment, app, report, beside, replaced, steps, lines, before, asked, now: now() })
}

/// A report that an older or newer program sent in a form of its own is not shown, and hides nothing else.
fn parsed(text: &str) -> Option<Report> {
    serde_json::from_str(text).ok()
}

impl View {
    fn body(&self, who: &Who) -> Markup {
        let deployment = &self.deployment;
        let after = Told { deployment, report: self.report.as_ref() };
        let before = self.beside.replaced.as_ref();
        let before = before.map(|deployment| Told { deployment, report: self.replaced.as_ref() });
        html! {
            (self.trail())
            div #head data-fresh { (self.head()) (rollback::button(who, deployment)) }
            div.columns {
                div {
                    div #wrong-part data-fresh { (findings::wrong(deployment, self.report.as_ref())) }
                    div #stages data-fresh { (self.stages()) }
                    (log::section(deployment, &self.lines, self.before))
                    (difference::section(before, after))
                }
                div {
                    div #about data-fresh { (self.about()) }
                    div #asked-part data-fresh { (rollback::list(&self.asked)) }
                    div #findings data-fresh {
                        (findings::checks(&deployment.health_checks))
                        (findings::validation(deployment.validation_results.as_ref()))
                        (findings::backup(self.report.as_ref().and_then(|report| report.backup.as_ref())))
                    }
                    div #history data-fresh { (self.history()) }
                }
            }
            (self.neighbours())
        }
    }

    fn trail(&self) -> Markup {
        html! {
            nav.trail aria-label="Where this is" {
                a href="/" { "What runs where" } span aria-hidden="true" { "›" }
                a href={ "/apps/" (self.deployment.entity_id) } { (name(&self.app)) } span aria-hidden="true" { "›" }
                span { (short(&self.deployment.environment, 100)) }
            }
        }
    }

    fn head(&self) -> Markup {
        let deployment = &self.deployment;
        let is_rollback = self.report.as_ref().is_some_and(|report| report.action == ReportAction::Rollback);
        html! {
            div.head.title {
                h1 { (name(&self.app)) " " span.version { (name(&deployment.version)) }
                    span.quiet { " in " } (short(&deployment.environment, 100)) }
                (status(deployment.status))
            }
            p.summary {
                span { @if is_rollback { "Rolled back to" } @else if self.has_run() { "Deployed" } @else { "Started" } " by " strong { (short(&deployment.deployed_by, 100)) } }
                (ago(deployment.deployed_at, self.now))
                @if let Some(took) = self.took_ms() { span { "took " strong { (duration(took)) } } }
            }
        }
    }

    /// Whether it came to run.
    fn has_run(&self) -> bool {
        matches!(self.deployment.status, Active | Inactive | RolledBack)
    }

    fn took_ms(&self) -> Option<u64> {
        let told = self.report.as_ref().and_then(|report| {
            let ms = report.finished_at?.as_millisecond() - report.started_at.as_millisecond();
            u64::try_from(ms).ok()
        });
        // Whole seconds: none says nothing.
        let seconds =
            self.deployment.deployment_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        told.or(seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds * 1000))
    }

    fn stages(&self) -> Markup {
        let report = self.report.as_ref().filter(|report| !report.stages.is_empty());
        html! {
            @if let Some(report) = report {
                section.card aria-labelledby="timeline" {
                    h2 #timeline { "Stages" }
                    (timeline::timeline(report, self.now))
                }
            }
        }
    }

    fn about(&self) -> Markup {
        let (deployment, report) = (&self.deployment, self.report.as_ref());
        let url = report.and_then(|report| report.ci_url.as_deref());
        html! {
            section.card aria-labelledby="about-title" {
                h2 #about-title { "About" }
                dl.pairs {
                    dt { @if self.has_run() { "Deployed" } @else { "Began" } } dd { (at(deployment.deployed_at)) }
                    @if let Some(report) = report {
                        @if let Some(commit) = &report.commit { dt { "Commit" } dd { (links::commit(commit, url)) } }
                        @if let Some(time) = report.committed_at { dt { "Committed" } dd { (at(time.as_microsecond())) } }
                        @if let Some(url) = url { dt { "CI job" } dd { (links::run(url)) } }
                        @if let Some(version) = &report.previous_version { dt { "Ran before" } dd { span.version { (short(version, 100)) } } }
                    }
                    @if let Some(method) = &deployment.deployment_method { dt { "Method" } dd { (short(method, 50)) } }
                    @if let Some(time) = deployment.rolled_back_at { dt { "Rolled back" } dd { (at(time)) } }
                    @if let Some(id) = &deployment.previous_deployment_id {
                        dt { "Active instead" } dd { a href={ "/deployments/" (id) } { code { (short(id, 8)) } } }
                    }
                    @if let Some(report) = report { dt { "Job's id" } dd { code { (report.deployment_id.as_str()) } } }
                    dt { "Ledger's id" } dd { code { (deployment.deployment_id) } }
                }
            }
        }
    }

    fn history(&self) -> Markup {
        let word = |word: &str| word.parse().map_or_else(|_| html! { (short(word, 50)) }, status);
        html! {
            @if !self.steps.is_empty() {
                section.card aria-labelledby="history-title" {
                    h2 #history-title { "History" }
                    ol.history { @for step in &self.steps {
                        li {
                            (word(&step.to)) span.quiet { " by " (short(&step.who, 100)) } p.quiet { (at(step.at)) }
                            // What failed says all of it above.
                            @if let Some(reason) = step.reason.as_ref().filter(|_| step.to != "failed") { p.quiet { (short(reason, 500)) } }
                        }
                    } }
                }
            }
        }
    }

    fn neighbours(&self) -> Markup {
        let one = |standing: &Standing| {
            html! { span.version { (name(&standing.version)) } " " (status(standing.status)) }
        };
        html! {
            nav.pager aria-label="Deployments beside this one" {
                @match &self.beside.earlier {
                    Some(earlier) => a rel="prev" href={ "/deployments/" (earlier.deployment_id) } { "← Earlier: " (one(earlier)) },
                    None => span.quiet { "The first one here" },
                }
                @match &self.beside.later {
                    Some(later) => a rel="next" href={ "/deployments/" (later.deployment_id) } { "Later: " (one(later)) " →" },
                    None => span.quiet { "The latest one here" },
                }
            }
        }
    }
}
