//! What runs where: apps by environments.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{RawQuery, State};
use axum::response::Response;
use maud::{Markup, html};

use super::session::Who;
use super::{page, words};
use crate::ledger::Shared;
use crate::ledger::api::error::ApiError;
use crate::ledger::api::fields::Query;
use crate::ledger::store::{App, AppFilter, Place, Standing, now};
use crate::model::Overall;
use crate::model::lifecycle::DeploymentStatus::{
    self, Active, Deploying, Failed, Inactive, Pending, RolledBack,
};

/// Apps on one page.
const APPS: i64 = 200;
/// Environments whose names say their order; others follow by name.
const ORDER: [&str; 6] = ["development", "dev", "testing", "test", "staging", "production"];

/// Answers the page.
pub(super) async fn show(
    State(ledger): State<Shared>,
    who: Who,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let mut query = Query::of(raw.as_deref());
    let wanted =
        |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let filter = AppFilter { name: wanted(query.text("q")), environment: wanted(query.text("environment")) };
    let number =
        query.text("page").and_then(|text| text.parse::<i64>().ok()).unwrap_or(1).clamp(1, 1_000_000);
    let (apps, total) = ledger.store.apps(&filter, (number - 1) * APPS, APPS).await?;
    let places = ledger.store.places(&apps).await?;
    let view = View { filter: &filter, apps: &apps, places: sorted(&places), number, total, now: now() };
    Ok(page("What runs where", &who, view.body()))
}

type Places<'a> = BTreeMap<(&'a str, &'a str), &'a Place>;

fn sorted(places: &[Place]) -> Places<'_> {
    places.iter().map(|place| ((place.entity_id.as_str(), place.environment.as_str()), place)).collect()
}

struct View<'a> {
    filter: &'a AppFilter,
    apps: &'a [App],
    places: Places<'a>,
    number: i64,
    total: i64,
    now: i64,
}

