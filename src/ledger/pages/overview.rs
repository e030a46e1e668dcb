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
/// Apps among which those are looked for that need a look.
const LOOKED_AT: i64 = 2000;
/// What the address says when only those are wanted.
const TROUBLE: &str = "trouble";
const LOOK: &str = "/?show=trouble";
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
    let only_trouble = query.text("show").is_some_and(|text| text == TROUBLE);
    let (number, most) = if only_trouble { (1, LOOKED_AT) } else { (number, APPS) };
    let (mut apps, mut total) = ledger.store.apps(&filter, (number - 1) * APPS, most).await?;
    let mut places = ledger.store.places(&apps).await?;
    if only_trouble {
        let troubled = troubled(&apps, &places, filter.environment.as_deref());
        apps.retain(|app| troubled.contains(&app.entity_id));
        places.retain(|place| troubled.contains(&place.entity_id));
        total = i64::try_from(apps.len()).unwrap_or(i64::MAX);
    }
    let places = sorted(&places);
    let view = View { filter: &filter, only_trouble, apps: &apps, places, number, total, now: now() };
    Ok(page("What runs where", &who, view.body()))
}

/// Returns the apps that somebody should look at: in a place that counts something failed, is unhealthy, or is under way.
fn troubled(apps: &[App], places: &[Place], environment: Option<&str>) -> BTreeSet<String> {
    let told: BTreeMap<&str, &App> = apps.iter().map(|app| (app.entity_id.as_str(), app)).collect();
    let is_ill = |place: &Place| {
        let app = told.get(place.entity_id.as_str());
        app.is_some_and(|app| health_of(app, place) == Some(Overall::Unhealthy))
    };
    let counts = |place: &&Place| environment.is_none_or(|wanted| wanted == place.environment);
    let bad = [Deploying, Pending, Failed, RolledBack];
    let all = places.iter().filter(counts).filter(|place| latest_is(place, &bad) || is_ill(place));
    all.map(|place| place.entity_id.clone()).collect()
}

type Places<'a> = BTreeMap<(&'a str, &'a str), &'a Place>;

fn sorted(places: &[Place]) -> Places<'_> {
    places.iter().map(|place| ((place.entity_id.as_str(), place.environment.as_str()), place)).collect()
}

struct View<'a> {
    filter: &'a AppFilter,
    only_trouble: bool,
    apps: &'a [App],
    places: Places<'a>,
    number: i64,
    total: i64,
    now: i64,
}

impl View<'_> {
    fn body(&self) -> Markup {
        let is_filtered = self.is_filtered();
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

    fn is_filtered(&self) -> bool {
        self.only_trouble || self.filter.name.is_some() || self.filter.environment.is_some()
    }

    fn summary(&self) -> Markup {
        let count = |is: fn(&Place) -> bool| self.places.values().filter(|place| is(place)).count();
        let under_way = count(|place| latest_is(place, &[Deploying, Pending]));
        let failed = count(|place| latest_is(place, &[Failed, RolledBack]));
        let ill =
            self.apps.iter().flat_map(|app| self.places_of(app).map(move |place| health_of(app, place)));
        let ill = ill.filter(|health| *health == Some(Overall::Unhealthy)).count();
        let running = count(|place| place.active.is_some());
        html! {
            span { strong { (self.total) } @if self.total == 1 { " app" } @else { " apps" } }
            span { strong { (running) } " running" }
            @if under_way > 0 { a.status.runs href=(LOOK) { (words::sign("runs")) (under_way) " under way" } }
            @if failed > 0 { a.status.bad href=(LOOK) { (words::sign("bad")) (failed) " failed last" } }
            @if ill > 0 { a.status.bad href=(LOOK) { (words::sign("bad")) (ill) " unhealthy" } }
        }
    }

    fn filters(&self) -> Markup {
        html! {
            form.filters method="get" action="/" role="search" {
                div { label for="q" { "App" }
                    input #q type="search" name="q" value=[self.filter.name.as_deref()] placeholder="part of its name"; }
                div { label for="environment" { "Environment" }
                    input #environment type="search" name="environment" value=[self.filter.environment.as_deref()] placeholder="any" list="environments"; }
                datalist #environments { @for name in self.environments() { option value=(name) {} } }
                div.tick { input #show type="checkbox" name="show" value=(TROUBLE) checked[self.only_trouble];
                    label for="show" { "Only what needs a look" } }
                button type="submit" { "Filter" }
                @if self.is_filtered() { a.clear href="/" { "Show all" } }
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
                        @for environment in &environments { th scope="col" role="columnheader" { (words::name(environment)) } }
                    } }
                    tbody role="rowgroup" {
                        @for app in self.apps { tr role="row" {
                            th scope="row" role="rowheader" { a href={ "/apps/" (app.entity_id) } { (words::name(&app.name)) } }
                            @for environment in &environments {
                                @match self.places.get(&(app.entity_id.as_str(), *environment)) {
                                    Some(place) => td role="cell" data-name=(environment) { (cell(app, place, self.now)) },
                                    None => td.none role="cell" { span.unseen { "not deployed" } span aria-hidden="true" { "–" } },
                                }
                            }
                        } }
                    }
                }
            }
        }
    }

    fn places_of<'a>(&'a self, app: &'a App) -> impl Iterator<Item = &'a Place> {
        let id = app.entity_id.as_str();
        self.places.range((id, "")..).take_while(move |((of, _), _)| *of == id).map(|(_, place)| *place)
    }

    fn environments(&self) -> Vec<&str> {
        let all: BTreeSet<&str> = self.places.keys().map(|(_, environment)| *environment).collect();
        let mut all: Vec<&str> = all.into_iter().collect();
        if let Some(wanted) = self.filter.environment.as_deref() {
            all.retain(|name| *name == wanted);
        }
        all.sort_by_key(|name| order(name));
        all
    }

    fn address(&self, number: i64) -> String {
        let named = [("q", &self.filter.name), ("environment", &self.filter.environment)];
        super::layout::address("/", &named, number)
    }
}

/// Returns what runs in a place, and what came after it unless it went well.
pub(super) fn cell(app: &App, place: &Place, now: i64) -> Markup {
    let other = place.latest.as_ref().filter(|latest| !matches!(latest.status, Active | Inactive));
    html! {
        @match &place.active {
            Some(active) => (running(app, active, now)),
            None => span.nothing { "nothing runs" },
        }
        @if let Some(latest) = other {
            a.latest href={ "/deployments/" (latest.deployment_id) } {
                (words::status(latest.status)) " " span.version { (words::name(&latest.version)) } " "
                (words::ago(latest.deployed_at, now))
            }
        }
    }
}

fn running(app: &App, active: &Standing, now: i64) -> Markup {
    let health = words::overall(&active.health_checks).or_else(|| told(&app.health_status));
    html! {
        a.running href={ "/deployments/" (active.deployment_id) } {
            span.version { (words::name(&active.version)) }
            span.about { (words::health(health)) " " (words::ago(active.deployed_at, now)) }
        }
    }
}

/// Where an environment stands among others: from the first one that a release goes to.
pub(super) fn order(environment: &str) -> usize {
    ORDER.iter().position(|known| *known == environment).unwrap_or(ORDER.len())
}

fn latest_is(place: &Place, wanted: &[DeploymentStatus]) -> bool {
    place.latest.as_ref().is_some_and(|latest| wanted.contains(&latest.status))
}

/// Health of what runs in a place: by its checks, else what somebody told the API of the app.
fn health_of(app: &App, place: &Place) -> Option<Overall> {
    words::overall(&place.active.as_ref()?.health_checks).or_else(|| told(&app.health_status))
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
