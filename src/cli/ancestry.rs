//! Whether what is to be deployed comes after what runs: git is asked, then GitHub; never a clock.
//!
//! Enter by [`judge`], with what the host says of its current release. What cannot be known is a warning.

use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::surroundings::Surroundings;
use crate::config;
use crate::host::http;
use crate::host::process::{self, Command};
use crate::model::{Action, Finding, ReleaseId};
use crate::report::diagnostics;

/// Longest wait for git, which only reads what is there.
const GIT: Duration = Duration::from_secs(10);
/// Longest wait for GitHub's whole answer.
const GITHUB: Duration = Duration::from_secs(5);
/// Most bytes of that answer that are read: it lists up to 300 files with their changes.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// Address of GitHub's API, where the job does not say another.
const GITHUB_API: &str = "https://api.github.com";
/// Digits of a commit that are shown.
const SHOWN: usize = 12;

/// What the host says of the release that would be replaced.
pub(super) struct Running {
    /// Its id.
    pub release: ReleaseId,
    /// Its label.
    pub version: String,
    /// The commit that it was made of, when that is known.
    pub commit: Option<String>,
}

/// What is to take its place.
pub(super) struct Coming<'a> {
    /// What is done.
    pub action: &'a Action,
    /// Where the project lies.
    pub directory: &'a Path,
    /// Its label.
    pub version: &'a str,
    /// Its commit, when there is one.
    pub commit: Option<&'a str>,
    /// Whether it may be older.
    pub allow_older: bool,
}

/// How one commit stands to another.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Relation {
    /// The new one comes after the old one, or is the same.
    After,
    /// The new one is part of the old one's history.
    Before,
    /// Each has something that the other has not.
    Apart,
    /// Nobody could say, and why.
    Unknown(String),
}

/// Returns what is to be said of the order of what runs and what comes; nothing where neither has a commit.
pub(super) async fn judge(
    running: &Running,
    coming: &Coming<'_>,
    surroundings: &Surroundings,
) -> Option<Finding> {
    let relation = match (running.commit.as_deref(), coming.commit) {
        (None, None) => return None,
        (None, Some(_)) => Relation::Unknown(format!("release {} has no commit", running.release)),
        (Some(_), None) => Relation::Unknown("what is deployed has no commit".to_owned()),
        (Some(old), Some(new)) => relation(old, new, coming.directory, surroundings).await,
    };
    Some(finding(&relation, running, coming))
}

async fn relation(old: &str, new: &str, directory: &Path, surroundings: &Surroundings) -> Relation {
    // The old one comes from the host: nothing else than a commit's name may reach git or an address.
    if !is_commit(old) || !is_commit(new) {
        return Relation::Unknown("a commit's name is none".to_owned());
    }
    if old == new {
        return Relation::After;
    }
    match git(old, new, directory).await {
        Some(relation) => relation,
        None => match github(old, new, surroundings).await {
            Ok(relation) => relation,
            Err(why) => Relation::Unknown(format!("git does not know here (a shallow clone?), and {why}")),
        },
    }
}

/// SHA-1 or SHA-256, in full.
fn is_commit(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What git knows. In a shallow clone it finds what is there, and cannot say what is not.
async fn git(old: &str, new: &str, directory: &Path) -> Option<Relation> {
    if is_ancestor(old, new, directory).await? {
        return Some(Relation::After);
    }
    if is_ancestor(new, old, directory).await? {
        return Some(Relation::Before);
    }
    let shallow = ask_git(directory, &["rev-parse", "--is-shallow-repository"]).await?;
    (shallow.stdout.trim() == "false").then_some(Relation::Apart)
}

/// Nothing when git does not know one of the two.
async fn is_ancestor(old: &str, new: &str, directory: &Path) -> Option<bool> {
    match ask_git(directory, &["merge-base", "--is-ancestor", old, new]).await?.status.code() {
        Some(0) => Some(true),
        Some(1) => Some(false),
        _ => None,
    }
}

/// Returns when a commit was made, where git knows.
pub(super) async fn committed_at(commit: &str, directory: &Path) -> Option<jiff::Timestamp> {
    if !is_commit(commit) {
        return None;
    }
    let told = ask_git(directory, &["show", "--no-patch", "--format=%ct", commit]).await?;
    jiff::Timestamp::from_second(told.stdout.trim().parse().ok()?).ok()
}

async fn ask_git(directory: &Path, args: &[&str]) -> Option<process::Finished> {
    let settings = config::HARDENED.iter().flat_map(|setting| ["-c", setting]);
    let command = Command::new("git").args(settings).args(args.iter().copied()).directory(directory);
    let quiet = [("GIT_OPTIONAL_LOCKS", "0"), ("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C")];
    // A partial clone must not fetch, and what somebody replaced for his eyes is not the history.
    let offline = [("GIT_NO_LAZY_FETCH", "1"), ("GIT_NO_REPLACE_OBJECTS", "1")];
    let command =
        quiet.iter().chain(&offline).fold(command, |command, (name, value)| command.env(name, *value));
    // Without git, or with one that hangs, nothing is known.
    process::run_unchecked(&command.deadline(GIT), |_, _| {}).await.ok()
}

/// The one key of GitHub's answer that matters (schema `commit-comparison` of its published description).
#[derive(Deserialize)]
struct Comparison {
    status: Status,
}

/// How `head` stands to `base`.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ahead,
    Identical,
    Behind,
    Diverged,
}