impl View<'_> {
    fn body(&self) -> Markup {
        let is_filtered = self.filter.name.is_some() || self.filter.environment.is_some();
        html! {
            div.head {
                h1 { "What runs where" }
                @if !self.apps.is_empty() { p.summary { (self.summary()) } }
            }
            @if self.apps.is_empty() && !is_filtered && self.number == 1 {
                (begin())
            } @else {
                (self.filters())
                @if self.apps.is_empty() {
                    div.empty { p { "No app matches." } p { a href="/" { "Show all" } } }
                } @else {
                    (self.table())
                    (super::layout::pager(self.number, APPS, self.total, |number| self.address(number)))
                }
            }
        }
    }

    fn summary(&self) -> Markup {
        let count = |is: fn(&Place) -> bool| self.places.values().filter(|place| is(place)).count();
        let under_way = count(|place| latest_is(place, &[Deploying, Pending]));
        let failed = count(|place| latest_is(place, &[Failed, RolledBack]));
        let ill = count(|place| health_of(place) == Some(Overall::Unhealthy));
        html! {
            span { strong { (self.total) } @if self.total == 1 { " app" } @else { " apps" } }
            span { strong { (self.places.len()) } " running places" }
            @if under_way > 0 { span.status.runs { (words::sign("runs")) (under_way) " under way" } }
            @if failed > 0 { span.status.bad { (words::sign("bad")) (failed) " ended badly last" } }
            @if ill > 0 { span.status.bad { (words::sign("bad")) (ill) " unhealthy" } }
        }
    }

    fn filters(&self) -> Markup {
        html! {
            form.filters method="get" action="/" role="search" {
                div { label for="q" { "App" }
                    input #q type="search" name="q" value=[self.filter.name.as_deref()] placeholder="part of its name"; }
                div { label for="environment" { "Environment" }
                    input #environment type="search" name="environment" value=[self.filter.environment.as_deref()] placeholder="any"; }
                button type="submit" { "Filter" }
                @if self.filter.name.is_some() || self.filter.environment.is_some() { a.clear href="/" { "Show all" } }
            }
        }
    }

    fn table(&self) -> Markup {
        let environments = self.environments();
        html! {
            div.scroll role="region" aria-label="What runs where" tabindex="0" {
                // Said again, because what a phone shows as cards is no table to a screen reader otherwise.
                table.matrix role="table" {
                    caption.unseen { "Apps by environment: version, health and age of what runs" }
                    thead role="rowgroup" { tr role="row" {
                        th scope="col" role="columnheader" { "App" }
                        @for environment in &environments { th scope="col" role="columnheader" { (environment) } }
                    } }
                    tbody role="rowgroup" {
                        @for app in self.apps { tr role="row" {
                            th scope="row" role="rowheader" { a href={ "/apps/" (app.entity_id) } { (app.name) } }
                            @for environment in &environments {
                                @match self.places.get(&(app.entity_id.as_str(), *environment)) {
                                    Some(place) => td role="cell" data-name=(environment) { (self.cell(app, place)) },
                                    None => td.none role="cell" { span.unseen { "not deployed" } span aria-hidden="true" { "–" } },
                                }
                            }
                        } }
                    }
                }
            }
        }
    }

    fn cell(&self, app: &App, place: &Place) -> Markup {
        let other = place.latest.as_ref().filter(|latest| !matches!(latest.status, Active | Inactive));
        html! {
            @match &place.active {
                Some(active) => (self.running(app, active)),
                None => span.nothing { "nothing runs" },
            }
            @if let Some(latest) = other {
                a.latest href={ "/deployments/" (latest.deployment_id) } {
                    (words::status(latest.status)) " " span.version { (latest.version) } " " (words::ago(latest.deployed_at, self.now))
                }
            }
        }
    }

    fn running(&self, app: &App, active: &Standing) -> Markup {
        let health = words::overall(&active.health_checks).or_else(|| told(&app.health_status));
        html! {
            a.running href={ "/deployments/" (active.deployment_id) } {
                span.version { (active.version) }
                span.about {
                    (words::health(health)) " " (words::ago(active.deployed_at, self.now))
                }
            }
        }
    }

    fn environments(&self) -> Vec<&str> {
        let all: BTreeSet<&str> = self.places.keys().map(|(_, environment)| *environment).collect();
        let mut all: Vec<&str> = all.into_iter().collect();
        if let Some(wanted) = self.filter.environment.as_deref() {
            all.retain(|name| *name == wanted);
        }
        all.sort_by_key(|name| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
        all
    }

    fn address(&self, number: i64) -> String {
        let named = [("q", &self.filter.name), ("environment", &self.filter.environment)];
        super::layout::address("/", &named, number)
    }
}

fn latest_is(place: &Place, wanted: &[DeploymentStatus]) -> bool {
    place.latest.as_ref().is_some_and(|latest| wanted.contains(&latest.status))
}

fn health_of(place: &Place) -> Option<Overall> {
    words::overall(&place.active.as_ref()?.health_checks)
}

/// What somebody told the API of an entity's health.
fn told(word: &str) -> Option<Overall> {
    match word {
        "healthy" => Some(Overall::Healthy),
        "degraded" => Some(Overall::Degraded),
        "unhealthy" => Some(Overall::Unhealthy),
        _ => None,
    }
}

fn begin() -> Markup {
    html! {
        div.empty {
            h2 { "Nothing is known yet" }
            p { "The ledger shows an app as soon as a job tells of its first deployment. Two ways to begin:" }
            ol {
                li { "Let the CI job report: name this ledger under " code { "ledger.url" } " in the job's configuration, and give it a token of the scope "
                    code { "report" } ": " code { "ffe-ledger token create ci --scope report" } "." }
                li { "Or use the " a href="/docs" { "API" } ": " code { "POST /api/v1/entities" } ", then " code { "POST /api/v1/deployments" } "." }
            }
        }
    }
}
