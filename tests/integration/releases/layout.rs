//! What lies where on a root, with which modes, and when `current` moves.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{Shop, changes, mode, quiet, web};
use crate::support::needs;

const SERVICES: &str = r#"
services:
  web: WEB
  db: DB
  log: LOG
"#;

fn shop() -> Shop {
    let shop = Shop::on_root();
    shop.configure("secrets: [SHOP_SECRET]");
    shop.project.file("conf/web.yaml", "currency: EUR\n").file("conf/log.conf", "level: info\n");
    shop.project.executable("scripts/run.sh", "#!/bin/sh\n").file("data/.gitkeep", "");
    shop.project.env_file("staging", &[("CURRENCY", "EUR")]);
    let web =
        web("environment: {CONFIG: /etc/web.yaml, VERSION: \"${VERSION}\", SECRET: \"${SHOP_SECRET}\"}, \
         volumes: [\"./conf/web.yaml:/etc/web.yaml:ro\", \"./data:/data\", \"./scripts:/scripts:ro\"]");
    let db = format!("{{ {} }}", quiet("env_file: .env.staging"));
    let log = format!("{{ {} }}", quiet("volumes: [\"./conf/log.conf:/etc/log.conf:ro\"]"));
    shop.compose(&SERVICES.replace("WEB", &web).replace("DB", &db).replace("LOG", &log));
    Shop { host: shop.host.with_env("SHOP_SECRET", "hunter2-and-more"), ..shop }
}

#[test]
fn a_root_holds_whole_releases_and_current_moves_only_to_a_verified_one() {
    needs!("docker");
    let shop = shop();
    let first = shop.deploy("1.0.0").exits(0);
    assert_eq!(first.event("bundle_received")["sent_files"], first.event("bundle_received")["files"]);
    looks_as_designed(&shop);
    let one = shop.current();
    let [db, log] = ["db", "log"].map(|service| shop.id(service));

    // Only what changed travels, and only what it changes is recreated.
    shop.project.file("conf/web.yaml", "currency: USD\n");
    let second = shop.deploy("1.1.0").exits(0);
    assert_eq!(second.event("bundle_received")["sent_files"], 1, "{}", second.told());
    assert_eq!(changes(&second), &json!({"web": "recreated", "db": "unchanged", "log": "unchanged"}));
    assert_eq!([shop.id("db"), shop.id("log")], [db.clone(), log.clone()]);
    assert_eq!(shop.get("/file?/etc/web.yaml"), "currency: USD\n");
    let two = shop.current();
    assert_ne!(one, two);

    // A release that is not healthy is never current, and what comes back is the whole release before.
    shop.configure("secrets: [SHOP_SECRET], health: {timeout: 4s}");
    shop.project.file("conf/web.yaml", "currency: XXX\n");
    let mut third = shop.host.spawn(&shop.project, &["deploy", "staging", "--version", "1.2.0"]);
    third.until_event(std::time::Duration::from_secs(60), |event| {
        event["event"] == "stage_started" && event["stage"] == "verifying"
    });
    assert_eq!(shop.current(), two);
    let third = third.wait().exits(4);
    assert_eq!((shop.current(), shop.get("/version")), (two.clone(), "1.1.0".into()));
    assert_eq!(shop.get("/file?/etc/web.yaml"), "currency: USD\n");
    assert_eq!([shop.id("db"), shop.id("log")], [db.clone(), log], "{}", third.told());

    // What somebody removed of it is made again: a release is whole.
    let text = fs::read_to_string(shop.root().join(format!("releases/{one}/release.json"))).unwrap();
    let release: serde_json::Value = serde_json::from_str(&text).unwrap();
    let blob = release["blobs"]["conf/web.yaml"].as_str().unwrap();
    fs::remove_dir_all(shop.root().join("files").join(blob)).unwrap();
    let back = shop.rollback(&[]).exits(0);
    assert_eq!((shop.current(), shop.get("/version")), (one, "1.0.0".into()));
    assert_eq!(shop.get("/file?/etc/web.yaml"), "currency: EUR\n");
    assert_eq!(shop.id("db"), db, "{}", back.told());
    nothing_says_the_secret(&shop);
}

fn looks_as_designed(shop: &Shop) {
    let root = shop.root();
    for (path, expected) in [
        ("state", 0o700),
        ("history", 0o700),
        ("backups", 0o700),
        ("releases", 0o700),
        ("shared", 0o755),
        ("shared/data", 0o755),
        ("files", 0o755),
        ("state/lease", 0o600),
        ("current", 0o700),
        ("current/env", 0o600),
        ("current/override.yml", 0o600),
        ("current/release.json", 0o600),
        ("current/app/conf/web.yaml", 0o644),
        ("current/app/scripts/run.sh", 0o755),
    ] {
        assert_eq!(mode(root.join(path)), expected, "mode of {path}");
    }
    for path in files_below(&root.join("files")) {
        let expected = if path.ends_with("run.sh") { 0o755 } else { 0o644 };
        assert_eq!(mode(&path), expected, "mode of {path}");
    }
    for path in files_below(&root.join("history")).into_iter().chain(files_below(&root.join("state/jobs"))) {
        assert_eq!(mode(&path), 0o600, "mode of {path}");
    }
    assert_eq!(owner(&root.join("shared/data")), 10_001, "the image's user");
    assert!(!root.join("shared/data/.gitkeep").exists());
    says_what_it_is(shop);
}

fn says_what_it_is(shop: &Shop) {
    let release = shop.release();
    assert_eq!((&release["id"], &release["version"]), (&json!(shop.current()), &json!("1.0.0")));
    assert_eq!(release["project"], shop.name());
    assert_eq!(release["services"], json!(["db", "log", "web"]));
    assert_eq!(release["variables"], json!(["CURRENCY", "IMAGE_TAG", "SHOP_SECRET", "VERSION"]));
    assert_eq!(release["secrets"], json!(["SHOP_SECRET"]));
    let image = &release["images"]["web"];
    let hex = &image["id"].as_str().unwrap_or_default()["sha256:".len()..][..12];
    assert_eq!(image["pin"], format!("ffe-deploy/{}/web:{hex}", shop.name()));
    let tagged = shop.host.docker(&[
        "image",
        "inspect",
        "--format",
        "{{.Id}}",
        image["pin"].as_str().unwrap_or_default(),
    ]);
    assert_eq!(tagged.trim(), image["id"]);
    let known = ["files", "blobs", "digest", "created_at", "app"];
    assert!(known.iter().all(|key| !release[key].is_null()), "{release:#}");
}

fn nothing_says_the_secret(shop: &Shop) {
    let secret = b"hunter2-and-more";
    for path in files_below(&shop.root()) {
        let content = fs::read(&path).expect("read a file of the root");
        let has = content.windows(secret.len()).any(|bytes| bytes == secret);
        let is_env = path.ends_with("/env") || path.contains("/env.d/");
        assert!(!has || is_env, "{path} holds the secret");
        assert!(!has || mode(&path) == 0o600, "{path} is readable by others");
    }
}

fn owner(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    path.metadata().expect("it is there").uid()
}

/// Paths of all files below a directory; symlinks are not followed.
fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("read a directory").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("it has a type");
        if kind.is_dir() {
            found.extend(files_below(&path));
        } else if kind.is_file() {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found
}
