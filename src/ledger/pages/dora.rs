//! How well deploying goes: DORA's four measures, of all apps and over time of one.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::chart::{Chart, Form, Unit, in_words};
use super::{Who, page, words};
use crate::ledger::Shared;
use crate::ledger::api::error::ApiError;
use crate::ledger::api::extract::Id;
use crate::ledger::api::fields::{Query, uuid_of_path};
use crate::ledger::store::{Entity, Figures, MEASURED_DAYS, Measures, Period, Series, Span, now};

/// Most rows of the overview.
const ROWS: usize = 500;
/// Times that can be chosen, in days, with their words.
const RANGES: [(i64, &str); 4] = [(30, "30 days"), (90, "90 days"), (180, "half a year"), (365, "a year")];
/// Longest time that is shown by days.
const BY_DAY: i64 = 90;
/// The environment that is shown when none is named.
const FIRST: &str = "production";

/// Answers the overview.
pub(super) async fn all(
    State(ledger): State<Shared>,
    who: Who,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let wanted = Query::of(raw.as_deref()).text("q").unwrap_or_default().trim().to_lowercase();
    let mut measures = ledger.store.measures(MEASURED_DAYS).await?;
    measures.retain(|one| one.figures.ended > 0 && one.app.to_lowercase().contains(&wanted));
    let body = html! {
        div.head { h1 { "How deploying goes" } p.summary { "the last 30 days; charts by app" } }
        form.filters method="get" action="/dora" role="search" {
            div { label for="q" { "App" } input #q type="search" name="q" value=(wanted) placeholder="part of its name"; }
            button type="submit" { "Filter" }
            @if !wanted.is_empty() { a.clear href="/dora" { "Show all" } }
        }
        @if measures.is_empty() {
            div.empty { p { @if wanted.is_empty() { "No deployment has ended in the last 30 days." } @else { "No app of that name has ended a deployment in the last 30 days." } } }
        } @else {
            (overview(&measures))
            @if measures.len() > ROWS { p.quiet { "The first " (ROWS) " of " (measures.len()) ": filter by a part of the name." } }
        }
        (definitions())
    };
    Ok(page("Measures", &who, body))
}

fn overview(measures: &[Measures]) -> Markup {
    let columns = ["Environment", "Deployments", "Lead time", "Change fail rate", "Recovery time"];
    html! {
        div.scroll role="region" aria-label="How deploying goes" tabindex="0" {
            table.matrix role="table" {
                caption.unseen { "The four measures by app and environment, over 30 days" }
                thead role="rowgroup" { tr role="row" {
                    th scope="col" role="columnheader" { "App" }
                    @for column in columns { th scope="col" role="columnheader" { (column) } }
                } }
                tbody role="rowgroup" {
                    @for one in measures.iter().take(ROWS) {
                        tr role="row" {
                            th scope="row" role="rowheader" { a href=(address(&one.entity_id, &one.environment, 90, Period::Week)) { (one.app) } }
                            td role="cell" data-name=(columns[0]) { span { (one.environment) } }
                            @for (name, told) in columns[1..].iter().zip(cells(&one.figures)) {
                                td role="cell" data-name=(name) { span { (told) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The four measures, in the order of the columns.
fn cells(figures: &Figures) -> [String; 4] {
    let time = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), |time| in_words(time, Unit::Time));
    let ratio = figures.failure_ratio().map_or_else(|| "–".to_owned(), |ratio| in_words(ratio, Unit::Part));
    [figures.ran.to_string(), time(figures.lead_time_s), ratio, time(figures.restore_s)]
}

/// Answers the charts of one app.
pub(super) async fn of_app(
    State(ledger): State<Shared>,
    who: Who,
    Id(id): Id,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let id = uuid_of_path("entity_id", &id)?;
    let entity = ledger.store.entity(id).await?.ok_or_else(|| ApiError::not_found("App", id))?;
    let environments = ledger.store.environments(&entity.entity_id).await?;
    let mut query = Query::of(raw.as_deref());
    let named = query.text("environment").filter(|named| environments.contains(named));
    let first = || environments.iter().find(|name| *name == FIRST).or(environments.first()).cloned();
    let Some(environment) = named.or_else(first) else {
        let body = html! {
            h1 { "How deploying " (entity.name) " goes" }
            div.empty { p { "It was never deployed." } p { a href="/dora" { "All apps" } } }
        };
        return Ok(page(&entity.name, &who, body));
    };
    let days = query.text("days").and_then(|text| text.parse().ok());
    let days = days.filter(|days| RANGES.iter().any(|(known, _)| known == days)).unwrap_or(90);
    let by = match query.text("by").as_deref() {
        Some("day") if days <= BY_DAY => Period::Day,
        _ => Period::Week,
    };
    let span = Span::until(now(), days, by);
    let series = ledger.store.series(&entity.entity_id, &environment, span).await?;
    let view = View {
        entity: &entity,
        environments: &environments,
        environment: &environment,
        days,
        by,
        span,
        series: &series,
    };
    Ok(page(&format!("{} in {environment}: how deploying goes", entity.name), &who, view.body()))
}

struct View<'a> {
    entity: &'a Entity,
    environments: &'a [String],
    environment: &'a str,
    days: i64,
    by: Period,
    span: Span,
    series: &'a Series,
}

impl View<'_> {
    fn body(&self) -> Markup {
        html! {
            nav.trail aria-label="Where this is" {
                a href="/dora" { "Measures" } span aria-hidden="true" { "›" }
                a href={ "/apps/" (self.entity.entity_id) } { (words::name(&self.entity.name)) } span aria-hidden="true" { "›" }
                span { (words::short(self.environment, 100)) }
            }
            div.head { h1 { (self.entity.name) " in " (self.environment) } p.summary { (self.summary()) } }
            (self.choice())
            @if self.series.whole.ended == 0 {
                div.empty { p { "No deployment has ended in this time." } p { "A longer one may have some." } }
            } @else {
                div.charts { (self.frequency()) (self.lead_time()) (self.failures()) (self.recovery()) }
                (self.table())
            }
            (definitions())
        }
    }

    fn summary(&self) -> Markup {
        let whole = &self.series.whole;
        html! {
            span { strong { (whole.ended) } @if whole.ended == 1 { " deployment" } @else { " deployments" } " ended since " (date(self.span.from)) }
            @if whole.failed > 0 { span { strong { (whole.failed) } " of them failed" } }
        }
    }

    fn choice(&self) -> Markup {
        html! {
            form.filters method="get" action={ "/apps/" (self.entity.entity_id) "/dora" } {
                div { label for="environment" { "Environment" }
                    select #environment name="environment" {
                        @for name in self.environments { option value=(name) selected[name == self.environment] { (name) } }
                    } }
                div { label for="days" { "Time" }
                    select #days name="days" {
                        @for (days, words) in RANGES { option value=(days) selected[days == self.days] { (words) } }
                    } }
                div { label for="by" { "By" }
                    select #by name="by" {
                        option value="week" selected[self.by == Period::Week] { "week" }
                        option value="day" selected[self.by == Period::Day] { "day, up to 90 days" }
                    } }
                button type="submit" { "Show" }
            }
        }
    }

    fn frequency(&self) -> Markup {
        let parts = self.series.parts.len() as f64;
        let mean = self.series.whole.ran as f64 / parts;
        let (title, word) = match self.by {
            Period::Day => ("Deployments a day", "a day"),
            Period::Week => ("Deployments a week", "a week"),
        };
        let big = html! { (in_words(mean, Unit::Count)) " " (word) };
        let small = html! { (self.series.whole.ran) " came to run" };
        self.card(
            "frequency",
            ("Deployment frequency", title),
            (big, small),
            (Unit::Count, Form::Bars),
            |figures| Some(figures.ran as f64),
        )
    }

    fn lead_time(&self) -> Markup {
        let big = time_or_dash(self.series.whole.lead_time_s);
        let small = if self.series.whole.lead_time_s.is_some() {
            "median, from the commit to running"
        } else {
            "no commit times were reported"
        };
        let titles = ("Change lead time", "Median time from the commit to running");
        self.card("lead", titles, (big, html! { (small) }), (Unit::Time, Form::Line), |figures| {
            figures.lead_time_s
        })
    }

    fn failures(&self) -> Markup {
        let whole = &self.series.whole;
        let big = html! { (whole.failure_ratio().map_or_else(|| "–".to_owned(), |ratio| in_words(ratio, Unit::Part))) };
        let small = html! { (whole.failed) " of " (whole.ended) " failed or were rolled back" };
        let titles = ("Change fail rate", "Part of deployments that failed or were rolled back");
        self.card("failures", titles, (big, small), (Unit::Part, Form::Bars), Figures::failure_ratio)
    }

    fn recovery(&self) -> Markup {
        let whole = &self.series.whole;
        let small = match (whole.failed, whole.restore_s) {
            (0, _) => "nothing failed",
            (_, None) => "nothing has followed what failed",
            _ => "median, from a failed deployment to what is active next",
        };
        let titles = ("Recovery time", "Median time from a failed deployment to what is active next");
        let big = time_or_dash(whole.restore_s);
        self.card("recovery", titles, (big, html! { (small) }), (Unit::Time, Form::Line), |figures| {
            figures.restore_s
        })
    }

    fn card(
        &self,
        id: &str,
        (name, title): (&str, &str),
        (big, small): (Markup, Markup),
        (unit, form): (Unit, Form),
        read: impl Fn(&Figures) -> Option<f64>,
    ) -> Markup {
        let values: Vec<Option<f64>> = self.series.parts.iter().map(read).collect();
        let dates: Vec<String> = self.dates();
        let chart = Chart { id, title, unit, form, values: &values, dates: &dates, step: self.by };
        html! {
            section.card aria-labelledby={ (id) "-name" } {
                h2 id={ (id) "-name" } { (name) }
                p.figure { strong { (big) } " " span.quiet { (small) } }
                @if values.iter().any(Option::is_some) { (chart.draw()) } @else { p.no-chart { "Nothing to draw." } }
            }
        }
    }

    fn dates(&self) -> Vec<String> {
        let begins = (0..self.series.parts.len() as i64).map(|part| self.span.from + part * self.span.step);
        begins.map(date).collect()
    }

    /// The same in numbers, for whoever does not see charts, or wants them exact.
    fn table(&self) -> Markup {
        let word = if self.by == Period::Week { "Week of" } else { "Day" };
        html! {
            details.card {
                summary { "All figures as a table" }
                div.scroll role="region" aria-label="All figures" tabindex="0" {
                    table.figures {
                        thead { tr {
                            @for column in [word, "Came to run", "Lead time", "Change fail rate", "Recovery time"] { th scope="col" { (column) } }
                        } }
                        tbody {
                            @for (begins, figures) in self.dates().iter().zip(&self.series.parts).rev() {
                                tr { th scope="row" { (begins) } @for told in cells(figures) { td { (told) } } }
                            }
                        }
                    }
                }
                p.quiet { "Days and weeks are those of UTC; the last one is under way." }
            }
        }
    }
}

fn time_or_dash(time: Option<f64>) -> Markup {
    html! { (time.map_or_else(|| "–".to_owned(), |time| in_words(time, Unit::Time))) }
}

/// What is measured, where it is shown.
fn definitions() -> Markup {
    html! {
        details.card {
            summary { "What is counted" }
            dl.terms {
                dt { "Deployment frequency" } dd { "Deployments that came to run, also when they were taken back later." }
                dt { "Change lead time" } dd { "Median time from the commit, as the job reports it, to running." }
                dt { "Change fail rate" } dd { "Part of the deployments that failed, or were rolled back at once or later." }
                dt { "Recovery time" } dd { "Median time from a failed deployment to what is active next: its own rollback, or the next deployment that comes to run." }
            }
            p.quiet { "Ways back that somebody asked for deliver no change: they are not counted, but they end a recovery. " code { "/metrics" } " says the same of 30 days." }
        }
    }
}

/// A day as `16 Nov`, in UTC.
fn date(micros: i64) -> String {
    // Such a time is made by this program only.
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%-d %b").to_string()
}

/// Returns where the charts of one environment of an app are.
pub(super) fn address(entity: &str, environment: &str, days: i64, by: Period) -> String {
    let by = if by == Period::Week { "week" } else { "day" };
    let named = [
        ("environment", &Some(environment.to_owned())),
        ("days", &Some(days.to_string())),
        ("by", &Some(by.to_owned())),
    ];
    super::layout::address(&format!("/apps/{entity}/dora"), &named, 1)
}
