//! What somebody changes on the host behind the last release is seen, named, and replaced; what a service does is not.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Shop, findings, first_error, quiet, web};
use crate::support::{Ended, Host, base_image, needs, output, until};

/// `web` and `db`, and what else belongs to the compose file.
fn compose(shop: &Shop, more: &str) {
    let web = web("environment: {VERSION: \"${VERSION}\"}");
    let db = quiet("restart: always");
    shop.compose(&format!("services:\n  web: {web}\n  db: {{ {db} }}\n{more}"));
}

impl Shop {
    /// Runs Compose by hand on the files of the current release.
    #[track_caller]
    fn by_hand_of_release(&self, more_file: &str, arguments: &[&str]) {
        let home = self.root().join("current").canonicalize().expect("a release is current");
        let more = self.host.dir().join("more.yml");
        fs::write(&more, more_file).expect("write a compose file");
        let mut command = Command::new("docker");
        command.args(["compose", "-p", &self.name(), "--project-directory"]).arg(home.join("app"));
        command.arg("--env-file").arg(home.join("env"));
        for file in [home.join("app/compose.yaml"), home.join("override.yml"), more] {
            command.arg("-f").arg(file);
        }
        output(command.args(arguments));
    }

    /// The drift that `validate` finds: how much it weighs, and by kind what differs.
    #[track_caller]
    fn drift(&self) -> Option<(String, Value)> {
        let ended = self.run(&["validate", "staging", "--version", "1", "--output", "json"]);
        let found = ended.json()["findings"].as_array().cloned().unwrap_or_default();
        let found = found.into_iter().find(|finding| finding["rule"] == "host.drift")?;
        let severity = found["severity"].as_str().unwrap_or_default().to_owned();
        assert_eq!(ended.code, if severity == "error" { 3 } else { 0 }, "{}", ended.told());
        Some((severity, found["details"].clone()))
    }

    fn file_of_release(&self, path: &str) -> std::path::PathBuf {
        self.root().join("current").join(path)
    }

    fn add_to(&self, path: &str, line: &str) {
        let path = self.file_of_release(path);
        let text = fs::read_to_string(&path).expect("read a file of the release");
        fs::write(&path, format!("{text}{line}")).expect("write a file of the release");
    }
}

/// Warnings of a run about drift.
fn warned(ended: &Ended) -> usize {
    findings(ended, "host.drift").iter().filter(|finding| finding["severity"] == "warning").count()
}

/// What somebody does, what of it is named, and as what kind.
type Deed<'a> = (&'a str, &'a dyn Fn(&Shop), &'a str, &'a str);

const NOTHING: &str = "services: {}\n";

fn to_containers<'a>() -> Vec<Deed<'a>> {
    vec![
        (
            "stop",
            &|shop| drop(shop.host.docker(&["stop", &shop.id("web")])),
            "containers",
            "of `web` is stopped",
        ),
        (
            "kill",
            &|shop| drop(shop.host.docker(&["kill", &shop.id("db")])),
            "containers",
            "of `db` is stopped",
        ),
        (
            "pause",
            &|shop| drop(shop.host.docker(&["pause", &shop.id("web")])),
            "containers",
            "of `web` is paused",
        ),
        (
            "remove",
            &|shop| drop(shop.host.docker(&["rm", "-f", &shop.id("db")])),
            "containers",
            "`db` has 0 containers instead of 1",
        ),
        (
            "scale",
            &|shop| shop.by_hand_of_release(NOTHING, &["up", "-d", "--no-recreate", "--scale", "db=2"]),
            "containers",
            "`db` has 2 containers instead of 1",
        ),
        (
            "add",
            &|shop| {
                let extra = format!("services: {{ extra: {{ image: \"{}\" }} }}\n", base_image());
                shop.by_hand_of_release(&extra, &["up", "-d", "extra"]);
            },
            "containers",
            "`extra` has 1 containers instead of 0",
        ),
        (
            "reconfigure",
            &|shop| {
                shop.by_hand_of_release(
                    "services: { web: { environment: { MODE: chatty } } }\n",
                    &["up", "-d"],
                );
            },
            "containers",
            "of `web` was made with other settings",
        ),
    ]
}

fn to_images_and_files<'a>() -> Vec<Deed<'a>> {
    vec![
        (
            "replace the image",
            &|shop| {
                let pin = shop.release()["images"]["web"]["pin"].as_str().expect("a pin").to_owned();
                let id = shop.id("web");
                shop.host.docker(&["commit", "--change", "LABEL other=1", &id, &pin]);
                shop.by_hand_of_release(NOTHING, &["up", "-d", "--force-recreate", "web"]);
            },
            "images",
            "of `web` runs another image; the tag `ffe-deploy/",
        ),
        (
            "untag",
            &|shop| {
                let pin = shop.release()["images"]["db"]["pin"].as_str().expect("a pin").to_owned();
                shop.host.docker(&["rmi", &pin]);
            },
            "images",
            "of `db` is gone",
        ),
        (
            "edit env",
            &|shop| shop.add_to("env", "MORE=\"1\"\n"),
            "environment",
            "the release's `env` was written to",
        ),
        (
            "edit compose",
            &|shop| shop.add_to("app/compose.yaml", "# by hand\n"),
            "compose",
            "the release's `app/compose.yaml` was written to",
        ),
        (
            "remove the override",
            &|shop| fs::remove_file(shop.file_of_release("override.yml")).expect("remove the override"),
            "compose",
            "the release's `override.yml` is gone",
        ),
    ]
}

#[test]
fn changed_containers_are_named_refused_in_production_and_replaced_when_that_is_said() {
    needs!("docker");
    each_is_named_refused_and_replaced(to_containers());
}

