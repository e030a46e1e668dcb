//! Starting the rollback workflow of an app at GitHub: `POST /repos/{owner}/{repo}/actions/workflows/{file}/dispatches`.
//!
//! Which workflow may be started for which app is the ledger's own configuration. What a report says of its repository
//! is not asked: whoever may report could have the ledger's token work in any repository that it reaches.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::StatusCode;
use reqwest::{Certificate, Client, Response, redirect};
use serde_json::{Value, json};

use crate::model::AppName;
use crate::text::{harmless, shortened};

/// GitHub's own API.
pub const GITHUB: &str = "https://api.github.com";
/// Version of the API that tells of the run that was started; GitHub Enterprise Server knows the one before it.
const VERSION: &str = "2026-03-10";
const VERSION_BEFORE: &str = "2022-11-28";
/// Longest wait for GitHub's answer; a request to the ledger itself ends after 30 s by default.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most of an answer that is read, in bytes.
const READ: usize = 64 * 1024;
/// Most of what GitHub says that is shown, in characters.
const SHOWN: usize = 300;

/// How GitHub is reached, and what may be started there.
#[derive(Clone, Debug)]
pub struct GitHub {
    /// Address of its API, without a slash at the end.
    pub api: String,
    /// Where its token is; without one nothing is started.
    pub token: Option<TokenSource>,
    /// The allowed workflows.
    pub workflows: Vec<Workflow>,
}

/// Where the token is; it is never an argument.
#[derive(Clone)]
pub enum TokenSource {
    /// In a variable.
    Value(String),
    /// In a file, which is read each time: tokens of GitHub Apps change every hour.
    File(PathBuf),
}

impl TokenSource {
    /// Returns where `FFE_LEDGER_GITHUB_TOKEN` or `FFE_LEDGER_GITHUB_TOKEN_FILE` say that it is.
    pub fn of_environment() -> Option<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let value =
            set("FFE_LEDGER_GITHUB_TOKEN").map(|value| Self::Value(value.to_string_lossy().into_owned()));
        value.or_else(|| set("FFE_LEDGER_GITHUB_TOKEN_FILE").map(|path| Self::File(path.into())))
    }

    fn read(&self) -> Result<String, DispatchError> {
        let text = match self {
            Self::Value(text) => Ok(text.clone()),
            Self::File(path) => std::fs::read_to_string(path),
        };
        text.map(|text| text.trim().to_owned()).map_err(|error| DispatchError::NoToken(error.to_string()))
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenSource(..)")
    }
}

/// A workflow that brings an app back: `APP=OWNER/REPOSITORY/FILE[@REF]`, as `shop=acme/shop/rollback.yml@main`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// The app; nothing stands for all that have none of their own (`*`).
    pub app: Option<AppName>,
    /// Who owns the repository.
    pub owner: String,
    /// The repository.
    pub repository: String,
    /// Name of the file below `.github/workflows`.
    pub file: String,
    /// Branch or tag whose workflow runs.
    pub reference: String,
}

/// Why a text names no workflow.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no workflow; it is written APP=OWNER/REPOSITORY/FILE.yml[@REF], as shop=acme/shop/rollback.yml@main"
)]
pub struct NoWorkflow(String);

impl FromStr for Workflow {
    type Err = NoWorkflow;

    fn from_str(text: &str) -> Result<Self, NoWorkflow> {
        let read = || {
            let (app, rest) = text.trim().split_once('=')?;
            let (path, reference) = rest.split_once('@').unwrap_or((rest, "main"));
            let [owner, repository, file] = path.split('/').collect::<Vec<_>>().try_into().ok()?;
            let app = if app == "*" { None } else { Some(app.parse().ok()?) };
            let is_file = file.ends_with(".yml") || file.ends_with(".yaml");
            let is_good = [owner, repository, file].into_iter().all(|word| is_word(word, "-_."));
            (is_good && is_file && is_word(reference, "-_./")).then(|| Self {
                app,
                owner: owner.to_owned(),
                repository: repository.to_owned(),
                file: file.to_owned(),
                reference: reference.to_owned(),
            })
        };
        read().ok_or_else(|| NoWorkflow(text.to_owned()))
    }
}

