//! Registries that refuse, do not know, are away or busy: exit 9, in words that tell them apart, and nothing is touched.

use serde_json::json;

use super::{Stand, first_error};
use crate::support::needs;

#[test]
fn a_registry_that_refuses_does_not_know_or_is_away_stops_the_deployment_before_anything_is_touched() {
    needs!("docker", "docker-registry");
    let mut stand = Stand::local();
    stand.push("web:1", "one");
    stand.image("web:1");
    stand.deploy("1").exits(0);
    let containers = stand.containers();
    let server = stand.registry.server();

    // No such tag.
    stand.image("web:none");
    let ended = stand.deploy("2").exits(9);
    let (code, words) = first_error(&ended);
    assert_eq!(code, "image.missing");
    assert!(
        words.contains("has no such image") && words.contains("web:none") && words.contains("push the image"),
        "{words}"
    );
    stand.is_untouched("one", &containers);
    stand.has_no_trace();

    // A wrong password.
    stand.push("web:2", "two");
    stand.image("web:2");
    let password = stand.registry.password().to_owned();
    stand.host = stand.host.with_env("REGISTRY_TOKEN", "wrong-password");
    let ended = stand.deploy("2").exits(9);
    let (code, words) = first_error(&ended);
    assert_eq!(code, "registry.denied");
    assert!(
        words.contains(&format!("{server} refused the login of `ci`")) && words.contains("expired"),
        "{words}"
    );
    assert!(!ended.told().contains("wrong-password"));
    assert_eq!(ended.result()["outcome"], "aborted");
    ended.says(&["nothing was changed"]);
    stand.is_untouched("one", &containers);
    stand.host = stand.host.with_env("REGISTRY_TOKEN", password);

    // No login at all.
    let app = stand.host.app();
    stand.project.file("deployments.yaml", format!("deployments: {{{app}: {{type: docker-compose}}}}\n"));
    let (code, words) = first_error(&stand.deploy("2").exits(9));
    assert_eq!(code, "registry.denied");
    assert!(words.contains("registries: [{ server: ") && words.contains("docker login"), "{words}");
    stand.configure(&server, "");

    // Away.
    stand.registry.stop();
    let ended = stand.deploy("2").exits(9);
    let (code, words) = first_error(&ended);
    assert_eq!(code, "registry.away");
    assert!(words.contains("cannot be reached") && words.contains("curl -I"), "{words}");
    stand.is_untouched("one", &containers);
    stand.has_no_trace();
    assert!(ended.events_named("noticed").iter().all(|notice| notice["code"] != "image.retry"));
}

#[test]
fn a_registry_that_is_busy_for_a_moment_is_asked_again() {
    needs!("docker", "docker-registry");
    let stand = Stand::local();
    stand.push("web:1", "one");
    let server = stand.front.server();
    stand.configure(&server, "").compose(&format!("image: '{server}/{}/web:1'", stand.host.app()));
    // Docker asks by HEAD, then by GET, before it gives up.
    stand.front.fail(2);
    let ended = stand.deploy("1").exits(0);
    let retried = ended.events_named("noticed").into_iter().find(|notice| notice["code"] == "image.retry");
    assert!(retried.is_some_and(|notice| notice["notice"].as_str().is_some_and(|said| said.contains("503"))));
    assert_eq!((stand.says("BUILT"), &ended.result()["changed"]), ("one".into(), &json!(true)));
}

#[test]
fn a_missing_or_literal_password_is_exit_2_and_a_verb_that_only_looks_needs_none() {
    needs!("docker", "docker-registry");
    let mut stand = Stand::local();
    stand.image("web:1");
    stand.host = stand.host.without_env("REGISTRY_TOKEN");
    let ended = stand.deploy("1").exits(2);
    ended.says(&["deployments.yaml:1:", "`registries[0].password.env` names the variable `REGISTRY_TOKEN`"]);
    stand.host.run(&stand.project, &["history", "staging"]).exits(0);
    let app = stand.host.app();
    stand.project.file(
        "deployments.yaml",
        format!("registries: [{{server: ghcr.io, username: ci, password: hunter22}}]\ndeployments: {{{app}: {{type: docker-compose}}}}\n"),
    );
    let ended = stand.deploy("1").exits(2);
    ended.says(&["`registries[0].password` is a secret written into a file (it is not shown)"]);
    assert!(!ended.told().contains("hunter22"));
}
