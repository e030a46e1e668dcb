//! Old releases, their images, files and backups make room for new ones; what can be gone back to stays.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::json;

use super::{Shop, notices};
use crate::support::{Ended, needs, output, shop_binary};

pub(super) const DOCKERFILE: &str = "FROM scratch\nCOPY shop /bin/shop\nCOPY note /note\nENV PATH=/bin\nUSER 10001\nCMD [\"shop\", \"serve\"]\n";

/// A shop whose image is built for each version under a name of its own, and which mounts a file.
pub(super) fn built_shop(keys: &str) -> Shop {
    let shop = Shop::on_root();
    shop.project.file("web/Dockerfile", DOCKERFILE);
    fs::copy(shop_binary(), shop.project.path().join("web/shop")).expect("copy the program");
    shop.configure(keys);
    let (image, mounts) = (built_name(&shop), "volumes: [\"./conf:/conf:ro\"]");
    shop.compose_web(&format!(
        "build: ./web, image: \"{image}:${{VERSION}}\", {mounts}, environment: {{MODE: \"${{MODE:-ok}}\"}}"
    ));
    shop
}

pub(super) fn built_name(shop: &Shop) -> String {
    format!("{}-built", shop.host.app())
}

/// Changes the image and the mounted file, and deploys.
pub(super) fn deploy(shop: &Shop, version: &str) -> crate::support::Run {
    shop.project.file("web/note", version).file("conf/version", version);
    shop.deploy(version)
}

pub(super) fn names(shop: &Shop, directory: &str) -> BTreeSet<String> {
    let listing = fs::read_dir(shop.root().join(directory)).expect("list a directory").flatten();
    listing.map(|entry| entry.file_name().into_string().expect("a name is text")).collect()
}

/// Tags of the shop's images: the author's, and ours.
pub(super) fn tags(shop: &Shop) -> BTreeSet<String> {
    let listed = output(Command::new("docker").args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]));
    let mine = |tag: &&str| tag.starts_with(&built_name(shop)) || tag.contains(&format!("/{}/", shop.name()));
    listed.lines().filter(mine).map(str::to_owned).collect()
}

pub(super) fn pruned(ended: &Ended) -> Vec<(usize, usize, u64)> {
    let told = ended.events_named("pruned").into_iter();
    let count = |value: &serde_json::Value| value.as_array().map_or(0, Vec::len);
    told.map(|event| {
        (count(&event["releases"]), count(&event["images"]), event["files"].as_u64().expect("a count"))
    })
    .collect()
}

#[test]
fn old_releases_go_with_their_images_and_files_and_those_to_go_back_to_stay() {
    needs!("docker");
    let shop = built_shop("keep_releases: 2");
    let author = |version: &str| format!("{}:{version}", built_name(&shop));
    deploy(&shop, "1").exits(0);
    let one = shop.current();
    let kept_by_hand = format!("{}-by-hand:1", built_name(&shop));
    shop.host.docker(&["tag", &author("1"), &kept_by_hand]);
    let second = deploy(&shop, "2").exits(0);
    assert_eq!((pruned(&second), names(&shop, "releases").len()), (vec![], 2));
    let two = shop.current();

    // The third takes the first away, but not what somebody else calls by a name.
    let third = deploy(&shop, "3").exits(0);
    assert_eq!(pruned(&third), [(1, 2, 1)], "{}", third.told());
    assert_eq!(third.event("pruned")["releases"], json!([one]));
    third.says(&["pruned 1 old release, 2 image tags, 1 release file"]);
    let three = shop.current();
    assert_eq!(names(&shop, "releases"), BTreeSet::from([two.clone(), three.clone()]));
    assert_eq!(names(&shop, "files").len(), 2);
    let expected = [author("2"), author("3"), kept_by_hand.clone()];
    assert!(
        expected.iter().all(|tag| tags(&shop).contains(tag)) && tags(&shop).len() == 5,
        "{:?}",
        tags(&shop)
    );

    // Failed releases go before good ones, although they are younger.
    shop.configure("keep_releases: 2, health: {timeout: 3s}, env_vars: {MODE: unhealthy}");
    deploy(&shop, "4").exits(4);
    let fifth = deploy(&shop, "5").exits(4);
    assert_eq!(pruned(&fifth), [(1, 2, 1)], "{}", fifth.told());
    assert_eq!((names(&shop, "releases").len(), names(&shop, "files").len()), (3, 3));
    assert_eq!((shop.current(), shop.get("/file?/conf/version")), (three, "3".into()));
    shop.rollback(&[]).exits(0);
    assert_eq!((shop.current(), shop.get("/file?/conf/version")), (two, "2".into()));
    shop.host.docker(&["image", "rm", &kept_by_hand]);
}