#[test]
fn so_are_images_compose_files_and_the_environment() {
    needs!("docker");
    each_is_named_refused_and_replaced(to_images_and_files());
}

fn each_is_named_refused_and_replaced(deeds: Vec<Deed<'_>>) {
    let shop = Shop::in_production(Host::local());
    compose(&shop, "");
    shop.deploy("1").exits(0);
    assert_eq!(shop.drift(), None);
    for (deed, act, kind, says) in deeds {
        act(&shop);
        let containers = [shop.ids("web"), shop.ids("db"), shop.ids("extra")];
        let (severity, details) = shop.drift().unwrap_or_else(|| panic!("{deed}: nothing was found"));
        let said = details[kind].as_str().unwrap_or_default();
        assert!(said.contains(says) && severity == "error", "{deed}: {details:#}");
        let refused = shop.run(&["deploy", "staging", "--version", "1"]).exits(3);
        assert_eq!(first_error(&refused).0, "host.drift", "{deed}");
        refused.says(&["--accept-drift", "nothing was touched", says]);
        assert_eq!([shop.ids("web"), shop.ids("db"), shop.ids("extra")], containers, "{deed}");

        let accepted = shop.run(&["deploy", "staging", "--version", "1", "--accept-drift"]).exits(0);
        assert_eq!(warned(&accepted), 1, "{deed}: {}", accepted.told());
        assert_eq!(shop.drift(), None, "{deed}");
        assert_eq!(
            [shop.ids("web").len(), shop.ids("db").len(), shop.ids("extra").len()],
            [1, 1, 0],
            "{deed}"
        );
        assert_eq!([shop.get("/version"), shop.get("/env/MODE")], ["1", "not set\n"], "{deed}");
        // What was replaced is the release again, as it was: one more deploy finds nothing to do.
        let again = shop.run(&["deploy", "staging", "--version", "1"]).exits(0);
        assert_eq!(again.result()["changed"], false, "{deed}: {}", again.told());
    }
}

#[test]
fn drift_is_a_warning_in_staging_also_where_all_containers_were_made_by_hand() {
    needs!("docker");
    let shop = Shop::on_root();
    compose(&shop, "");
    shop.deploy("1").exits(0);
    // Without the override, so without the labels that say whose they are.
    let mut command = Command::new("docker");
    command
        .args(["compose", "-p", &shop.name(), "up", "-d"])
        .env("VERSION", "by-hand")
        .current_dir(shop.project.path());
    output(&mut command);
    assert_eq!(shop.get("/version"), "by-hand");
    let status = shop.run(&["status", "staging", "--output", "json"]).exits(0).json();
    let warnings = status["warnings"].as_array().cloned().unwrap_or_default();
    let drift = warnings.iter().find(|warning| warning["rule"] == "host.drift").expect("status says so");
    assert!(
        drift["message"].as_str().is_some_and(|said| said.contains("`web` was made with other settings")
            || said.contains("`web` runs another image")),
        "{drift:#}"
    );
    let next = shop.deploy("2").exits(0);
    assert_eq!((warned(&next), shop.get("/version")), (1, "2".into()), "{}", next.told());
    assert_eq!(shop.drift(), None);
}

#[test]
fn what_we_do_ourselves_and_what_a_service_does_is_no_drift() {
    needs!("docker");
    let shop = Shop::in_production(Host::local());
    let job = format!("  job: {{ image: \"{}\", command: [\"true\"], restart: \"no\" }}\n", base_image());
    compose(&shop, &job);
    let none = |after: &str| assert_eq!(shop.drift(), None, "after {after}");
    shop.deploy("1").exits(0);
    none("a deploy");
    shop.deploy("2").exits(0);
    shop.rollback(&[]).exits(0);
    none("a rollback");
    shop.run(&["restart", "staging"]).exits(0);
    none("a restart");
    shop.run(&["down", "staging"]).exits(0);
    none("down");
    shop.run(&["up", "staging"]).exits(0);
    none("up");

    shop.configure("health: {timeout: 3s}");
    let file = shop.project.path().join("compose.yaml");
    let good = fs::read_to_string(&file).expect("read the compose file");
    shop.project.file("compose.yaml", good.replace("environment: {", "environment: {MODE: unhealthy, "));
    shop.deploy("3").exits(4);
    none("a deploy that was rolled back");
    shop.project
        .file("compose.yaml", "services: { web: { image: \"localhost:1/none\", pull_policy: always } }\n");
    shop.deploy("4").exits(9);
    none("a deploy that stopped before the switch");
    shop.project.file("compose.yaml", good);

    // A process that dies, and comes again by its policy; jobs that somebody tidied away; files that a service wrote.
    let (id, pid) =
        (shop.id("db"), |id: &str| shop.host.docker(&["inspect", "--format", "{{.State.Pid}}", id]));
    let before = pid(&id);
    let image = base_image();
    let kill = ["run", "--rm", "--pid", "host", "--user", "0", &image, "kill", "-9", before.trim()];
    shop.host.docker(&kill);
    until(std::time::Duration::from_secs(60), "the policy starts it again", || {
        let now = pid(&id);
        now != before && now.trim() != "0"
    });
    none("a death");
    shop.host.docker(&["restart", "--time", "0", &shop.id("web")]);
    none("a restart by hand, which changes nothing");
    shop.host.docker(&["rm", &shop.id("job")]);
    none("tidying");
    fs::create_dir_all(shop.root().join("shared/data")).expect("make a directory");
    fs::write(shop.root().join("shared/data/orders"), "1\n").expect("write data");
    none("work");
    let again = shop.deploy("1").exits(0);
    assert_eq!(shop.get("/version"), "1", "{}", again.told());
    none("all that");
}
