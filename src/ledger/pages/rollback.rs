//! Rolling back from a page: it asks why, shows what will run again, and has it done by whoever does deployments.
//!
//! For an app that a CI job reports that is its rollback workflow (`dispatch`), or a person with the command that is shown.
//! The record alone changes only where nothing reports: it would say what is not true otherwise.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::{Form, Who, layout, page, words};
use crate::ledger::Shared;
use crate::ledger::api::error::ApiError;
use crate::ledger::api::extract::Id;
use crate::ledger::api::fields::uuid_of_path;
use crate::ledger::dispatch::{DispatchError, Order, Workflow};
use crate::ledger::guard::Scope;
use crate::ledger::store::{
    Asked, Deployment, LifecycleError, RequestStep, Rollback, RollbackRequest, Target, now,
};
use crate::model::lifecycle::DeploymentStatus::Active;

/// Longest reason, in characters: it becomes an argument, an input of a workflow and a line of the history.
const REASON: usize = 1000;
/// Who asks where nobody needs a token.
const ANYBODY: &str = "someone without a token";

/// Returns the button of a deployment's page; nothing when it is not active, or may not be rolled back by this one.
pub(super) fn button(who: &Who, deployment: &Deployment) -> Markup {
    html! {
        @if deployment.status == Active && who.may(Scope::Deploy) {
            a.button href=(address(deployment)) { "Roll back…" }
        }
    }
}

/// Returns the rollbacks of a deployment that were asked for; nothing when there are none.
pub(super) fn list(requests: &[RollbackRequest]) -> Markup {
    html! {
        @if !requests.is_empty() {
            section.card aria-labelledby="asked" {
                h2 #asked { "Rollbacks that were asked for" }
                ul.requests {
                    @for request in requests {
                        li {
                            (step(request)) " " (words::ago(request.at, now())) " by " strong { (words::short(&request.who, 255)) }
                            @if let Some(version) = &request.target_version { ", back to " span.version { (words::short(version, 255)) } }
                            p.reason { (words::short(&request.reason, REASON)) }
                            p.quiet { (request.workflow) @if let Some(detail) = &request.detail { ": " (detail_of(detail)) } }
                        }
                    }
                }
            }
        }
    }
}

fn step(request: &RollbackRequest) -> Markup {
    let (class, word) = match request.step {
        RequestStep::Started => ("runs", "workflow started"),
        RequestStep::Refused => ("bad", "not started"),
        RequestStep::Asked | RequestStep::Unknown => ("warn", "not known whether started"),
    };
    html! { span class={ "status still " (class) } { (words::sign(class)) (word) } }
}

fn detail_of(detail: &str) -> Markup {
    html! { @if detail.starts_with("https://") { a href=(detail) rel="noreferrer" { "its run" } } @else { (detail) } }
}

fn address(deployment: &Deployment) -> String {
    format!("/deployments/{}/rollback", deployment.deployment_id)
}

/// Answers the form.
pub(super) async fn show(State(ledger): State<Shared>, who: Who, Id(id): Id) -> Result<Response, ApiError> {
    who.need(Scope::Deploy)?;
    let plan = Plan::of(&ledger, &id).await?;
    Ok(plan.page(&who, &Sent::default(), None))
}

/// Does what the form asks for.
pub(super) async fn send(
    State(ledger): State<Shared>,
    who: Who,
    Id(id): Id,
    mut form: Form,
) -> Result<Response, ApiError> {
    who.need(Scope::Deploy)?;
    let plan = Plan::of(&ledger, &id).await?;
    let sent = Sent {
        reason: form.text("reason").unwrap_or_default().replace("\r\n", "\n"),
        target: form.text("target"),
        again: form.text("again").is_some(),
    };
    if let Some(wrong) = sent.wrong() {
        return Ok(with_status(StatusCode::UNPROCESSABLE_ENTITY, plan.page(&who, &sent, Some(wrong))));
    }
    if let Some(why) = plan.refused(&sent) {
        return Ok(with_status(StatusCode::CONFLICT, plan.page(&who, &sent, Some(why))));
    }
    let by = who.name().unwrap_or(ANYBODY);
    match (&plan.app, &plan.workflow) {
        (None, _) => plan.change_record(&ledger, &sent, by).await,
        (Some(app), Some(workflow)) if plan.can_start => {
            plan.start(&ledger, &who, (app, workflow), &sent).await
        }
        (Some(app), _) => {
            tracing::info!(
                target: "audit", deployment_id = plan.current.deployment_id, by, reason = sent.reason,
                "the command of a rollback was shown"
            );
            Ok(page("Roll back by hand", &who, plan.by_hand(&ledger, app, by, &sent)))
        }
    }
}

