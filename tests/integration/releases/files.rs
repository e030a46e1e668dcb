//! Release content and shared files that containers mount.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{Shop, findings, first_error, mode, notices};
use crate::support::{needs, output};

#[test]
fn what_a_container_writes_to_release_content_is_refused_with_the_line_to_add() {
    needs!("docker");
    let shop = Shop::on_root();
    shop.project.file("conf/app.yaml", "currency: EUR\n").file("seed/start.txt", "from git\n");
    shop.configure("shared: [seed]");
    let compose = "user: \"0\", volumes: [\"./conf:/conf\", \"./seed:/seed\"]";
    shop.compose_web(compose);
    let first = shop.deploy("1").exits(0);
    assert_eq!(notices(&first, "files.seeded").len(), 1, "{}", first.told());
    assert_eq!(shop.get("/file?/seed/start.txt"), "from git\n");

    // Seeded once: what the host has since then stays, and that nobody wrote to.
    shop.project.file("seed/start.txt", "newer in git\n").file("conf/more.yaml", "x: 1\n");
    fs::write(shop.root().join("shared/seed/start.txt"), "changed on the host\n").unwrap();
    let second = shop.deploy("2").exits(0);
    assert!(notices(&second, "files.seeded").is_empty());
    assert_eq!(shop.get("/file?/seed/start.txt"), "changed on the host\n");

    let id = shop.id("web");
    shop.host.docker(&["exec", &id, "sh", "-c", "echo written > /conf/app.yaml"]);
    let refused = shop.deploy("3").exits(3);
    let (code, message) = first_error(&refused);
    assert_eq!(code, "files.written", "{}", refused.told());
    assert!(message.contains("a container wrote to `conf/app.yaml`"), "{message}");
    refused.says(&["shared: [conf]"]);
    assert_eq!(shop.id("web"), id);
    assert_eq!(findings(&refused, "files.written").len(), 1);

    // The refusal's own advice works, and keeps what was written.
    shop.configure("shared: [seed, conf]");
    shop.deploy("3").exits(0);
    assert_eq!(shop.get("/file?/conf/app.yaml"), "written\n");
}

#[test]
fn what_must_be_a_file_and_is_not_there_is_refused_with_its_path() {
    needs!("docker");
    let shop = Shop::on_root();
    shop.project.untracked("secrets/");
    shop.project.file("secrets/token", "only here\n");
    let base = "volumes: [\"./local.yaml:/etc/local.yaml\", \"./state:/state\"]";
    let top = "configs: {extra: {file: ./extra.conf}}\nsecrets: {token: {file: ./secrets/token}}\n";
    let web = super::web(&format!("{base}, configs: [extra], secrets: [token]"));
    shop.compose(&format!("services: {{ web: {web} }}\n{top}"));
    let refused = shop.deploy("1").exits(3);
    let shared = shop.root().join("shared");
    for path in ["local.yaml", "extra.conf", "secrets/token"] {
        refused.says(&[&shared.join(path).display().to_string()]);
    }
    assert!(shop.ids("web").is_empty() && !shop.root().join("current").exists());

    fs::create_dir_all(shared.join("secrets")).unwrap();
    for path in ["local.yaml", "extra.conf", "secrets/token"] {
        fs::write(shared.join(path), format!("{path} of the host\n")).unwrap();
    }
    shop.configure("setup: {directories: [state/deep, {path: state/group, mode: \"0770\"}]}");
    shop.deploy("1").exits(0);
    assert_eq!(shop.get("/file?/etc/local.yaml"), "local.yaml of the host\n");
    assert_eq!(shop.get("/file?/run/secrets/token"), "secrets/token of the host\n");
    for (path, expected) in [("state", 0o755), ("state/deep", 0o755), ("state/group", 0o770)] {
        let meta = shared.join(path).metadata().unwrap();
        assert_eq!((mode(shared.join(path)), meta.uid()), (expected, 10_001), "{path}");
    }
    let id = shop.id("web");
    output(std::process::Command::new("docker").args(["exec", &id, "touch", "/state/deep/file"]));
}
