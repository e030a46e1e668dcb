//! What a workflow writes, and what of it reaches the program.

use std::fs;

use super::{Shop, declared, outputs, program, step};
use crate::support::{Ended, Host, Project, Running, free_port, needs};

/// Runs the last step with a program that tells its arguments and variables.
#[track_caller]
fn told(inputs: &[(&str, &str)]) -> Ended {
    let host = Host::local();
    let project = Project::without_git("fake");
    let script = "#!/bin/bash\nfor word in \"$@\"; do printf 'argument=%s\\n' \"$word\"; done\nenv -0 | tr '\\0' '\\1'\n";
    project.executable("ffe-deploy", script);
    let binary = project.path().join("ffe-deploy").display().to_string();
    let named: Vec<_> = inputs.iter().map(|(name, value)| (format!("inputs.{name}"), *value)).collect();
    let mut known = vec![("steps.install.outputs.binary", binary.as_str())];
    known.extend(named.iter().map(|(name, value)| (name.as_str(), *value)));
    Running::start(step(&host, "run", &known), host.dir().join("none")).wait().exits(0)
}

fn arguments(ended: &Ended) -> Vec<&str> {
    ended.stdout.lines().map_while(|line| line.strip_prefix("argument=")).collect()
}

/// Value of a variable that the program has.
fn variable<'a>(ended: &'a Ended, name: &str) -> Option<&'a str> {
    let start = ended.stdout.rfind("argument=").unwrap_or_default();
    let (_, variables) = ended.stdout[start..].split_once('\n')?;
    variables.split('\x01').find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn each_input_reaches_the_program_and_only_once() {
    let special = [
        ("environment", "staging"),
        ("command", "rollback"),
        ("plan", "false"),
        ("yes", "true"),
        ("no-cache", "True"),
        ("skip-tests", "TRUE"),
        ("skip-backup", "TRUE"),
        ("adopt", "no-rollback"),
        ("allow-older", "true"),
        ("accept-drift", "true"),
        ("args", "--output\r\n\n--tail=3 and more\n"),
    ];
    let values: Vec<(String, String)> = declared("inputs")
        .into_iter()
        .map(|name| {
            let given = special.iter().find(|(special, _)| *special == name);
            let value =
                given.map_or_else(|| format!("value of {name}\n'second'"), |(_, value)| (*value).to_owned());
            (name, value)
        })
        .collect();
    let inputs: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let ended = told(&inputs);
    assert_eq!(arguments(&ended), ["rollback", "staging", "--output", "--tail=3 and more"]);
    for (name, value) in &inputs {
        let reached = match *name {
            "environment" | "command" | "args" | "binary" | "plan" => continue,
            "slack-webhook" => "SLACK_WEBHOOK".to_owned(),
            "ledger-url" => "FFE_LEDGER_URL".to_owned(),
            "ledger-token" => "FFE_LEDGER_TOKEN".to_owned(),
            "github-token" => "GITHUB_TOKEN".to_owned(),
            name => format!("FFE_DEPLOY_{}", name.replace('-', "_").to_uppercase()),
        };
        let switches = ["yes", "no-cache", "skip-tests", "skip-backup", "allow-older", "accept-drift"];
        let wanted = if switches.contains(name) { "true" } else { value };
        assert_eq!(variable(&ended, &reached), Some(wanted), "{name}");
    }
    assert!(!ended.stdout.contains("FFE_INPUT_") && !ended.stdout.contains("FFE_BINARY"), "{}", ended.told());
}

#[test]
fn inputs_that_are_not_given_or_empty_set_nothing() {
    let ended = told(&[]);
    assert_eq!(arguments(&ended), ["deploy"]);
    assert!(!ended.stdout.contains("FFE_DEPLOY_"), "{}", ended.told());
    let empty: Vec<_> = declared("inputs");
    let empty: Vec<_> = empty.iter().map(|name| (name.as_str(), "")).collect();
    let ended = told(&empty);
    assert_eq!(arguments(&ended), ["deploy"]);
    let set: Vec<_> =
        ended.stdout.split(['\x01', '\n']).filter(|line| line.starts_with("FFE_DEPLOY_")).collect();
    assert_eq!(set.len(), 2, "only what a missing secret must not hide: {set:?}");
    assert_eq!(
        (variable(&ended, "FFE_DEPLOY_HOST"), variable(&ended, "FFE_DEPLOY_SSH_KEY")),
        (Some(""), Some(""))
    );
}

#[test]
fn a_command_has_its_words_and_list_has_no_environment() {
    assert_eq!(
        arguments(&told(&[("command", "backup list"), ("environment", "prod")])),
        ["backup", "list", "prod"]
    );
    assert_eq!(arguments(&told(&[("command", "list"), ("environment", "prod")])), ["list"]);
    let inputs = [("command", "logs"), ("environment", "prod"), ("args", "backend")];
    assert_eq!(arguments(&told(&inputs)), ["logs", "prod", "backend"]);
    assert_eq!(variable(&told(&[("adopt", "true")]), "FFE_DEPLOY_ADOPT"), Some("record"));
    assert_eq!(variable(&told(&[("plan", "true")]), "FFE_DEPLOY_PLAN"), Some("true"));
}

