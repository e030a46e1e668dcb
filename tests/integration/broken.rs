//! Broken files, as people and tools make them: each is refused at once, in words by which somebody can mend it at night.

use std::process::Command;

use crate::support::{Host, Project, output};

/// A project whose `deployments.yaml` (and more) is this.
fn project(files: &[(&str, Vec<u8>)]) -> Project {
    let project = Project::without_git("shop");
    project.file("docker-compose.yml", "services: {web: {image: 'x:1'}}\n");
    for (path, text) in files {
        project.file(path, text);
    }
    project
}

fn app(rest: &str) -> String {
    format!("deployments:\n  shop:\n    type: docker-compose\n{rest}")
}

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// Files, and what must be said of them. What begins with `!` must not be said.
fn broken() -> Vec<(Vec<u8>, &'static [&'static str])> {
    let text = |text: &str| text.as_bytes().to_vec();
    let of_app = |rest: &str| app(rest).into_bytes();
    vec![
        (
            text("deployments:\n  shop:\n\ttype: docker-compose\n"),
            &["yaml:3:", "there is a tab", "by spaces"],
        ),
        (of_app("    keep_releases: many\n"), &["yaml:4:20", "`many`", "a number from 1 to 1000"]),
        (
            [&b"\xef\xbb\xbf"[..], &of_app("    keep_releases: many\n")].concat(),
            &["yaml:4:20", "    keep_releases: many"],
        ),
        (text(&app("    keep_releases: many\n").replace('\n', "\r\n")), &["yaml:4:20", "`many`"]),
        (of_app("    build: host\n    build: never\n"), &["yaml:5:5", "written twice, first in line 4"]),
        (utf16(&app("")), &["it is UTF-16; save it as UTF-8"]),
        (
            of_app("    url: caf\u{e9}\n").into_iter().filter(|b| *b != 0xc3).collect(),
            &["it is not UTF-8 (line 4"],
        ),
        (text(""), &["is empty", "a map `deployments:`"]),
        (text("- a\n- b\n"), &["yaml:1:1", "found: a list; accepted: a map"]),
        (text("just text\n"), &["found: `just text`; accepted: a map"]),
        (text(&(app("") + "---\nx: 1\n")), &["yaml:4:1", "second document"]),
        (text("deployments:\n"), &["has no `deployments`"]),
        (
            text("environments:\n  dev: {host: local}\n"),
            &["is a file for `environments`", "environments.yaml"],
        ),
        (text("deployments:\n  shop: {type: docker-compose\n"), &["yaml:2:9", "a `{` is not closed"]),
        (of_app("    url: \"x\n    path: .\n"), &["a quote is not closed", "close it where it begins"]),
        (of_app("   path: .\n"), &["yaml:4:4", "indented neither as the one above nor deeper"]),
        (of_app("    <<: *nope\n"), &["yaml:4:9", "alias of an anchor that is not there"]),
        (text("deployments:\n  shop: !!x {type: docker-compose}\n"), &["has a tag"]),
        (of_app("    url: \"a\0b\"\n"), &["yaml:4:", "a control character (U+0000)", "remove it"]),
        (of_app("    url: a: b: c\n"), &["yaml:4:11", "a `:` inside of a value", "quotes"]),
        (
            // A wrong type hides nothing of what else is wrong, and is told once.
            text(
                "deployments:\n  shop:\n    type: [docker-compose]\n    build: yes\n    health: 10s\n    secrets: {A: B}\n",
            ),
            &[
                "4 problems",
                "yaml:3:11",
                "yaml:4:12",
                "`yes`; accepted: host, runner, never",
                "yaml:5:13",
                "yaml:6:14",
            ],
        ),
        (
            of_app("    compose_files: x\n    heatlh: {}\n    zzz: 1\n"),
            &[
                "`deployments.shop.compose_files` is not a known key; try: `compose_file`; accepted: type, ",
                "`deployments.shop.heatlh` is not a known key; try: `health`",
                "`deployments.shop.zzz` is not a known key; accepted: type, ",
            ],
        ),
        (
            of_app(
                "    keep_releases: 99999999999999999999999999\n    requirements: {disk_gb: 1e999, memory_gb: -3}\n",
            ),
            &["yaml:4:20", "yaml:5:29", "`1e999`", "yaml:5:47", "`-3`; accepted: a number from 0"],
        ),
        (
            of_app(
                "    health: {timeout: -5s, checks: [{name: a, tcp: 'x:-1', timeout: 0s, request_timeout: 9h}]}\n",
            ),
            &[
                "`-5s`; accepted: 1s to 1h, as `120s`",
                "`x:-1`; accepted: host:port",
                "`0s`",
                "`9h`; accepted: 100ms to 5m",
            ],
        ),
        (of_app("    type:\n"), &["written twice"]),
        (
            text("deployments:\n  shop:\n    type:\n"),
            &["`deployments.shop.type` is missing", "try: `type: docker-compose`"],
        ),
        (
            text("deployments:\n  'My Shop!': {type: docker-compose}\n"),
            &["is not a name of an app: 1 to 63 of a-z 0-9 - _"],
        ),
        (
            text("deployments:\n  shop:\n    type: \u{201c}docker-compose\u{201d}\n"),
            &["1 problem", "try: `docker-compose`"],
        ),
        (
            text("deployments:\n  shop:\n\u{a0}\u{a0}\u{a0}\u{a0}type: docker-compose\n"),
            &["invisible U+00A0", "ordinary spaces"],
        ),
        (
            of_app(
                "    env_vars: {A: '${B_ONE}/${C_TWO}/${B_ONE}/${D:-x}'}\n    url: 'https://${E_THREE}/${'\n",
            ),
            &[
                "yaml:4:19: `deployments.shop.env_vars.A` needs the variable `B_ONE`",
                "needs the variable `C_TWO`, which is not set in the job; try: set `C_TWO`, or write `${C_TWO:-default}`",
                "yaml:5:10: `deployments.shop.url` needs the variable `E_THREE`",
            ],
        ),
        (
            of_app(
                "    env_vars: {DB_PASSWORD: hunter2hunter2}\n    secrets: [DB_PASSWORD=hunter2hunter2]\n",
            ),
            &["a secret written into a file (it is not shown)", "is not the name of a variable", "!hunter2"],
        ),
        (
            text("deployments=shop\ntype=docker-compose\n"),
            &["`deployments=shop type=docker-compose`; accepted: a map"],
        ),
    ]
}