/// What came with the form.
#[derive(Debug, Default)]
struct Sent {
    reason: String,
    target: Option<String>,
    again: bool,
}

impl Sent {
    fn wrong(&self) -> Option<&'static str> {
        let is_good = |letter: char| !letter.is_control() || letter == '\n';
        match self.reason.chars().count() {
            0 => Some("Say why: the reason stands in the history, and nobody remembers it otherwise."),
            count if count > REASON => Some("The reason is too long: it has at most 1,000 characters."),
            _ if !self.reason.chars().all(is_good) => Some("The reason has characters that are no text."),
            _ => None,
        }
    }
}

/// What a rollback of one deployment would be.
struct Plan {
    current: Deployment,
    name: String,
    /// The app that jobs report; nothing when none does.
    app: Option<String>,
    workflow: Option<Workflow>,
    can_start: bool,
    targets: Vec<Target>,
    requests: Vec<RollbackRequest>,
}

impl Plan {
    async fn of(ledger: &Shared, id: &str) -> Result<Self, ApiError> {
        let id = uuid_of_path("deployment_id", id)?;
        let current =
            ledger.store.deployment(id).await?.ok_or_else(|| ApiError::not_found("Deployment", id))?;
        let entity = uuid_of_path("entity_id", &current.entity_id)?;
        let name = ledger
            .store
            .entity(entity)
            .await?
            .map_or_else(|| current.entity_id.clone(), |entity| entity.name);
        let app = ledger.store.reported_app(&current.entity_id).await?;
        let github = &ledger.settings.github;
        let workflow = app.as_deref().and_then(|app| github.workflow(app)).cloned();
        Ok(Self {
            can_start: workflow.is_some() && github.token.is_some(),
            targets: ledger.store.targets(&current).await?,
            requests: ledger.store.rollback_requests(&current.deployment_id).await?,
            current,
            name,
            app,
            workflow,
        })
    }

    /// The deployment that was chosen, else the latest one.
    fn target(&self, sent: &Sent) -> Option<&Target> {
        match &sent.target {
            Some(id) => self.targets.iter().find(|target| target.deployment_id == *id),
            None => self.targets.first(),
        }
    }

