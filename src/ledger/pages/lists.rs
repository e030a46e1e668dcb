//! Deployments in lists: all of them, and those of one app.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use uuid::Uuid;

use super::layout::{address, pager};
use super::session::Who;
use super::words::{ago, duration, health, name, overall, short, status};
use super::{overview, page};
use crate::ledger::Shared;
use crate::ledger::api::error::ApiError;
use crate::ledger::api::extract::Id;
use crate::ledger::api::fields::Query;
use crate::ledger::store::{App, Deployment, DeploymentFilter, DeploymentPage, Entity, Place, now};
use crate::model::lifecycle::DeploymentStatus;

/// Names of apps by their ids.
type Names = BTreeMap<String, String>;

/// Deployments on one page.
const SIZE: i64 = 50;
/// Highest page that can be asked for.
const PAGES: i64 = 1_000_000_000;

/// What somebody wants to see.
struct Wanted {
    path: String,
    environment: Option<String>,
    status: Option<String>,
    number: i64,
}

impl Wanted {
    fn of(path: String, raw: Option<&str>) -> Self {
        let mut query = Query::of(raw);
        let mut text = |name: &str| {
            let text = query.text(name)?.trim().to_owned();
            (!text.is_empty()).then_some(text)
        };
        let (environment, status) = (text("environment"), text("status"));
        let number = text("page").and_then(|text| text.parse().ok()).unwrap_or(1).clamp(1, PAGES);
        Self { path, environment, status, number }
    }

    fn filter(&self, entity: Option<Uuid>) -> DeploymentFilter {
        DeploymentFilter { entity, environment: self.environment.clone(), status: self.status.clone() }
    }

    fn filters(&self) -> Markup {
        html! {
            form.filters method="get" action=(self.path) role="search" aria-label="Filter" {
                div { label for="environment" { "Environment" }
                    input #environment type="search" name="environment" value=[self.environment.as_deref()] placeholder="any"; }
                div { label for="status" { "Status" }
                    select #status name="status" {
                        option value="" { "any" }
                        @for one in DeploymentStatus::ALL {
                            option value=(one.as_str()) selected[self.status.as_deref() == Some(one.as_str())] { (one.as_str().replace('_', " ")) }
                        }
                    }
                }
                button type="submit" { "Filter" }
                @if self.environment.is_some() || self.status.is_some() { a.clear href=(self.path) { "Show all" } }
            }
        }
    }

    fn pager(&self, total: i64) -> Markup {
        let named = [("environment", &self.environment), ("status", &self.status)];
        pager(self.number, SIZE, total, |number| address(&self.path, &named, number))
    }
}

