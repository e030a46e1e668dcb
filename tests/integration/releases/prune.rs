//! `prune` and `backup prune`, and the tags of attempts that never became a release.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use super::room::{DOCKERFILE, built_name, built_shop, deploy, names, tags};
use super::{Shop, first_error};
use crate::support::{needs, shop_binary};

/// Tags of ours.
fn pins(shop: &Shop) -> BTreeSet<String> {
    tags(shop).into_iter().filter(|tag| tag.starts_with("ffe-deploy/")).collect()
}

#[test]
fn prune_takes_away_what_is_more_than_is_kept_and_what_attempts_left_and_says_when_there_is_nothing() {
    needs!("docker");
    let shop = built_shop("keep_releases: 5");
    for version in ["1", "2", "3"] {
        deploy(&shop, version).exits(0);
    }
    let (before, container) = (names(&shop, "releases"), shop.id("web"));
    assert_eq!(before.len(), 3);
    shop.run(&["prune", "staging"]).exits(0).says(&["nothing to take away"]);
    assert_eq!((names(&shop, "releases"), tags(&shop).len()), (before.clone(), 6));

    // A tag of an attempt, the image of which nobody uses, one of which a container runs, and half a release.
    let stray = format!("ffe-deploy/{}/gone:aaaaaaaaaaaa", shop.name());
    let used = format!("ffe-deploy/{}/used:aaaaaaaaaaaa", shop.name());
    shop.host.docker(&["tag", &format!("{}:1", built_name(&shop)), &stray]);
    shop.host.docker(&["tag", &format!("{}:3", built_name(&shop)), &used]);
    fs::create_dir_all(shop.root().join("releases/deploy-half/app")).expect("half a release");
    shop.configure("keep_releases: 2");
    let ended = shop.run(&["prune", "staging", "--output", "json"]).exits(0);
    let answer = ended.json();
    let told = &answer["pruned"];
    let kept = names(&shop, "releases");
    let gone: Vec<_> = before.difference(&kept).cloned().collect();
    assert_eq!(told["releases"], json!(["deploy-half", gone[0]]), "{}", ended.told());
    assert_eq!((kept.len(), &told["files"], &answer["changed"]), (2, &json!(1), &json!(false)));
    let images: Vec<_> =
        told["images"].as_array().expect("tags").iter().filter_map(|tag| tag.as_str()).collect();
    assert!(images.len() == 3 && images[0] == stray, "{images:?}");
    assert!(told["freed_bytes"].as_u64() > Some(0) && told["freed_image_bytes"].as_u64() > Some(0), "{told}");
    assert!(tags(&shop).contains(&used) && tags(&shop).len() == 5, "{:?}", tags(&shop));
    assert_eq!((shop.id("web"), shop.get("/file?/conf/version")), (container, "3".into()));
    shop.rollback(&[]).exits(0);
    assert_eq!(shop.get("/file?/conf/version"), "2");
}

#[test]
fn prune_wants_a_confirmation_where_what_changes_does() {
    needs!("docker");
    let shop = built_shop("keep_releases: 2");
    let root = shop.host.root_base();
    shop.environments(&format!("host: local, root: {}, require_confirmation: true", root.display()));
    shop.project.commit("1");
    let refused = shop.run(&["prune", "staging"]).exits(3);
    assert_eq!(first_error(&refused).0, "confirmation.missing");
    shop.run(&["prune", "staging", "--yes"]).exits(0).says(&["nothing to take away"]);
    // What it takes away is what every backup takes away.
    shop.run(&["backup", "prune", "staging"]).exits(0).says(&["nothing to take away"]);
}