/// Whether a part of an address has only what GitHub's names have, and leads nowhere else.
fn is_word(word: &str, signs: &str) -> bool {
    let is_sign = |letter: char| letter.is_ascii_alphanumeric() || signs.contains(letter);
    (1..=255).contains(&word.len())
        && word.chars().all(is_sign)
        && word.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl fmt::Display for Workflow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}@{}", self.owner, self.repository, self.file, self.reference)
    }
}

/// Checks the address of an API: https, or http on this machine.
///
/// # Errors
/// When it is none of these.
pub fn api_address(text: &str) -> Result<String, String> {
    let address = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    let is_here = matches!(address.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_safe = address.scheme() == "https" || (address.scheme() == "http" && is_here);
    if is_safe && address.username().is_empty() && address.password().is_none() {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err("an address of GitHub's API begins with https://, as https://github.example/api/v3, and has no password".to_owned())
}

/// A rollback that somebody asked for.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The app.
    pub app: &'a str,
    /// Where.
    pub environment: &'a str,
    /// The release to go back to, as the host names it; nothing leaves it to the host.
    pub to: Option<&'a str>,
    /// Why.
    pub reason: &'a str,
    /// Who asks.
    pub by: &'a str,
}

impl Order<'_> {
    /// The inputs of the workflow, in the order of `examples/workflows/rollback.yml`.
    fn inputs(&self) -> [(&'static str, &str); 5] {
        [
            ("app", self.app),
            ("environment", self.environment),
            ("to", self.to.unwrap_or_default()),
            ("reason", self.reason),
            ("requested_by", self.by),
        ]
    }

    /// Returns the command that does the same by hand, where the project is.
    pub fn command(&self) -> String {
        let mut words = vec!["ffe-deploy", "rollback", self.environment, "--app", self.app];
        if let Some(to) = self.to {
            words.extend(["--to", to]);
        }
        words.extend(["--reason", self.reason]);
        line_of(words)
    }
}

/// Why nothing was started, as far as is known.
#[derive(Clone, Debug, PartialEq)]
pub enum DispatchError {
    /// The token's file cannot be read.
    NoToken(String),
    /// GitHub was not reached.
    Unreachable(String),
    /// GitHub was asked, and did not answer.
    Unknown(String),
    /// GitHub refused: its status, what it said, and after how many seconds it may be asked again.
    Refused(u16, String, Option<u64>),
}

impl DispatchError {
    /// Returns whether the workflow may have been started all the same.
    pub fn may_have_started(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Refused(500.., ..))
    }

    /// Returns the status that whoever asked the ledger gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoToken(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unknown(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Unreachable(_) | Self::Refused(..) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Returns what happened, in one sentence.
    pub fn what(&self) -> String {
        match self {
            Self::NoToken(cause) => format!("The file with the token for GitHub could not be read: {cause}."),
            Self::Unreachable(cause) => format!("GitHub could not be reached: {cause}."),
            Self::Unknown(cause) => format!("GitHub was asked, and did not answer: {cause}."),
            Self::Refused(_, said, Some(wait)) => format!(
                "GitHub has had too many requests of this token: {said} (it can be asked again in {wait} s)."
            ),
            Self::Refused(status, said, None) => format!("GitHub refused with {status}: {said}."),
        }
    }

    /// Returns what to do next.
    pub fn next(&self, workflow: &Workflow) -> String {
        let (repository, file) = (format!("{}/{}", workflow.owner, workflow.repository), &workflow.file);
        match self {
            Self::NoToken(_) => "Give the ledger's user the file that FFE_LEDGER_GITHUB_TOKEN_FILE names, or roll back by hand.".to_owned(),
            Self::Unreachable(_) => "Ask again when the network is back, or roll back by hand.".to_owned(),
            Self::Unknown(_) | Self::Refused(500.., ..) => format!("Look at the runs of {file} in {repository} before you ask again: it may have been started."),
            Self::Refused(401, ..) => "The token has ended or was revoked: put a new one into FFE_LEDGER_GITHUB_TOKEN and start the ledger again, or roll back by hand.".to_owned(),
            Self::Refused(_, _, Some(_)) => "Wait that long and ask again, or roll back by hand.".to_owned(),
            Self::Refused(403, ..) => format!("Let the token write Actions of {repository} (a fine-grained token needs \"Actions: write\", a classic one \"repo\"), or roll back by hand."),
            Self::Refused(404, ..) => format!("See that {repository} has .github/workflows/{file} on its default branch, and that the token may see the repository; or roll back by hand."),
            Self::Refused(422, ..) => format!("See that `{}` exists there, and that {file} has `on: workflow_dispatch` with the inputs app, environment, to, reason and requested_by; or roll back by hand.", workflow.reference),
            Self::Refused(..) => "See what GitHub says, and roll back by hand meanwhile.".to_owned(),
        }
    }
}

