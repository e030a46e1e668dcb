//! Requests to the ledger. Nothing here says the token, and no redirect is followed with it.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use uuid::Uuid;

use crate::config::Ledger;
use crate::host::http;
use crate::report::delivery::Answer;
use crate::report::diagnostics;
use crate::text::Secret;

/// Longest wait for a connection, and for an answer.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(8);
/// Most bytes of an answer that are read: a deployment with its logs is less.
const READ: usize = 4 * 1024 * 1024;

/// A way to the ledger.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    base: Url,
    token: Option<Secret>,
}

impl Api {
    /// Returns the way to a ledger; a proxy of the job is used, but not to this machine.
    ///
    /// # Errors
    /// Why there is none, in words without secrets.
    pub(super) fn of(ledger: &Ledger) -> Result<Self, String> {
        let base = Url::parse(&ledger.url).map_err(|_| "its address is wrong".to_owned())?;
        let builder = http::http_builder().connect_timeout(CONNECT).timeout(ANSWER);
        let host = base.host_str().unwrap_or_default();
        let is_near = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
        let client = if is_near { builder.no_proxy() } else { builder }.build();
        let client =
            client.map_err(|error| format!("no HTTP client can be made: {}", http::in_words(&error)))?;
        Ok(Self { client, base, token: ledger.token.clone() })
    }

    /// Puts a report, once.
    ///
    /// # Errors
    /// Why there was no answer, in words.
    pub(super) async fn put(&self, id: Uuid, body: String) -> Result<Answer, String> {
        let request = self.request(Method::PUT, &format!("/api/v1/reports/{id}"));
        self.ask("PUT", request.header(CONTENT_TYPE, "application/json").body(body)).await
    }

    /// Gets what is there, once.
    ///
    /// # Errors
    /// As [`Api::put`].
    pub(super) async fn get(&self, path: &str) -> Result<Answer, String> {
        self.ask("GET", self.request(Method::GET, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let request = self.client.request(method, address);
        match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    async fn ask(&self, method: &str, request: RequestBuilder) -> Result<Answer, String> {
        let answered = request.send().await;
        let status = answered.as_ref().ok().map(|response| response.status().as_u16());
        diagnostics::request(method, self.base.host_str().unwrap_or_default(), "ledger", status);
        let response = answered.map_err(|error| in_words(&error))?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let (status, retry_after) = (response.status().as_u16(), retry_after.map(str::to_owned));
        Ok(Answer { status, retry_after, body: body_of(response).await })
    }
}

fn in_words(error: &reqwest::Error) -> String {
    if error.is_timeout() { "no answer in time".to_owned() } else { http::in_words(error) }
}

/// What was read before the connection broke is judged like the rest.
async fn body_of(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < READ {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(READ);
    String::from_utf8_lossy(&bytes).into_owned()
}
