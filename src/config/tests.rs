//! The room as its callers see it: projects on disk, inputs of a job, and what comes out.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::model::{ErrorKind, Exit, Placement, Profile};

pub(super) const COMPOSE: &str = "services:\n  web:\n    image: web:1\n";

/// A project in a directory of its own.
pub(super) struct Project(TempDir);

impl Project {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let project = Self(tempfile::Builder::new().prefix("shop").tempdir().unwrap());
        files.iter().for_each(|(path, text)| project.write(path, text));
        project
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn git(&self, args: &[&str]) {
        let mut command = Command::new("git");
        command.args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
        ]);
        let output = command.args(args).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(super) fn commit(&self) {
        self.git(&["init", "-q"]);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-qm", "one"]);
    }

    fn inputs(&self, environment: &str, job: &[(&str, &str)]) -> Inputs {
        Inputs {
            environment: Some(environment.to_owned()).filter(|name| !name.is_empty()),
            project_root: self.path().to_owned(),
            job: job.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Inputs::default()
        }
    }

    fn resolve(&self, environment: &str, job: &[(&str, &str)]) -> Result<Resolved, ConfigError> {
        resolve(&self.inputs(environment, job))
    }

    fn problems(&self, environment: &str, job: &[(&str, &str)]) -> String {
        let error = self.resolve(environment, job).unwrap_err();
        assert_eq!(error.exit(), Exit::Invalid, "{error}");
        error.to_string()
    }
}

fn shop(rest: &str) -> String {
    format!("deployments:\n  shop:\n    type: docker-compose\n{rest}")
}

#[test]
fn a_compose_file_is_configuration_enough() {
    let project = Project::new(&[("docker-compose.yml", COMPOSE)]);
    let resolved = project.resolve("dev", &[]).unwrap();
    assert!(resolved.app.name.as_str().starts_with("shop"));
    assert_eq!(resolved.app.compose_files, ["docker-compose.yml"]);
    assert_eq!(resolved.environment.profile, Profile::Dev);
    assert_eq!(resolved.target, Target::Local);
    let path = project.path().canonicalize().unwrap();
    assert_eq!(resolved.environment.placement, Placement::InPlace { path });
    assert!(!resolved.requires_confirmation && !resolved.environment.backup);
    assert_eq!(resolved.version, Version { label: "unversioned".to_owned(), given: false });
}

#[test]
fn an_app_without_file_is_named_after_its_repository() {
    let project = Project::new(&[("compose.yaml", COMPOSE)]);
    project.commit();
    project.git(&["remote", "add", "origin", "git@example.com:team/My.Shop_2.git"]);
    let resolved = project.resolve("dev", &[]).unwrap();
    assert_eq!(resolved.app.name.as_str(), "myshop_2");
    assert_eq!(resolved.version.label.len(), 7);
    assert_eq!(list(&project.inputs("dev", &[])).unwrap().apps[0].name, "myshop_2");
}

#[test]
fn an_absent_compose_file_is_refused_in_the_documents_words() {
    let empty = Project::new(&[]);
    let error = empty.resolve("development", &[]).unwrap_err();
    assert_eq!(
        (error.exit(), error.to_string()),
        (Exit::Refused, "Compose file not found: docker-compose.yml".into())
    );
    assert_eq!(error.report().code, "compose.file");
    let named = Project::new(&[
        ("deployments.yaml", &shop("    compose_file: [a.yml, b.yml]\n")),
        ("a.yml", COMPOSE),
    ]);
    assert_eq!(named.resolve("dev", &[]).unwrap_err().to_string(), "Compose file not found: b.yml");
}

#[test]
fn every_problem_of_both_files_is_told_at_once_with_its_place() {
    let project = Project::new(&[
        (
            "deploy/deployments.yaml",
            "deployments:\n  shop:\n    type: docker-compose\n    pth: .\n    profiles: full\n    build: runer\n    \
             health:\n      timeout: 2h\n      checks:\n        - {name: a, http: ftp://x}\n        - {name: b}\n    \
             hooks: {pre_deplo: [], pre_deploy: [{}]}\n    backup: {retention: {days: 0}}\n    keep_releases: all\n    path: nowhere\n",
        ),
        (
            "deploy/environments.yaml",
            "environments:\n  staging:\n    hots: x\n    port: 0\n    become: yes\n    on_lost: stop\n",
        ),
    ]);
    let text = project.problems("staging", &[]);
    for expected in [
        "deploy/deployments.yaml:4:5: `deployments.shop.pth` is not a known key; try: `path`; accepted: type, path,",
        "deploy/deployments.yaml:5:15: `deployments.shop.profiles` has the wrong value; found: `full`; accepted: a list",
        "deploy/deployments.yaml:6:12: `deployments.shop.build` has the wrong value; found: `runer`; accepted: host, runner, never; try: `runner`",
        "`deployments.shop.health.timeout` has the wrong value; found: `2h`; accepted: 1s to 1h",
        "`deployments.shop.health.checks[0].http` has the wrong value",
        "`deployments.shop.health.checks[1]` must ask exactly one thing",
        "`deployments.shop.hooks.pre_deplo` is not a known key; accepted: pre_build, pre_deploy,",
        "`deployments.shop.hooks.pre_deploy[0]` has neither `run` nor `shell`",
        "`deployments.shop.backup.retention.days` has the wrong value; found: `0`; accepted: a number from 1 to 3650",
        "`deployments.shop.keep_releases` has the wrong value; found: `all`; accepted: a number from 1 to 1000",
        "deploy/deployments.yaml:15:11: `deployments.shop.path` is not a directory; found: `nowhere`",
        "deploy/environments.yaml:3:5: `environments.staging.hots` is not a known key",
        "`environments.staging.port` has the wrong value; found: `0`; accepted: a number from 1 to 65535",
        "`environments.staging.become` has the wrong value; found: `yes`; accepted: sudo, no",
        "`environments.staging.on_lost` has the wrong value; found: `stop`; accepted: continue, rollback",
    ] {
        assert!(text.contains(expected), "{expected}\n---\n{text}");
    }
    assert!(text.starts_with("15 problems"), "{text}");
}