impl GitHub {
    /// Returns the workflow that brings an app back: its own, or the one for all others.
    pub fn workflow(&self, app: &str) -> Option<&Workflow> {
        let own = self
            .workflows
            .iter()
            .find(|workflow| workflow.app.as_ref().is_some_and(|name| name.as_str() == app));
        own.or_else(|| self.workflows.iter().find(|workflow| workflow.app.is_none()))
    }

    /// Returns the command of GitHub's own program that starts a workflow.
    pub fn command(&self, workflow: &Workflow, order: &Order<'_>) -> String {
        let server = self.api.strip_prefix("https://").and_then(|rest| rest.strip_suffix("/api/v3"));
        let server = server.map(|name| format!("{name}/")).unwrap_or_default();
        let repository = format!("{server}{}/{}", workflow.owner, workflow.repository);
        let inputs = order.inputs().map(|(name, value)| format!("{name}={value}"));
        let mut words = vec![
            "gh",
            "workflow",
            "run",
            &workflow.file,
            "--repo",
            &repository,
            "--ref",
            &workflow.reference,
        ];
        inputs.iter().for_each(|input| words.extend(["-f", input]));
        line_of(words)
    }

    /// Starts a workflow; returns the address of its run when GitHub says it.
    ///
    /// # Errors
    /// When it was not started, or when that is not known.
    pub async fn start(
        &self,
        workflow: &Workflow,
        order: &Order<'_>,
    ) -> Result<Option<String>, DispatchError> {
        let token =
            self.token.as_ref().ok_or_else(|| DispatchError::NoToken("none is set".to_owned()))?.read()?;
        let Workflow { owner, repository, file, reference, .. } = workflow;
        let inputs: serde_json::Map<String, Value> =
            order.inputs().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let version = if self.api == GITHUB { VERSION } else { VERSION_BEFORE };
        let request = client()?
            .post(format!("{}/repos/{owner}/{repository}/actions/workflows/{file}/dispatches", self.api))
            .bearer_auth(token)
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", version)
            .header("content-type", "application/json")
            .body(json!({ "ref": reference, "inputs": inputs }).to_string());
        let response = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                DispatchError::Unreachable(cause_of(&error))
            } else {
                DispatchError::Unknown(cause_of(&error))
            }
        })?;
        answered(response).await
    }
}

/// A minimal image has no certificates: then Mozilla's count. Nothing is sent on to another address.
fn client() -> Result<Client, DispatchError> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("ffe-ledger/", env!("CARGO_PKG_VERSION")));
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        let own = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        builder = builder.tls_certs_only(own.filter_map(|der| Certificate::from_der(der).ok()));
    }
    builder.build().map_err(|error| DispatchError::Unreachable(cause_of(&error)))
}

/// The deepest cause, in GitHub's or the system's words.
fn cause_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", PATIENCE.as_secs());
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    shortened(&harmless(&deepest.to_string()), SHOWN)
}

async fn answered(response: Response) -> Result<Option<String>, DispatchError> {
    let status = response.status().as_u16();
    let wait = wait_of(&response);
    let body = body_of(response).await;
    let text = |key: &str| body[key].as_str().map(|text| shortened(&harmless(text), SHOWN));
    match status {
        // The address comes from elsewhere: only what a browser opens as a page becomes a link.
        200..=299 => Ok(text("html_url").filter(|address| address.starts_with("https://"))),
        403 | 429 if wait.is_some() => Err(DispatchError::Refused(status, said(&text), wait)),
        _ => Err(DispatchError::Refused(status, said(&text), None)),
    }
}

