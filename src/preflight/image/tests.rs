use super::*;
use crate::model::Severity;
use crate::preflight::testing::{Bench, NO_ENGINE, docker};

/// Findings that are not as wanted: rule, severity, message, line.
async fn found(bench: &Bench) -> Vec<(String, Severity, String, Option<u32>)> {
    let found = {
        let subject = bench.subject();
        Images::of(&subject, Err(&NO_ENGINE)).await.check(&subject)
    };
    let found = found.into_iter().filter(|finding| finding.severity != Severity::Passed);
    found.map(|f| (f.rule, f.severity, f.message, f.place.and_then(|place| place.line))).collect()
}

fn built(dockerfile: &str, more: &str) -> Bench {
    let mut bench = Bench::new();
    bench.write("web/Dockerfile", dockerfile);
    bench.model(&format!(r#"{{"services": {{"web": {{"build": {{"context": "@/web"{more}}}}}}}}}"#));
    bench
}

#[tokio::test]
async fn root_in_the_final_stage_is_an_error_at_its_line_and_a_warning_in_dev() {
    for (dockerfile, line, says) in [
        ("FROM a\nUSER app\nUSER root\n", 3, "web/Dockerfile:3 says `USER root`"),
        ("FROM a\nUSER 0:0\n", 2, "`USER 0:0`"),
        ("FROM a\nUSER 00\n", 2, "`USER 00`"),
        ("FROM a\nARG UID=0\nUSER ${UID}:app\n", 3, "`USER 0:app`"),
        ("FROM a\nENV WHO=root\nUSER $WHO\n", 3, "`USER root`"),
        ("FROM a\nARG WHO\nUSER $WHO\n", 3, "a variable without a value"),
        ("FROM a AS build\nUSER app\nFROM scratch\n", 3, "stage of web/Dockerfile has no `USER`"),
        ("FROM a\nRUN useradd -o -u 0 app\nUSER app\n", 3, "`USER app`"),
    ] {
        let mut bench = built(dockerfile, "");
        let told = found(&bench).await;
        assert_eq!(told.len(), 1, "{dockerfile}: {told:?}");
        let (rule, severity, message, place) = &told[0];
        assert_eq!(
            (rule.as_str(), *severity, *place),
            ("image.user", Severity::Error, Some(line)),
            "{dockerfile}"
        );
        assert!(message.contains(says), "{message}");
        bench.environment.profile = Profile::Dev;
        assert_eq!(found(&bench).await[0].1, Severity::Warning);
    }
}

#[tokio::test]
async fn another_user_passes_in_the_dockerfile_the_target_or_the_compose_file() {
    let two = "FROM a AS dev\nUSER root\nFROM a AS prod\nUSER 10001\nFROM prod AS test\nUSER 0\n";
    for (dockerfile, more) in [
        ("FROM a\nUSER app\n", ""),
        ("FROM a AS base\nUSER 1000\nFROM base\n", ""),
        (two, r#", "target": "prod""#),
        ("FROM a\nARG UID=0\nUSER $UID\n", r#", "args": {"UID": "1000"}"#),
        ("", r#", "dockerfile_inline": "FROM a\nUSER app\n""#),
    ] {
        assert_eq!(found(&built(dockerfile, more)).await, [], "{dockerfile}{more}");
    }
    for context in ["service:base", "/srv/base"] {
        let more = format!(r#", "additional_contexts": {{"a": "{context}"}}"#);
        assert_eq!(found(&built("FROM a\n", &more)).await, [], "{context}");
    }
    let image = found(&built("FROM a\n", r#", "additional_contexts": {"a": "docker-image://b:1"}"#)).await;
    assert_eq!(image.len(), 1, "{image:?}");
    assert_eq!(found(&built(two, r#", "target": "dev""#)).await.len(), 1);
    assert_eq!(found(&built("FROM a\nARG UID=7\nUSER $UID\n", r#", "args": {"UID": "0"}"#)).await.len(), 1);
    let inline = found(&built("", r#", "dockerfile_inline": "FROM a\n""#)).await;
    assert_eq!((inline.len(), inline[0].3), (1, None), "the service's own line is the place");
    let mut bench = built("FROM a\nUSER root\n", "");
    let with_user =
        |user| format!(r#"{{"services": {{"web": {{"user": "{user}", "build": {{"context": "@/web"}}}}}}}}"#);
    bench.model(&with_user("1000:1000"));
    assert_eq!(found(&bench).await, []);
    bench.write("web/Dockerfile", "FROM a\nUSER app\n");
    bench.model(&with_user("root"));
    assert!(found(&bench).await[0].2.contains("its `user:` is `root`"));
}

#[tokio::test]
async fn secrets_of_dockerfiles_are_named_at_their_line_and_never_shown() {
    let bench = built(
        "FROM a\nUSER app\nENV PORT=80 API_KEY=MARKER-1\nARG DB_PASSWORD=\"MARKER 2\"\nARG TOKEN\n",
        "",
    );
    let told = found(&bench).await;
    assert_eq!(told.len(), 1, "{told:?}");
    let (rule, severity, message, line) = &told[0];
    assert_eq!((rule.as_str(), *severity, *line), ("image.secrets", Severity::Error, Some(3)));
    assert!(
        message.contains("`ENV API_KEY` in web/Dockerfile:3, `ARG DB_PASSWORD` in web/Dockerfile:4"),
        "{message}"
    );
    assert!(!format!("{told:?}").contains("MARKER"));
    for fine in [
        "ENV API_KEY_FILE=/run/secrets/k",
        "ARG TOKEN",
        "ENV TOKEN=$TOKEN",
        "ENV GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D",
        "ARG SECRET_KEY_BASE=dummy",
    ] {
        assert_eq!(found(&built(&format!("FROM a\nUSER app\n{fine}\n"), "")).await, [], "{fine}");
    }
}

#[test]
fn what_the_engine_knows_of_an_image_is_judged_like_a_dockerfile() {
    let known = |user: &str, environment: &[&str], history: &[&str]| Known {
        user: user.to_owned(),
        environment: environment.iter().map(|pair| (*pair).to_owned()).collect(),
        history: history.iter().map(|line| (*line).to_owned()).collect(),
        ..Known::default()
    };
    let mut bench = Bench::new();
    bench.write("Dockerfile", "FROM base\n");
    bench.model(
        r#"{"services": {"web": {"build": {"context": "@"}}, "db": {"image": "db"}, "odd": {"image": "odd"},
            "fine": {"image": "fine"}, "away": {"image": "away"}}}"#,
    );
    let shelf = |base: Known| {
        Shelf::of(vec![
            ("base", base),
            ("db", known("", &["PATH=/bin", "DB_PASSWORD=MARKER-1"], &[])),
            (
                "odd",
                known("admin", &[], &["RUN |1 TOKEN=MARKER-2 /bin/sh -c useradd -o -u 0 admin # buildkit"]),
            ),
            ("fine", known("1000", &["TOKEN_TTL=5"], &["/bin/sh -c #(nop)  ARG TOKEN"])),
        ])
    };
    let judged = |bench: &Bench, base: Known| -> Vec<(Severity, String)> {
        let subject = bench.subject();
        let images = Images { made: made(&subject), shelf: shelf(base) };
        images.check(&subject).into_iter().map(|f| (f.severity, f.message)).collect()
    };
    let told = judged(&bench, known("nobody", &[], &[]));
    let starts: Vec<_> =
        told.iter().map(|(severity, text)| (*severity, text.split(':').next().unwrap())).collect();
    assert_eq!(
        starts,
        [
            (Severity::Warning, "service `db` starts as root"),
            (Severity::Warning, "service `odd` starts as root"),
            (Severity::Warning, "image `db` holds secrets in its environment or history"),
            (Severity::Warning, "image `odd` holds secrets in its environment or history"),
        ]
    );
    assert!(!format!("{told:?}").contains("MARKER"));
    let root = judged(&bench, known("0:0", &[], &[]));
    assert!(
        root.iter()
            .any(|(severity, text)| *severity == Severity::Error && text.ends_with("and `base` is root")),
        "{root:?}"
    );
    let later = Known { on_build: vec!["USER node".to_owned()], ..known("", &[], &[]) };
    assert!(judged(&bench, later).iter().all(|(severity, _)| *severity != Severity::Error));
    bench.environment.profile = Profile::Dev;
    assert!(judged(&bench, known("x", &[], &[])).iter().all(|(severity, _)| *severity == Severity::Passed));
}

#[test]
fn a_healthcheck_is_the_dockerfiles_or_that_of_the_image_it_starts_from() {
    let healthy = |has_healthcheck| Known { has_healthcheck, ..Known::default() };
    let judged = |bench: &Bench, base: bool, own: bool| {
        let subject = bench.subject();
        let shelf = Shelf::of(vec![("base:2", healthy(base)), ("own", healthy(own))]);
        Images { made: made(&subject), shelf }.has_healthcheck("web")
    };
    let from_argument = "ARG BASE=other\nFROM ${BASE}\n";
    let mut bench = built(from_argument, r#", "args": {"BASE": "base:2"}"#);
    assert!(judged(&bench, true, false), "a build argument names the base");
    assert!(!judged(&bench, false, true), "what is built is not the image of its name");
    bench.write("web/Dockerfile", "FROM base:2\nHEALTHCHECK NONE\n");
    assert!(!judged(&bench, true, true));
    bench.model(r#"{"services": {"web": {"image": "own", "build": {"context": "@/web"}}}}"#);
    bench.app.build = BuildMode::Never;
    bench.write("web/Dockerfile", "FROM elsewhere\n");
    assert!(judged(&bench, false, true), "the image that is pulled has one");
    bench.write("web/Dockerfile", "FROM elsewhere\nHEALTHCHECK CMD true\n");
    assert!(judged(&bench, false, false), "its Dockerfile tells, before the image is here");
    bench.model(r#"{"services": {"web": {"image": "own"}}}"#);
    assert!(judged(&bench, false, true) && !judged(&bench, true, false));
}

/// The history of an image that the engine really has.
#[tokio::test]
async fn a_real_image_is_asked_about() {
    let Some(docker) = docker().await else { return };
    let name = "ffe-test/ut-history:1";
    let directory = tempfile::tempdir().unwrap();
    let lines = "FROM scratch\nHEALTHCHECK CMD true\nARG TOKEN=MARKER-1\nENV API_KEY=MARKER-2\nCOPY Dockerfile /\nUSER 7\n";
    std::fs::write(directory.path().join("Dockerfile"), lines).unwrap();
    let mut build = std::process::Command::new("docker");
    let built = build.args(["build", "--quiet", "--tag", name]).arg(directory.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let shelf = Shelf::look(Ok(&docker), BTreeSet::from([name, "ffe-test/ut-nobody:1"])).await;
    let known = shelf.get(name).unwrap();
    assert_eq!((known.user.as_str(), known.has_healthcheck), ("7", true));
    assert!(!known.architecture.is_empty());
    assert!(known.environment.contains(&"API_KEY=MARKER-2".to_owned()));
    assert!(known.history.iter().any(|layer| layer.contains("TOKEN")), "{:?}", known.history);
    assert!(shelf.get("ffe-test/ut-nobody:1").is_none());
}
