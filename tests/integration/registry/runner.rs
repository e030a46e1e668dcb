//! `build: runner`: built and pushed where the job runs, pulled by digest where the app runs.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{SOON, Stand, first_error};
use crate::support::{Act, Ended, SecondEngine, Shim, base_image, needs, output, until};

/// A project whose one service is built by the runner from `web/`, with a secret among the build arguments.
fn builds_on_the_runner(stand: &Stand) {
    let server = stand.registry.server();
    stand.configure(&server, "build: runner, secrets: [NPM_TOKEN]");
    let image = stand.reference("web:latest");
    stand.compose(&format!(
        "image: '{image}', build: {{context: ./web, args: {{NPM_TOKEN: null, EDITION: '${{EDITION:-plain}}'}}}}"
    ));
    write_image(stand, "one");
}

fn write_image(stand: &Stand, note: &str) {
    let base = base_image();
    // BuildKit runs nothing where there are no groups.
    stand.project.file("web/group", "root:x:0:\n");
    stand.project.file(
        "web/Dockerfile",
        format!(
            "FROM {base}\nUSER 0\nCOPY group /etc/group\nARG NPM_TOKEN\nARG EDITION\nRUN test -n \"$NPM_TOKEN\" && echo \"token $NPM_TOKEN\"\n\
             USER 10001\nENV EDITION=$EDITION BUILT={note}\n"
        ),
    );
}

fn images_of<'a>(ended: &'a Ended, how: &str) -> Vec<&'a Value> {
    ended.events_named("image_ready").into_iter().filter(|event| event["how"] == how).collect()
}

#[test]
fn what_the_runner_has_built_is_what_the_host_runs_even_when_somebody_moves_the_tag_meanwhile() {
    needs!("docker", "dockerd", "docker-registry", "sshd", "root");
    let engine = SecondEngine::start();
    let runner = Shim::docker();
    let mut stand = Stand::with_engine(&engine);
    stand.host = stand.host.with_path_first(runner.path()).with_env("NPM_TOKEN", "npm-canary-1234");
    builds_on_the_runner(&stand);
    stand.shim.on_first(1, &["pull"], &Act::Hold);
    let run = stand.begin("1", &[]);
    until(SOON, "the host to pull", || stand.shim.count(&["pull"]) == 1);
    let moved = stand.push("web:latest", "moved-by-somebody");
    stand.shim.release();
    let ended = run.wait().exits(0);
    assert_eq!((stand.says("BUILT"), stand.says("EDITION")), ("one".into(), "plain".into()));
    let (built, pulled) = (images_of(&ended, "built"), images_of(&ended, "pulled"));
    assert_eq!((&built[0]["origin"], &pulled[0]["origin"]), (&json!("runner"), &json!("agent")));
    assert_eq!(built[0]["digest"], pulled[0]["digest"]);
    assert_ne!(built[0]["digest"], moved);
    let digest = built[0]["digest"].as_str().expect("a digest");
    let pinned = stand.release()["images"]["web"].clone();
    assert_eq!(pinned["repo_digest"], format!("{}@{digest}", stand.reference("web")));
    assert_eq!(pinned["reference"], stand.reference("web:latest"));
    // `building` is the runner's, and says so.
    let building = ended.events.iter().find(|e| e["event"] == "stage_finished" && e["stage"] == "building");
    assert_eq!(building.map(|event| &event["reason"]), Some(&json!("the runner has built the images")));
    let validating: Vec<_> = ended.events.iter().filter(|e| e["source"] == "build web").collect();
    assert!(!validating.is_empty() && validating.iter().all(|event| event["stage"] == "validating"));

    // Neither the password nor the build's secret is in an argument, on a disk, or in what was said.
    stand.has_no_trace();
    stand.kept_quiet(&ended);
    let words: Vec<String> = runner.calls().into_iter().chain(stand.shim.calls()).flatten().collect();
    assert!(words.iter().any(|word| word == "NPM_TOKEN"));
    for secret in ["npm-canary-1234", stand.registry.password(), &stand.registry.encoded()] {
        assert!(words.iter().all(|word| !word.contains(secret)), "{secret} is in an argument");
        assert!(!format!("{}{:?}", ended.stderr, ended.events).contains(secret), "{}", ended.told());
    }
    assert!(
        fs::read_dir(stand.host.dir().join("tmp")).expect("tmp").next().is_none(),
        "the runner's room is left"
    );

    // The same project is the same image, wherever its tag points, and changes nothing.
    let again = stand.deploy("1").exits(0);
    assert_eq!(
        (&again.result()["changed"], stand.shim.count(&["pull"])),
        (&json!(false), 1),
        "{}",
        again.told()
    );

    // Another one is another release, and the one before comes back without the registry.
    write_image(&stand, "two");
    stand.deploy("2").exits(0);
    assert_eq!(stand.says("BUILT"), "two");
    stand.registry.stop();
    stand.host.run(&stand.project, &["rollback", "staging"]).exits(0);
    assert_eq!(stand.says("BUILT"), "one");
}

