//! The workflows that are shipped, and the page about the action: what they claim is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{ROOT, yaml};

const SHIPPED: [&str; 6] = [
    ".github/workflows/ci.yml",
    ".github/workflows/deploy.yml",
    ".github/workflows/docker-build-push.yml",
    "examples/workflows/branches.yml",
    "examples/workflows/code-scanning.yml",
    "examples/workflows/ledger.yml",
];

fn page(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).expect("read a page")
}

fn steps(job: &Value) -> &[Value] {
    job["steps"].as_array().map_or(&[], Vec::as_slice)
}

/// The step of a job that uses the action, an action of this name, or is called so.
fn using<'a>(job: &'a Value, name: &str) -> Option<&'a Value> {
    steps(job).iter().find(|step| step["uses"].as_str().is_some_and(|uses| uses.starts_with(name)))
}

#[test]
fn a1_11_staging_follows_main_and_production_waits_for_a_hand_and_a_reviewer() {
    let deploy = yaml(".github/workflows/deploy.yml");
    assert_eq!(deploy["on"]["push"]["branches"], serde_json::json!(["main"]));
    assert!(deploy["on"].as_object().is_some_and(|on| on.contains_key("workflow_dispatch") && on.len() == 2));
    for (name, condition) in [
        ("staging", "github.event_name == 'push'"),
        ("production", "github.event_name == 'workflow_dispatch' && github.ref == 'refs/heads/main'"),
    ] {
        let job = &deploy["jobs"][name];
        assert_eq!((&job["environment"], &job["if"]), (&name.into(), &condition.into()));
        let step = using(job, "./").expect("the action is used");
        assert_eq!(step["with"]["environment"], name);
        assert_eq!(step["with"]["slack-webhook"], "${{ secrets.SLACK_WEBHOOK }}");
        assert_eq!(step["if"], "steps.configured.outputs.host", "nothing is done without a host");
        assert!(step["with"].get("skip-backup").is_none());
    }
    let secrets = page(".github/workflows/deploy.yml");
    for environment in ["STAGING", "PROD"] {
        for name in ["HOST", "USER", "SSH_KEY", "HOST_KEY"] {
            assert!(secrets.contains(&format!("secrets.{environment}_{name} ")), "{environment}_{name}");
        }
    }
    assert_eq!(deploy["jobs"]["staging"]["concurrency"]["cancel-in-progress"], true);
}

#[test]
fn a1_11_images_are_built_for_several_architectures_scanned_and_pushed_but_not_from_a_pull_request() {
    let images = yaml(".github/workflows/docker-build-push.yml");
    assert_eq!(images["on"]["push"]["branches"], serde_json::json!(["main", "develop"]));
    assert_eq!(images["on"]["push"]["tags"], serde_json::json!(["v*"]));
    assert_eq!(images["on"]["pull_request"]["branches"], serde_json::json!(["main"]));
    assert!(images["on"].get("workflow_dispatch").is_some());
    assert_eq!(images["env"]["REGISTRY"], "ghcr.io");
    let (scan, push) = (&images["jobs"]["scan"], &images["jobs"]["push"]);
    assert_eq!(using(scan, "aquasecurity/trivy-action").expect("a scan")["with"]["exit-code"], "1");
    assert_eq!(push["if"], "github.event_name != 'pull_request'");
    assert_eq!(push["needs"], serde_json::json!(["look", "scan"]));
    let build = &using(push, "docker/build-push-action").expect("a push")["with"];
    assert_eq!((&build["push"], &build["platforms"]), (&true.into(), &"linux/amd64,linux/arm64".into()));
    assert_eq!(build["cache-to"], "type=gha,mode=max,scope=${{ matrix.image.name }}");
    let login = &using(push, "docker/login-action").expect("a login")["with"];
    assert_eq!(login["registry"], "${{ env.REGISTRY }}");
    assert!(
        using(scan, "docker/login-action").is_none(),
        "what is built for a pull request cannot be pushed"
    );
}

#[test]
fn the_example_of_two_branches_deploys_develop_to_staging_and_main_to_production() {
    let jobs = &yaml("examples/workflows/branches.yml")["jobs"];
    for (job, branch, environment) in
        [("deploy-staging", "develop", "staging"), ("deploy-production", "main", "production")]
    {
        assert_eq!(jobs[job]["if"], format!("github.ref == 'refs/heads/{branch}'"));
        assert_eq!((&jobs[job]["environment"], &jobs[job]["needs"]), (&environment.into(), &"build".into()));
        let with = &using(&jobs[job], "Three-Rivers-Tech/ffe-deploy@v").expect("the action is used")["with"];
        assert_eq!(
            (&with["environment"], &with["version"]),
            (&environment.into(), &"${{ github.sha }}".into())
        );
        assert_eq!(with["slack-webhook"], "${{ secrets.SLACK_WEBHOOK_URL }}");
    }
}