#[test]
fn broken_yaml_missing_type_unknown_app_and_empty_files_have_their_own_words() {
    let broken = Project::new(&[("deployments.yaml", "deployments:\n  shop: [\n"), ("compose.yml", COMPOSE)]);
    let untyped =
        Project::new(&[("deployments.yaml", "deployments:\n  shop: {path: .}\n"), ("compose.yml", COMPOSE)]);
    let known = Project::new(&[("deployments.yaml", &shop("")), ("compose.yml", COMPOSE)]);
    let empty = Project::new(&[
        ("deployments.yaml", "# later\n"),
        ("environments.yaml", ""),
        ("compose.yml", COMPOSE),
    ]);
    assert!(
        broken.problems("dev", &[]).contains("deployments.yaml:2:9: is not YAML: "),
        "{}",
        broken.problems("dev", &[])
    );
    let text = untyped.problems("dev", &[]);
    assert!(text.contains("deployments.yaml:2:3: `deployments.shop.type` is missing"), "{text}");
    assert_eq!(text.matches("is missing").count(), 1, "{text}");
    let mut inputs = known.inputs("dev", &[]);
    inputs.app = Some("shpo".to_owned());
    let text = resolve(&inputs).unwrap_err().to_string();
    assert!(
        text.contains(
            "`--app` names `shpo`, which deployments.yaml does not have; accepted: shop; try: `shop`"
        ),
        "{text}"
    );
    let text = empty.problems("dev", &[]);
    assert!(
        text.contains("deployments.yaml: is empty") && text.contains("environments.yaml: is empty"),
        "{text}"
    );
    let huge = "- [[[[\n".repeat(150_000);
    let huge = Project::new(&[("deployments.yaml", &huge), ("compose.yml", COMPOSE)]);
    assert!(
        huge.problems("dev", &[]).contains("is 1050000 bytes long")
            || huge.problems("dev", &[]).contains("larger than")
    );
}

#[test]
fn problems_of_a_type_that_is_not_built_concern_only_its_own_app() {
    let text = "deployments:\n  shop: {type: docker-compose}\n  tf: {type: terraform, var_file: x, auto_approve: false}\n";
    let project = Project::new(&[("deployments.yaml", text), ("compose.yml", COMPOSE)]);
    let mut inputs = project.inputs("dev", &[]);
    let missing = resolve(&inputs).unwrap_err().to_string();
    assert!(missing.contains("`--app` is missing, and there are several; accepted: shop, tf"), "{missing}");
    inputs.app = Some("shop".to_owned());
    assert!(resolve(&inputs).is_ok());
    inputs.app = Some("tf".to_owned());
    let refused = resolve(&inputs).unwrap_err().to_string();
    assert!(
        refused
            .contains("`deployments.tf.type` is not built yet; found: `terraform`; accepted: docker-compose"),
        "{refused}"
    );
    assert!(refused.starts_with("1 problem "), "{refused}");
}

#[test]
fn list_shows_apps_of_all_types() {
    let text = "deployments:\n  a: {type: docker-compose, path: a}\n  b: {type: docker}\n  c: {type: kubernetes, namespace: x}\n  \
                d: {type: terraform}\n  e: {type: ansible}\n";
    let project = Project::new(&[
        ("deployments.yaml", text),
        ("environments.yaml", "environments: {dev: , prod: {}}\n"),
    ]);
    let apps = list(&project.inputs("", &[])).unwrap().apps;
    let kinds: Vec<_> = apps.iter().map(|app| app.kind.as_str()).collect();
    assert_eq!(kinds, ["docker-compose", "docker", "kubernetes", "terraform", "ansible"]);
    assert_eq!(
        (apps[0].path.as_str(), apps[0].environments.clone()),
        ("a", vec!["dev".to_owned(), "prod".to_owned()])
    );
}

#[test]
fn environments_are_chosen_as_section_8_says() {
    let two = Project::new(&[
        ("environments.yaml", "environments: {dev: {}, eu: {host: h}}\n"),
        ("compose.yml", COMPOSE),
    ]);
    assert!(two.problems("", &[]).contains("`ENVIRONMENT` is missing; accepted: dev, eu"));
    assert!(
        two.problems("ue", &[])
            .contains("`ENVIRONMENT` is `ue`, which environments.yaml does not have; accepted: dev, eu")
    );
    let looks = Inputs { verb: Verb::Looks, ..two.inputs("", &[]) };
    assert_eq!(resolve(&looks).unwrap().environment.name.as_str(), "dev");
    assert_eq!(two.resolve("", &[("FFE_DEPLOY_ENVIRONMENT", "eu")]).unwrap().environment.name.as_str(), "eu");
    assert_eq!(two.resolve("development", &[]).unwrap().environment.name.as_str(), "dev");
    let one =
        Project::new(&[("environments.yaml", "environments: {eu: {host: h}}\n"), ("compose.yml", COMPOSE)]);
    let resolved = one.resolve("", &[]).unwrap();
    assert!(resolved.requires_confirmation && resolved.environment.backup);
}

