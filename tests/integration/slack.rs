//! What Slack is told of a run, and that a Slack which is away changes nothing.

use std::fs;

use rustix::process::Signal;

use crate::support::{
    Act, Ended, Host, Project, Reply, Run, Shim, Slack, Web, base_image, free_port, needs, seen, until,
};

/// A small app, its host, and a room to tell.
struct Stand {
    host: Host,
    project: Project,
    slack: Slack,
    port: u16,
}

impl Stand {
    fn new() -> Self {
        Self::telling(Slack::open())
    }

    fn telling(slack: Slack) -> Self {
        let host = Host::local()
            .with_env("SLACK_WEBHOOK", slack.address())
            .with_env("GITHUB_ACTOR", "octocat")
            .with_env("GITHUB_SERVER_URL", "https://github.com")
            .with_env("GITHUB_REPOSITORY", "acme/shop")
            .with_env("GITHUB_RUN_ID", "42");
        let stand = Self { project: Project::new("shop"), host, slack, port: free_port() };
        stand.configure("");
        stand
    }

    /// Changes the job.
    fn on_host(self, change: impl FnOnce(Host) -> Host) -> Self {
        Self { host: change(self.host), ..self }
    }

    /// Writes the configuration with this before it.
    fn configure(&self, before: &str) -> &Self {
        let (app, root) = (self.host.app(), self.host.root_base());
        let text =
            format!("{before}deployments:\n  {app}: {{type: docker-compose, health: {{timeout: 6s}}}}\n");
        self.project.file("deployments.yaml", text).file(
            "environments.yaml",
            format!("environments:\n  staging: {{host: local, root: '{}'}}\n", root.display()),
        );
        self
    }

    /// Makes the configuration one that is wrong, so that a run ends before anything is asked.
    fn spoil(&self) -> &Self {
        self.project.file("environments.yaml", "environments:\n  staging: {hots: local}\n");
        self
    }

    fn write(&self, version: &str, mode: &str) {
        let (image, port) = (base_image(), self.port);
        let text = format!(
            "services:\n  backend:\n    image: {image}\n    stop_grace_period: 0s\n    \
             environment: {{VERSION: '{version}', MODE: '{mode}'}}\n    ports: ['127.0.0.1:{port}:8000']\n    \
             healthcheck: {{test: [CMD, shop, get, 'localhost:8000/health'], interval: 500ms, retries: 3}}\n"
        );
        self.project.file("docker-compose.yml", text).commit(version);
    }

    fn deploy(&self, version: &str, mode: &str) -> Run {
        self.write(version, mode);
        self.run(&["deploy", "staging", "--version", version])
    }

    fn run(&self, verb: &[&str]) -> Run {
        self.host.run(&self.project, &[verb, &["--log-format", "human"]].concat())
    }

    /// What the room was told last, when it was told so often.
    #[track_caller]
    fn last(&self, count: usize) -> String {
        let messages = self.slack.messages();
        assert_eq!(messages.len(), count, "{messages:#?}");
        let last = seen(&messages[count - 1]);
        // A channel shows the first line; the next ones say the same at length.
        assert!(!last.contains(self.slack.token()), "{last}");
        last
    }
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}

#[test]
fn every_end_of_a_verb_that_changes_is_told_and_no_look() {
    needs!("docker");
    let stand = Stand::new();
    let app = stand.host.app();
    stand.deploy("1.0.0", "ok").exits(0);
    let told = stand.last(1);
    assert!(told.starts_with(&format!("✅ Succeeded: deploy of {app} 1.0.0 to staging\n")), "{told}");
    has(&told, &["*Environment* staging", "*Outcome* succeeded (exit 0)", "*Took* ", "*By* octocat"]);
    has(&told, &["<https://github.com/acme/shop/actions/runs/42|Open the run>"]);
    stand.deploy("1.0.0", "ok").exits(0);
    has(
        &stand.last(2),
        &["✅ Nothing changed: deploy", "it already ran and is healthy; nothing was changed"],
    );
    let failed = stand.deploy("1.1.0", "unhealthy").exits(4);
    let told = stand.last(3);
    assert!(
        told.starts_with(&format!("⚠️ FAILED and rolled back: deploy of {app} 1.1.0 to staging\n")),
        "{told}"
    );
    has(
        &told,
        &["1.1.0 failed and is not live. 1.0.0 is back and verified.", "*Outcome* rolled_back (exit 4)"],
    );
    has(&told, &["*What went wrong* • check backend failed: ", "*Next* "]);
    let next = failed.result()["next_step"].as_str().expect("a next step").to_owned();
    has(&told, &[next.lines().next().expect("a line")]);
    for look in [
        &["status", "staging"][..],
        &["validate", "staging"],
        &["health", "staging"],
        &["recover", "staging"],
    ] {
        let ended = stand.run(look);
        assert!(ended.code == 0, "{}", ended.told());
    }
    assert_eq!(stand.slack.posts(), 3, "a look was told");
    stand.run(&["down", "staging"]).exits(0);
    has(&stand.last(4), &["✅ Succeeded: down of ", "volumes and releases stay"]);
}

