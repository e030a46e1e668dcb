//! What `deploy --plan` says of tests, hooks and checks, also of a host behind an sshd, which it does not touch.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ssh::stand as behind_sshd;
use super::stand::{Stand, hooks};
use crate::support::{Ended, Host, needs};

/// Plans as a step of a job; returns the end and the summary.
fn plan(stand: &Stand, version: &str, code: i32) -> (Ended, String) {
    let summary = stand.host.dir().join("summary.md");
    fs::remove_file(&summary).ok();
    stand.project.commit(version);
    let arguments = ["deploy", "staging", "--plan", "--version", version, "--output", "json"];
    let ended = stand.run(&arguments).exits(code);
    (ended, fs::read_to_string(summary).unwrap_or_default())
}

/// A stand whose runs are steps of a job with a summary.
fn in_a_job(stand: Stand) -> Stand {
    let summary = stand.host.dir().join("summary.md");
    let host = stand.host.with_env("GITHUB_ACTIONS", "true").with_env("GITHUB_STEP_SUMMARY", summary);
    Stand { host, ..stand }
}

/// Hooks of a plan: `pre_deploy note.sh on host`.
fn planned(ended: &Ended) -> Vec<String> {
    let hooks = ended.json()["plan"]["hooks"].as_array().cloned().unwrap_or_default();
    let text = |hook: &Value, key: &str| hook[key].as_str().unwrap_or("?").to_owned();
    let shown = |hook: &Value| {
        let only = hook["only_if"].as_str().map(|when| format!(" if {when}")).unwrap_or_default();
        format!("{} {} on {}{only}", text(hook, "kind"), text(hook, "hook"), text(hook, "place"))
    };
    hooks.iter().map(shown).collect()
}

#[test]
fn a_plan_names_the_tests_the_hooks_and_the_checks_that_would_run_and_no_secret() {
    needs!("docker", "git");
    let host = Host::local().with_env("API_TOKEN", "hunter2-canary");
    let keys = "    secrets: [API_TOKEN]\n    health: {timeout: 20s, before: require}\n    \
                test: {command: [test, --fast], timeout: 2m}\n";
    let all = [
        "pre_build: [{name: a, run: [./note.sh], on: runner}, {name: none, shell: 'exit 1'}]",
        "pre_deploy: [{name: b, run: [./note.sh, two words, hunter2-canary], timeout: 90s}]",
        "post_deploy: [{name: c, service: backend, run: [sh, -c, exit 0], on_error: warn}]",
        "on_failure: [{name: d, run: [./note.sh]}]",
        "on_rollback: [{name: e, run: [./note.sh]}]",
        "finally: [{name: f, run: [./note.sh]}, {name: g, run: [./note.sh], on: runner}]",
    ];
    let stand = in_a_job(Stand::on(host, keys, &all));
    stand.compose("1.0.0", "ok");
    let (first, summary) = plan(&stand, "1.0.0", 10);
    let of_the_first = [
        "pre_build a on runner",
        "pre_deploy b on host",
        "post_deploy c on service backend",
        "on_failure d on host if the deploy fails",
        "finally f on host",
        "finally g on runner",
    ];
    assert_eq!(planned(&first), of_the_first);
    let told = first.json()["plan"].clone();
    assert_eq!(told, first.event("plan_made")["plan"]);
    assert_eq!(told["hooks"][1]["command"], json!(["./note.sh", "two words", "***"]));
    assert_eq!(
        (&told["hooks"][1]["timeout_ms"], &told["hooks"][2]["on_error"]),
        (&json!(90_000), &json!("warn"))
    );
    assert_eq!(told["test"], json!({"command": ["test", "--fast"], "timeout_ms": 120_000}));
    assert_eq!(told["health_before"], "require");
    for part in [
        "<details><summary>3 checks</summary>",
        "| `before the deploy` | nothing: nothing is deployed yet |",
        "<details><summary>7 programs of tests and hooks</summary>",
        "| `test` | before anything else | runner | test --fast, at most 2 min 00 s |",
        "| `b` | pre\\_deploy | host | ./note.sh 'two words' ",
        "| `c` | post\\_deploy (its failure is a warning) | service backend | sh -c 'exit 0', at most 5 min 00 s |",
    ] {
        assert!(summary.contains(part), "{part} is not in\n{summary}");
    }
    assert!(!summary.contains("hunter2") && !first.stdout.contains("hunter2"), "{summary}");
    assert!(stand.notes().is_empty(), "a plan runs nothing: {:?}", stand.notes());

    // What was planned is what runs.
    let ended = stand.deploy("1.0.0").exits(0);
    let ran: Vec<String> = hooks(ended.result());
    assert_eq!(
        ran,
        ["pre_build a", "pre_deploy b", "post_deploy c", "finally f", "finally g"]
            .map(|hook| format!("{hook} succeeded"))
    );
    let (same, _) = plan(&stand, "1.0.0", 0);
    assert_eq!(planned(&same), [""; 0]);
    let skipped =
        stand.run(&["deploy", "staging", "--plan", "--version", "1.1.0", "--skip-tests", "--output", "json"]);
    assert!(skipped.exits(0).json()["plan"]["test"].is_null(), "nothing but its name is other");

    // A repair brings no release: what stands around the switch is left out.
    stand.host.docker(&["kill", &stand.containers()[0]]);
    stand.configure(&keys.replace("require", "warn"), &all);
    let (repair, _) = plan(&stand, "1.0.0", 10);
    let late = planned(&repair).into_iter().filter(|hook| !hook.starts_with("pre_build")).collect::<Vec<_>>();
    assert_eq!(late[0], "on_failure d on host if the deploy fails", "{late:?}");
    stand.host.docker(&["start", &stand.containers()[0]]);

    stand.compose("1.1.0", "ok");
    let (next, _) = plan(&stand, "1.1.0", 10);
    assert!(planned(&next).contains(&"on_rollback e on host if the release before is put back".to_owned()));
    let human = stand.run(&["deploy", "staging", "--plan", "--version", "1.1.0"]).exits(10);
    human
        .says(&["every check of 1.0.0, which runs; one that fails is a warning", "only if the deploy fails"]);
}