#[test]
fn an_unset_or_empty_host_never_means_this_machine() {
    let production = |host: &str| {
        let environments =
            format!("environments:\n  production:\n    require_confirmation: false\n    host: {host}\n");
        Project::new(&[("environments.yaml", &environments), ("compose.yml", COMPOSE)])
    };
    let unset = production("${PROD_SERVER}").problems("production", &[]);
    assert!(
        unset.contains(
            "environments.yaml:4:11: `environments.production.host` needs the variable `PROD_SERVER`"
        ),
        "{unset}"
    );
    let server = ("PROD_SERVER", "");
    for (host, job) in
        [("${PROD_SERVER}", server), ("${PROD_SERVER:-}", server), ("\"\"", server), ("h", ("PROD_HOST", ""))]
    {
        let text = production(host).problems("production", &[job]);
        assert!(text.contains("is empty"), "{host}: {text}");
    }
    assert!(
        production("h")
            .problems("production", &[("FFE_DEPLOY_HOST", "")])
            .contains("`FFE_DEPLOY_HOST` is empty")
    );
    let absent = Project::new(&[("compose.yml", COMPOSE)]);
    for (environment, job) in [
        ("production", ("A", "")),
        ("staging", ("RUNNER_ENVIRONMENT", "github-hosted")),
        ("staging", ("RUNNER_ENVIRONMENT", "self-hosted")),
    ] {
        let error = absent.resolve(environment, &[job]).unwrap_err();
        assert_eq!((error.exit(), error.report().code.as_str()), (Exit::Refused, "local.not-said"));
    }
    assert_eq!(absent.resolve("production", &[("PROD_HOST", "local")]).unwrap().target, Target::Local);
    let written =
        Project::new(&[("environments.yaml", "environments: {staging: {}}\n"), ("compose.yml", COMPOSE)]);
    let resolved = written.resolve("staging", &[("RUNNER_ENVIRONMENT", "self-hosted")]).unwrap();
    assert_eq!(resolved.target, Target::Local);
}

