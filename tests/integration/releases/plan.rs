//! `deploy --plan`: what it says is what a deploy then does, and it touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::Value;

use super::{Shop, changes, first_error, web};
use crate::support::{Ended, Host, Registry, Shim, base_image, needs};

/// A healthy service without a port.
fn quiet(keys: &str) -> String {
    format!("{{ {} }}", super::quiet(keys))
}

/// Calls of Docker that only look.
const LOOKS: [&[&str]; 6] = [
    &["compose", "version"],
    &["compose", "config"],
    &["compose", "--dry-run"],
    &["manifest", "inspect"],
    &["image", "ls"],
    &["version"],
];

/// Every byte below the root and of the project, with what else can be seen of it; git's own files come and go.
fn everything(shop: &Shop) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![shop.host.root_base(), shop.project.path().to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = path.symlink_metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let bytes = match meta.file_type() {
            kind if kind.is_dir() && path.ends_with(".git") => continue,
            kind if kind.is_dir() => {
                waiting.extend(
                    std::fs::read_dir(&path)
                        .expect("it is there")
                        .map(|entry| entry.expect("it is there").path()),
                );
                Vec::new()
            }
            kind if kind.is_symlink() => {
                std::fs::read_link(&path).expect("it is there").into_os_string().into_encoded_bytes()
            }
            _ => std::fs::read(&path).expect("it is there"),
        };
        seen.insert(path, (meta.mode(), meta.mtime_nsec(), bytes));
    }
    seen
}

/// Plans, and checks that nothing of the root and of the engine was touched, and that nothing is left in the cache.
#[track_caller]
fn plan(shop: &Shop, shim: &Shim, version: &str, code: i32) -> Ended {
    shop.project.commit(version);
    let ours = |shop: &Shop| {
        let name = shop.name();
        shop.host.docker(&["ps", "-a", "--no-trunc", "--filter", &format!("name={name}")])
    };
    let (before, calls) = (everything(shop), shim.calls().len());
    let running: Vec<String> = ours(shop).lines().map(|line| line[..64].to_owned()).collect();
    let planned =
        shop.run(&["deploy", "staging", "--plan", "--version", version, "--output", "json"]).exits(code);
    let after = everything(shop);
    let differ: Vec<_> = after.iter().filter(|(path, seen)| before.get(*path) != Some(seen)).collect();
    assert!(before.len() == after.len() && differ.is_empty(), "{:?}", differ.iter().map(|(p, _)| p));
    for call in shim.calls().split_off(calls) {
        let looks = |words: &&[&str]| words.iter().all(|word| call.iter().any(|said| said == word));
        assert!(LOOKS.iter().any(looks), "a plan called {call:?}");
    }
    assert_eq!(ours(shop).lines().map(|line| line[..64].to_owned()).collect::<Vec<_>>(), running);
    let stage = shop.host.home().join(".cache/ffe-deploy/stage");
    let left = std::fs::read_dir(&stage).map_or(0, Iterator::count);
    assert_eq!(left, 0, "something is left in {}", stage.display());
    planned
}

fn services(planned: &Ended) -> BTreeMap<String, String> {
    let all = planned.json()["plan"]["services"].as_array().cloned().unwrap_or_default();
    let word = |service: &Value, key: &str| service[key].as_str().unwrap_or_default().to_owned();
    all.iter().map(|service| (word(service, "service"), word(service, "change"))).collect()
}

/// Reasons of a service, `environment LOG_LEVEL`.
fn reasons(planned: &Ended, name: &str) -> Vec<String> {
    let plan = planned.json()["plan"].clone();
    let service =
        plan["services"].as_array().expect("it is there").iter().find(|service| service["service"] == name);
    let reasons = service.unwrap_or_else(|| panic!("no {name} in {plan}"))["reasons"].clone();
    let words = |reason: &Value| {
        let names = reason["names"]
            .as_array()
            .expect("it is there")
            .iter()
            .map(|name| name.as_str().expect("it is there").to_owned());
        std::iter::once(reason["why"].as_str().expect("it is there").to_owned())
            .chain(names)
            .collect::<Vec<_>>()
            .join(" ")
    };
    reasons.as_array().expect("it is there").iter().map(words).collect()
}

/// Checks that a deploy does what was planned, service by service.
#[track_caller]
fn comes_true(shop: &Shop, planned: &Ended, version: &str) -> Ended {
    let deployed = shop.deploy(version).exits(0);
    let told: BTreeMap<String, String> = changes(&deployed)
        .as_object()
        .expect("it is there")
        .iter()
        .map(|(name, change)| (name.clone(), change.as_str().expect("it is there").to_owned()))
        .collect();
    assert_eq!(told, services(planned), "{}\n{}", planned.stdout, deployed.told());
    deployed
}