#[test]
fn the_workflow_for_code_scanning_uploads_what_the_action_writes_and_stands_on_the_page_as_it_is() {
    let path = "examples/workflows/code-scanning.yml";
    assert!(page("docs/github.md").contains(&format!("```yaml\n{}```", page(path))));
    let job = &yaml(path)["jobs"]["rules"];
    let asks = &using(job, "Three-Rivers-Tech/ffe-deploy@v").expect("the action is used")["with"];
    let inputs = super::declared("inputs");
    assert!(asks.as_object().is_some_and(|with| with.keys().all(|name| inputs.contains(name))), "{asks}");
    let upload = using(job, "github/codeql-action/upload-sarif").expect("an upload");
    assert_eq!((&asks["command"], &upload["with"]["sarif_file"]), (&"validate".into(), &asks["sarif"]));
    assert!(upload["if"].as_str().is_some_and(|condition| condition.starts_with("always()")));
    assert_eq!(job["permissions"]["security-events"], "write");
}

#[test]
fn workflows_may_nothing_but_what_a_job_needs_and_use_what_others_wrote_by_its_digest() {
    for path in SHIPPED {
        let workflow = yaml(path);
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{path}");
        for (name, job) in workflow["jobs"].as_object().expect("jobs") {
            assert!(job["permissions"].is_object() && job["timeout-minutes"].is_number(), "{path}: {name}");
            for step in steps(job) {
                let uses = step["uses"].as_str().unwrap_or("./");
                let digest = uses.split_once('@').map_or("", |(_, at)| at);
                let is_pinned = digest.len() == 40 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
                let is_ours = uses == "./" || uses.starts_with("Three-Rivers-Tech/ffe-deploy@v");
                assert!(is_pinned || is_ours, "{path}: {uses}");
                if uses.starts_with("actions/checkout@") {
                    assert_eq!(step["with"]["persist-credentials"], false, "{path}: {name}");
                }
            }
        }
    }
}

/// Text that somebody else writes never becomes part of a script.
#[test]
fn no_script_has_an_expression_in_it() {
    let mut scripts = 0;
    let mut look = |path: &str, steps: &[Value]| {
        for run in steps.iter().filter_map(|step| step["run"].as_str()) {
            scripts += 1;
            assert!(!run.contains("${{"), "{path}: {run}");
        }
    };
    for path in SHIPPED {
        let workflow = yaml(path);
        workflow["jobs"].as_object().expect("jobs").values().for_each(|job| look(path, steps(job)));
    }
    let action = yaml("action.yml");
    look("action.yml", steps(&action["runs"]));
    let last = steps(&action["runs"]).last().expect("a last step");
    assert!(last["run"].as_str().is_some_and(|run| run.starts_with("exec ")), "{last}");
    assert!(scripts > 6);
}

/// `| name | default | description |` of each input, `| name | description |` of each output.
#[test]
fn the_page_about_the_action_has_its_inputs_and_outputs() {
    let (action, page) = (yaml("action.yml"), page("docs/action.md"));
    let row = |cells: &[&str]| format!("| {} |", cells.join(" | "));
    let mut missing = BTreeSet::new();
    for (name, input) in action["inputs"].as_object().expect("inputs") {
        let text = |key: &str| input[key].as_str().unwrap_or_default();
        let default = match text("default") {
            "" | "(configuration)" => String::new(),
            default => format!("`{default}`"),
        };
        missing.insert(row(&[&format!("`{name}`"), &default, text("description")]));
    }
    for (name, output) in action["outputs"].as_object().expect("outputs") {
        missing.insert(row(&[&format!("`{name}`"), output["description"].as_str().unwrap_or_default()]));
    }
    missing.retain(|row| !page.contains(row.as_str()));
    let missing: Vec<_> = missing.into_iter().collect();
    assert!(missing.is_empty(), "docs/action.md needs these rows:\n{}", missing.join("\n"));
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    let declared = super::declared("inputs").len() + super::declared("outputs").len();
    assert!(rows >= declared, "{rows} rows for {declared} inputs and outputs");
}
