//! Text that means harm, from all who can say something to a deployment: nobody obeys it, and readers see it.

use std::fs;
use std::path::PathBuf;

use pulldown_cmark::{Event as Md, Options, Parser, Tag};

use crate::support::actions::{HARMFUL, all_obeyed, file_commands, unsafe_for_terminals};
use crate::support::{
    Ended, Host, Project, Reply, Slack, Sshd, SshdOptions, Web, base_image, free_port, needs,
};

/// As bad as a version can be: 128 printable characters without a space.
const VERSION: &str = "::error::##[x]<!channel>|[harm](http://harm.example)`$(harm)";
/// Files that git tracks.
const NAMES: [&str; 4] = [
    "::error::harm",
    "a\n##[error]harm\u{1b}[2J",
    "| harm |[harm](http:harm)<img src=x>",
    "@channel <!channel>`harm",
];

struct Stand {
    host: Host,
    project: Project,
    sshd: Sshd,
    slack: Slack,
    web: Web,
    port: u16,
}

impl Stand {
    fn new() -> Self {
        let host = Host::local();
        let banner = host.dir().join("banner");
        fs::write(&banner, harm()).expect("write the banner");
        let config = vec![format!("Banner {}", banner.display())];
        let sshd = Sshd::start_with(&SshdOptions { config, ..SshdOptions::default() });
        let (slack, web) = (Slack::open(), Web::start());
        web.on_with("/health", vec![Reply::from(500).body(&harm())]);
        let host = sshd
            .reached_by(host)
            .with_env("SLACK_WEBHOOK", slack.address())
            .with_env("GITHUB_ACTIONS", "true")
            .with_env("GITHUB_ACTOR", HARMFUL.concat().replace('\0', ""))
            .with_env("GITHUB_SERVER_URL", "https://github.com")
            .with_env("GITHUB_REPOSITORY", "acme/shop")
            .with_env("GITHUB_RUN_ID", "42");
        Self { host, project: Project::new("shop"), sshd, slack, web, port: free_port() }
    }

    fn write(&self, mode: &str, checks: &str) {
        let (image, app, port) = (base_image(), self.host.app(), self.port);
        let harm = harm();
        for name in NAMES {
            self.project.file(name, mode);
        }
        self.project
            .file("app/harm", &harm)
            .file("app/Dockerfile", format!("FROM {image}\nCOPY harm /harm\nUSER 0:0\nRUN cat /harm; cat /harm >&2; echo {mode}\nUSER 10001\n"))
            .executable("check.sh", "#!/bin/sh\ncat app/harm; cat app/harm >&2; exit 1\n")
            .file(
                "docker-compose.yml",
                format!(
                    "services:\n  backend:\n    build: app\n    command: [sh, -c, 'cat /harm; cat /harm >&2; exec shop serve']\n    \
                     stop_grace_period: 0s\n    environment: {{MODE: {mode}}}\n    labels: {{note: '::error::harm'}}\n    \
                     ports: ['127.0.0.1:{port}:8000']\n    healthcheck: {{test: [CMD-SHELL, 'cat /harm; shop get localhost:8000/health'], interval: 500ms, retries: 3}}\n"
                ),
            )
            .file(
                "deployments.yaml",
                format!("deployments:\n  {app}:\n    type: docker-compose\n    health: {{timeout: 5s, checks: [{checks}]}}\n"),
            )
            .file("environments.yaml", format!("environments:\n  staging: {{root: '{}'}}\n", self.sshd.dir().join("srv").display()));
        self.project.commit("::error::harm");
    }

    fn files(&self, run: &str) -> [PathBuf; 2] {
        ["output", "summary"].map(|name| self.host.dir().join(format!("{run}-{name}")))
    }

    /// Runs a verb as a step of its own.
    fn run(&mut self, run: &str, code: i32, arguments: &[&str]) -> Ended {
        let [output, summary] = self.files(run);
        let host = std::mem::replace(&mut self.host, Host::local());
        self.host = host.with_env("GITHUB_OUTPUT", output).with_env("GITHUB_STEP_SUMMARY", summary);
        self.host.run(&self.project, arguments).exits(code)
    }

