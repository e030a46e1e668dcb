//! An older commit does not replace a newer one: git says which is which, else GitHub, and never a clock.

use std::process::Command;

use serde_json::{Value, json};

use super::{Shop, findings, first_error};
use crate::support::{Ended, Host, Project, Reply, Web, needs, output};

/// GitHub's schema `commit-comparison`, of its published description of the REST API, as far as it says what must be there.
const COMPARISON: &str = r##"{
  "type": "object",
  "required": ["url", "html_url", "permalink_url", "diff_url", "patch_url", "base_commit", "merge_base_commit", "status",
    "ahead_by", "behind_by", "total_commits", "commits"],
  "properties": {
    "url": {"type": "string", "format": "uri"}, "html_url": {"type": "string", "format": "uri"},
    "permalink_url": {"type": "string", "format": "uri"}, "diff_url": {"type": "string", "format": "uri"},
    "patch_url": {"type": "string", "format": "uri"},
    "base_commit": {"$ref": "#/$defs/commit"}, "merge_base_commit": {"$ref": "#/$defs/commit"},
    "status": {"type": "string", "enum": ["diverged", "ahead", "behind", "identical"]},
    "ahead_by": {"type": "integer"}, "behind_by": {"type": "integer"}, "total_commits": {"type": "integer"},
    "commits": {"type": "array", "items": {"$ref": "#/$defs/commit"}}
  },
  "$defs": {
    "commit": {
      "type": "object",
      "required": ["author", "comments_url", "commit", "committer", "html_url", "node_id", "parents", "sha", "url"],
      "properties": {
        "url": {"type": "string", "format": "uri"}, "sha": {"type": "string"}, "node_id": {"type": "string"},
        "commit": {"type": "object", "required": ["author", "committer", "comment_count", "message", "tree", "url"]},
        "parents": {"type": "array", "items": {"type": "object", "required": ["sha", "url"]}}
      }
    }
  }
}"##;

/// GitHub, as far as it compares two commits of `octo/shop`.
struct GitHub(Web);

impl GitHub {
    fn start() -> Self {
        Self(Web::start())
    }

    fn path(base: &str, head: &str) -> String {
        format!("/api/v3/repos/octo/shop/compare/{base}...{head}")
    }

    fn says(&self, base: &str, head: &str, status: &str) {
        let commit = |sha: &str| {
            let url = format!("https://api.github.com/repos/octo/shop/commits/{sha}");
            let person = json!({"name": "o", "email": "o@example.com", "date": "2011-01-26T19:06:43Z"});
            json!({
                "sha": sha, "node_id": "x", "url": url, "html_url": url, "comments_url": url, "author": null,
                "committer": null, "parents": [],
                "commit": {"author": person, "committer": person, "comment_count": 0, "message": "::error::m",
                           "tree": {"sha": sha, "url": url}, "url": url}
            })
        };
        let url = "https://github.com/octo/shop/compare";
        let answer = json!({
            "url": url, "html_url": url, "permalink_url": url, "diff_url": url, "patch_url": url,
            "base_commit": commit(base), "merge_base_commit": commit(base), "status": status,
            "ahead_by": 1, "behind_by": 0, "total_commits": 1, "commits": [commit(head)],
        });
        let schema: Value = serde_json::from_str(COMPARISON).expect("a schema");
        jsonschema::validate(&schema, &answer).expect("GitHub would answer so");
        self.0.on_with(&Self::path(base, head), vec![Reply::ok(&answer.to_string())]);
    }

    fn job(&self, host: Host) -> Host {
        host.with_env("GITHUB_API_URL", self.0.url("/api/v3"))
            .with_env("GITHUB_REPOSITORY", "octo/shop")
            .with_env("GITHUB_TOKEN", "ghs_secret-of-the-job")
    }
}

fn checkout(shop: &Shop, commit: &str) {
    shop.project.git(&["checkout", "--quiet", "--detach", commit]);
}

/// What is said of the order: the rule, and how much it weighs.
fn order(ended: &Ended) -> Vec<(String, String)> {
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let found = ended.events_named("finding_reported").into_iter();
    let found = found.filter(|event| event["rule"].as_str().is_some_and(|rule| rule.starts_with("order.")));
    found.map(|event| (word(event, "rule"), word(event, "severity"))).collect()
}

fn one(rule: &str, severity: &str) -> Vec<(String, String)> {
    vec![(rule.to_owned(), severity.to_owned())]
}

/// Takes the shop's checkout of a commit for one that has no history, as actions/checkout makes it.
fn shallow(shop: &mut Shop, commit: &str) {
    shop.project.git(&["branch", "--force", "shallow", commit]);
    let clone = Project::without_git("shop");
    let from = format!("file://{}", shop.project.path().display());
    let mut command = Command::new("git");
    command.args(["clone", "--quiet", "--depth=1", "--branch=shallow", &from, "."]).current_dir(clone.path());
    output(&mut command);
    shop.project = clone;
}