/// Asks GitHub's compare API, once, and in a job that says where and by which right.
async fn github(old: &str, new: &str, surroundings: &Surroundings) -> Result<Relation, String> {
    let get = |name: &str| surroundings.get(name);
    let token = config::job_secret(&surroundings.variables, "GITHUB_TOKEN");
    let token = token.map_err(|why| format!("`GITHUB_TOKEN` {why}"))?;
    let (Some(repository), Some(token)) = (get("GITHUB_REPOSITORY"), token) else {
        return Err("there is no GITHUB_REPOSITORY and GITHUB_TOKEN to ask GitHub".to_owned());
    };
    let address =
        address(&get("GITHUB_API_URL").unwrap_or_else(|| GITHUB_API.to_owned()), &repository, old, new)
            .ok_or("GITHUB_API_URL or GITHUB_REPOSITORY is none")?;
    let answered = tokio::time::timeout(GITHUB, compare(address, token.reveal())).await;
    let comparison =
        answered.unwrap_or_else(|_| Err(format!("did not answer within {} s", GITHUB.as_secs())));
    let status = comparison.map_err(|why| format!("GitHub {why}"))?.status;
    Ok(match status {
        Status::Ahead | Status::Identical => Relation::After,
        Status::Behind => Relation::Before,
        Status::Diverged => Relation::Apart,
    })
}

fn address(api: &str, repository: &str, old: &str, new: &str) -> Option<Url> {
    let mut url = Url::parse(api).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let (owner, name) = repository.split_once('/')?;
    let basehead = format!("{old}...{new}");
    url.path_segments_mut().ok()?.pop_if_empty().extend(["repos", owner, name, "compare", &basehead]);
    // Only the status is wanted: as few commits as can be asked for.
    url.set_query(Some("per_page=1"));
    Some(url)
}

async fn compare(address: Url, token: &str) -> Result<Comparison, String> {
    let client = http::http_builder()
        .build()
        .map_err(|error| format!("cannot be asked: {}", http::in_words(&error)))?;
    let (host, path) = (address.host_str().unwrap_or_default().to_owned(), address.path().to_owned());
    let request = client.get(address).bearer_auth(token).header("accept", "application/vnd.github+json");
    let request = request.header("x-github-api-version", "2022-11-28");
    let broken = |error: reqwest::Error| format!("cannot be asked: {}", http::in_words(&error));
    let answered = request.send().await;
    let status = answered.as_ref().ok().map(|response| response.status().as_u16());
    diagnostics::request("GET", &host, &path, status);
    let mut response = answered.map_err(broken)?;
    match response.status().as_u16() {
        200 => {}
        401 | 403 => return Err("does not let GITHUB_TOKEN read this repository".to_owned()),
        404 => return Err("does not know both commits, or does not show them to GITHUB_TOKEN".to_owned()),
        status => return Err(format!("answered {status}")),
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            return Err("answered without end".to_owned());
        }
    }
    serde_json::from_slice(&body).map_err(|_| "answered something else than a comparison".to_owned())
}

fn finding(relation: &Relation, running: &Running, coming: &Coming<'_>) -> Finding {
    let named = |version: &str, commit: Option<&str>| {
        let commit = commit.map(|commit| format!(" (commit {})", commit.get(..SHOWN).unwrap_or(commit)));
        format!("{version}{}", commit.unwrap_or_default())
    };
    let old = named(&running.version, running.commit.as_deref());
    let new = named(coming.version, coming.commit);
    let finding = match relation {
        Relation::After => Finding::passed("order.older", format!("{new} comes after {old}, which runs")),
        Relation::Before => older(&new, &old, coming),
        Relation::Apart => Finding::warning(
            "order.diverged",
            format!(
                "{new} and {old}, which runs, come from different branches: what only the latter has goes"
            ),
            "merge the branch that runs if you want to keep what it has",
        ),
        Relation::Unknown(why) => Finding::warning(
            "order.unknown",
            format!("whether {new} comes after {old}, which runs, is not known: {why}"),
            "let the checkout have the whole history (`fetch-depth: 0` of actions/checkout), or give the job \
             GITHUB_TOKEN with `contents: read`",
        ),
    };
    let commits = [("running", running.commit.as_deref()), ("coming", coming.commit)];
    let known = commits.into_iter().filter_map(|(name, commit)| Some((name, commit?)));
    known.fold(finding, |finding, (name, commit)| finding.detail(name, commit))
}

fn older(new: &str, old: &str, coming: &Coming<'_>) -> Finding {
    let message = format!("{new} is older than {old}, which runs");
    // `up` runs the project as it lies: whoever lays an old one there means it.
    if coming.allow_older || *coming.action == Action::Up {
        return Finding::warning(
            "order.older",
            message,
            "deploy a newer commit when you want its changes back",
        );
    }
    let hint = "deploy a commit that has the one that runs in its history; to go back on purpose: \
                `ffe-deploy rollback`, or `--allow-older`";
    Finding::error("order.older", format!("{message}; nothing was touched"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_of_commits_are_asked_about() {
        for (name, is) in
            [("0123456789abcdefABCDEF0123456789abcdef01", true), ("--upload-pack=x", false), ("a1b2", false)]
        {
            assert_eq!(is_commit(name), is, "{name}");
        }
    }

    #[test]
    fn an_address_keeps_the_path_of_the_api_and_no_word_leaves_its_place() {
        let of = |api, repository| address(api, repository, "a", "b").map(|url| url.to_string());
        let whole = "https://ghe.example.com/api/v3/repos/o/n/compare/a...b?per_page=1";
        assert_eq!(of("https://ghe.example.com/api/v3/", "o/n").as_deref(), Some(whole));
        let odd = "https://api.github.com/repos/o/n%2F..%3Fx/compare/a...b?per_page=1";
        assert_eq!(of(GITHUB_API, "o/n/..?x").as_deref(), Some(odd));
        assert_eq!((of("file:///x", "o/n"), of(GITHUB_API, "o")), (None, None));
    }
}