#[test]
fn every_broken_file_is_told_with_its_place_and_a_way_out() {
    let host = Host::local();
    for (text, parts) in broken() {
        let project = project(&[("deployments.yaml", text)]);
        let ended = host.run(&project, &["validate", "dev", "--log-format", "human"]).exits(2);
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(told.contains("nothing was touched"), "{told}");
        for part in parts {
            match part.strip_prefix('!') {
                Some(part) => assert!(!told.contains(part), "{part} is in\n{told}"),
                None => assert!(told.contains(part), "{part} is not in\n{told}"),
            }
        }
    }
}

#[test]
fn every_wrong_key_of_an_environment_is_told_in_one_run() {
    let text = "environments:\n  dev:\n    host: local\n    port: abc\n    root: relative/x\n    profile: devel\n    jump: x\n    \
                become: root\n    timeout: 5\n    backup: maybe\n    on_lost: go\n    user: 'a b'\n    recover_at_boot: 1\n    \
                overrides: {shap: {}, shop: {keep_releases: 0}}\n";
    let files = [("deployments.yaml", app("").into_bytes()), ("environments.yaml", text.as_bytes().to_vec())];
    let told = Host::local().run(&project(&files), &["validate", "dev", "--log-format", "human"]).exits(2);
    told.says(&["12 problems"]);
    for line in (4..=13).chain([14]) {
        told.says(&[&format!("environments.yaml:{line}:")]);
    }
    told.says(&["try: `shop`"]);
}

