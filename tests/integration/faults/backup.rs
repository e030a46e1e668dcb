//! The backup before a deployment, and the verbs `backup` and `backup list`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Kind, Shop};
use crate::support::{Ended, needs, output};

/// The archive that a run says it has made; its digest must be that of the file.
#[track_caller]
fn archive(ended: &Ended) -> PathBuf {
    let created = ended.event("backup_created");
    let path = PathBuf::from(created["path"].as_str().expect("a path"));
    let bytes = fs::read(&path).expect("read the archive");
    assert_eq!(created["sha256"], hex::encode(Sha256::digest(&bytes)));
    assert_eq!((&created["size_bytes"], &created["retention_days"]), (&bytes.len().into(), &7.into()));
    let manifest: Value =
        serde_json::from_slice(&fs::read(format!("{}.json", path.display())).expect("a manifest"))
            .expect("the manifest is JSON");
    assert_eq!(manifest["sha256"], created["sha256"], "{manifest}");
    assert_eq!(manifest["environment"], "staging", "{manifest}");
    path
}

fn members(path: &Path) -> Vec<String> {
    let how = if path.extension().is_some_and(|end| end == "zst") { "--zstd" } else { "--gzip" };
    output(Command::new("tar").args([how, "-tf"]).arg(path)).lines().map(str::to_owned).collect()
}

#[test]
fn the_stage_writes_zstd_and_the_verb_gzip_and_both_are_listed() {
    needs!("docker", "zstd");
    let shop = Shop::with_backup("");
    shop.deploy(Kind::good("1.0.0")).exits(0);
    fs::write(shop.root().join("shared/data/kept"), "precious").expect("write data");
    let deployed = shop.deploy(Kind::good("1.1.0")).exits(0);
    let of_stage = archive(&deployed);
    assert!(of_stage.to_string_lossy().ends_with(".tar.zst"), "{}", of_stage.display());
    assert_eq!(deployed.result()["backup"], of_stage.display().to_string());
    assert!(members(&of_stage).contains(&"data/kept".to_owned()), "{:?}", members(&of_stage));
    let order: Vec<_> = deployed.events.iter().filter_map(|event| event["event"].as_str()).collect();
    let at = |name: &str| order.iter().position(|event| *event == name);
    assert!(at("backup_created") < at("service_changed"), "the backup comes before the change");
    let by_verb = archive(&shop.run(&["backup", "staging", "--log-format", "human"]).exits(0));
    assert!(by_verb.to_string_lossy().ends_with(".tar.gz"), "{}", by_verb.display());
    assert_eq!(members(&by_verb), members(&of_stage));
    let listed = shop.run(&["backup", "list", "staging", "--output", "json"]).exits(0).json();
    let listed = listed.to_string();
    for path in [&of_stage, &by_verb] {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(listed.contains(&name), "{name} is not in {listed}");
    }
    let told = shop.run(&["backup", "list", "staging"]).exits(0);
    assert!(told.stdout.contains(".tar.zst") && told.stdout.contains(".tar.gz"), "{}", told.told());
}

#[test]
fn the_format_can_be_chosen_and_the_volume_of_a_running_service_is_saved_with_a_warning() {
    needs!("docker");
    let shop = Shop::with("health: {timeout: 6s}, backup: {format: gzip}", ", backup: true");
    let kind =
        |version| Kind { more: "    volumes: ['kept:/data']\nvolumes: {kept: {}}\n", ..Kind::good(version) };
    shop.deploy(kind("1.0.0")).exits(0);
    crate::support::post(shop.port, "/data", "precious");
    let ended = shop.deploy(kind("1.1.0")).exits(0);
    let path = archive(&ended);
    assert!(path.to_string_lossy().ends_with(".tar.gz"), "{}", path.display());
    assert!(members(&path).iter().any(|name| name.starts_with("volumes/kept/")), "{:?}", members(&path));
    let live =
        ended.events_named("finding_reported").into_iter().find(|event| event["rule"] == "backup.live");
    let live = live.unwrap_or_else(|| panic!("no warning: {}", ended.told()));
    assert_eq!((&live["severity"], &live["stage"]), (&"warning".into(), &"backing_up".into()));
    ended.says(&["backup.live", "kept"]);
    assert_eq!(
        crate::support::get(shop.port, "/data").map(|answer| answer.body).as_deref(),
        Some("precious")
    );
}

#[test]
fn nothing_to_save_is_no_failure_of_a_deployment_but_one_of_the_verb() {
    needs!("docker");
    let shop = Shop::with("health: {timeout: 6s}", ", backup: true");
    let ended = shop.deploy(Kind::good("1.0.0")).exits(0);
    let stage = |event: &&&Value| event["event"] == "stage_finished" && event["stage"] == "backing_up";
    let finished = ended.events.iter().collect::<Vec<_>>();
    let finished = finished.iter().find(stage).expect("the stage ended");
    assert_eq!(
        (&finished["outcome"], &finished["reason"]),
        (&"skipped".into(), &"there is nothing to save yet".into())
    );
    let ended = shop.run(&["backup", "staging", "--log-format", "human"]).exits(9);
    ended.says(&["there is nothing to save", "backup.paths"]);
}