#[test]
fn an_end_before_the_start_is_told_with_what_is_known_and_on_chooses() {
    let stand = Stand::new();
    stand.spoil();
    stand.run(&["deploy", "staging"]).exits(2);
    let told = stand.last(1);
    let app = stand.host.app();
    assert!(told.starts_with(&format!("⛔ NOT STARTED: deploy of {app} to staging\n")), "{told}");
    has(&told, &["nothing was touched", "environments.staging.hots", "*Next* correct what is named above"]);
    stand.configure("notify: {slack: {on: failures}}\n");
    stand
        .project
        .file("environments.yaml", "environments:\n  staging: {host: '127.0.0.1:1', user: nobody}\n");
    stand.project.file("docker-compose.yml", "services: {web: {image: x}}\n").commit("x");
    stand.run(&["deploy", "staging"]).exits(7);
    has(&stand.last(2), &["⛔ NOT STARTED: deploy of ", "*Outcome* unreachable (exit 7)"]);
    stand
        .project
        .file("environments.yaml", "environments:\n  staging: {host: local, require_confirmation: true}\n");
    stand.run(&["deploy", "staging"]).exits(3);
    has(&stand.last(3), &["⛔ REFUSED, nothing was touched: deploy of ", "--yes"]);
    let silent =
        Stand::new().on_host(|host| host.with_env("SLACK_WEBHOOK", "").with_env("SLACK_WEBHOOK_URL", ""));
    silent.spoil();
    let ended = silent.run(&["deploy", "staging"]).exits(2);
    assert!(silent.slack.posts() == 0 && !ended.stderr.contains("Slack"), "{}", ended.told());
}

/// A run that cannot tell Slack ends as every other, with one line more.
#[track_caller]
fn untold(replies: Vec<Reply>, posts: usize, words: &str) {
    let stand = Stand::telling(Slack::answering(replies));
    stand.spoil();
    let ended = stand.run(&["deploy", "staging"]).exits(2);
    assert_eq!(stand.slack.posts(), posts, "{}", ended.told());
    stand.slack.messages();
    one_line(&ended, words);
}

#[track_caller]
fn one_line(ended: &Ended, words: &str) {
    assert_eq!(ended.result()["outcome"], "invalid");
    let lines: Vec<_> = ended.stderr.lines().filter(|line| line.contains("Slack was not told")).collect();
    assert!(lines.len() == 1 && lines[0].contains(words), "`{words}`: {}", ended.told());
}

#[test]
fn a_slack_that_is_busy_for_a_moment_is_asked_again() {
    for replies in [
        vec![Reply::from(429).header("Retry-After: 1"), Reply::ok("ok")],
        vec![500.into(), Reply::ok("ok")],
        vec![Reply::raw(""), Reply::ok("ok")],
    ] {
        let stand = Stand::telling(Slack::answering(replies));
        stand.spoil();
        let ended = stand.run(&["deploy", "staging"]).exits(2);
        assert_eq!(stand.slack.messages().len(), 2);
        assert!(!ended.stderr.contains("Slack"), "{}", ended.told());
    }
}

#[test]
fn a_slack_that_does_not_take_a_message_costs_one_line() {
    untold(vec![Reply::from(404).body("no_service")], 1, "it answered 404 no_service; make a new webhook");
    untold(vec![Reply::from(403).body("action_prohibited")], 1, "it answered 403 action_prohibited; ask");
    untold(vec![Reply::from(410).body("channel_is_archived")], 1, "410 channel_is_archived; choose another");
    untold(vec![Reply::from(400).body("invalid_payload")], 1, "it answered 400 invalid_payload; report it");
    let page = "<html>\u{1b}]0;x\u{7}\n::error::<b>sign in</b>";
    untold(vec![Reply::ok(page)], 1, "something else than Slack answered <html>");
    untold(vec![Reply::from(429).header("Retry-After: 3600")], 1, "it answered 429");
    let elsewhere = Web::start();
    let moved = Reply::from(307).header(&format!("Location: {}", elsewhere.url("/")));
    untold(vec![moved], 1, "it answered 307");
    assert!(elsewhere.requests().is_empty(), "the message was sent on");
}

