//! A registry with a password: its images are had, and its login is nowhere before, after and meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{SOON, Stand};
use crate::support::{Act, alive, mentioning, needs, shop_binary, until_some};

/// DOCKER_CONFIG of the `docker` that is held.
fn config_of_held(stand: &Stand) -> PathBuf {
    let shim = fs::canonicalize(stand.shim.path()).expect("the shim is there");
    until_some(SOON, "a docker with a configuration of its own", || {
        mentioning(&shim).into_iter().filter(|pid| alive(*pid)).find_map(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let mut variables = environment.split(|byte| *byte == 0);
            let found = variables.find_map(|word| word.strip_prefix(b"DOCKER_CONFIG="))?;
            Some(PathBuf::from(String::from_utf8_lossy(found).into_owned()))
        })
    })
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

fn deploys_a_private_image(stand: &Stand) {
    let digest = stand.push("web:1", "one");
    stand.image("web:1");
    stand.shim.on_first(1, &["pull"], &Act::Hold);
    let run = stand.begin("1", &[]);
    let config = config_of_held(stand);
    let file = config.join("config.json");
    assert_eq!((mode(&config), mode(&file)), (0o700, 0o600));
    let text = fs::read_to_string(&file).expect("read config.json");
    assert!(text.contains(&stand.registry.encoded()) && text.contains("cliPluginsExtraDirs"));
    // Even now nothing of it is on a disk.
    stand.has_no_secret();
    stand.shim.release();
    let ended = run.wait().exits(0);
    assert!(!config.exists());
    stand.has_no_trace();
    stand.kept_quiet(&ended);
    let ready = ended.event("image_ready");
    assert_eq!((&ready["how"], &ready["digest"]), (&json!("pulled"), &json!(digest)));
    assert_eq!(stand.says("BUILT"), "one");
    let pinned = &stand.release()["images"]["web"];
    let name = stand.reference("web");
    assert_eq!(pinned["repo_digest"].as_str(), Some(format!("{name}@{digest}").as_str()));
    // Whatever comes later asks no registry.
    let ups: Vec<_> = stand.shim.calls().into_iter().filter(|call| call.contains(&"up".to_owned())).collect();
    assert!(!ups.is_empty() && ups.iter().all(|call| call.windows(2).any(|two| two == ["--pull", "never"])));
}

#[test]
fn a_private_image_is_deployed_here_and_nothing_of_its_login_is_ever_on_a_disk_or_in_an_argument() {
    needs!("docker", "docker-registry");
    deploys_a_private_image(&Stand::local());
}

#[test]
fn a_private_image_is_deployed_over_ssh_and_nothing_of_its_login_is_ever_on_a_disk_or_in_an_argument() {
    needs!("docker", "docker-registry", "sshd");
    deploys_a_private_image(&Stand::over_ssh());
}

#[test]
fn what_is_built_on_the_host_may_start_from_a_private_image() {
    needs!("docker", "docker-registry");
    let stand = Stand::local();
    stand.push("base:1", "from-the-registry");
    let base = stand.reference("base:1");
    stand.project.file("web/Dockerfile", format!("FROM {base}\nUSER 10001\nENV ADDED=yes\n"));
    stand.compose("build: ./web");
    let ended = stand.deploy("1").exits(0);
    assert_eq!((stand.says("BUILT"), stand.says("ADDED")), ("from-the-registry".into(), "yes".into()));
    stand.has_no_trace();
    stand.kept_quiet(&ended);
}

#[test]
fn without_registries_the_login_of_the_hosts_user_counts() {
    needs!("docker", "docker-registry");
    let stand = Stand::local();
    stand.push("web:1", "one");
    let theirs = json!({ "auths": { stand.registry.server(): { "auth": stand.registry.encoded() } } });
    fs::write(stand.host.home().join(".docker/config.json"), theirs.to_string()).expect("log in");
    let app = stand.host.app();
    stand.project.file("deployments.yaml", format!("deployments: {{{app}: {{type: docker-compose}}}}\n"));
    stand.image("web:1");
    stand.deploy("1").exits(0);
    assert_eq!(stand.says("BUILT"), "one");
}

#[test]
fn an_image_named_by_its_digest_is_asked_for_once_and_then_needs_no_registry() {
    needs!("docker", "docker-registry");
    let mut stand = Stand::local();
    let one = stand.push("web:1", "one");
    let two = stand.push("web:1", "two");
    stand.image(&format!("web@{one}"));
    let ended = stand.deploy("1").exits(0);
    assert_eq!(ended.event("image_ready")["digest"], one);
    ended.says(&[&one]);
    assert_eq!(stand.says("BUILT"), "one");
    // With a tag beside the digest the digest counts.
    stand.image(&format!("web:1@{two}"));
    stand.deploy("2").exits(0);
    assert_eq!((stand.says("BUILT"), stand.shim.count(&["pull"])), ("two".into(), 2));
    let pinned = stand.release()["images"]["web"].clone();
    assert!(pinned["repo_digest"].as_str().is_some_and(|known| known.ends_with(&two)), "{pinned}");
    assert!(pinned["pin"].as_str().is_some_and(|pin| pin.starts_with("ffe-deploy/")));
    stand.registry.stop();
    let again = stand.deploy("2").exits(0);
    assert_eq!((&again.result()["changed"], stand.shim.count(&["pull"])), (&Value::Bool(false), 2));
    stand.host.run(&stand.project, &["rollback", "staging"]).exits(0);
    assert_eq!(stand.says("BUILT"), "one");
}

#[test]
fn a_rollback_has_a_removed_image_again_with_the_login_of_the_job() {
    needs!("docker", "docker-registry");
    let stand = Stand::local();
    stand.push("web:1", "one");
    stand.image("web:1");
    stand.deploy("1").exits(0);
    let id = stand.release()["images"]["web"]["id"].as_str().expect("an id").to_owned();
    stand.push("web:2", "two");
    stand.image("web:2");
    stand.deploy("2").exits(0);
    stand.host.docker(&["rmi", "--force", &id]);
    let ended = stand.host.run(&stand.project, &["rollback", "staging"]).exits(0);
    assert_eq!(stand.says("BUILT"), "one");
    stand.has_no_trace();
    stand.kept_quiet(&ended);
}

#[test]
fn a_service_that_is_built_here_needs_no_registry_at_all() {
    needs!("docker");
    let mut stand = Stand::local();
    stand.registry.stop();
    stand.project.file(
        "web/Dockerfile",
        "FROM scratch\nCOPY shop /bin/shop\nENV PATH=/bin\nUSER 10001\nCMD [\"shop\", \"serve\"]\n",
    );
    fs::copy(shop_binary(), stand.project.path().join("web/shop")).expect("copy the shop");
    stand.compose("build: ./web");
    stand.deploy("1").exits(0);
    stand.has_no_trace();
}