#[test]
fn a_build_or_push_that_fails_or_is_cancelled_touches_nothing() {
    needs!("docker", "docker-registry");
    let mut stand = Stand::local();
    stand.host = stand.host.with_env("NPM_TOKEN", "npm-canary-1234");
    builds_on_the_runner(&stand);
    stand.deploy("1").exits(0);
    let containers = stand.containers();
    let (password, image) = (stand.registry.password().to_owned(), stand.reference("web:latest"));

    // Nothing to push to.
    stand.compose("build: ./web");
    let ended = stand.deploy("2").exits(3);
    let (code, words) = first_error(&ended);
    assert_eq!(code, "build.image");
    assert!(words.contains("`image: ghcr.io/OWNER/web:${VERSION:-latest}`"), "{words}");
    builds_on_the_runner(&stand);

    // It does not build.
    stand.project.file("web/Dockerfile", "FROM scratch\nCOPY nothing-like-this /\nUSER 10001\n");
    let ended = stand.deploy("2").exits(9);
    let (code, words) = first_error(&ended);
    assert_eq!(code, "image.build");
    assert!(
        words.contains("nothing-like-this") && words.contains("nothing was touched on the host"),
        "{words}"
    );
    write_image(&stand, "two");

    // The registry does not take it.
    stand.host = stand.host.with_env("REGISTRY_TOKEN", "wrong-password");
    let (code, words) = first_error(&stand.deploy("2").exits(9));
    assert_eq!(code, "registry.denied");
    assert!(words.contains("refused the login of `ci`") && words.contains("could not push"), "{words}");
    stand.host = stand.host.with_env("REGISTRY_TOKEN", password);
    stand.registry.stop();
    let (code, words) = first_error(&stand.deploy("2").exits(9));
    assert_eq!(code, "registry.away", "{words}");
    stand.registry.start_again();

    // It is cancelled.
    stand.shim.on_first(1, &["build"], &Act::Hold);
    let before = stand.shim.count(&["build"]);
    let run = stand.begin("2", &[]);
    until(SOON, "the build", || stand.shim.count(&["build"]) > before);
    run.signal(Signal::INT);
    let ended = run.wait().exits(8);
    ended.says(&["cancelled before anything was started; nothing was touched"]);
    stand.is_untouched("one", &containers);
    assert_eq!(fs::read_dir(stand.root().join("state/jobs")).expect("jobs").count(), 1, "no other job began");
    assert_eq!(
        fs::read_dir(stand.host.dir().join("tmp")).expect("tmp").count(),
        0,
        "the runner's room is left"
    );
    stand.has_no_trace();

    // And then it goes on as if nothing had been.
    stand.shim.release();
    stand.deploy("2").exits(0);
    assert_eq!(stand.says("BUILT"), "two");
    output(std::process::Command::new("docker").args(["rmi", "--force", &image]));
}