#[test]
fn what_cannot_be_meant_is_refused_before_the_program_starts() {
    for (name, value, says) in [
        ("command", "--help", "is a verb such as deploy"),
        ("command", "deploy; touch /x", "is a verb such as deploy"),
        ("environment", "--yes", "is a name such as staging"),
        ("environment", "a%0A::error::b\n::error::c", "not `a%250A::error::b%0A::error::c`"),
        ("yes", "yes", "the input `yes` is true or false, not `yes`"),
        ("skip-backup", "1", "the input `skip-backup` is true or false"),
        ("to", "r1", "the input `to` is for `command: rollback`, and this is `deploy`"),
    ] {
        let host = Host::local();
        let known = [("steps.install.outputs.binary", "/nonexistent"), (&format!("inputs.{name}"), value)];
        let ended = Running::start(step(&host, "run", &known), host.dir().join("none")).wait().exits(2);
        assert!(ended.stdout.starts_with("::error title=ffe-deploy::"), "{}", ended.told());
        assert!(ended.stdout.contains(says) && ended.stdout.lines().count() == 1, "{}", ended.told());
        let told = outputs(&host);
        assert_eq!((told["status"].as_str(), told["outcome"].as_str()), ("failure", "invalid"));
        let summary = fs::read_to_string(host.dir().join("summary.md")).expect("a summary");
        let (title, text) = summary.split_once("\n\n").expect("a title");
        assert_eq!(title, "## ❌ ffe-deploy: invalid");
        assert!(text.lines().all(|line| line.starts_with("    ")), "{summary}");
    }
}

/// A secret that is not set comes as an input that is empty.
#[test]
fn a_host_that_is_empty_is_an_error_and_one_that_nobody_names_is_never_the_runner() {
    let shop = Shop { host: Host::local(), project: Project::new("shop"), port: free_port() };
    shop.project.file("deploy/environments.yaml", "environments:\n  staging: {host: local}\n");
    let ended = shop.begin("1.0.0", "ok", &[("inputs.host", "")]).wait().exits(2);
    ended.says(&["`FFE_DEPLOY_HOST` is empty", "is the secret there"]);
    shop.project.remove("deploy/environments.yaml");
    for kind in ["github-hosted", "self-hosted"] {
        let log = shop.host.dir().join("events.jsonl");
        let project = shop.project.path().display().to_string();
        let known = [
            ("steps.install.outputs.binary", program()),
            ("inputs.environment", "staging"),
            ("inputs.project-root", &project),
        ];
        let mut command = step(&shop.host, "run", &known);
        command.env("RUNNER_ENVIRONMENT", kind);
        let ended = Running::start(command, log).wait().exits(3);
        ended.says(&["nobody says where `staging` is", "`local` means this machine"]);
    }
    assert!(!shop.project.path().join(".ffe-deploy").exists() && shop.answers().is_none());
}

#[test]
fn an_ssh_key_that_is_empty_is_named_before_anything_is_connected() {
    let shop = Shop::new();
    let inputs = [("inputs.host", "ci@127.0.0.1:1"), ("inputs.ssh-key", "")];
    let ended = shop.begin("1.0.0", "ok", &inputs).wait().exits(2);
    ended.says(&["`FFE_DEPLOY_SSH_KEY` is set, but empty"]);
}

#[test]
fn ac_01_a_self_hosted_runner_deploys_to_itself_when_it_is_said_and_sets_every_output() {
    needs!("docker");
    let shop = Shop::new();
    fs::remove_dir_all(shop.project.path().join("deploy")).expect("no configuration");
    shop.write("", "1.0.0", "ok");
    let log = shop.host.dir().join("events.jsonl");
    let (project, event_log) = (shop.project.path().display().to_string(), log.display().to_string());
    let known = [
        ("steps.install.outputs.binary", program()),
        ("inputs.environment", "staging"),
        ("inputs.host", "local"),
        ("inputs.app", shop.host.app()),
        ("inputs.project-root", &project),
        ("inputs.event-log", &event_log),
    ];
    let mut command = step(&shop.host, "run", &known);
    command.env("RUNNER_ENVIRONMENT", "self-hosted").env("GITHUB_WORKSPACE", &project);
    let ended = Running::start(command, log).wait().exits(0);
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"), "{}", ended.told());
    let mut set: Vec<_> = outputs(&shop.host).into_keys().collect();
    let mut wanted = declared("outputs");
    set.sort();
    wanted.sort();
    assert_eq!(set, wanted);
}
