//! The target as inputs alone: a host over SSH, whose secrets stay where they belong.

use std::fs;

use super::{Shop, program, step};
use crate::support::{Host, Project, Running, Sshd, free_port, needs};

#[test]
fn inputs_alone_reach_a_host_over_ssh_and_its_secrets_are_nowhere_to_be_read() {
    needs!("docker", "sshd");
    let (sshd, passphrase) = (Sshd::start(), "correct horse battery");
    let shop = Shop { host: Host::local(), project: Project::new("shop"), port: free_port() };
    let root = sshd.dir().join("srv");
    let environments = format!("environments:\n  staging: {{root: '{}'}}\n", root.display());
    shop.project.file("deploy/environments.yaml", environments);
    shop.write("", "${GREETING}", "ok");
    let log = shop.host.dir().join("events.jsonl");
    let (port, key) = (sshd.port().to_string(), sshd.private_key_with_passphrase(passphrase));
    let known = [
        ("steps.install.outputs.binary", program()),
        ("inputs.environment", "staging"),
        ("inputs.app", shop.host.app()),
        ("inputs.project-root", &shop.project.path().display().to_string()),
        ("inputs.event-log", &log.display().to_string()),
        ("inputs.host", sshd.address()),
        ("inputs.port", &port),
        ("inputs.user", sshd.user()),
        ("inputs.ssh-key", &key),
        ("inputs.ssh-key-passphrase", passphrase),
        ("inputs.host-key", &sshd.host_key_line()),
        ("inputs.env-file", "GREETING=from-the-secret\nAPI_TOKEN=canary-0123456789\n"),
    ];
    let ended = Running::start(step(&shop.host, "run", &known), log.clone()).wait().exits(0);
    assert_eq!(shop.answers().as_deref(), Some("from-the-secret"));
    assert!(root.join(shop.host.app()).join("staging/current").exists(), "{}", ended.told());
    let told = |name: &str| fs::read_to_string(shop.host.dir().join(name)).expect("what GitHub keeps");
    let console = [ended.stdout.as_str(), "\n", ended.stderr.as_str()].concat();
    assert!(console.contains("::add-mask::canary-0123456789\n"), "{}", ended.told());
    let shown: Vec<_> = console.lines().filter(|line| !line.starts_with("::add-mask::")).collect();
    let all = [shown.join("\n"), told("output"), told("summary.md"), told("events.jsonl")].concat();
    for secret in [passphrase, "canary-0123456789", key.lines().nth(1).expect("a key has lines")] {
        assert!(!all.contains(secret), "a secret is told: {all}");
    }
}
