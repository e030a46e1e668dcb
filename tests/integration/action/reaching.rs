//! The target as inputs alone: a host over SSH, whose secrets stay where they belong.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{ROOT, Shop, program, step};
use crate::support::{Ended, Host, Project, Running, Sshd, free_port, needs};

/// A project without configuration but for the root, and a host behind an sshd.
struct Stand {
    shop: Shop,
    sshd: Sshd,
}

impl Stand {
    fn new(environment: &str) -> Self {
        let sshd = Sshd::start();
        let shop = Shop { host: Host::local(), project: Project::new("shop"), port: free_port() };
        let root = sshd.dir().join("srv");
        let environments = format!("environments:\n  {environment}: {{root: '{}'}}\n", root.display());
        shop.project.file("deploy/environments.yaml", environments);
        shop.write("", "${GREETING}", "ok");
        Self { shop, sshd }
    }

    /// Runs the last step with these inputs, and those that keep the test to itself.
    #[track_caller]
    fn deploy(&self, inputs: &[(&str, &str)]) -> Ended {
        let log = self.shop.host.dir().join("events.jsonl");
        let (project, event_log) =
            (self.shop.project.path().display().to_string(), log.display().to_string());
        let named: Vec<_> = inputs.iter().map(|(name, value)| (format!("inputs.{name}"), *value)).collect();
        let mut known = vec![
            ("steps.install.outputs.binary", program()),
            ("inputs.app", self.shop.host.app()),
            ("inputs.project-root", &project),
            ("inputs.event-log", &event_log),
        ];
        known.extend(named.iter().map(|(name, value)| (name.as_str(), *value)));
        Running::start(step(&self.shop.host, "run", &known), log.clone()).wait().exits(0)
    }

    fn current(&self, environment: &str) -> PathBuf {
        self.sshd.dir().join("srv").join(self.shop.host.app()).join(environment).join("current")
    }
}

#[test]
fn inputs_alone_reach_a_host_over_ssh_and_its_secrets_are_nowhere_to_be_read() {
    needs!("docker", "sshd");
    let (stand, passphrase) = (Stand::new("staging"), "correct horse battery");
    let sshd = &stand.sshd;
    let key = sshd.private_key_with_passphrase(passphrase);
    let ended = stand.deploy(&[
        ("environment", "staging"),
        ("host", sshd.address()),
        ("port", &sshd.port().to_string()),
        ("user", sshd.user()),
        ("ssh-key", &key),
        ("ssh-key-passphrase", passphrase),
        ("host-key", &sshd.host_key_line()),
        ("env-file", "GREETING=from-the-secret\nAPI_TOKEN=canary-0123456789\n"),
    ]);
    assert_eq!(stand.shop.answers().as_deref(), Some("from-the-secret"));
    assert!(stand.current("staging").exists(), "{}", ended.told());
    let console = [ended.stdout.as_str(), "\n", ended.stderr.as_str()].concat();
    assert!(console.contains("::add-mask::canary-0123456789\n"), "{}", ended.told());
    let shown: Vec<_> = console.lines().filter(|line| !line.starts_with("::add-mask::")).collect();
    let told = |name: &str| fs::read_to_string(stand.shop.host.dir().join(name)).expect("what GitHub keeps");
    let all = [shown.join("\n"), told("output"), told("summary.md"), told("events.jsonl")].concat();
    for secret in [passphrase, "canary-0123456789", key.lines().nth(1).expect("a key has lines")] {
        assert!(!all.contains(secret), "a secret is told: {all}");
    }
}

/// The workflow in README.md, whose secrets are as the table above it says.
#[test]
fn the_twelve_lines_of_the_readme_make_a_first_green_deploy_to_production() {
    needs!("docker", "sshd");
    let page = fs::read_to_string(format!("{ROOT}/README.md")).expect("read the page");
    let mut blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let text = blocks.find(|block| block.contains("\njobs:")).expect("a workflow");
    assert!(text.lines().count() <= 12, "{text}");
    let workflow: Value = serde_saphyr::from_str(text).expect("YAML");
    let steps = workflow["jobs"]["production"]["steps"].as_array().expect("steps");
    let with = steps.last().and_then(|step| step["with"].as_object()).expect("inputs");

    let stand = Stand::new("production");
    let sshd = &stand.sshd;
    let secrets = BTreeMap::from([
        ("PROD_HOST", format!("{}@{}:{}", sshd.user(), sshd.address(), sshd.port())),
        ("PROD_SSH_KEY", sshd.private_key()),
        ("PROD_HOST_KEY", sshd.host_key_line()),
        ("PROD_ENV_FILE", "GREETING=first\n".to_owned()),
    ]);
    let value = |written: &Value| {
        let Some(text) = written.as_str() else { return written.to_string() };
        let secret = text.strip_prefix("${{ secrets.").and_then(|rest| rest.strip_suffix(" }}"));
        secret.map_or_else(|| text.to_owned(), |name| secrets[name].clone())
    };
    let inputs: Vec<_> = with.iter().map(|(name, written)| (name.as_str(), value(written))).collect();
    let inputs: Vec<_> = inputs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let ended = stand.deploy(&inputs);
    assert_eq!(stand.shop.answers().as_deref(), Some("first"));
    assert!(stand.current("production").exists(), "{}", ended.told());
}
