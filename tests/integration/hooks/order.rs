//! When hooks run, and what they see.

use super::stand::{Stand, hooks};
use crate::support::{base_image, needs};

const ALL: [&str; 6] = [
    "pre_build: [{name: a, run: [./note.sh]}]",
    "pre_deploy: [{name: b, run: [./note.sh]}, {name: c, shell: './note.sh && echo done'}]",
    "post_deploy: [{name: d, run: [./note.sh]}]",
    "on_failure: [{name: e, run: [./note.sh]}]",
    "on_rollback: [{name: f, run: [./note.sh]}]",
    "finally: [{name: g, run: [./note.sh]}]",
];

#[test]
fn hooks_run_in_their_order_with_what_is_known_and_not_when_nothing_changes() {
    needs!("docker", "git");
    let stand = Stand::new(&ALL);
    let ended = stand.deploy("1.0.0").exits(0);
    assert_eq!(
        stand.notes(),
        [
            "pre_deploy b 1.0.0 after none: open in setup, hello, app".replace("setup", "backing_up"),
            "pre_deploy c 1.0.0 after none: open in backing_up, hello, app".to_owned(),
            "post_deploy d 1.0.0 after none: open in verifying, hello, app".to_owned(),
            "finally g 1.0.0 after none: succeeded in complete, hello, app".to_owned(),
        ]
    );
    let told: Vec<_> = ["pre_deploy b", "pre_deploy c", "post_deploy d", "finally g"]
        .map(|hook| format!("{hook} succeeded"))
        .into();
    assert_eq!(hooks(ended.result()), told);
    let finished = ended.events_named("hook_finished");
    let all_well = finished
        .iter()
        .all(|event| event["outcome"] == "succeeded" && event["exit_code"] == 0 && event["took_ms"].is_u64());
    assert!(all_well && finished.len() == 4, "{finished:?}");
    let line = ended.events.iter().find(|event| event["event"] == "log_line" && event["text"] == "done");
    assert_eq!(line.expect("its output")["source"], "hook c");
    ended.says(&["✓ pre_deploy hook b", "✓ finally hook g"]);

    stand.forget();
    let again = stand.run(&["deploy", "staging", "--version", "1.0.0"]).exits(0);
    assert_eq!((again.result()["changed"].as_bool(), stand.notes().len()), (Some(false), 0));

    let ended = stand.deploy_bad("1.1.0").exits(4);
    assert_eq!(
        stand.order(),
        [
            "pre_deploy b 1.1.0",
            "pre_deploy c 1.1.0",
            "on_failure e 1.1.0",
            "on_rollback f 1.1.0",
            "finally g 1.1.0"
        ]
    );
    assert!(stand.notes()[3].contains("after 1.0.0: rolled_back in rolled_back"), "{:?}", stand.notes());
    assert_eq!(hooks(ended.result()).len(), 5);

    stand.deploy("1.2.0").exits(0);
    stand.forget();
    let ended = stand.run(&["rollback", "staging"]).exits(0);
    assert_eq!(stand.order(), ["on_rollback f 1.0.0", "finally g 1.0.0"]);
    assert!(stand.notes()[0].contains("after 1.2.0: succeeded"), "{:?}", stand.notes());
    assert_eq!(hooks(ended.result()), ["on_rollback f succeeded", "finally g succeeded"]);
    stand.run(&["restart", "staging"]).exits(0);
    assert_eq!(stand.notes().len(), 2, "a restart has no hooks");
}