/// Answers the list of all deployments.
pub(super) async fn all(
    State(ledger): State<Shared>,
    who: Who,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of("/deployments".to_owned(), raw.as_deref());
    let found = ledger.store.deployments(&wanted.filter(None), wanted.number, SIZE).await?;
    let mut ids: Vec<&str> =
        found.deployments.iter().map(|deployment| deployment.entity_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let names = ledger.store.names(&ids).await?;
    let body = html! {
        div.head { h1 { "Deployments" } p.summary { span { strong { (found.total) } " in all" } } }
        (wanted.filters())
        (table(&found, Some(&names), now()))
        (wanted.pager(found.total))
    };
    Ok(page("Deployments", &who, body))
}

/// Answers the page of an app.
pub(super) async fn app(
    State(ledger): State<Shared>,
    who: Who,
    Id(id): Id,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "There is no app of this id, or it was deleted.");
    let uuid = Uuid::parse_str(&id).map_err(|_| unknown())?;
    let entity = ledger.store.entity(uuid).await?.ok_or_else(unknown)?;
    let wanted = Wanted::of(format!("/apps/{uuid}"), raw.as_deref());
    let found = ledger.store.deployments(&wanted.filter(Some(uuid)), wanted.number, SIZE).await?;
    let app = App {
        entity_id: entity.entity_id.clone(),
        name: entity.name.clone(),
        kind: entity.kind.clone(),
        health_status: entity.health_status.clone(),
    };
    let mut places = ledger.store.places(std::slice::from_ref(&app)).await?;
    places.sort_by_key(|place| overview::order(&place.environment));
    let now = now();
    let body = html! {
        nav.trail aria-label="Where this is" { a href="/" { "What runs where" } span aria-hidden="true" { "›" } span { (name(&app.name)) } }
        div.head { h1 { (name(&app.name)) } p.summary { span { (short(&app.kind, 100)) } a href={ "/apps/" (app.entity_id) "/dora" } { "How deploying goes" } } }
        (about(&entity))
        @if !places.is_empty() {
            section aria-labelledby="places" {
                h2 #places { "Environments" }
                ul.places { @for place in &places { li.card { (card(&app, place, now)) } } }
            }
        }
        section aria-labelledby="deployments" {
            div.head { h2 #deployments { "Deployments" } p.summary { span { strong { (found.total) } " in all" } } }
            (wanted.filters())
            (table(&found, None, now))
            (wanted.pager(found.total))
        }
    };
    Ok(page(&short(&entity.name, 200), &who, body))
}

fn about(entity: &Entity) -> Markup {
    html! {
        @if let Some(text) = &entity.description { p { (short(text, 2000)) } }
    }
}

fn card(app: &App, place: &Place, now: i64) -> Markup {
    html! {
        h3 { (short(&place.environment, 100)) }
        (overview::cell(app, place, now))
    }
}

/// Returns deployments as a table; with the name of the app where they are of several.
fn table(found: &DeploymentPage, names: Option<&Names>, now: i64) -> Markup {
    if found.deployments.is_empty() {
        return html! { div.empty { p { "No deployment is here." } } };
    }
    html! {
        div.scroll role="region" aria-label="Deployments" tabindex="0" {
            table.list role="table" {
                caption.unseen { "Deployments, newest first" }
                thead role="rowgroup" { tr role="row" {
                    @if names.is_some() { th scope="col" role="columnheader" { "App" } }
                    th scope="col" role="columnheader" { "Version" }
                    th scope="col" role="columnheader" { "Environment" }
                    th scope="col" role="columnheader" { "Status" }
                    th scope="col" role="columnheader" { "Health" }
                    th scope="col" role="columnheader" { "When" }
                    th scope="col" role="columnheader" { "By" }
                    th scope="col" role="columnheader" { "Took" }
                } }
                tbody role="rowgroup" {
                    @for deployment in &found.deployments { (row(deployment, names, now)) }
                }
            }
        }
    }
}

fn row(deployment: &Deployment, names: Option<&Names>, now: i64) -> Markup {
    let took = deployment.deployment_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    html! {
        tr role="row" {
            @if let Some(names) = names {
                td role="cell" data-name="App" { a href={ "/apps/" (deployment.entity_id) } { (name(names.get(&deployment.entity_id).map_or("", String::as_str))) } }
            }
            td role="cell" data-name="Version" { a.version href={ "/deployments/" (deployment.deployment_id) } { (name(&deployment.version)) } }
            td role="cell" data-name="Environment" { (short(&deployment.environment, 60)) }
            td role="cell" data-name="Status" { (status(deployment.status)) }
            td role="cell" data-name="Health" {
                @match overall(&deployment.health_checks) { Some(known) => (health(Some(known))), None => span.quiet { "–" } }
            }
            td role="cell" data-name="When" { (ago(deployment.deployed_at, now)) }
            td role="cell" data-name="By" { (short(&deployment.deployed_by, 60)) }
            td role="cell" data-name="Took" { @match took { Some(0) => "under 1 s", Some(seconds) => { (duration(seconds * 1000)) }, None => span.quiet { "–" } } }
        }
    }
}