#[test]
fn a_slack_that_stays_broken_or_silent_is_given_up_within_ten_seconds() {
    let broken: Vec<_> = ["500", "silence", "garbage"]
        .into_iter()
        .map(|kind| {
            std::thread::spawn(move || {
                let reply = match kind {
                    "500" => Reply::from(500),
                    "silence" => Reply::silence(),
                    _ => Reply::raw("\u{0}\u{1}garbage\r\n\r\n"),
                };
                let stand = Stand::telling(Slack::answering(vec![reply]));
                stand.spoil();
                let ended = stand.run(&["deploy", "staging"]).exits(2);
                let (posts, seconds) = (stand.slack.posts(), ended.duration.as_secs());
                match kind {
                    "500" => one_line(&ended, "it answered 500"),
                    "silence" => one_line(&ended, "no answer within 10 s"),
                    _ => one_line(&ended, "Slack was not told"),
                }
                assert!(
                    if kind == "silence" { posts == 1 } else { (3..=9).contains(&posts) },
                    "{kind}: {posts}"
                );
                assert!(seconds <= 15, "{kind}: {seconds} s");
            })
        })
        .collect();
    broken.into_iter().for_each(|thread| thread.join().expect("each kind ends well"));
}

#[test]
fn an_address_that_is_none_or_where_nobody_is_costs_one_line_and_is_never_shown() {
    let nobody = format!("http://127.0.0.1:{}/services/secret-part-of-it", free_port());
    for (address, words) in [
        ("hooks.slack.com/services/secret-part-of-it", "is not an http or https address (it is not shown)"),
        ("ftp://secret-part-of-it/x", "is not an http or https address (it is not shown)"),
        ("https://secret-part-of-it.invalid/x", "cannot resolve the name"),
        (nobody.as_str(), "connection refused"),
    ] {
        let stand = Stand::new().on_host(|host| host.with_env("SLACK_WEBHOOK", address));
        stand.spoil();
        for form in ["human", "json"] {
            let ended = stand.host.run(&stand.project, &["deploy", "staging", "--log-format", form]).exits(2);
            one_line(&ended, words);
            assert!(!ended.stderr.contains("secret-part-of-it"), "{}", ended.told());
        }
    }
}

#[test]
fn the_proxy_of_the_job_is_used() {
    let proxy = Web::start();
    let stand = Stand::new().on_host(|host| {
        host.with_env("SLACK_WEBHOOK", "https://hooks.slack.invalid/services/x")
            .with_env("HTTPS_PROXY", proxy.url(""))
    });
    stand.spoil();
    let ended = stand.run(&["deploy", "staging"]).exits(2);
    one_line(&ended, "");
    let asked: Vec<_> =
        proxy.requests().into_iter().map(|ask| format!("{} {}", ask.method, ask.path)).collect();
    assert_eq!(
        asked.first().map(String::as_str),
        Some("CONNECT hooks.slack.invalid:443"),
        "{}",
        ended.told()
    );
}

#[test]
fn a_cancelled_job_tells_slack_once_and_ends_in_time() {
    needs!("docker");
    let stand = Stand::new();
    stand.deploy("1.0.0", "ok").exits(0);
    let shim = Shim::docker();
    let silent = Slack::answering(vec![Reply::silence()]);
    let stand =
        stand.on_host(|host| host.with_path_first(shim.path()).with_env("SLACK_WEBHOOK", silent.address()));
    shim.on_first(1, &["compose", "up"], &Act::Hold);
    stand.write("1.1.0", "ok");
    let run = stand
        .host
        .spawn(&stand.project, &["deploy", "staging", "--version", "1.1.0", "--log-format", "human"]);
    until(std::time::Duration::from_secs(60), "compose up", || shim.count(&["compose", "up"]) > 0);
    run.signal(Signal::INT);
    let ended = run.wait().exits(8);
    shim.release();
    has(
        &silent.only(),
        &["⏹️ CANCELLED: deploy of ", "the host goes back to the previous release by itself"],
    );
    ended.says(&["Slack was not told: no answer within 2 s"]);
    assert_eq!(ended.result()["outcome"], "cancelled");
    let journal = stand.host.root("staging").join("state/journal.json");
    until(std::time::Duration::from_secs(60), "the host to be back", || !journal.exists());
    assert!(fs::metadata(stand.host.root("staging").join("current")).is_ok());
}

#[test]
fn a_job_that_is_stopped_meanwhile_does_not_wait_for_slack() {
    let stand = Stand::telling(Slack::answering(vec![Reply::silence()]));
    stand.spoil();
    let run = stand.host.spawn(&stand.project, &["deploy", "staging", "--log-format", "human"]);
    until(std::time::Duration::from_secs(30), "the message", || stand.slack.posts() == 1);
    run.signal(Signal::INT);
    one_line(&run.wait().exits(2), "the job was stopped meanwhile");
}
