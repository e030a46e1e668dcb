//! Whose project it is: names, neighbours, and apps that are taken over.

use std::process::Command;

use serde_json::json;

use super::{Shop, filled, findings, first_error, notices, web};
use crate::support::{Project, needs, output};

impl Shop {
    /// The same app on the same host, from another directory.
    fn by_hand(&self) -> ByHand {
        ByHand { project: Project::new("shop"), port: self.port, file: self.own_file() }
    }

    /// A compose file that no other test has: what runs by hand would be a neighbour of them all.
    fn own_file(&self) -> String {
        format!("{}.yml", self.host.app())
    }

    fn compose_own_web(&self, keys: &str) {
        let file = self.own_file();
        self.configure(&format!("compose_file: {file}"));
        self.project.file(&file, filled(&format!("services: {{ web: {} }}\n", web(keys)), self.port));
    }
}

/// A project as its author starts it, without us.
struct ByHand {
    project: Project,
    port: u16,
    file: String,
}

impl ByHand {
    fn compose_web(&self, keys: &str) {
        self.project.file(&self.file, filled(&format!("services: {{ web: {} }}\n", web(keys)), self.port));
    }

    fn compose_by_hand(&self, project: &str) {
        let mut command = Command::new("docker");
        command.args(["compose", "-p", project, "-f", &self.file, "up", "-d", "--quiet-pull"]);
        command.current_dir(self.project.path());
        output(&mut command);
    }
}

#[test]
fn a_project_of_another_root_app_or_environment_is_refused_naming_both() {
    needs!("docker");
    let shop = Shop::on_root();
    let name = format!("{}-same", shop.host.app());
    let other = shop.host.dir().join("elsewhere");
    let environments = |root: &std::path::Path| {
        let app = shop.host.app();
        let entry = |root: &std::path::Path| {
            format!(
                "{{ host: local, root: {}, overrides: {{ {app}: {{ project: {name} }} }} }}",
                root.display()
            )
        };
        let text = format!("environments: {{ staging: {}, testing: {} }}\n", entry(root), entry(root));
        shop.project.file("environments.yaml", text);
    };
    environments(&shop.host.root_base());
    shop.compose_web("environment: {VERSION: \"${VERSION}\"}");
    shop.deploy("1").exits(0);
    let id = shop.host.containers(&name, "web");
    assert_eq!(id.len(), 1, "`project:` names the project");

    environments(&other);
    let refused = shop.deploy("2").exits(3);
    let (code, message) = first_error(&refused);
    assert_eq!(code, "project.other-root");
    let roots =
        [shop.root(), other.join(shop.host.app()).join("staging")].map(|root| root.display().to_string());
    assert!(roots.iter().all(|root| message.contains(root)), "{message}");

    environments(&shop.host.root_base());
    let refused = shop.run(&["deploy", "testing", "--version", "2"]).exits(3);
    let message = first_error(&refused).1;
    assert!(message.contains("`staging`") && message.contains("`testing`"), "{message}");
    assert_eq!((shop.host.containers(&name, "web"), shop.get("/version")), (id, "1".into()));
}

#[test]
fn what_ran_before_us_is_asked_about_then_adopted_with_a_release_to_return_to() {
    needs!("docker");
    let shop = Shop::on_root();
    let name = shop.name();
    // As its author deployed it until now: from a directory of its own.
    let by_hand = shop.by_hand();
    by_hand.project.file(".env", "GREETING='from .env'\n").file("conf/a", "as it lay\n");
    let keys = |version: &str| {
        format!(
            "environment: {{VERSION: \"{version}\", GREETING: \"${{GREETING:-}}\"}}, volumes: [\"./conf:/conf:ro\"]"
        )
    };
    by_hand.compose_web(&keys("by-hand"));
    by_hand.compose_by_hand(&name);
    let id = shop.id("web");

    shop.project.file("conf/a", "as deployed\n");
    shop.compose_own_web(&keys("${VERSION}"));
    let refused = shop.deploy("1").exits(3);
    assert_eq!(findings(&refused, "project.neighbour").len(), 1);
    refused.says(&["it is this app: `--adopt`", &format!("project: {name}-2")]);
    assert_eq!(shop.id("web"), id);

    let adopted = shop.deploy_with("1", &["--adopt"]).exits(0);
    assert_eq!(notices(&adopted, "project.adopted").len(), 1);
    assert_eq!((shop.get("/version"), shop.get("/file?/conf/a")), ("1".into(), "as deployed\n".into()));
    assert!(adopted.result()["previous_release"].as_str().unwrap().starts_with("adopted-"));
    let back = shop.rollback(&[]).exits(0);
    assert_eq!(
        [shop.get("/version"), shop.get("/env/GREETING")],
        ["by-hand", "from .env"],
        "{}",
        back.told()
    );
    assert_eq!(shop.get("/file?/conf/a"), "as it lay\n");
    // From here on it is an app like any other.
    shop.deploy("2").exits(0);
    assert_eq!(shop.get("/version"), "2");
}

#[test]
fn what_ran_before_us_under_another_name_or_from_files_that_are_gone_says_so() {
    needs!("docker");
    let shop = Shop::on_root();
    let old = format!("{}-old", shop.host.app());
    let by_hand = shop.by_hand();
    by_hand.compose_web("environment: {VERSION: by-hand}");
    by_hand.compose_by_hand(&old);
    drop(by_hand);
    shop.compose_own_web("environment: {VERSION: \"${VERSION}\"}");
    let refused = shop.deploy("1").exits(3);
    refused.says(&[&format!("project: {old}"), "`--adopt`", &format!("project: {}", shop.name())]);

    // It is this app, and its files are gone.
    shop.environments(&format!(
        "host: local, root: {}, overrides: {{ {}: {{ project: {old} }} }}",
        shop.host.root_base().display(),
        shop.host.app()
    ));
    let id = shop.host.containers(&old, "web");
    shop.deploy_with("1", &["--adopt"]).exits(3).says(&["which is gone", "--adopt=no-rollback"]);
    assert_eq!(shop.host.containers(&old, "web"), id, "nothing was touched");

    shop.deploy_with("1", &["--adopt=no-rollback"]).exits(0);
    assert_eq!(shop.get("/version"), "1");
    let nothing = shop.rollback(&[]).exits(3);
    assert_eq!(first_error(&nothing).0, "rollback.target");
    assert_eq!(nothing.result()["changed"], json!(false));
}