fn watched() -> (Shop, Shim) {
    let shim = Shim::docker();
    let shop = Shop::on_root_of(Host::local().with_path_first(shim.path()));
    (shop, shim)
}

#[test]
fn a_plan_touches_nothing_and_comes_true() {
    needs!("docker");
    let (shop, shim) = watched();
    shop.project.file("conf/app.yaml", "greeting: hello\nkey: s3cret-in-git\n").file("notes.txt", "one\n");
    let services_of = |web_keys: &str, more: &str| {
        let (web, files) = (web(web_keys), quiet("volumes: [\"./conf:/conf:ro\"]"));
        let (still, other) = (quiet(""), quiet("depends_on: [web]"));
        shop.compose(&format!(
            "services: {{ web: {web}, files: {files}, still: {still}, follower: {other} {more} }}\n"
        ));
    };
    services_of("environment: {LEVEL: info}", &format!(", leaves: {}", quiet("")));
    let first = plan(&shop, &shim, "1", 10);
    assert!(services(&first).values().all(|change| change == "created"), "{}", first.stdout);
    assert_eq!(first.result()["outcome"], "planned");
    assert_eq!((&first.result()["status"], &first.result()["changed"]), (&"success".into(), &false.into()));
    comes_true(&shop, &first, "1");

    // Nothing has changed: nothing would be done.
    let again = plan(&shop, &shim, "1", 0);
    assert_eq!(again.json()["plan"]["changes"], false);
    assert!(services(&again).values().all(|change| change == "unchanged"), "{}", again.stdout);

    services_of("environment: {LEVEL: debug, NEW: x}, labels: {a: b}", &format!(", joins: {}", quiet("")));
    shop.project.file("conf/app.yaml", "greeting: hi\nkey: s3cret-in-git\n").remove("notes.txt");
    shop.project.file("more.txt", "more\n");
    let second = plan(&shop, &shim, "2", 10);
    let told = services(&second);
    for (name, change) in [
        ("web", "recreated"),
        ("files", "recreated"),
        ("still", "unchanged"),
        ("joins", "created"),
        ("leaves", "removed"),
    ] {
        assert_eq!(told[name], change, "{name} in {}", second.stdout);
    }
    assert_eq!(reasons(&second, "web"), ["environment LEVEL NEW", "config labels"]);
    assert_eq!(reasons(&second, "files"), ["files conf/app.yaml"]);
    assert_eq!(reasons(&second, "follower"), ["depends_on web"]);
    let files = second.json()["plan"]["files"].clone();
    assert_eq!(
        (&files["added"], &files["removed"]),
        (&serde_json::json!(["more.txt"]), &serde_json::json!(["notes.txt"]))
    );
    let changed = files["changed"].as_array().expect("it is there");
    let diff = changed.iter().find(|file| file["path"] == "conf/app.yaml").expect("it is there")["diff"]
        .as_str()
        .expect("it is there");
    assert_eq!(diff, "@@ -1,2 +1,2 @@\n-greeting: hello\n+greeting: hi\n key: ***");
    assert!(!second.stdout.contains("s3cret") && !second.stdout.contains("debug\""), "{}", second.stdout);
    assert_eq!(second.event("plan_made")["plan"], second.json()["plan"]);
    comes_true(&shop, &second, "2");
}

#[test]
fn what_somebody_changed_and_what_is_not_well_is_planned_and_made_anew() {
    needs!("docker");
    let (shop, shim) = watched();
    shop.compose(&format!("services: {{ web: {}, other: {} }}\n", web(""), quiet("")));
    shop.deploy("1").exits(0);
    shop.host.docker(&["stop", "--time", "0", &shop.id("other")]);
    let planned = plan(&shop, &shim, "1", 10);
    assert_eq!(reasons(&planned, "other")[0], "drift");
    assert_eq!(services(&planned)["web"], "unchanged");
    assert_eq!(planned.json()["plan"]["backup"]["reason"], "the release that runs stays");
    comes_true(&shop, &planned, "1");
    plan(&shop, &shim, "1", 0);
}