#[test]
fn anchors_merge_keys_and_defaults_work_in_both_files() {
    let deployments = "x-check: &check {timeout: 5s, optional: true}\nx-hook: &hook {run: [./notify.sh, '${WHO:-nobody}'], timeout: 10s}\n\
                       x-app: &app\n  type: docker-compose\n  keep_releases: 7\n  env_vars: &vars {A: one, B: two}\n\
                       deployments:\n  shop:\n    <<: *app\n    keep_releases: 9\n    env_vars: {<<: *vars, B: three}\n    \
                       health: {checks: [{<<: *check, name: a, tcp: 'localhost:1'}, {<<: [*check], name: b, tcp: 'localhost:2'}]}\n    \
                       hooks: {post_deploy: [*hook], finally: [*hook]}\n";
    let environments = "x-base: &base {host: local, keep: 1}\nx-env: &env {host: local, timeout: 12m}\n\
                        environments:\n  dev: &dev {<<: *env}\n  test: {<<: *dev, timeout: 13m}\n";
    let files = [
        ("deployments.yaml", deployments.as_bytes().to_vec()),
        ("environments.yaml", environments.as_bytes().to_vec()),
    ];
    let project = project(&files);
    project.executable("notify.sh", "#!/bin/sh\n");
    let host = Host::local();
    let shown = |environment: &str| {
        let words = ["validate", environment, "--show-config", "--output", "json"];
        host.run(&project, &words).exits(0).stdout.clone()
    };
    let dev = shown("dev");
    for part in ["three", "\"one\"", "localhost:2", "nobody", "12m"] {
        assert!(dev.contains(part), "{part} is not in {dev}");
    }
    assert!(dev.contains('9') && shown("test").contains("13m"));
}

/// Seconds of the processor that a `validate` of this file takes, and what it says.
fn cost(host: &Host, text: &str) -> (f64, String) {
    let project = project(&[("deployments.yaml", text.as_bytes().to_vec())]);
    let script = r#""$@" >told 2>&1; echo "exit $?"; times"#;
    let mut bash: Command = host.command("bash");
    bash.current_dir(project.path()).args(["-c", script, "bash", env!("CARGO_BIN_EXE_ffe-deploy")]);
    let said = output(bash.args(["validate", "dev", "--log-format", "human"]));
    assert!(said.starts_with("exit 2\n"), "{said}");
    let children = said.lines().last().expect("times of children");
    let seconds = |word: &str| -> f64 {
        let (minutes, seconds) = word.trim_end_matches('s').split_once('m').expect("minutes");
        minutes.parse::<f64>().expect("a number") * 60.0 + seconds.parse::<f64>().expect("a number")
    };
    let told = std::fs::read_to_string(project.path().join("told")).expect("what it told");
    (children.split_whitespace().map(seconds).sum(), told)
}

/// Without their limits these would take hours or the whole memory, or the square of their size. Compared is the time of
/// the processor, with that of a file that is wrong in one word; the half second is for builds that nothing was done for.
#[test]
fn bombs_cost_hardly_more_than_a_file_that_is_wrong_in_one_word() {
    let host = Host::local();
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    let mut merges = String::from("a0: &a0 {k: v}\n");
    for level in 1..30 {
        let below = level - 1;
        laughs += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 10].join(", "));
        merges +=
            &format!("a{level}: &a{level} {{<<: *a{below}, k{level}: [*a{below}, *a{below}, *a{below}]}}\n");
    }
    let bombs = [
        ("billion laughs", laughs, "one value too many"),
        ("merge keys of merge keys", merges, "one value too many"),
        ("lists", format!("a: {}{}\n", "[".repeat(10_000), "]".repeat(10_000)), "nested too deeply"),
        ("maps", format!("a: {}{}\n", "{a: ".repeat(10_000), "}".repeat(10_000)), "nested too deeply"),
        ("maps to the last byte", format!("a: {}\n", "{a: ".repeat(65_000)), "nested too deeply"),
        ("variables that do not end", format!("a: [{}\n", "${".repeat(100_000)), "is nested too deeply"),
        ("lists below lists", format!("{}x\n", "- ".repeat(10_000)), "nested too deeply"),
        (
            "a long text again and again",
            { format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 10_000].join(", ")) },
            "makes the text too long",
        ),
        ("sixteen megabytes", "x".repeat(1 << 24), "accepted: at most 262144 bytes"),
    ];
    let (usual, _) = cost(&host, &app("    keep_releases: many\n"));
    for (name, text, said) in bombs {
        let (took, told) = cost(&host, &text);
        assert!(told.contains(said) && told.contains("nothing was touched"), "{name}: {told:.2000}");
        assert!(took < 10.0 * usual + 0.5, "{name} took {took} s of the processor, {usual} s are usual");
    }
}