/// What can be seen of every file below some directories, but for the agent's cache.
fn files(directories: &[PathBuf]) -> BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut waiting = directories.to_vec();
    while let Some(path) = waiting.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        let is_cache = path.ends_with(".cache/ffe-deploy") || path.ends_with(".cache");
        if meta.is_dir() && !is_cache {
            waiting
                .extend(fs::read_dir(&path).expect("read it").map(|entry| entry.expect("an entry").path()));
        }
        let bytes = if meta.is_file() { fs::read(&path).expect("read it") } else { Vec::new() };
        let changed = if is_cache { 0 } else { meta.ctime_nsec() };
        seen.insert(path, (meta.mode(), meta.len() * u64::from(!is_cache), changed, bytes));
    }
    seen
}

/// What the engine has of an app: containers with their start, images, volumes, networks.
fn engine(stand: &Stand) -> Vec<String> {
    let app = stand.host.app().to_owned();
    let of = |arguments: &[&str]| {
        let lines = stand.host.docker(arguments);
        lines.lines().filter(|line| line.contains(&app)).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut all = of(&["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.CreatedAt}}"]);
    all.extend(of(&["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"]));
    all.extend(of(&["volume", "ls", "--format", "{{.Name}}"]));
    all.extend(of(&["network", "ls", "--format", "{{.ID}} {{.Name}}"]));
    all.sort();
    all
}

fn home_is_there(home: &Path) -> PathBuf {
    fs::create_dir_all(home.join(".cache")).expect("make a cache");
    home.to_owned()
}

#[test]
fn over_ssh_a_plan_touches_nothing_but_the_agents_cache_and_folds_differences_in_the_summary() {
    needs!("docker", "git", "sshd");
    let (sshd, stand) = behind_sshd(&["pre_deploy: [{name: b, run: [./note.sh]}]"]);
    let stand = in_a_job(stand);
    stand.project.file("conf/app.yaml", "greeting: hello\n");
    stand.compose("1.0.0", "ok");
    let places = [home_is_there(&sshd.home()), stand.host.root_base()];
    let untouched = |version: &str, code: i32| {
        stand.project.commit(version);
        let before = (files(&places), engine(&stand));
        let (ended, summary) = plan(&stand, version, code);
        let after = (files(&places), engine(&stand));
        let differ: Vec<_> =
            after.0.iter().filter(|(path, seen)| before.0.get(*path) != Some(seen)).collect();
        assert!(differ.is_empty() && before.0.len() == after.0.len(), "{differ:?}");
        assert_eq!(before.1, after.1);
        (ended, summary)
    };
    let (first, _) = untouched("1.0.0", 10);
    assert_eq!(first.json()["plan"]["services"][0]["change"], "created");
    assert_eq!(planned(&first), ["pre_deploy b on host"]);
    stand.deploy("1.0.0").exits(0);
    let (none, summary) = untouched("1.0.0", 0);
    assert_eq!(none.json()["plan"]["changes"], false);
    assert!(!summary.contains("Differences of"), "{summary}");
    stand.compose("1.1.0", "ok");
    stand.project.file("conf/app.yaml", "greeting: hi\n");
    let (next, summary) = untouched("1.1.0", 10);
    let service = &next.json()["plan"]["services"][0];
    assert_eq!(
        (&service["change"], &service["reasons"][0]),
        (&json!("recreated"), &json!({"why": "environment", "names": ["VERSION"]}))
    );
    let diff = "<details><summary>Differences of 2 files</summary>\n\n`conf/app.yaml`\n\n```diff\n@@ -1 +1 @@\n-greeting: hello\n+greeting: hi\n```";
    assert!(summary.contains(diff), "{diff} is not in\n{summary}");
    let unfolded: String = summary
        .split("<details>")
        .map(|part| part.split_once("</details>").map_or(part, |(_, rest)| rest))
        .collect();
    assert!(!unfolded.contains("greeting"), "{unfolded}");
    assert!(unfolded.contains("| `backend` | recreated | environment VERSION |"), "{unfolded}");
    assert!(stand.notes().len() == 1, "only the deploy has run a hook: {:?}", stand.notes());
}