    #[track_caller]
    fn does_no_harm(&self, run: &str, ended: &Ended) {
        for (name, stream) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
            assert_eq!(unsafe_for_terminals(stream), None, "{name}: {}", ended.told());
            for command in all_obeyed(stream) {
                let is_ours = match command.name.as_str() {
                    "group" => command.message.starts_with("▸ "),
                    "endgroup" => command.message.is_empty(),
                    "add-mask" => {
                        self.slack.address().contains(&command.message) || is_form(&command.message)
                    }
                    "error" | "warning" | "notice" => command.properties.contains("title="),
                    _ => false,
                };
                assert!(is_ours, "{name} has {command:?}");
            }
        }
        for event in &ended.events {
            let line = event.to_string();
            assert_eq!(unsafe_for_terminals(&line), None, "{line}");
        }
        let [output, summary] = self.files(run).map(|path| fs::read_to_string(path).expect("GitHub's file"));
        let outputs = file_commands(&output).expect("outputs that the runner can read");
        assert_eq!(outputs.len(), 10, "{output}");
        assert!(outputs.iter().all(|(_, value)| !value.contains('\n')), "{output}");
        is_plain(&summary);
    }
}

/// Everything harmful, one after the other.
fn harm() -> String {
    HARMFUL.join("\n") + "\n"
}

/// What the runner is told to mask is made of the address: encoded, there is no `harm` in it.
fn is_form(mask: &str) -> bool {
    !mask.contains("harm") && mask.len() >= 4
}

/// The summary has no link but ours, no image, and no HTML but what folds.
#[track_caller]
fn is_plain(summary: &str) {
    assert_eq!(unsafe_for_terminals(summary), None);
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut in_code = false;
    for event in Parser::new_ext(summary, options | Options::ENABLE_GFM | Options::ENABLE_FOOTNOTES) {
        match &event {
            Md::Start(Tag::Link { dest_url, .. }) => {
                let ours = ["https://github.com/acme/shop/", "http://127.0.0.1:"];
                assert!(ours.iter().any(|start| dest_url.starts_with(start)), "{dest_url} in\n{summary}");
            }
            Md::Start(Tag::Image { .. } | Tag::FootnoteDefinition(_)) | Md::TaskListMarker(_) => {
                panic!("{event:?} in\n{summary}")
            }
            Md::Html(html) | Md::InlineHtml(html) => {
                for tag in html.split('<').skip(1).filter_map(|tag| tag.split_once('>')) {
                    let known = ["details", "/details", "summary", "/summary", "br", "code", "/code"];
                    assert!(known.contains(&tag.0), "<{}> in\n{summary}", tag.0);
                }
            }
            Md::Start(Tag::CodeBlock(_)) => in_code = true,
            Md::End(pulldown_cmark::TagEnd::CodeBlock) => in_code = false,
            Md::Text(text) if !in_code => assert!(!text.contains("://harm"), "{text} in\n{summary}"),
            _ => {}
        }
    }
}

#[test]
fn what_anybody_says_is_seen_and_nobody_obeys_it() {
    needs!("docker", "sshd");
    let mut stand = Stand::new();
    stand.write("ok", "");
    let first = stand.run("first", 0, &["deploy", "staging", "--version", VERSION]);
    stand.does_no_harm("first", &first);
    let checks = format!(
        "{{name: web, http: '{}'}}, {{name: smoke, command: [./check.sh]}}",
        stand.web.url("/health")
    );
    stand.write("unhealthy", &checks);
    let failed = stand.run("failed", 4, &["deploy", "staging", "--version", "2"]);
    stand.does_no_harm("failed", &failed);
    let told: String = failed.events.iter().map(ToString::to_string).collect();
    for seen in ["stop-commands::harm", "script>harm", "error]harm"] {
        assert!(told.contains(seen), "`{seen}` is not shown: {told:.5000}");
    }
    stand.project.file(
        "docker-compose.yml",
        "services:\n  backend: {'::error::harm <img src=x>': '\\e[2J##[error]harm'}\n",
    );
    stand.project.commit("broken");
    let refused = stand.run("refused", 3, &["deploy", "staging"]);
    stand.does_no_harm("refused", &refused);
    for verb in [
        &["logs", "staging"][..],
        &["logs", "staging", "backend"],
        &["status", "staging"],
        &["history", "staging"],
        &["history", "staging", "--output", "json"],
    ] {
        let run = stand.host.run(&stand.project, verb);
        let ended = run.exits(0);
        for stream in [&ended.stdout, &ended.stderr] {
            assert_eq!(unsafe_for_terminals(stream), None, "{}", ended.told());
            let foreign = all_obeyed(stream).into_iter().filter(|command| command.name != "add-mask");
            assert_eq!(foreign.count(), 0, "{}", ended.told());
        }
    }
    assert_eq!(stand.slack.messages().len(), 3);
    let run =
        stand.host.run_bare(stand.project.path(), &["deploy", "--log-level", "\n::error::harm\u{1b}[2J"]);
    let ended = run.exits(2);
    let commands = all_obeyed(&ended.stderr);
    assert!(commands.is_empty() && unsafe_for_terminals(&ended.stderr).is_none(), "{}", ended.told());
}