#[test]
fn what_a_container_of_somebody_else_uses_stays_until_it_is_gone() {
    needs!("docker");
    let shop = built_shop("keep_releases: 1");
    deploy(&shop, "1").exits(0);
    let one = shop.current();
    let image = format!("{}:1", built_name(&shop));
    let user = format!("{}-user", shop.host.app());
    shop.host.docker(&["create", "--name", &user, &image]);
    deploy(&shop, "2").exits(0);
    let third = deploy(&shop, "3").exits(0);
    // The current one, the one before, and the one that somebody uses.
    assert_eq!((pruned(&third), names(&shop, "releases").len()), (vec![], 3), "{}", third.told());
    assert!(notices(&third, "room.prune").is_empty());
    shop.host.docker(&["rm", &user]);
    let fourth = deploy(&shop, "4").exits(0);
    let gone: Vec<_> = fourth.events_named("pruned").iter().map(|event| event["releases"].clone()).collect();
    assert!(gone[0] == json!([one]) && gone.len() == 2, "{gone:?}");
    assert_eq!((names(&shop, "releases").len(), tags(&shop).len()), (2, 4));
}

#[test]
fn old_backups_go_when_a_new_one_can_be_read_and_others_are_left_alone() {
    needs!("docker");
    let shop = Shop::on_root();
    let root = shop.host.root_base();
    shop.environments(&format!("host: local, root: {}, backup: true", root.display()));
    shop.configure("shared: [data], setup: {directories: [data]}, backup: {paths: [data], retention: {days: 2, keep_last: 1}}");
    shop.compose_web("environment: {VERSION: \"${VERSION}\"}");
    shop.deploy("1").exits(0);
    let backups = shop.root().join("backups");
    let new = fs::read_dir(&backups).unwrap().flatten().map(|entry| entry.path());
    let mut new: Vec<_> = new.collect();
    new.sort();
    let manifest = fs::read_to_string(&new[1]).unwrap();
    assert!(manifest.contains("\"retention_days\": 2"), "{manifest}");
    let mut old: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    old["created_at"] = json!("2026-01-02T03:04:05Z");
    for (name, app) in [("20260102_030405", json!(shop.host.app())), ("20260102_030406", json!("other"))] {
        let archive = backups.join(format!("ffe_backup_{name}.tar.zst"));
        fs::copy(&new[0], &archive).unwrap();
        old["app"] = app;
        fs::write(backups.join(format!("ffe_backup_{name}.tar.zst.json")), old.to_string()).unwrap();
    }
    fs::write(backups.join("ffe_backup_20260102_030407.tar.zst"), "nobody's").unwrap();
    let second = shop.deploy("2").exits(0);
    assert_eq!(second.event("backup_created")["retention_days"], 2);
    let gone = backups.join("ffe_backup_20260102_030405.tar.zst");
    assert_eq!(second.event("pruned")["backups"], json!([gone]));
    let left = names(&shop, "backups");
    // Two of ours with their manifests, that of the other app with its, and the one without.
    assert!(left.len() == 7 && !left.iter().any(|name| name.contains("030405")), "{left:?}");
}