fn said(text: &impl Fn(&str) -> Option<String>) -> String {
    text("message").map_or_else(|| "without a word".to_owned(), |said| said.trim_end_matches('.').to_owned())
}

/// After how many seconds GitHub may be asked again, when it has had too many requests.
fn wait_of(response: &Response) -> Option<u64> {
    let number = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    if let Some(seconds) = number("retry-after") {
        return Some(seconds);
    }
    let reset = number("x-ratelimit-reset").filter(|_| number("x-ratelimit-remaining") == Some(0))?;
    let now = u64::try_from(crate::model::wall().as_second()).unwrap_or(0);
    Some(reset.saturating_sub(now).max(1))
}

/// What was read before the connection broke counts; what is no JSON is nothing.
async fn body_of(mut response: Response) -> Value {
    let mut bytes = Vec::new();
    while bytes.len() < READ {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// A line for a POSIX shell: each word is one word of it, whatever is in it.
fn line_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted = |word: &str| {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@%+,".contains(letter);
        if !word.is_empty() && word.chars().all(is_plain) {
            return word.to_owned();
        }
        format!("'{}'", word.replace('\'', r"'\''"))
    };
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_read_and_nothing_that_leads_elsewhere() {
        let read: Workflow = "shop=acme/the.shop/rollback.yml@release/1".parse().unwrap();
        assert_eq!(read.to_string(), "acme/the.shop/rollback.yml@release/1");
        let all: Workflow = "*=acme/shop/back.yaml".parse().unwrap();
        assert_eq!((all.app, all.reference.as_str()), (None, "main"));
        for wrong in [
            "",
            "shop",
            "shop=acme/shop",
            "=acme/shop/a.yml",
            "shop=acme/../a.yml",
            "shop=acme/shop/a.txt",
            "shop=a/b/c/d.yml",
            "shop=acme/shop/a.yml@",
            "shop=acme/shop/a.yml@a//b",
            "shop=ac me/shop/a.yml",
            "shop=acme/shop?x/a.yml",
            "Shop!=a/b/c.yml",
        ] {
            assert!(wrong.parse::<Workflow>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_app_has_its_own_workflow_or_the_one_for_all_others() {
        let workflows =
            ["*=acme/all/back.yml", "shop=acme/shop/back.yml"].map(|text| text.parse().unwrap()).to_vec();
        let mut github = GitHub { api: GITHUB.to_owned(), token: None, workflows };
        assert_eq!(github.workflow("shop").unwrap().repository, "shop");
        assert_eq!(github.workflow("other").unwrap().repository, "all");
        github.workflows.remove(0);
        assert_eq!(github.workflow("other"), None);
    }

    #[test]
    fn the_api_is_reached_safely_or_on_this_machine() {
        assert_eq!(api_address("https://github.example/api/v3/").unwrap(), "https://github.example/api/v3");
        assert!(api_address("http://127.0.0.1:1").is_ok());
        for wrong in ["http://github.example", "ftp://x", "x", "https://u:p@github.example"] {
            assert!(api_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn commands_are_quoted_for_a_shell() {
        let order = Order {
            app: "shop",
            environment: "production",
            to: None,
            reason: "it's `slow` $HOME",
            by: "ada",
        };
        assert_eq!(
            order.command(),
            r"ffe-deploy rollback production --app shop --reason 'it'\''s `slow` $HOME'"
        );
        let api = "https://github.example/api/v3".to_owned();
        let github = GitHub { api, token: None, workflows: Vec::new() };
        let workflow = "shop=acme/shop/back.yml@main".parse().unwrap();
        let line = github.command(&workflow, &Order { to: Some("r 1"), reason: "slow", ..order });
        let wanted = "gh workflow run back.yml --repo github.example/acme/shop --ref main -f app=shop -f environment=production \
                      -f 'to=r 1' -f reason=slow -f requested_by=ada";
        assert_eq!(line, wanted);
    }

    #[test]
    fn a_token_is_never_shown() {
        let shown = format!("{:?}", TokenSource::Value("MARKER".to_owned()));
        assert!(!shown.contains("MARKER"), "{shown}");
    }
}