    /// Why it cannot be done as it was sent.
    fn refused(&self, sent: &Sent) -> Option<&'static str> {
        if self.current.status != Active {
            return Some(
                "This deployment is not active any more; nothing was done. What runs now is on the page of the app.",
            );
        }
        if sent.target.is_some() && self.target(sent).is_none() {
            return Some(
                "The chosen version cannot be gone back to any more; nothing was done: choose again.",
            );
        }
        if self.app.is_none() && self.targets.is_empty() {
            return Some("There is no earlier deployment that succeeded; nothing was done.");
        }
        None
    }

    fn page(&self, who: &Who, sent: &Sent, wrong: Option<&str>) -> Response {
        let title = format!("Roll back {} in {}", self.name, self.current.environment);
        let body = html! {
            nav.trail aria-label="Where this is" {
                a href={ "/apps/" (self.current.entity_id) } { (words::name(&self.name)) } span aria-hidden="true" { "›" }
                a href={ "/deployments/" (self.current.deployment_id) } { (words::short(&self.current.version, 100)) " in " (words::short(&self.current.environment, 100)) }
            }
            div.head { h1 { (title) } }
            @if let Some(wrong) = wrong { p.notice.bad #wrong role="alert" { (wrong) } }
            @if self.current.status == Active {
                @if self.app.is_none() && self.targets.is_empty() {
                    div.empty { p { "There is no earlier deployment that succeeded, so nothing to go back to." } }
                } @else {
                    (self.form(who, sent, wrong))
                }
            } @else {
                div.empty {
                    p { "This deployment is " (words::status(self.current.status)) ". Only what is active is rolled back." }
                    p { a href={ "/apps/" (self.current.entity_id) } { "What runs of " (self.name) } }
                }
            }
            (list(&self.requests))
        };
        page(&title, who, body)
    }

    fn form(&self, who: &Who, sent: &Sent, wrong: Option<&str>) -> Markup {
        let current = &self.current;
        let is_wrong = wrong.is_some();
        html! {
            form.card.rollback method="post" action=(address(current)) {
                (layout::csrf(who))
                dl.terms {
                    dt { "Runs now" }
                    dd { strong.version { (words::short(&current.version, 255)) } ", deployed " (words::ago(current.deployed_at, now())) " by " (words::short(&current.deployed_by, 255)) }
                }
                @if self.targets.is_empty() {
                    p { "The ledger does not know what ran before: the host's own history decides what runs again." }
                } @else {
                    div.field {
                        label for="target" { "Will run again" }
                        select #target name="target" {
                            @for target in &self.targets {
                                option value=(target.deployment_id) selected[sent.target.as_deref() == Some(target.deployment_id.as_str())] {
                                    (words::short(&target.version, 100)) ", deployed " (day(target.deployed_at)) " by " (words::short(&target.deployed_by, 60))
                                }
                            }
                        }
                    }
                }
                div.field {
                    label for="reason" { "Why" }
                    textarea #reason name="reason" rows="3" required maxlength=(REASON) autofocus
                        aria-invalid=[is_wrong.then_some("true")] aria-describedby=(if is_wrong { "wrong how" } else { "how" }) { (sent.reason) }
                }
                @if self.requests.iter().any(|request| request.is_under_way(now())) {
                    div.field.check {
                        input #again type="checkbox" name="again" value="yes";
                        label for="again" { "Ask again, although a rollback was asked for within the last minutes" }
                    }
                }
                p.help #how { (self.how()) }
                div.actions {
                    button.primary type="submit" { (self.verb()) }
                    a.clear href={ "/deployments/" (current.deployment_id) } { "Leave it as it is" }
                }
            }
        }
    }

    fn verb(&self) -> &'static str {
        match &self.app {
            None => "Change the record",
            Some(_) if self.can_start => "Start the rollback workflow",
            Some(_) => "Show the command",
        }
    }

    /// What the button does, and what it does not.
    fn how(&self) -> Markup {
        html! {
            @match (&self.app, &self.workflow) {
                (None, _) => { "No job reports this app: the ledger's record changes, and nothing on any host." }
                (Some(_), Some(workflow)) if self.can_start => {
                    "This starts " code { (workflow.file) } " of " code { (workflow.owner) "/" (workflow.repository) } " at " code { (workflow.reference) }
                    ". Its job rolls back on the host; this page shows it as soon as the job reports."
                }
                (Some(_), Some(workflow)) => { "The ledger has no token for GitHub, so it shows the command that starts " code { (workflow) } "." }
                (Some(_), None) => { "No rollback workflow is configured for this app, so the ledger shows the command. It changes nothing itself: the job that rolls back reports it." }
            }
        }
    }

    async fn change_record(&self, ledger: &Shared, sent: &Sent, by: &str) -> Result<Response, ApiError> {
        let parsed = |id: &str| uuid_of_path("deployment_id", id);
        let order = Rollback {
            deployment: parsed(&self.current.deployment_id)?,
            reason: sent.reason.clone(),
            by: by.to_owned(),
            target: self.target(sent).map(|target| parsed(&target.deployment_id)).transpose()?,
        };
        let done = ledger.store.roll_back(&order, ledger.settings.on_conflict).await;
        done.map_err(|error: LifecycleError| ApiError::from(error))?;
        Ok(to(&format!("/deployments/{}", self.current.deployment_id)))
    }

    fn order<'a>(&'a self, app: &'a str, by: &'a str, sent: &'a Sent) -> Order<'a> {
        let to = self.target(sent).and_then(|target| target.release.as_deref());
        Order { app, environment: &self.current.environment, to, reason: &sent.reason, by }
    }

    async fn start(
        &self,
        ledger: &Shared,
        who: &Who,
        (app, workflow): (&str, &Workflow),
        sent: &Sent,
    ) -> Result<Response, ApiError> {
        let by = who.name().unwrap_or(ANYBODY);
        let named = workflow.to_string();
        let asked = Asked {
            deployment: &self.current,
            target_version: self.target(sent).map(|target| target.version.as_str()),
            workflow: &named,
            reason: &sent.reason,
            who: by,
        };
        let Some(request) = ledger.store.ask_rollback(&asked, sent.again).await? else {
            let why = "A rollback of this deployment was asked for within the last minutes, as the list below says; nothing was done. Look at its run, or ask again.";
            // Read again: the other request may be younger than this page.
            let plan = Self::of(ledger, &self.current.deployment_id).await?;
            return Ok(with_status(StatusCode::CONFLICT, plan.page(who, sent, Some(why))));
        };
        let started = ledger.settings.github.start(workflow, &self.order(app, by, sent)).await;
        let (step, detail) = match &started {
            Ok(run) => (RequestStep::Started, run.clone()),
            Err(error) if error.may_have_started() => (RequestStep::Unknown, Some(error.what())),
            Err(error) => (RequestStep::Refused, Some(error.what())),
        };
        tracing::info!(
            target: "audit", deployment_id = self.current.deployment_id, by, workflow = named, reason = sent.reason,
            step = step.as_str(), detail, "a rollback was asked for"
        );
        if let Err(error) = ledger.store.end_request(&self.current, &request, step, detail.as_deref()).await {
            // The workflow runs or does not, whatever the database says: whoever asked is told that.
            tracing::error!(%error, request, "what became of a rollback could not be kept");
        }
        match started {
            Ok(_) => Ok(to(&address(&self.current))),
            Err(error) => {
                let body = self.failed(ledger, &error, (app, workflow), (by, sent));
                Ok(with_status(error.status(), page("The rollback was not started", who, body)))
            }
        }
    }

    fn failed(
        &self,
        ledger: &Shared,
        error: &DispatchError,
        (app, workflow): (&str, &Workflow),
        (by, sent): (&str, &Sent),
    ) -> Markup {
        let known = !error.may_have_started();
        html! {
            nav.trail aria-label="Where this is" { a href=(address(&self.current)) { "Roll back " (words::name(&self.name)) } }
            h1 { @if known { "The rollback was not started" } @else { "It is not known whether the rollback was started" } }
            div.notice.bad role="alert" {
                p { (error.what()) }
                p { "The record was not changed" @if known { ", and neither was anything on a host: " strong { (words::short(&self.current.version, 255)) } " still runs." } @else { "." } }
            }
            div.card { h2 { "What to do next" } p { (error.next(workflow)) } }
            (self.commands(ledger, app, by, sent))
        }
    }

    fn by_hand(&self, ledger: &Shared, app: &str, by: &str, sent: &Sent) -> Markup {
        html! {
            nav.trail aria-label="Where this is" { a href=(address(&self.current)) { "Roll back " (words::name(&self.name)) } }
            h1 { "Roll back " (self.name) " by hand" }
            p { "Nothing was done yet. The ledger shows the rollback as soon as its job reports." }
            (self.commands(ledger, app, by, sent))
        }
    }

    fn commands(&self, ledger: &Shared, app: &str, by: &str, sent: &Sent) -> Markup {
        let order = self.order(app, by, sent);
        html! {
            section.card aria-labelledby="by-hand" {
                h2 #by-hand { "By hand" }
                @if let Some(workflow) = &self.workflow {
                    p { "With GitHub's own program, where you are signed in to it:" }
                    pre.command tabindex="0" { code { (ledger.settings.github.command(workflow, &order)) } }
                }
                p { "From a checkout of the project, with the host's key:" }
                pre.command tabindex="0" { code { (order.command()) } }
            }
        }
    }
}

fn day(micros: i64) -> String {
    crate::ledger::store::time_text(micros)
        .chars()
        .take(16)
        .map(|letter| if letter == 'T' { ' ' } else { letter })
        .collect::<String>()
        + " UTC"
}

fn with_status(status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    response
}

/// Sends the browser on, so that loading the page anew sends nothing again.
fn to(place: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    // An address of ours has only letters, digits, hyphens and slashes.
    let place = HeaderValue::from_str(place).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, place);
    response
}