#[test]
fn flags_stand_above_variables_and_variables_above_files() {
    let environments = "environments:\n  production:\n    host: file.example\n    user: ${UNSET}\n    port: 22\n    \
                        ssh_key: {env: KEY, passphrase: {env: PASS}}\n    jump: [{host: bastion, user: ci}]\n    become: sudo\n    root: /srv\n";
    let project = Project::new(&[("environments.yaml", environments), ("compose.yml", COMPOSE)]);
    let key = "-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n";
    let job =
        [("PROD_HOST", "var.example"), ("PRODUCTION_USER", "deploy"), ("KEY", key), ("PASS", "hunter22")];
    let ssh = |resolved: Resolved| match resolved.target {
        Target::Ssh(ssh) => (*ssh, resolved.secrets, resolved.environment),
        Target::Local => panic!("local"),
    };
    let (target, secrets, environment) = ssh(project.resolve("production", &job).unwrap());
    assert_eq!(
        (target.host.as_str(), target.user.as_deref(), target.port),
        ("var.example", Some("deploy"), Some(22))
    );
    assert!(target.become_root && target.jump[0].host == "bastion" && target.key.unwrap().reveal() == key);
    assert!(secrets.iter().any(|secret| secret.reveal() == "hunter22"));
    assert_eq!(environment.placement, Placement::Root { base: Some("/srv".into()) });
    let flagged = Inputs { host: Some("root@flag.example:2222".to_owned()), ..project.inputs("prod", &job) };
    let (target, ..) = ssh(resolve(&flagged).unwrap());
    assert_eq!(
        (target.host.as_str(), target.user.as_deref(), target.port),
        ("flag.example", Some("root"), Some(2222))
    );
    let inputs = [
        ("FFE_DEPLOY_HOST", "input.example"),
        ("FFE_DEPLOY_USER", "ci"),
        ("FFE_DEPLOY_PORT", "2200"),
        ("FFE_DEPLOY_SSH_KEY", "input-key"),
        ("FFE_DEPLOY_SSH_KEY_PASSPHRASE", "input-pass"),
    ];
    let (target, ..) = ssh(project.resolve("production", &[&job[..], &inputs].concat()).unwrap());
    assert_eq!(
        (target.host.as_str(), target.user.as_deref(), target.port),
        ("input.example", Some("ci"), Some(2200))
    );
    assert_eq!(target.key.unwrap().reveal(), "input-key");
    assert_eq!(target.passphrase.unwrap().reveal(), "input-pass");
    let text = project.problems("production", &[("PROD_USER", "u")]);
    assert!(text.contains("names the variable `KEY`, which is not set"), "{text}");
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    fs::write(file("key"), key).unwrap();
    fs::write(file("pass"), "of-the-file\n").unwrap();
    let user = ("PROD_USER", "u");
    let files =
        [("PROD_SSH_KEY_FILE", &*file("key")), ("FFE_DEPLOY_SSH_KEY_PASSPHRASE_FILE", &*file("pass"))];
    let (target, secrets, _) = ssh(project.resolve("production", &[&files[..], &[user]].concat()).unwrap());
    assert_eq!(target.key.unwrap().reveal(), key.trim_end());
    assert_eq!(target.passphrase.unwrap().reveal(), "of-the-file");
    assert!(secrets.iter().any(|secret| secret.reveal() == "of-the-file"));
    for (job, words) in [
        ([("PROD_SSH_KEY_FILE", "/nonexistent/key")], "`PROD_SSH_KEY` stands in /nonexistent/key"),
        ([("PROD_SSH_KEY", "x")], "`PROD_SSH_KEY` is set in the job, and so is `PROD_SSH_KEY_FILE`"),
    ] {
        let text =
            project.problems("production", &[&files[..usize::from(job[0].1 == "x")], &job, &[user]].concat());
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

#[test]
fn overlays_and_overrides_merge_maps_and_replace_lists() {
    let project = Project::new(&[
        (
            "deploy/deployments.yaml",
            &shop("    profiles: [a, b]\n    env_vars: {A: base, B: base, C: base}\n"),
        ),
        (
            "deploy/deployments.local.yaml",
            "deployments: {shop: {profiles: [c], env_vars: {B: local, C: local}}}\n",
        ),
        (
            "deploy/environments.yaml",
            "environments: {dev: {overrides: {shop: {project: mine, env_vars: {C: \"${X:-over}\"}}}}}\n",
        ),
        ("compose.yml", COMPOSE),
    ]);
    let resolved = project.resolve("dev", &[]).unwrap();
    let vars: Vec<_> = resolved.variables.below_host.values().map(String::as_str).collect();
    assert_eq!((vars, resolved.app.profiles), (vec!["base", "local", "over"], vec!["c".to_owned()]));
    assert_eq!(resolved.app.project.as_deref(), Some("mine"));
    project.write("deploy/environments.yaml", "environments: {dev: {overrides: {shpo: {}}}}\n");
    assert!(
        project
            .problems("dev", &[])
            .contains("`environments.dev.overrides.shpo` is not an app; accepted: shop; try: `shop`")
    );
}

#[test]
fn literal_secrets_are_refused_without_being_shown() {
    let project = Project::new(&[
        (
            "deployments.yaml",
            &shop(
                "    api_key: MARKER\n    env_vars: {DB_PASSWORD: MARKER, OK_TOKEN: \"${T}\", X_TOKEN: \"${T:-MARKER}\"}\n    secrets: [\"MARKER value\"]\n",
            ),
        ),
        ("environments.yaml", "environments: {dev: {ssh_key: MARKER}}\n"),
        ("compose.yml", COMPOSE),
    ]);
    let error = project.resolve("dev", &[("T", "abcd")]).unwrap_err();
    let text = format!("{error}{error:?}{:?}", error.report());
    assert!(!text.contains("MARKER"), "{text}");
    for key in [
        "deployments.shop.api_key` is a secret",
        "env_vars.DB_PASSWORD",
        "env_vars.X_TOKEN",
        "dev.ssh_key",
        "secrets[0]",
    ] {
        assert!(text.contains(key), "{key}: {text}");
    }
    assert!(!text.contains("env_vars.OK_TOKEN"));
    assert_eq!(error.report().error_kind, ErrorKind::ConfigurationError);
}

#[test]
fn values_that_came_from_the_job_are_not_shown_when_they_are_wrong() {
    let project = Project::new(&[
        ("environments.yaml", "environments: {dev: {port: \"${P}\", host: \"${P}\"}}\n"),
        ("compose.yml", COMPOSE),
    ]);
    let text = project.problems("dev", &[("P", "hunter2 hunter2")]);
    assert!(!text.contains("hunter2") && text.contains("found: the value of `${P}`"), "{text}");
}

#[test]
fn layers_lie_in_the_documented_order() {
    let project = Project::new(&[
        (
            "deployments.yaml",
            &shop(
                "    env_vars: {B: vars, C: vars, D: vars, E: vars}\n    secrets: [E_SECRET]\n    required_vars: [E, F]\n",
            ),
        ),
        ("environments.yaml", "environments: {production: {host: local}}\n"),
        (
            ".env",
            "A=env\nB=env\nCOMPOSE_FILE=main.yml\nCOMPOSE_PROFILES=x,y\nCOMPOSE_PROJECT_NAME=p\nDOCKER_HOST=x\n",
        ),
        (".env.prod", "C=file\nD=file\nREF=${B}-$A\n"),
        (
            "main.yml",
            "services: {web: {image: x, env_file: [.env.web, {path: ./cfg/more.env, required: false}]}}\n",
        ),
        (".env.web", "WEB_TOKEN=abcdefgh\n"),
        ("cfg/more.env", "M=1\n"),
    ]);
    let job = [
        ("PRODUCTION_ENV_FILE", "D=secret file\n"),
        ("E", "job"),
        ("F", ""),
        ("E_SECRET", "hunter22"),
        ("A", "never"),
    ];
    let mut inputs = project.inputs("production", &job);
    inputs.version = Some("1.2.3".to_owned());
    let resolved = resolve(&inputs).unwrap();
    let (below, above) = (&resolved.variables.below_host, &resolved.variables.above_host);
    assert_eq!(
        (below["A"].as_str(), below["B"].as_str(), below["COMPOSE_PROJECT_NAME"].as_str()),
        ("env", "vars", "p")
    );
    let seen: Vec<_> = above.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        seen,
        [
            "C=file",
            "D=secret file",
            "E=job",
            "E_SECRET=hunter22",
            "IMAGE_TAG=1.2.3",
            "REF=vars-env",
            "VERSION=1.2.3"
        ]
    );
    assert_eq!(
        (&resolved.app.compose_files[..], &resolved.app.profiles[..]),
        (&["main.yml".to_owned()][..], &["x".to_owned(), "y".to_owned()][..])
    );
    let files: Vec<_> = resolved.variables.env_files.keys().map(String::as_str).collect();
    assert_eq!(files, [".env", ".env.prod", ".env.web", "cfg/more.env"]);
    assert!(resolved.notices.iter().any(
        |notice| notice.rule == "variables.dropped" && notice.message.contains("`DOCKER_HOST` (.env:6)")
    ));
    let secrets: Vec<_> = resolved.secrets.iter().map(Secret::reveal).collect();
    assert_eq!(secrets, ["abcdefgh", "hunter22"]);
}

#[test]
fn what_is_made_of_a_secret_is_one() {
    let text = shop("    env_vars: {URL: \"postgres://u:${DB_PASSWORD}@db/${NAME}\"}\n");
    let project = Project::new(&[("deployments.yaml", &text), ("compose.yml", COMPOSE)]);
    let resolved = project.resolve("dev", &[("DB_PASSWORD", "hunter22"), ("NAME", "shop")]).unwrap();
    assert!(resolved.variables.secret_names.contains("URL"));
    let secrets: Vec<_> = resolved.secrets.iter().map(Secret::reveal).collect();
    assert_eq!(secrets, ["hunter22", "postgres://u:hunter22@db/shop"]);
}

#[test]
fn anchors_can_stand_in_extensions_and_projects_only_in_overrides() {
    let text = "x-base: &base {type: docker-compose, one_shot: [m]}\ndeployments:\n  shop: {<<: *base}\n";
    let project = Project::new(&[("deployments.yaml", text), ("compose.yml", COMPOSE)]);
    assert_eq!(project.resolve("dev", &[]).unwrap().app.one_shot, ["m"]);
    project.write("deployments.yaml", &shop("    project: one\n"));
    let text = project.problems("dev", &[]);
    assert!(text.contains("accepted: environments.<environment>.overrides.shop.project"), "{text}");
}

#[test]
fn values_are_secret_when_they_are_addresses_with_a_password_or_come_from_the_env_file_of_the_job() {
    let project = Project::new(&[
        ("deployments.yaml", &shop("    env_vars: {PUBLIC: shown-everywhere, DB: 'db://u:pass-of-db@h/'}\n")),
        ("docker-compose.yml", COMPOSE),
    ]);
    let file = "LOG_LEVEL=info\nLICENCE=abcd-efgh-1234\nPUBLIC=shown-everywhere\nURL=http://u:p@h/\n";
    let resolved = project.resolve("dev", &[("DEV_ENV_FILE", file)]).unwrap();
    let names: Vec<&str> = resolved.variables.secret_names.iter().map(String::as_str).collect();
    assert_eq!(names, ["DB", "LICENCE", "URL"]);
    let redactor = crate::text::Redactor::new(resolved.secrets.iter().map(Secret::reveal));
    assert_eq!(
        redactor.redact("abcd-efgh-1234 pass-of-db shown-everywhere info"),
        "*** *** shown-everywhere info"
    );
}

#[test]
fn secrets_must_be_there_and_long_enough() {
    let project = Project::new(&[
        ("deployments.yaml", &shop("    secrets: [A, B]\n    env_vars: {PATH: /x}\n")),
        ("compose.yml", COMPOSE),
    ]);
    let text = project.problems("staging", &[("A", "xyz"), ("B", "")]);
    assert!(
        text.contains("names the secret `B`, which is missing or empty")
            && text.contains("`A`, whose value is too short"),
        "{text}"
    );
    assert!(
        text.contains("`deployments.shop.env_vars.PATH` cannot be a variable") && !text.contains("xyz"),
        "{text}"
    );
    project.write("deployments.yaml", &shop("    secrets: [A]\n"));
    let notices = project.resolve("dev", &[]).unwrap().notices;
    assert!(notices.iter().any(|notice| notice.rule == "secrets.missing"));
    let operates = Inputs { verb: Verb::Operates, ..project.inputs("staging", &[]) };
    assert!(resolve(&operates).is_ok());
}

#[test]
fn compose_files_are_chosen_as_c03_says() {
    let both = "services: {web: {image: x}, db: {image: y}}\n";
    let project = Project::new(&[
        ("docker-compose.yml", both),
        ("docker-compose.override.yml", COMPOSE),
        ("docker-compose.development.yml", COMPOSE),
        ("compose.prod.yaml", COMPOSE),
        (
            "environments.yaml",
            "environments: {dev: {}, local: {profile: dev}, testing: {}, staging: {host: local}, production: {host: local}}\n",
        ),
    ]);
    let files =
        |environment: &str| project.resolve(environment, &[]).map(|resolved| resolved.app.compose_files);
    assert_eq!(files("dev").unwrap(), ["docker-compose.development.yml"]);
    assert_eq!(files("local").unwrap(), ["docker-compose.yml", "docker-compose.override.yml"]);
    assert_eq!(files("testing").unwrap(), ["docker-compose.yml"]);
    for environment in ["staging", "production"] {
        let text = project.problems(environment, &[]);
        assert!(text.contains("compose.prod.yaml: lacks services of `docker-compose.yml`: db"), "{text}");
        assert!(text.contains("`compose_file: [docker-compose.yml, compose.prod.yaml]`"), "{text}");
    }
    project.write("compose.prod.yaml", "services: {web: !reset {}, db: {}, more: {}}\n");
    assert_eq!(files("staging").unwrap(), ["compose.prod.yaml"]);
    project.write("docker-compose.yml", "services: [\n");
    assert_eq!(files("production").unwrap(), ["compose.prod.yaml"]);
}

#[test]
fn documents_files_are_required_when_git_tracks_them() {
    let project = Project::new(&[
        ("compose.yml", COMPOSE),
        ("config.yaml", "a: 1\n"),
        ("Dockerfile", "FROM scratch\n"),
        ("deployments.yaml", &shop("    required_files: [./cfg//x]\n")),
    ]);
    project.commit();
    project.write("config/config.yaml", "untracked\n");
    fs::remove_file(project.path().join("config.yaml")).unwrap();
    let resolved = project.resolve("dev", &[]).unwrap();
    assert_eq!(resolved.app.required_files, ["cfg/x", "Dockerfile", "config.yaml"]);
    assert!(resolved.notices.iter().any(|notice| notice.rule == "version.dirty"));
    assert!(resolved.version.label.ends_with("-dirty"));
}

#[test]
fn both_endings_of_a_file_and_an_empty_config_dir_are_problems() {
    let project = Project::new(&[
        ("environments.yaml", "environments: {dev: {}}\n"),
        ("environments.yml", "environments: {dev: {}}\n"),
        ("compose.yml", COMPOSE),
    ]);
    assert!(
        project
            .problems("dev", &[])
            .contains("environments.yaml: stands beside environments.yml; accepted: one of the two")
    );
    let inputs = Inputs { config_dir: Some("nowhere".into()), ..project.inputs("dev", &[]) };
    assert!(
        resolve(&inputs)
            .unwrap_err()
            .to_string()
            .contains("`--config-dir` names a directory without configuration")
    );
}

/// Every example of the documentation must be configuration that works; a workflow must at least be YAML.
#[test]
fn the_documented_examples_are_accepted() {
    let text = [
        "docs/configuration.md",
        "docs/hooks.md",
        "docs/notifications.md",
        "docs/registries.md",
        "docs/secrets.md",
        "README.md",
    ]
    .map(|page| fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap())
    .concat();
    let blocks: Vec<&str> =
        text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 7);
    let job = [
        ("PROD_HOST", "h.example.com"),
        ("PROD_USER", "ci"),
        ("PROD_SSH_KEY", "key key"),
        ("PROD_SSH_KEY_PASSPHRASE", "pass pass"),
        ("PROD_HOST_KEY", "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDMHGsJP8JnTK4l7Pc"),
        ("JWT_SECRET_KEY", "long enough"),
        ("COINBASE_API_SECRET", "long enough"),
        ("DOMAIN", "example.com"),
        ("REGISTRY_TOKEN", "long enough"),
        ("TLS_PASSPHRASE", "long enough"),
        ("DB_PASSWORD", "long enough"),
    ];
    for block in blocks {
        let name = block.split(':').next().unwrap();
        if name == "on" {
            serde_saphyr::from_str::<serde_json::Value>(block).unwrap();
            continue;
        }
        let name = if ["notify", "ledger"].contains(&name) { "deployments" } else { name };
        assert!(["deployments", "environments"].contains(&name), "{block}");
        let project = Project::new(&[
            (&format!("{name}.yaml"), block),
            ("docker-compose.yml", COMPOSE),
            ("compose.yaml", COMPOSE),
        ]);
        for environment in ["production", "staging", "dev"] {
            let mut inputs = project.inputs(environment, &job);
            if name == "deployments" {
                inputs.host = Some("local".to_owned());
            }
            match resolve(&inputs) {
                Ok(_) => {}
                Err(error) if error.to_string().contains("does not have") => {}
                Err(error) => panic!("{environment}: {error}\n{block}"),
            }
        }
    }
}