#[test]
fn pre_build_runs_before_something_is_built_and_only_then() {
    needs!("docker", "git");
    let stand = Stand::new(&["pre_build: [{name: a, run: [./note.sh]}]"]);
    let app = stand.host.app().to_owned();
    let write = |content: &str| {
        stand.project.file("Dockerfile", format!("FROM {}\nCOPY content /content\nUSER 1\n", base_image()));
        stand.project.file("content", content);
        stand.project.file(
            "docker-compose.yml",
            format!("services:\n  backend:\n    build: .\n    image: '{app}:1'\n    stop_grace_period: 0s\n    healthcheck: {{test: [CMD, 'true'], interval: 300ms}}\n"),
        );
        stand.project.commit("next");
    };
    let deploy = || stand.run(&["deploy", "staging", "--version", "1.0.0"]).exits(0);
    write("1");
    let ended = deploy();
    let at = |name: &str, stage: &str| {
        ended.events.iter().position(|event| event["event"] == name && event["stage"] == stage)
    };
    let hook = ended.events.iter().position(|event| event["event"] == "hook_finished");
    assert!(
        at("stage_finished", "pulling") < hook && hook < at("stage_started", "building"),
        "{}",
        ended.told()
    );
    assert_eq!(stand.order(), ["pre_build a 1.0.0"]);
    deploy();
    assert_eq!(stand.order().len(), 1, "nothing was built");
    write("2");
    deploy();
    assert_eq!(stand.order().len(), 2);
    stand.run(&["build", "staging", "--no-cache"]).exits(0);
    assert_eq!(stand.order().len(), 3, "the verb builds, too");
}

#[test]
fn hooks_of_the_environment_stand_around_those_of_the_app() {
    needs!("docker", "git");
    let stand = Stand::new(&[
        "pre_deploy: [{name: app, run: [./note.sh]}]",
        "finally: [{name: app, run: [./note.sh]}]",
    ]);
    let root = stand.host.root_base();
    stand.project.file(
        "deploy/environments.yaml",
        format!(
            "environments:\n  staging:\n    host: local\n    root: '{}'\n    hooks:\n      \
             pre_deploy: [{{name: env, run: [./note.sh]}}]\n      finally: [{{name: env, run: [./note.sh]}}]\n",
            root.display()
        ),
    );
    stand.deploy("1.0.0").exits(0);
    assert_eq!(
        stand.order(),
        ["pre_deploy env 1.0.0", "pre_deploy app 1.0.0", "finally app 1.0.0", "finally env 1.0.0"]
    );
}

#[test]
fn in_place_hooks_run_where_the_project_lies() {
    needs!("docker", "git");
    let stand = Stand::new(&["pre_deploy: [{name: b, run: [./note.sh]}]"]);
    stand.project.file("deploy/environments.yaml", "environments:\n  staging: {host: local}\n");
    stand.deploy("1.0.0").exits(0);
    assert!(stand.notes()[0].ends_with(", shop"), "{:?}", stand.notes());
}

#[test]
fn the_history_and_status_list_the_hooks_that_ran_with_how_they_ended() {
    needs!("docker", "git");
    let stand = Stand::new(&[
        "pre_deploy: [{name: b, run: [./note.sh]}]",
        "post_deploy: [{name: c, shell: 'echo sorry; exit 3', on_error: warn}]",
        "finally: [{name: g, run: [./note.sh], on: runner}]",
    ]);
    stand.deploy("1.0.0").exits(0);
    let told = ["pre_deploy b succeeded", "post_deploy c failed", "finally g not_run"];
    let records = stand.run(&["history", "staging", "--output", "json"]).exits(0).json();
    let record = &records[0];
    assert_eq!(hooks(record), told, "the host cannot know what becomes of the last one: {record}");
    let failed = &record["hooks"][1];
    assert_eq!((&failed["exit_code"], &failed["detail"]), (&3.into(), &"exited with 3: sorry".into()));
    assert!(failed["took_ms"].is_u64() && failed["place"] == "host", "{failed}");
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/history.schema.json"));
    let schema = serde_json::from_str(&schema.expect("the schema is there")).expect("it is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("it is a schema");
    let errors: Vec<String> = validator.iter_errors(record).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let status = stand.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!(hooks(&status["last_deployment"]), told);
}