#[test]
fn backup_prune_takes_away_old_ones_and_never_the_last() {
    needs!("docker");
    let shop = Shop::on_root();
    shop.configure("shared: [data], setup: {directories: [data]}, backup: {paths: [data], retention: {days: 2, keep_last: 1}}");
    shop.compose_web("");
    shop.deploy("1").exits(0);
    fs::write(shop.root().join("shared/data/file"), "x").expect("write data");
    shop.run(&["backup", "staging"]).exits(0);
    let backups = shop.root().join("backups");
    let mut made: Vec<_> = names(&shop, "backups").into_iter().collect();
    made.sort();
    assert_eq!(made.len(), 2, "an archive and its manifest: {made:?}");
    let manifest = fs::read_to_string(backups.join(&made[1])).expect("read the manifest");
    let mut old: serde_json::Value = serde_json::from_str(&manifest).expect("a manifest is JSON");
    for day in ["02", "03"] {
        old["created_at"] = json!(format!("2026-01-{day}T03:04:05Z"));
        let archive = backups.join(format!("ffe_backup_202601{day}_030405.tar.gz"));
        fs::copy(backups.join(&made[0]), &archive).expect("copy the archive");
        fs::write(format!("{}.json", archive.display()), old.to_string()).expect("write a manifest");
    }
    let ended = shop.run(&["backup", "prune", "staging", "--output", "json"]).exits(0);
    assert_eq!(ended.json()["pruned"]["backups"].as_array().map(Vec::len), Some(2), "{}", ended.told());
    assert_eq!(names(&shop, "backups").into_iter().collect::<Vec<_>>(), made);
    shop.run(&["backup", "prune", "staging"]).exits(0).says(&["nothing to take away"]);
}

/// A second image, which nobody has.
fn with_a_missing_one(shop: &Shop) -> String {
    let image = built_name(shop);
    format!(
        "services:\n  alpha: {{build: ./web, image: \"{image}:${{VERSION}}\", ports: [\"127.0.0.1:PORT:8000\"], stop_grace_period: 0s, healthcheck: HEALTH}}\n  \
         beta: {{image: \"{image}:missing\", pull_policy: never, stop_grace_period: 0s}}\n"
    )
}

#[test]
fn an_attempt_that_stops_before_the_switch_and_a_build_leave_no_tag_of_ours() {
    needs!("docker");
    let shop = built_shop("keep_releases: 5");
    deploy(&shop, "1").exits(0);
    let (before, container) = (pins(&shop), shop.id("web"));
    shop.project.file("web/note", "2");
    shop.project.commit("2");
    shop.run(&["build", "staging", "--version", "2"]).exits(0);
    assert_eq!(pins(&shop), before, "a build leaves its own name alone");
    assert!(tags(&shop).contains(&format!("{}:2", built_name(&shop))));

    shop.compose(&with_a_missing_one(&shop));
    let aborted = deploy(&shop, "3").exits(9);
    assert_eq!(first_error(&aborted).0, "image.missing", "{}", aborted.told());
    assert_eq!(pins(&shop), before);
    assert_eq!((shop.id("web"), names(&shop, "releases").len()), (container, 1));
}

#[test]
fn tags_that_a_dead_attempt_left_go_with_the_next_deploy_but_not_those_of_images_in_use() {
    needs!("docker");
    let shop = Shop::on_root();
    shop.project.file("web/Dockerfile", DOCKERFILE).file("web/note", "0");
    fs::copy(shop_binary(), shop.project.path().join("web/shop")).expect("copy the program");
    shop.configure("keep_releases: 5");
    shop.compose_web("");
    shop.deploy("1").exits(0);
    let before = pins(&shop);
    let base = shop.release()["images"]["web"]["id"].as_str().expect("an id").to_owned();
    let image = built_name(&shop);
    shop.host.docker(&[
        "build",
        "--quiet",
        "--tag",
        &image,
        &shop.project.path().join("web").display().to_string(),
    ]);
    let stray = format!("ffe-deploy/{}/alpha:bbbbbbbbbbbb", shop.name());
    shop.host.docker(&["tag", &image, &stray]);
    let same = format!("ffe-deploy/{}/other:cccccccccccc", shop.name());
    shop.host.docker(&["tag", &base, &same]);
    shop.project.file("more", "2");
    shop.deploy("2").exits(0);
    // The second is of an image of which a container runs.
    assert_eq!(pins(&shop), before.into_iter().chain([same]).collect());
}