const REGISTRIES: &str = "registries:\n  - { server: 'https://ghcr.io/', username: '${WHO}', password: { env: TOKEN } }\n  \
    - server: docker.io\n    username: shop\n    password: ${HUB_TOKEN}\n";

#[test]
fn registries_have_one_name_each_and_passwords_from_the_job() {
    let text = format!("{REGISTRIES}{}", shop(""));
    let project = Project::new(&[("compose.yaml", COMPOSE), ("deployments.yaml", &text)]);
    let resolved = project
        .resolve("dev", &[("WHO", "ci"), ("TOKEN", "ghp_1234\n"), ("HUB_TOKEN", "hub-token")])
        .unwrap();
    let found: Vec<_> = resolved
        .registries
        .iter()
        .map(|login| (login.server.as_str(), login.username.as_str(), login.password.as_str()))
        .collect();
    assert_eq!(found, [("ghcr.io", "ci", "ghp_1234"), ("docker.io", "shop", "hub-token")]);
    assert!(!format!("{:?}", resolved.registries).contains("ghp_1234"));
    let secrets: Vec<_> = resolved.secrets.iter().map(crate::text::Secret::reveal).collect();
    assert!(secrets.contains(&"ghp_1234") && secrets.contains(&"hub-token"), "{secrets:?}");
}

