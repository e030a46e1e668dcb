//! The action in a real runner of workflows, `act`, on this machine: a good deploy and a failing one.

use std::fs;
use std::path::Path;

use super::{ROOT, Shop, declared, program};
use crate::support::{find, needs};

/// Deploys a release, then one that fails; the steps after each tell what they were told.
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
        run: 'printf "%s" "$OUTPUTS" >"$TOLD/good.json"; cp "$GITHUB_STEP_SUMMARY" "$TOLD/good.md"'
      - id: bad
        uses: ./
        with: { environment: staging, version: 1.1.0, project-root: bad }
      - if: failure()
        env: { OUTPUTS: "${{ toJSON(steps.bad.outputs) }}" }
        run: 'printf "%s" "$OUTPUTS" >"$TOLD/bad.json"; cp "$GITHUB_STEP_SUMMARY" "$TOLD/bad.md"'
"#;

/// Runs a workflow of the project by its event; all that act says comes with its exit code.
fn act(shop: &Shop, event: &str, more: &[&str]) -> (Option<i32>, String) {
    let config = shop.host.home().join(".config/act");
    fs::create_dir_all(&config).expect("make a directory");
    fs::write(config.join("actrc"), "").expect("act asks where it has no configuration");
    let mut command = shop.host.command(find("act").expect("act is there"));
    command.args([event, "--no-cache-server", "-P", "ubuntu-latest=-self-hosted"]).args(more);
    let done = command.current_dir(shop.project.path()).output().expect("run act");
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (code, said.concat())
}

fn copy(from: &str, shop: &Shop) {
    let bytes = fs::read(Path::new(ROOT).join(from)).expect("read a file of the action");
    shop.project.executable(from, bytes);
}

#[test]
fn a_workflow_deploys_sees_a_failing_release_rolled_back_and_uses_the_outputs() {
    needs!("docker", "act");
    let shop = Shop::new();
    for file in [
        "action.yml",
        "Cargo.toml",
        "scripts/action/lib.sh",
        "scripts/action/install.sh",
        "scripts/action/run.sh",
    ] {
        copy(file, &shop);
    }
    shop.project.file(".github/workflows/deploy.yml", WORKFLOW);
    for (directory, version, mode) in [("good/", "1.0.0", "ok"), ("bad/", "1.1.0", "unhealthy")] {
        shop.configure(directory);
        shop.write(directory, version, mode);
    }
    let told = shop.host.dir().join("told");
    fs::create_dir_all(&told).expect("make a directory");
    let environment = [format!("FFE_DEPLOY_BINARY={}", program()), format!("TOLD={}", told.display())];
    let (code, said) = act(&shop, "push", &["--env", &environment[0], "--env", &environment[1]]);
    assert_eq!(done.status.code(), Some(1), "the job fails as its last deploy does:\n{said}");

    let read =
        |name: &str| fs::read_to_string(told.join(name)).unwrap_or_else(|_| panic!("no {name}:\n{said}"));
    let good: serde_json::Value = serde_json::from_str(&read("good.json")).expect("JSON");
    let names: Vec<_> = good.as_object().expect("outputs").keys().cloned().collect();
    let mut wanted = declared("outputs");
    wanted.sort();
    assert_eq!(names, wanted);
    assert_eq!(
        (&good["status"], &good["outcome"], &good["version"]),
        (&"success".into(), &"succeeded".into(), &"1.0.0".into())
    );
    assert!(good["deployment-id"].as_str().is_some_and(|id| id.starts_with("deploy-")), "{good}");
    assert!(Path::new(good["event-log"].as_str().unwrap_or_default()).is_file(), "{good}");
    let bad: serde_json::Value = serde_json::from_str(&read("bad.json")).expect("JSON");
    assert_eq!((&bad["status"], &bad["outcome"]), (&"failure".into(), &"rolled_back".into()));
    assert_eq!((&bad["version"], &bad["previous-version"]), (&"1.1.0".into(), &"1.0.0".into()));

    assert!(read("good.md").contains("1.0.0"), "{}", read("good.md"));
    let summary = read("bad.md");
    assert!(summary.contains("rolled back") && summary.contains("backend"), "{summary}");
    assert!(
        said.contains("::error ") && said.contains("backend"),
        "an annotation names what failed:\n{said}"
    );
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
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
        let (code, said) = act(&shop, event, &["-W", &workflow]);
        assert_eq!(code, Some(0), "{file}, {event}:\n{said}");
        assert!(said.contains("::notice title=") && said.contains(says), "{file}, {event}:\n{said}");
    }
}
