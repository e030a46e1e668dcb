//! Images: pulled, built, pinned by our own tags, and there for a rollback when nobody else has them any more.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::{Shop, first_error, notices};
use crate::support::{Registry, base_image, needs, output, shop_binary};

#[test]
fn a_registry_is_asked_each_time_and_not_needed_to_go_back() {
    needs!("docker", "docker-registry");
    let registry = Registry::open();
    let shop = Shop::on_root();
    let name = format!("{}/app:latest", shop.host.app());
    let reference = format!("{}/{name}", registry.server());
    registry.push(&name, "one");
    shop.compose_web(&format!("image: \"{reference}\""));
    let first = shop.deploy("1").exits(0);
    let ready = first.event("image_ready");
    assert_eq!((&ready["how"], &ready["image"]), (&json!("pulled"), &json!(reference)));
    assert!(ready["size_bytes"].as_u64().is_some_and(|size| size > 0));
    assert_eq!(shop.get("/env/BUILT"), "one");
    assert!(shop.release()["images"]["web"]["repo_digest"].as_str().unwrap().contains("@sha256:"));
    let one = shop.current();

    // The tag has moved: the same project is another release.
    registry.push(&name, "two");
    let second = shop.deploy("1").exits(0);
    assert_eq!((&second.result()["changed"], shop.get("/env/BUILT")), (&json!(true), "two".into()));
    let (two, id) = (shop.current(), shop.id("web"));

    // Neither the registry nor its tag is needed to go back.
    drop(registry);
    output(Command::new("docker").args(["rmi", "--force", &reference]));
    let aborted = shop.deploy("3").exits(9);
    assert_eq!(first_error(&aborted).0, "registry.away", "{}", aborted.told());
    aborted.says(&[&reference, "nothing was changed"]);
    assert_eq!((shop.current(), shop.id("web")), (two, id));
    shop.rollback(&[]).exits(0);
    assert_eq!((shop.current(), shop.get("/env/BUILT")), (one, "one".into()));
}

#[test]
fn a_kept_image_that_somebody_removed_is_a_warning_and_comes_back_by_its_digest_or_stops_nothing() {
    needs!("docker", "docker-registry");
    let registry = Registry::open();
    let shop = Shop::on_root();
    let name = format!("{}/kept:latest", shop.host.app());
    let reference = format!("{}/{name}", registry.server());
    registry.push(&name, "one");
    shop.compose_web(&format!("image: \"{reference}\""));
    shop.deploy("1").exits(0);
    let (one, image) = (shop.current(), shop.release()["images"]["web"].clone());
    let take_away = || shop.host.docker(&["image", "rm", "--force", image["id"].as_str().unwrap()]);
    registry.push(&name, "two");
    shop.deploy("2").exits(0);
    let two = shop.current();
    take_away();
    let looked = shop.run(&["validate", "staging"]).exits(0);
    let words = [reference.as_str(), one.as_str(), "somebody removed images"];
    looked.says(&words);
    shop.run(&["status", "staging"]).exits(0).says(&words);
    // The tag has moved since then; the digest has not.
    let back = shop.rollback(&[]).exits(0);
    assert_eq!((shop.current(), shop.get("/env/BUILT")), (one.clone(), "one".into()));
    assert_eq!(back.event("image_ready")["image"], image["repo_digest"]);

    shop.rollback(&["--to", &two]).exits(0);
    take_away();
    drop(registry);
    let id = shop.id("web");
    let refused = shop.rollback(&["--to", &one]).exits(3);
    assert_eq!(first_error(&refused).0, "release.images", "{}", refused.told());
    refused.says(&[&reference, "`web`", "nothing was changed"]);
    assert_eq!((shop.current(), shop.id("web")), (two, id.clone()));
    // Of the release that runs only the pin can be taken away; it is put back before it is needed.
    let pin = shop.release()["images"]["web"]["pin"].as_str().unwrap().to_owned();
    shop.host.docker(&["image", "rm", "--force", &pin]);
    shop.compose_web("environment: {MODE: unhealthy}");
    shop.configure("health: {timeout: 3s}");
    shop.deploy("3").exits(4);
    assert_eq!(shop.get("/env/BUILT"), "two");
}

