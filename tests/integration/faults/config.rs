//! Bad input: each mistake is refused with the place, what was found and what is accepted, and nothing is touched.

use std::time::Duration;

use super::{Kind, Shop};
use crate::support::{Ended, needs};

/// Deploys with this as one of the two files, and returns the refusal.
#[track_caller]
fn refused(shop: &Shop, file: &str, text: impl AsRef<[u8]>, code: i32) -> Ended {
    let path = shop.project.path().join(file);
    let good = std::fs::read(&path).ok();
    shop.project.file(file, text);
    let ended = shop.deploy(Kind::good("1.0.0")).exits(code);
    match good {
        Some(good) => shop.project.file(file, good),
        None => shop.project.remove(file),
    };
    assert_eq!(ended.result()["outcome"], if code == 2 { "invalid" } else { "refused" });
    assert_eq!(ended.result()["stage"], "failed");
    assert!(!shop.root().exists(), "the host was touched: {}", ended.told());
    ended
}

const APPS: &str = "deploy/deployments.yaml";
const PLACES: &str = "deploy/environments.yaml";

#[test]
fn mistakes_in_the_configuration_are_told_all_at_once_with_their_places() {
    let shop = Shop::new();
    let app = shop.host.app();
    let ended = refused(
        &shop,
        APPS,
        format!(
            "deployments:\n  {app}:\n    type: docker-compose\n    compose_fil: x.yml\n    build: many\n    \
             health: {{timeout: soon}}\n    profiles: {{a: b}}\n"
        ),
        2,
    );
    ended.says(&[
        "deployments.yaml:4:5",
        "compose_fil",
        "compose_file",
        "deployments.yaml:5:12",
        "many",
        "deployments.yaml:6:23",
        "soon",
        "120s",
        "deployments.yaml:7:15",
        "profiles",
    ]);
    let ended = refused(&shop, PLACES, "environments:\n  staging: {host: local, prot: 22, port: http}\n", 2);
    ended.says(&["environments.yaml:2:26", "prot", "`port`", "environments.yaml:2:42", "http"]);
}

#[test]
fn files_that_are_missing_empty_torn_or_no_text_are_told_apart() {
    let shop = Shop::new();
    let app = shop.host.app();
    refused(&shop, APPS, "", 2).says(&["deployments.yaml", "empty"]);
    refused(&shop, APPS, "# nothing but a comment\n", 2).says(&["deployments.yaml", "empty"]);
    refused(&shop, APPS, format!("deployments:\n  {app}: {{type: docker-compose\n"), 2)
        .says(&["deployments.yaml:2:19", "not closed"]);
    refused(&shop, APPS, format!("deployments:\n  {app}: {{}}\n"), 2).says(&[
        "deployments.yaml:2",
        "type",
        app,
    ]);
    refused(&shop, APPS, b"deployments: \xff\xfe\n", 2).says(&["deployments.yaml", "UTF-8"]);
    refused(&shop, APPS, "deployments: [a, b]\n", 2).says(&["deployments.yaml:1:14"]);
    let twice = format!("deployments:\n  {app}: {{type: docker-compose}}\n  {app}: {{type: docker}}\n");
    refused(&shop, APPS, twice, 2).says(&["deployments.yaml:3:3", app]);
    let required = format!("deployments:\n  {app}: {{type: docker-compose, compose_file: no.yml}}\n");
    let ended = refused(&shop, APPS, required, 3);
    ended.says(&["no.yml"]);
    let ended = shop.run(&["deploy", "staging", "--app", "other", "--log-format", "human"]).exits(2);
    ended.says(&["other", app]);
    let ended = shop.run(&["deploy", "stagign", "--log-format", "human"]).exits(2);
    ended.says(&["stagign", "staging"]);
}

#[test]
fn a_megabyte_of_nested_yaml_is_refused_within_a_second() {
    let shop = Shop::new();
    let deep = "[".repeat(1 << 20);
    let maps: String = (0..1_400).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{before}]\n");
    }
    bomb += &format!("#{}\n", "x".repeat(1 << 20));
    for text in [deep, maps, bomb] {
        let ended = refused(&shop, APPS, text, 2);
        assert!(ended.duration < Duration::from_secs(30), "took {:?}: {}", ended.duration, ended.stderr);
        assert!(ended.stderr.len() < 20_000, "{} bytes of message", ended.stderr.len());
        ended.says(&["deployments.yaml"]);
    }
}

#[test]
fn a_compose_file_with_an_error_is_refused_with_its_name_and_line() {
    needs!("docker");
    let shop = Shop::new();
    for (text, said) in [
        ("services:\n  backend:\n    image: [a\n", "docker-compose.yml:3:12"),
        ("services:\n  backend:\n    imag: a\n", "imag"),
        ("services:\n  backend: {image: a, ports: [{}]}\n", "ports"),
        ("", "empty"),
    ] {
        shop.project.file("docker-compose.yml", text);
        shop.project.commit("Broken");
        let ended = shop.run(&["deploy", "staging", "--log-format", "human"]).exits(3);
        ended.says(&["docker-compose.yml", said]);
        assert!(!ended.stderr.contains("/stage/"), "a place of ours is shown: {}", ended.told());
        assert!(!shop.root().join("state").exists(), "{}", ended.told());
    }
}

#[test]
fn production_without_yes_an_empty_host_and_a_number_that_is_none_are_refused() {
    let shop = Shop::new();
    let root = shop.host.root_base();
    let root = root.display();
    shop.project.file(
        PLACES,
        format!(
            "environments:\n  staging: {{host: local, root: '{root}'}}\n  production: {{host: local, root: '{root}'}}\n  \
             qa: {{host: '${{QA_HOST}}', root: '{root}'}}\n"
        ),
    );
    shop.write(Kind::good("1.0.0"));
    let ended = shop.run(&["deploy", "production", "--log-format", "human"]).exits(3);
    ended.says(&["--yes", "production", "nothing was touched"]);
    assert_eq!(ended.result()["outcome"], "refused");
    for shop in [shop.with_env("QA_HOST", ""), Shop::new()] {
        if !shop.project.path().join("docker-compose.yml").exists() {
            continue;
        }
        let ended = shop.run(&["deploy", "qa", "--log-format", "human"]).exits(2);
        ended.says(&["QA_HOST", "environments.yaml:4"]);
        let ended = shop.run(&["deploy", "staging", "--no-such-flag"]).exits(2);
        assert!(ended.stderr.contains("--no-such-flag"), "{}", ended.told());
        assert!(!shop.root().exists());
    }
}