#[test]
fn an_older_commit_is_refused_with_both_named_and_deployed_when_it_is_said() {
    needs!("docker");
    let shop = Shop::in_production(Host::local());
    let one_ = shop.project.commit("1");
    checkout(&shop, &one_);
    shop.run(&["deploy", "staging", "--version", "1"]).exits(0);
    assert_eq!(shop.release()["commit"], one_);
    shop.project.file("more", "2");
    let two = shop.project.commit("2");
    let newer = shop.run(&["deploy", "staging", "--version", "2"]).exits(0);
    assert_eq!(order(&newer), one("order.older", "passed"), "{}", newer.told());

    checkout(&shop, &one_);
    let refused = shop.run(&["deploy", "staging", "--version", "1"]).exits(3);
    let (code, message) = first_error(&refused);
    assert_eq!(code, "order.older");
    for word in [&one_[..12], &two[..12], "nothing was touched"] {
        assert!(message.contains(word), "{message}");
    }
    refused.says(&["--allow-older"]);
    assert_eq!(refused.result()["changed"], false);
    let validated = shop.run(&["validate", "staging", "--version", "1", "--output", "json"]).exits(3);
    let found = validated.json()["findings"].as_array().cloned().unwrap_or_default();
    assert!(found.iter().any(|finding| finding["rule"] == "order.older"), "{}", validated.told());
    shop.run(&["validate", "staging", "--version", "1", "--allow-older"]).exits(0);
    assert_eq!(shop.get("/version"), "2");

    // A rollback says itself that it goes back; from there the newer one is newer again.
    shop.rollback(&[]).exits(0);
    assert_eq!(shop.get("/version"), "1");
    checkout(&shop, &two);
    let again = shop.run(&["deploy", "staging", "--version", "2"]).exits(0);
    assert_eq!(order(&again), one("order.older", "passed"));
    checkout(&shop, &one_);
    let allowed = shop.run(&["deploy", "staging", "--version", "1", "--allow-older"]).exits(0);
    assert_eq!((order(&allowed), shop.get("/version")), (one("order.older", "warning"), "1".into()));
    let history = shop.run(&["history", "staging", "--output", "json"]).exits(0).json();
    assert_eq!(history[0]["commit"], one_, "{history:#}");
}

#[test]
fn another_branch_is_a_warning_and_so_is_a_project_whose_commit_nobody_knows() {
    needs!("docker");
    let mut shop = Shop::in_production(Host::local());
    let base = shop.project.commit("base");
    let left = shop.project.commit("left");
    checkout(&shop, &base);
    shop.project.file("right", "");
    let right = shop.project.commit("right");
    checkout(&shop, &left);
    let first = shop.run(&["deploy", "staging", "--version", "left"]).exits(0);
    assert_eq!(order(&first), [], "there was nothing before");
    checkout(&shop, &right);
    let apart = shop.run(&["deploy", "staging", "--version", "right"]).exits(0);
    assert_eq!(order(&apart), one("order.diverged", "warning"), "{}", apart.told());

    let files = Project::without_git("shop");
    for name in ["compose.yaml", "deployments.yaml", "environments.yaml"] {
        files.file(name, std::fs::read(shop.project.path().join(name)).expect("read a file of the project"));
    }
    shop.project = files;
    let without = shop.run(&["deploy", "staging", "--version", "files"]).exits(0);
    assert_eq!(order(&without), one("order.unknown", "warning"), "{}", without.told());
    shop.project.file("more", "");
    let neither = shop.run(&["deploy", "staging", "--version", "more"]).exits(0);
    assert_eq!(order(&neither), [], "who has no commits hears nothing of them");
}

#[test]
fn in_a_shallow_clone_github_is_asked_and_what_it_does_not_say_is_a_warning() {
    needs!("docker");
    let github = GitHub::start();
    let mut shop = Shop::in_production(github.job(Host::local()));
    let old = shop.project.commit("1");
    let new = shop.project.commit("2");
    shop.run(&["deploy", "staging", "--version", "2"]).exits(0);
    shallow(&mut shop, &old);

    github.says(&new, &old, "behind");
    let refused = shop.run(&["deploy", "staging", "--version", "1"]).exits(3);
    assert_eq!(first_error(&refused).0, "order.older");
    let asked = github.0.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let header = |name: &str| asked[0].headers.get(name).map(String::as_str);
    assert_eq!(
        (asked[0].method.as_str(), header("authorization")),
        ("GET", Some("Bearer ghs_secret-of-the-job"))
    );
    assert_eq!(header("accept"), Some("application/vnd.github+json"));
    assert_eq!(asked[0].path, format!("{}?per_page=1", GitHub::path(&new, &old)));
    assert!(header("user-agent").is_some_and(|agent| agent.starts_with("ffe-deploy/")));
    let path = GitHub::path(&new, &old);
    for (answer, says) in [
        (Reply::from(404), "does not know both commits"),
        (Reply::from(403), "does not let GITHUB_TOKEN read"),
        (Reply::from(500), "answered 500"),
        (Reply::ok("{\"status\": \"sideways\"}"), "something else than a comparison"),
        (Reply::silence(), "within 5 s"),
    ] {
        github.0.on_with(&path, vec![answer]);
        let unknown = shop.run(&["validate", "staging", "--version", "1"]).exits(0);
        assert_eq!(order(&unknown), one("order.unknown", "warning"), "{}", unknown.told());
        unknown.says(&[says, "fetch-depth: 0"]);
        assert!(!unknown.told().contains("ghs_secret"), "{}", unknown.told());
    }
    for (status, rule, severity) in [
        ("diverged", "order.diverged", "warning"),
        ("ahead", "order.older", "passed"),
        ("identical", "order.older", "passed"),
    ] {
        github.says(&new, &old, status);
        let said = shop.run(&["validate", "staging", "--version", "1"]).exits(0);
        assert_eq!(order(&said), one(rule, severity), "{}", said.told());
    }

    // Without a right to ask nobody is asked, and nothing is guessed from dates.
    let before = github.0.requests().len();
    shop.host = shop.host.without_env("GITHUB_TOKEN");
    let unknown = shop.run(&["deploy", "staging", "--version", "1"]).exits(0);
    assert_eq!(order(&unknown), one("order.unknown", "warning"));
    assert_eq!((github.0.requests().len(), findings(&unknown, "order.unknown").len()), (before, 1));
}