#[test]
fn a_registry_without_its_password_stops_what_would_pull_and_nothing_else() {
    let text = format!("{REGISTRIES}{}", shop(""));
    let project = Project::new(&[("compose.yaml", COMPOSE), ("deployments.yaml", &text)]);
    let problems = project.problems("dev", &[("HUB_TOKEN", "abc"), ("WHO", "ci")]);
    for part in [
        "deployments.yaml:2:72: `registries[0].password.env` names the variable `TOKEN`, which is missing or empty",
        "${{ secrets.TOKEN }}",
        "deployments.yaml:5:15: `registries[1].password` names `HUB_TOKEN`, whose value is too short",
    ] {
        assert!(problems.contains(part), "{part}\n{problems}");
    }
    let inputs = Inputs { verb: Verb::Looks, ..project.inputs("dev", &[]) };
    assert!(resolve(&inputs).unwrap().registries.is_empty());
}

#[test]
fn registries_are_refused_where_they_are_wrong_and_no_password_is_shown() {
    let text = format!(
        "registries:\n  - {{ server: ghcr.io/org, user: ci, password: hunter22 }}\n  - {{ server: ghcr.io, username: a, password: {{ env: T }} }}\n  \
         - {{ server: GHCR.io, username: 'b:c', password: {{ env: T }} }}\n  - {{ server: https://ghcr.io, username: d, password: {{ env: T }} }}\n  - ghcr.io\n{}",
        shop("    registries: []\n")
    );
    let project = Project::new(&[("compose.yaml", COMPOSE), ("deployments.yaml", &text)]);
    let problems = project.problems("dev", &[("T", "hunter22")]);
    for part in [
        ":2:15: `registries[0].server` is no registry; found: `ghcr.io/org`; accepted:",
        "try: `ghcr.io`",
        ":2:28: `registries[0].user` is not a known key",
        "`registries[0].username` is missing",
        "`registries[0].password` is a secret written into a file (it is not shown)",
        ":4:34: `registries[2].username` has the wrong value",
        ":5:5: `registries[3]` names the registry `ghcr.io` a second time",
        ":6:5: `registries[4]` has the wrong value",
        "`deployments.shop.registries` is not a known key",
    ] {
        assert!(problems.contains(part), "{part}\n{problems}");
    }
    assert!(!problems.contains("hunter22"), "{problems}");
}