#[test]
fn an_image_that_does_not_exist_stops_before_anything_is_touched() {
    needs!("docker");
    let shop = Shop::on_root();
    shop.compose_web("environment: {VERSION: \"${VERSION}\"}");
    shop.deploy("1").exits(0);
    let (id, release) = (shop.id("web"), shop.current());
    let missing = format!("127.0.0.1:1/{}:none", shop.host.app());
    shop.compose_web(&format!("image: \"{missing}\""));
    let aborted = shop.deploy("2").exits(9);
    assert_eq!(first_error(&aborted).0, "registry.away");
    aborted.says(&[&missing, "`web`"]);
    // The same for what nobody builds.
    shop.configure("build: never");
    shop.compose_web("build: ./none");
    shop.project.file("none/Dockerfile", "FROM scratch\n");
    let aborted = shop.deploy("3").exits(9);
    assert_eq!(first_error(&aborted).0, "image.missing");
    aborted.says(&["build: never"]);
    assert_eq!((shop.id("web"), shop.current(), shop.get("/version")), (id, release, "1".into()));
    assert_eq!(fs::read_dir(shop.root().join("releases")).unwrap().count(), 1, "no half release stays");
}

#[test]
fn what_is_built_here_is_pinned_and_comes_back_after_its_tag_is_gone() {
    needs!("docker");
    let shop = Shop::on_root();
    let reference = format!("{}-web", shop.name());
    shop.project.file("web/Dockerfile", "FROM scratch\nCOPY shop /bin/shop\nCOPY note /note\nENV PATH=/bin\nUSER 10001\nCMD [\"shop\", \"serve\"]\n");
    fs::copy(shop_binary(), shop.project.path().join("web/shop")).unwrap();
    shop.project.file("web/note", "first\n").file("other.txt", "1");
    shop.compose_web("build: ./web");
    let first = shop.deploy("1").exits(0);
    let ready = first.event("image_ready");
    assert_eq!((&ready["how"], &ready["service"]), (&json!("built"), &json!("web")));
    assert!(ready["size_bytes"].as_u64().is_some_and(|size| size > 0));
    assert_eq!(shop.get("/file?/note"), "first\n");
    let (one, id) = (shop.current(), shop.id("web"));

    // What it is not built from builds nothing.
    shop.project.file("other.txt", "2");
    let second = shop.deploy("2").exits(0);
    assert!(second.events_named("image_ready").is_empty(), "{}", second.told());
    assert_eq!((shop.id("web"), &second.result()["changed"]), (id, &json!(false)));

    shop.project.file("web/note", "second\n");
    shop.deploy_with("3", &["--no-cache"]).exits(0);
    assert_eq!(shop.get("/file?/note"), "second\n");
    let three = shop.current();

    // Its own tag is moved, then removed: the pin stays.
    output(Command::new("docker").args(["tag", &base_image(), &reference]));
    shop.rollback(&[]).exits(0);
    assert_eq!((shop.current(), shop.get("/file?/note")), (one, "first\n".into()));
    output(Command::new("docker").args(["rmi", "--force", &reference]));
    let there = shop.rollback(&["--to", &three]).exits(0);
    assert_eq!((shop.current(), shop.get("/file?/note")), (three, "second\n".into()), "{}", there.told());

    // A build that fails leaves what runs alone.
    shop.project.file("web/Dockerfile", "FROM scratch\nCOPY nothing-like-this /\nUSER 10001\n");
    let id = shop.id("web");
    let aborted = shop.deploy("4").exits(9);
    assert_eq!(first_error(&aborted).0, "image.build");
    aborted.says(&["nothing-like-this"]);
    assert_eq!((shop.id("web"), shop.get("/health")), (id, "ok\n".into()));
    assert!(notices(&aborted, "image.pull").is_empty());
}
