use super::*;
use proptest::prelude::*;

fn image(text: &str) -> Image {
    Dockerfile::parse(text).image(None, &BTreeMap::new()).unwrap()
}

fn user(text: &str) -> Option<String> {
    image(text).user.and_then(|user| user.value)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_last_user_of_the_final_stage_counts() {
    assert_eq!(user("FROM a\nUSER app\nRUN x\nuser root\n"), some("root"));
    assert_eq!(user("FROM a AS build\nUSER app\nFROM b\nCOPY --from=build /x /x\n"), None);
    assert_eq!(user("FROM a AS base\nUSER app\nFROM base AS mid\nFROM mid\nRUN x\n"), some("app"));
    assert_eq!(image("FROM a AS base\nUSER app\nFROM Base\n").base, some("a"));
    let said = image("# hi\nFROM a\n\nUSER 1000\n");
    assert_eq!((said.line, said.user.unwrap().line), (2, 4));
}

#[test]
fn the_stage_that_is_built_is_found_by_name_and_number() {
    let file =
        Dockerfile::parse("FROM a AS dev\nUSER root\nFROM a AS prod\nUSER app\nFROM prod AS test\nUSER 0\n");
    let user = |target| file.image(Some(target), &BTreeMap::new())?.user?.value;
    assert_eq!(user("DEV"), some("root"));
    assert_eq!(user("prod"), some("app"));
    assert_eq!(user("1"), some("app"));
    assert_eq!(user(""), some("0"));
    assert_eq!(file.image(Some("nowhere"), &BTreeMap::new()), None);
    assert_eq!(file.image(Some("3"), &BTreeMap::new()), None);
}

#[test]
fn variables_are_filled_in_from_defaults_and_build_arguments() {
    assert_eq!(user("FROM a\nARG UID=0\nUSER ${UID}:${UID}\n"), some("0:0"));
    assert_eq!(user("FROM a\nENV WHO=root\nUSER $WHO\n"), some("root"));
    assert_eq!(user("FROM a\nENV WHO root\nUSER \"${WHO:-app}\"\n"), some("root"));
    assert_eq!(user("FROM a\nUSER ${WHO:-root}\n"), some("root"));
    assert_eq!(user("FROM a\nARG WHO\nUSER ${WHO:-${OTHER:-0}}\n"), some("0"));
    assert_eq!(user("ARG UID=0\nFROM a\nUSER ${UID:-5}\n"), some("5"), "a global one is to be declared");
    assert_eq!(user("ARG UID=0\nFROM a\nARG UID\nUSER $UID\n"), some("0"));
    assert_eq!(user("FROM a\nARG X=app\nENV X=root\nARG X=app\nUSER $X\n"), some("root"), "ENV wins");
    let open = image("FROM a\nARG WHO\nUSER $WHO\n").user.unwrap();
    assert_eq!((open.value, open.line), (None, 3));
    let given = BTreeMap::from([("WHO".to_owned(), "0".to_owned())]);
    let built =
        Dockerfile::parse("ARG WHO=7\nFROM a:$WHO\nARG WHO\nUSER $WHO\n").image(None, &given).unwrap();
    assert_eq!((built.user.unwrap().value, built.base), (some("0"), some("a:0")));
    assert_eq!(image("FROM $UNKNOWN\n").base, None);
    assert_eq!(image("FROM --platform=$BUILDPLATFORM scratch\n").base, some("scratch"));
}

#[test]
fn continued_lines_escapes_comments_and_heredocs_are_no_instructions() {
    assert_eq!(user("FROM a\nUSER \\\n  # not this\n\n  app\nRUN x \\\nUSER root\n"), some("app"));
    assert_eq!(
        user("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nUSER `\n app\nRUN c:\\\nUSER b\n"),
        some("b")
    );
    assert_eq!(
        user("# a comment\n# escape=`\nFROM a\nUSER \\\n app\n"),
        some("app"),
        "too late for a directive"
    );
    assert_eq!(user("FROM a\nUSER app\nRUN <<EOF\nUSER root\nEOF\n"), some("app"));
    assert_eq!(
        user("FROM a\nUSER app\nRUN <<-'END' cat <<B\n\tUSER root\n\tEND\nUSER root\nB\n"),
        some("app")
    );
    assert_eq!(user("FROM a\nUSER app\nCOPY <<\"F\" /x\nUSER root\nF\nUSER last\n"), some("last"));
    assert_eq!(user("FROM a\nRUN cat <<< EOF\nUSER app\n"), some("app"), "a here-string is none");
    assert_eq!(user("FROM a\nRUN echo $((1<<2))\nUSER app\n"), some("app"));
    assert_eq!(user("\u{feff}FROM a\r\nUSER app\r\n"), some("app"));
}

#[test]
fn onbuild_waits_for_the_next_stage() {
    assert_eq!(user("FROM a\nUSER app\nONBUILD USER root\n"), some("app"));
    assert_eq!(user("FROM a AS base\nUSER app\nONBUILD USER root\nFROM base\n"), some("root"));
    assert_eq!(
        user("FROM a AS base\nONBUILD USER root\nFROM base AS one\nUSER app\nFROM one\n"),
        some("app")
    );
}

#[test]
fn a_healthcheck_is_followed_like_a_user() {
    assert_eq!(image("FROM a\n").healthcheck, None);
    assert_eq!(image("FROM a\nHEALTHCHECK --interval=5s CMD true\n").healthcheck, Some(true));
    assert_eq!(image("FROM a\nHEALTHCHECK CMD true\nHEALTHCHECK none\n").healthcheck, Some(false));
    assert_eq!(image("FROM a AS b\nHEALTHCHECK CMD true\nFROM b\n").healthcheck, Some(true));
    assert_eq!(image("FROM a AS b\nHEALTHCHECK CMD true\nFROM c\n").healthcheck, None);
}

#[test]
fn base_images_are_found_through_stages_arguments_and_platforms() {
    let dockerfile = "ARG NODE=20-alpine\nFROM --platform=$BUILDPLATFORM node:${NODE} AS build\nRUN true\n\
        from build as test\nFROM scratch\nFROM nginx:1.25-alpine\nFROM $UNKNOWN\n";
    assert_eq!(Dockerfile::parse(dockerfile).base_images(), ["node:20-alpine", "nginx:1.25-alpine"]);
}

#[test]
fn literals_are_named_and_not_told() {
    let file = Dockerfile::parse(
        "ARG TOKEN=abc\nFROM a AS build\nARG TOKEN\nARG EMPTY=\nENV A=1 \\\n  PASSWORD=\"hunter2 x\"\nENV OLD some text\nENV COPIED=$TOKEN\n\
         FROM b\nENV COPY=$TOKEN FROM_ENV=$A\nENV K=dead BEEF=\"DE AD 01\"\nONBUILD ENV LATER=x\n",
    );
    let found = file.literals(|_, _| true);
    let told: Vec<_> =
        found.iter().map(|one| (one.instruction.as_str(), one.name.as_str(), one.line)).collect();
    assert_eq!(
        told,
        [
            ("ARG", "TOKEN", 1),
            ("ENV", "A", 5),
            ("ENV", "PASSWORD", 5),
            ("ENV", "OLD", 7),
            ("ENV", "COPIED", 8),
            ("ENV", "K", 11),
            ("ENV", "BEEF", 11),
            ("ENV", "LATER", 12),
        ]
    );
    let one = file.literals(|name, value| name == "PASSWORD" && value == "hunter2 x");
    assert_eq!(one.len(), 1);
    assert!(!format!("{found:?}").contains("hunter2"));
}

#[test]
fn root_has_many_names() {
    for user in ["", "root", "0", "00", "0:0", "root:root", "0:1000", "+0", "-0", " root ", ":5"] {
        assert!(is_root(user), "{user}");
    }
    for user in ["1", "1000:0", "app", "app:root", "rooty", "0x0", "nobody", "99999999999999999999"] {
        assert!(!is_root(user), "{user}");
    }
    assert_eq!(aliases_of_root("addgroup x && useradd -o -u 0 admin; true"), ["admin"]);
    assert_eq!(aliases_of_root("/usr/sbin/useradd --non-unique --uid=00 admin"), ["admin"]);
    assert_eq!(aliases_of_root("adduser -D -ou 0 a || usermod -o --uid 0 b"), ["a", "b"]);
    assert!(aliases_of_root("useradd -u 1000 app && chown 0:0 /x").is_empty());
    assert_eq!(image("FROM a\nRUN useradd -o \\\n -u 0 admin\nUSER admin\n").aliases_of_root, ["admin"]);
}

proptest! {
    #[test]
    fn any_text_is_read_to_its_end(text in any::<String>(), words in "[$A{}:+\\-'\"\\\\ =<\n]{0,40}") {
        for text in [text, format!("FROM {words}\nARG {words}\nENV {words}\nUSER {words}\nRUN {words}\n")] {
            let file = Dockerfile::parse(&text);
            file.image(None, &BTreeMap::new());
            file.literals(|_, _| true);
            file.base_images();
        }
    }
}