#[test]
fn images_have_the_sizes_that_their_registry_tells_and_unknown_ones_say_so() {
    needs!("docker", "docker-registry");
    let (registry, (shop, shim)) = (Registry::open(), watched());
    let app = shop.host.app().to_owned();
    let image = format!("{}/{app}/web:1", registry.server());
    registry.push(&format!("{app}/web:1"), "1");
    let there = format!("image: \"{image}\"");
    shop.compose(&format!("services: {{ web: {}, still: {} }}\n", web(&there), quiet("")));
    let first = plan(&shop, &shim, "1", 10);
    let images = first.json()["plan"]["images"].clone();
    assert_eq!((&images[0]["image"], &images[0]["how"]), (&image.clone().into(), &"pulled".into()));
    assert!(images[0]["size_bytes"].as_u64().is_some_and(|bytes| bytes > 100_000), "{images}");
    assert_eq!(images.as_array().map(Vec::len), Some(1), "{images}");
    comes_true(&shop, &first, "1");

    let none = plan(&shop, &shim, "1", 0);
    assert_eq!(none.json()["plan"]["images"], serde_json::json!([]));

    // The tag has moved: only its service is made anew.
    registry.push(&format!("{app}/web:1"), "2");
    let moved = plan(&shop, &shim, "2", 10);
    assert_eq!(reasons(&moved, "web"), [format!("image {image}")]);
    comes_true(&shop, &moved, "2");

    let gone = there.replace(":1\"", ":3\"");
    shop.compose(&format!("services: {{ web: {}, still: {} }}\n", web(&gone), quiet("")));
    let unknown = plan(&shop, &shim, "3", 10);
    let images = unknown.json()["plan"]["images"].clone();
    assert!(images[0]["size_bytes"].is_null(), "{images}");
    assert!(images[0]["note"].as_str().is_some_and(|note| note.starts_with("size unknown: ")), "{images}");
    let human = shop.run(&["deploy", "staging", "--plan"]).exits(10);
    assert!(human.stdout.contains("size unknown: no such manifest"), "{}", human.told());
}

#[test]
fn what_is_built_is_planned_by_what_goes_into_it() {
    needs!("docker");
    let (shop, shim) = watched();
    shop.project
        .file("app/Dockerfile", format!("FROM {}\nCOPY say /say\n", base_image()))
        .file("app/say", "one\n");
    let built = web("build: ./app");
    shop.compose(&format!("services: {{ web: {built}, still: {} }}\n", quiet("")));
    let first = plan(&shop, &shim, "1", 10);
    assert_eq!(first.json()["plan"]["images"][0]["how"], "built");
    comes_true(&shop, &first, "1");
    let same = plan(&shop, &shim, "1", 0);
    assert_eq!(same.json()["plan"]["images"], serde_json::json!([]));

    shop.project.file("app/say", "two\n");
    let other = plan(&shop, &shim, "2", 10);
    let web = other.json()["plan"]["services"]
        .as_array()
        .expect("it is there")
        .iter()
        .find(|s| s["service"] == "web")
        .cloned();
    assert_eq!(web.expect("it is there")["if_image_differs"], true);
    comes_true(&shop, &other, "2");
}

#[test]
fn in_place_a_plan_comes_true_as_well() {
    needs!("docker");
    let shim = Shim::docker();
    let shop = Shop::on_root_of(Host::local().with_path_first(shim.path()));
    shop.environments("host: local");
    shop.project.file("conf/app.yaml", "greeting: hello\n");
    let compose = |keys: &str| {
        let files = quiet("volumes: [\"./conf:/conf:ro\"]");
        shop.compose(&format!("services: {{ web: {}, files: {files} }}\n", web(keys)));
    };
    compose("environment: {A: a}");
    comes_true(&shop, &plan(&shop, &shim, "1", 10), "1");
    plan(&shop, &shim, "1", 0);
    compose("environment: {A: b}");
    let second = plan(&shop, &shim, "2", 10);
    assert_eq!(reasons(&second, "web"), ["environment A"]);
    assert_eq!(services(&second)["files"], "unchanged");
    comes_true(&shop, &second, "2");
    shop.project.file("conf/app.yaml", "greeting: hi\n");
    let third = plan(&shop, &shim, "3", 10);
    assert_eq!(reasons(&third, "files"), ["files conf/app.yaml"]);
    comes_true(&shop, &third, "3");
}

#[test]
fn a_deployment_that_would_be_refused_has_no_plan() {
    needs!("docker");
    let (shop, _) = watched();
    shop.compose_web("volumes: [\"./missing.yaml:/etc/missing.yaml\"]");
    shop.project.commit("1");
    let refused = shop.run(&["deploy", "staging", "--plan"]).exits(3);
    assert_eq!(first_error(&refused).0, "compose.bind-source", "{}", refused.told());
    assert!(refused.events_named("plan_made").is_empty());
    let known: BTreeSet<_> = refused.events.iter().map(|event| event["event"].to_string()).collect();
    assert!(!known.contains("host_took_over"));
}
