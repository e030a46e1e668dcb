//! The action in a real runner of workflows, `act`, on this machine: a good deploy and a failing one.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{ROOT, Shop, declared, program};
use crate::support::{find, needs};

/// Deploys a release, then one that fails; the step after each keeps the outputs.
const WORKFLOW: &str = r#"
name: Deploy
on: push
jobs:
  staging:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - id: good
        uses: ./
        with: { environment: staging, version: 1.0.0, project-root: good }
      - env: { OUTPUTS: "${{ toJSON(steps.good.outputs) }}" }
        run: printf "%s" "$OUTPUTS" >"$TOLD/good.json"
      - id: bad
        uses: ./
        with: { environment: staging, version: 1.1.0, project-root: bad }
      - if: failure()
        env: { OUTPUTS: "${{ toJSON(steps.bad.outputs) }}" }
        run: printf "%s" "$OUTPUTS" >"$TOLD/bad.json"
"#;

/// What act has said.
struct Said {
    code: Option<i32>,
    /// Its log, a line for each line of a step.
    log: String,
    /// The summary of each step that has written one.
    summaries: Vec<String>,
}

/// Runs a workflow of the project by its event.
fn act(shop: &Shop, event: &str, more: &[&str]) -> Said {
    let config = shop.host.home().join(".config/act");
    fs::create_dir_all(&config).expect("make a directory");
    fs::write(config.join("actrc"), "").expect("act asks where it has no configuration");
    let mut command = shop.host.command(find("act").expect("act is there"));
    command.args([event, "--json", "--no-cache-server", "-P", "ubuntu-latest=-self-hosted"]).args(more);
    let done = command.current_dir(shop.project.path()).output().expect("run act");
    let (mut log, mut summaries) = (String::from_utf8_lossy(&done.stderr).into_owned(), Vec::new());
    for line in String::from_utf8_lossy(&done.stdout).lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        log += entry["msg"].as_str().unwrap_or(line).trim_end();
        log += "\n";
        if entry["command"] == "summary" {
            summaries.push(entry["content"].as_str().expect("text").to_owned());
        }
    }
    // For a composite action act tells it again.
    summaries.dedup();
    Said { code: done.status.code(), log, summaries }
}

/// Copies a file of the repository into the project.
fn copy(path: &str, shop: &Shop) {
    let bytes = fs::read(Path::new(ROOT).join(path)).expect("read a file of the action");
    shop.project.executable(path, bytes);
}

/// A project that is its own action, with a release in `good` and one that does not get healthy in `bad`.
fn two_releases() -> Shop {
    let shop = Shop::new();
    for file in ["action.yml", "Cargo.toml"] {
        copy(file, &shop);
    }
    for script in ["lib.sh", "install.sh", "run.sh"] {
        copy(&format!("scripts/action/{script}"), &shop);
    }
    shop.project.file(".github/workflows/deploy.yml", WORKFLOW);
    for (directory, version, mode) in [("good/", "1.0.0", "ok"), ("bad/", "1.1.0", "unhealthy")] {
        shop.configure(directory);
        shop.write(directory, version, mode);
    }
    shop
}

#[test]
fn a_workflow_deploys_sees_a_failing_release_rolled_back_and_uses_the_outputs() {
    needs!("docker", "act");
    let shop = two_releases();
    let told = shop.host.dir().join("told");
    fs::create_dir_all(&told).expect("make a directory");
    let variables = [format!("FFE_DEPLOY_BINARY={}", program()), format!("TOLD={}", told.display())];
    let Said { code, log, summaries } = act(&shop, "push", &["--env", &variables[0], "--env", &variables[1]]);
    assert_eq!(code, Some(1), "the job fails as its last deploy does:\n{log}");
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));

    let read = |name: &str| -> Value {
        let text = fs::read_to_string(told.join(name)).unwrap_or_else(|_| panic!("no {name}:\n{log}"));
        serde_json::from_str(&text).expect("outputs")
    };
    let (good, bad) = (read("good.json"), read("bad.json"));
    let (mut names, mut wanted) =
        (good.as_object().expect("a map").keys().collect::<Vec<_>>(), declared("outputs"));
    names.sort();
    wanted.sort();
    assert_eq!(names, wanted.iter().collect::<Vec<_>>());
    let words =
        |told: &Value| ["status", "outcome", "version", "previous-version"].map(|name| told[name].clone());
    assert_eq!(words(&good), ["success", "succeeded", "1.0.0", ""]);
    assert_eq!(words(&bad), ["failure", "rolled_back", "1.1.0", "1.0.0"]);
    assert!(good["deployment-id"].as_str().is_some_and(|id| id.starts_with("deploy-")), "{good}");
    assert!(Path::new(bad["event-log"].as_str().unwrap_or_default()).is_file(), "{bad}");

    let [good, bad] = &summaries[..] else { panic!("not two summaries: {summaries:?}\n{log}") };
    assert!(good.contains("1.0.0") && good.contains("gantt"), "{good}");
    assert!(bad.contains("rolled back") && bad.contains("backend"), "{bad}");
    let annotation = log.lines().find(|line| line.contains("::error ")).unwrap_or_default();
    assert!(annotation.contains("backend"), "an annotation names what failed:\n{log}");
}

#[test]
fn shipped_workflows_do_nothing_where_no_host_and_no_dockerfile_is() {
    needs!("act");
    for (file, event, says) in [
        ("deploy.yml", "push", "has no secret STAGING_HOST"),
        ("deploy.yml", "workflow_dispatch", "has no secret PROD_HOST"),
        ("docker-build-push.yml", "push", "There is no backend/Dockerfile"),
    ] {
        let shop = Shop::new();
        let workflow = format!(".github/workflows/{file}");
        copy(&workflow, &shop);
        shop.project.commit("workflow");
        let said = act(&shop, event, &["-W", &workflow]);
        assert_eq!(said.code, Some(0), "{file}, {event}:\n{}", said.log);
        let told = said.log.contains("::notice title=") && said.log.contains(says);
        assert!(told, "{file}, {event}:\n{}", said.log);
    }
}
