//! Posts the end of a run to Slack. What goes wrong with that is a line, and changes nothing.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Url};

use super::own::UNACKNOWLEDGED;
use super::signals::Signals;
use crate::config::Slack;
use crate::event::DeploymentResult;
use crate::host::http;
use crate::model::{Action, Outcome};
use crate::report::delivery::{self, Answer, Limit};
use crate::report::diagnostics;
use crate::report::slack::{self, Ended};

/// Longest wait for a connection, of the 10 s that all takes.
const CONNECT: Duration = Duration::from_secs(3);

/// Returns whether the ends of a verb are told: of all that can change what runs, and of no other.
pub(super) fn is_told(action: &Action) -> bool {
    action.changes_what_runs() || *action == Action::Recover
}

/// Tells an end where `on` asks for it, and returns whether it did.
///
/// # Errors
/// Why Slack was not told, or may not have been, in one line that does not say the address.
pub(super) async fn tell(channel: &Slack, ended: &Ended<'_>) -> Result<bool, String> {
    let result = &ended.end.result;
    if !channel.on.covers(result.outcome, result.changed) {
        return Ok(false);
    }
    let limit = if is_cancelled(result) { Limit::CANCELLED } else { Limit::USUAL };
    let webhook = channel.webhook.as_ref().map_err(Clone::clone)?;
    let (client, address) = (client()?, address(webhook.reveal())?);
    let message = slack::message(ended).to_string();
    let sent = tokio::select! {
        sent = delivery::send(|| post(&client, &address, &message), slack::judged, limit) => sent,
        () = stopped() => return Err("the job was stopped meanwhile".to_owned()),
    };
    sent.map(|()| true).map_err(|why| why.with_hint(slack::hint(&why)))
}

/// Whether the job is being cancelled, and will be killed soon: also when the host did not acknowledge it.
pub(super) fn is_cancelled(result: &DeploymentResult) -> bool {
    let is_unacknowledged = result.errors.iter().any(|failure| failure.code == UNACKNOWLEDGED);
    result.outcome == Outcome::Cancelled || is_unacknowledged
}

/// Waits for a signal: whoever stops the job does not wait for Slack.
pub(super) async fn stopped() {
    match Signals::new() {
        Ok(mut signals) => signals.raised().await,
        Err(_) => std::future::pending().await,
    }
}

fn address(written: &str) -> Result<Url, String> {
    let url = Url::parse(written).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| {
        "the webhook is not an http or https address (it is not shown); set its variable to the address that \
         Slack gave"
            .to_owned()
    })
}

/// A client that goes through the proxy of the job (`HTTPS_PROXY`, `NO_PROXY`), and follows nobody elsewhere.
fn client() -> Result<Client, String> {
    let client = http::http_builder().connect_timeout(CONNECT).build();
    client.map_err(|error| format!("no HTTP client can be made: {}", http::in_words(&error)))
}

async fn post(client: &Client, address: &Url, message: &str) -> Result<Answer, String> {
    let request = client.post(address.clone()).header(CONTENT_TYPE, "application/json");
    let answered = request.body(message.to_owned()).send().await;
    let status = answered.as_ref().ok().map(|response| response.status().as_u16());
    // Of the address the host only: the rest of a webhook's is its password.
    diagnostics::request("POST", address.host_str().unwrap_or_default(), "slack", status);
    let response = answered.map_err(|error| http::in_words(&error))?;
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let (status, retry_after) = (response.status().as_u16(), retry_after.map(str::to_owned));
    Ok(Answer { status, retry_after, body: http::beginning_of(response).await })
}