const HOOKS: &str = "deployments:\n  shop:\n    type: docker-compose\n    test: {command: [./test.sh, --fast]}\n    hooks:\n      \
    pre_build: [{run: [npm, ci], on: runner}]\n      \
    pre_deploy:\n        - {service: backend, run: [./manage.py, migrate], timeout: 10m}\n        - {shell: 'echo $FFE_VERSION | tee log'}\n      \
    post_deploy: [{name: smoke, run: [./scripts/smoke.sh], on_error: rollback}, {service: backend}]\n      \
    finally: [{run: [./tidy.sh]}]\n";

#[test]
fn hooks_are_read_in_the_order_in_which_they_run_with_those_of_the_environment_around_them() {
    use crate::model::{HookPlace, OnError};
    let environments = "environments:\n  staging:\n    host: local\n    hooks:\n      pre_deploy: [{run: [./silence.sh]}]\n      \
                        finally: [{run: [./listen.sh], on: runner}]\n";
    let project = Project::new(&[
        ("deploy/deployments.yaml", HOOKS),
        ("deploy/environments.yaml", environments),
        ("compose.yml", COMPOSE),
    ]);
    let resolved = project.resolve("staging", &[]).unwrap();
    let shown: Vec<String> = resolved
        .app
        .hooks
        .iter()
        .map(|hook| {
            let (place, time) = (hook.place.shown(), hook.timeout.as_secs());
            format!("{} {} on {place}, {time} s: {}", hook.kind, hook.name, hook.argv.join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "pre_build npm on runner, 300 s: npm ci",
            "pre_deploy silence.sh on host, 300 s: ./silence.sh",
            "pre_deploy manage.py on service backend, 600 s: ./manage.py migrate",
            "pre_deploy echo on host, 300 s: /bin/sh -c echo $FFE_VERSION | tee log",
            "post_deploy smoke on host, 300 s: ./scripts/smoke.sh",
            "post_deploy backend on service backend, 300 s: ",
            "finally tidy.sh on host, 300 s: ./tidy.sh",
            "finally listen.sh on runner, 300 s: ./listen.sh",
        ]
    );
    let policies: Vec<OnError> = resolved.app.hooks[4..6].iter().map(|hook| hook.on_error).collect();
    assert_eq!(policies, [OnError::Rollback, OnError::Fail]);
    assert_eq!(resolved.app.hooks[2].place, HookPlace::Service("backend".into()));
    let test = resolved.test.unwrap();
    assert_eq!((test.argv.join(" ").as_str(), test.timeout.as_secs()), ("./test.sh --fast", 600));
}

#[test]
fn what_a_hook_cannot_be_is_told_with_what_it_can_be() {
    for (hooks, expected) in [
        ("pre_deploy: [{run: []}]", "`deployments.shop.hooks.pre_deploy[0].run` has the wrong value"),
        ("pre_deploy: [{run: [a], shell: b}]", "shell` stands beside `run`; accepted: one of them"),
        (
            "pre_deploy: [{run: [a], on: runner}]",
            "on` cannot be `runner` in pre_deploy; accepted: host; the runner runs",
        ),
        (
            "pre_build: [{service: web}]",
            "service` is not for pre_build; accepted: a service in pre_deploy, post_deploy",
        ),
        ("post_deploy: [{service: web, on: host}]", "on` stands beside `service`"),
        (
            "pre_deploy: [{run: [a], on_error: warn}]",
            "on_error` is not for pre_deploy; accepted: no `on_error`: its failure stops",
        ),
        (
            "finally: [{run: [a], on_error: fail}]",
            "on_error` is not for finally; accepted: no `on_error`: the outcome is decided",
        ),
        (
            "finally: [{run: [a], timeout: 3h}]",
            "timeout` has the wrong value; found: `3h`; accepted: 1s to 2h",
        ),
        (
            "finally: [{shell: 'echo ${TITLE}'}]",
            "shell` puts a value of the job into a shell line, where it would be run",
        ),
        (
            "finally: [{run: [curl, '${API_TOKEN}']}]",
            "run[1]` would put the secret `API_TOKEN` on a command line",
        ),
    ] {
        let text = format!("deployments:\n  shop:\n    type: docker-compose\n    hooks: {{{hooks}}}\n");
        let project = Project::new(&[("deploy/deployments.yaml", &text), ("compose.yml", COMPOSE)]);
        let told = project.problems("dev", &[("TITLE", "$(reboot)"), ("API_TOKEN", "hunter22")]);
        assert!(told.contains(expected), "{hooks}: {told}");
        assert!(!told.contains("hunter22") && !told.contains("reboot"), "{told}");
    }
}

#[test]
fn problems_show_the_line_that_they_are_about_without_its_secrets() {
    let project = Project::new(&[
        ("deployments.yaml", &shop("    build: runer\n    backup: {format: tar, password: hunter22}\n")),
        ("compose.yml", COMPOSE),
    ]);
    let text = project.problems("dev", &[]);
    for wanted in [
        "      4 |     build: runer\n        |            ^^^^^\n",
        "      5 |     backup: {format: tar, password: ***}\n        |                      ^^^",
    ] {
        assert!(text.contains(wanted), "{wanted}\n---\n{text}");
    }
    assert!(!text.contains("hunter22"), "{text}");
}

#[test]
fn thousands_of_problems_are_told_in_one_page() {
    let keys: String = (0..5000).map(|number| format!("    zz{number}: 1\n")).collect();
    let project = Project::new(&[("deployments.yaml", &shop(&keys)), ("compose.yml", COMPOSE)]);
    let text = project.problems("dev", &[]);
    assert!(text.starts_with("5000 problems") && text.ends_with("… and 4900 more"), "{}", text.len());
    assert!(text.len() < 200_000, "{}", text.len());
}

#[test]
fn files_that_are_no_text_or_too_large_are_named_and_not_read() {
    let project = Project::new(&[("compose.yml", COMPOSE)]);
    let path = project.path().join("deployments.yaml");
    for (bytes, words) in [
        (&b"deployments:\n  a: \xff\n"[..], "it is not UTF-8 (line 2, byte 6)"),
        (&b"\xff\xfed\0e\0"[..], "it is UTF-16; save it as UTF-8"),
    ] {
        fs::write(&path, bytes).unwrap();
        let text = project.problems("dev", &[]);
        assert!(text.contains(words), "{text}");
    }
    fs::File::create(&path).unwrap().set_len(100_000_000).unwrap();
    let text = project.problems("dev", &[]);
    assert!(
        text.contains("deployments.yaml: is 100000000 bytes long; accepted: at most 262144 bytes"),
        "{text}"
    );
}

#[test]
fn secrets_come_from_the_job_then_from_files_then_from_programs() {
    let project = Project::new(&[
        (
            "deployments.yaml",
            &shop(
                "    secrets: [JOB, IN_FILE, {name: OWN_FILE, file: own.txt}, {name: OWN, command: [pass, '{app}/{name}', '${ARG}'], timeout: 5s}, SHARED]\n    \
                 secret_command: [op, read, 'op://{environment}/{name}']\n",
            ),
        ),
        ("compose.yml", COMPOSE),
        ("own.txt", "of the file\n"),
        ("in", "line one\nline two\n"),
        ("environments.yaml", "environments: {staging: {host: local}}\n"),
    ]);
    let file = project.path().join("in").display().to_string();
    let job = [("JOB", "of the job"), ("IN_FILE_FILE", file.as_str()), ("ARG", "x y")];
    let mut inputs = project.inputs("staging", &job);
    let asked: Vec<_> = secret_commands(&inputs)
        .into_iter()
        .map(|command| (command.name, command.argv.join("|"), command.timeout.as_secs()))
        .collect();
    let wanted = [("OWN", "pass|shop/OWN|x y", 5), ("SHARED", "op|read|op://staging/SHARED", 30)];
    assert_eq!(asked, wanted.map(|(name, argv, timeout)| (name.to_owned(), argv.to_owned(), timeout)));
    let looks = Inputs { verb: Verb::Looks, ..project.inputs("staging", &job) };
    assert!(secret_commands(&looks).is_empty());
    assert!(resolve(&looks).unwrap().notices.iter().all(|notice| notice.rule != "secrets.missing"));
    let failed = Unfetched { why: "and its program `op` is locked".to_owned(), hint: "unlock it".to_owned() };
    inputs.fetched.insert("SHARED".to_owned(), Err(failed));
    inputs.fetched.insert("OWN".to_owned(), Ok(Secret::new("of the program")));
    let text = resolve(&inputs).unwrap_err().to_string();
    assert!(
        text.contains("names the secret `SHARED`, and its program `op` is locked; try: unlock it"),
        "{text}"
    );
    inputs.fetched.insert("SHARED".to_owned(), Ok(Secret::new("shared one")));
    let resolved = resolve(&inputs).unwrap();
    let values: Vec<_> = resolved.variables.above_host.values().map(String::as_str).collect();
    let wanted = ["line one\nline two", "of the job", "of the program", "of the file", "shared one"];
    assert_eq!(values, wanted);
    let secrets: Vec<_> = resolved.secrets.iter().map(Secret::reveal).collect();
    assert!(wanted.iter().all(|value| secrets.contains(value)), "{secrets:?}");
}

#[test]
fn sources_of_secrets_are_refused_where_they_are_wrong() {
    let project = Project::new(&[
        (
            "deployments.yaml",
            &shop(
                "    secrets: [A, A, {name: B, command: [x], file: y}, {command: [x]}, {name: C, timeout: 3s}, {name: D, file: ../x}, {name: E, comand: [x]}, {name: F, command: [curl, '-H${TOKEN}']}, {name: G, file: tracked}]\n    \
                 secret_command: op read\n",
            ),
        ),
        ("compose.yml", COMPOSE),
        ("tracked", "MARKER value"),
        ("environments.yaml", "environments: {staging: {host: local}}\n"),
    ]);
    project.commit();
    let text = project.problems("staging", &[("TOKEN", "hunter22")]);
    for part in [
        "`deployments.shop.secrets[1]` names `A` a second time",
        "`deployments.shop.secrets[2]` has both `command` and `file`",
        "`deployments.shop.secrets[3]` has no `name`",
        "`deployments.shop.secrets[4].timeout` is only for a `command`",
        "`deployments.shop.secrets[5].file` has the wrong value",
        "`deployments.shop.secrets[6].comand` is not a known key; accepted: name, command, timeout, file; try: `command`",
        "`deployments.shop.secrets[7].command[1]` puts `TOKEN` into the arguments of a program",
        "names the secret `G`, which stands in tracked, a file that git tracks",
        "`deployments.shop.secret_command` has the wrong value",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
    assert!(!text.contains("hunter22") && !text.contains("MARKER"), "{text}");
}
