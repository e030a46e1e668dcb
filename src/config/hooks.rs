//! Reader of the key groups `hooks` and `test`.

use std::time::Duration;

use crate::model::{HOOK_TIMEOUT, Hook, HookKind, HookPlace, OnError};

use super::app::{is_service_name, secret_parts};
use super::reader::{Field, Problems, Section};
use super::yaml::{Scalar, Style, Value};

/// Least and longest `timeout` of a hook and of the test.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(2 * 3600);
/// Longest time of the test unless `timeout` says otherwise.
const TEST_TIMEOUT: Duration = Duration::from_secs(10 * 60);

const KEYS: [&str; 7] = ["name", "run", "shell", "service", "on", "timeout", "on_error"];
const ARGV: &str = "program and arguments, such as [\"./migrate.sh\", \"--fast\"]";
const SHAPE: &str = "a list of { run: [program, argument, …] }, { shell: line } or { service: name }";

/// What is run on the runner before anything is deployed (C23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSpec {
    /// Program and arguments; never a shell line.
    pub argv: Vec<String>,
    /// Longest time; 1 s to 2 h, default 10 min.
    pub timeout: Duration,
}

/// Reads `test`.
pub(super) fn read_test(field: &Field<'_>, problems: &mut Problems) -> Option<TestSpec> {
    let section = field.section(problems)?;
    section.only(&["command", "timeout"], &[], problems);
    let Some(command) = section.get("command") else {
        problems.add(field.problem("has no `command`").accepted("command: [program, argument, …]"));
        return None;
    };
    let argv = read_argv(&command, problems)?;
    Some(TestSpec { argv, timeout: read_timeout(&section, problems).unwrap_or(TEST_TIMEOUT) })
}

/// Reads `hooks`.
pub(super) fn read(field: &Field<'_>, problems: &mut Problems) -> Vec<Hook> {
    let Some(section) = field.section(problems) else { return Vec::new() };
    section.only(&HookKind::ALL.map(HookKind::as_str), &[], problems);
    let mut hooks = Vec::new();
    for kind in HookKind::ALL {
        let items = section.get(kind.as_str()).and_then(|field| field.items(SHAPE, problems));
        hooks.extend(items.into_iter().flatten().filter_map(|item| read_hook(&item, kind, problems)));
    }
    hooks
}

/// Puts the environment's hooks around the app's: before them in what comes before the switch, after them in what comes
/// after it.
pub(super) fn around(environment: Vec<Hook>, app: Vec<Hook>) -> Vec<Hook> {
    let mut hooks = Vec::new();
    for kind in HookKind::ALL {
        let of = |hooks: &[Hook]| hooks.iter().filter(|hook| hook.kind == kind).cloned().collect::<Vec<_>>();
        let is_before = matches!(kind, HookKind::PreBuild | HookKind::PreDeploy);
        let (first, second) = if is_before { (&environment, &app) } else { (&app, &environment) };
        hooks.extend(of(first).into_iter().chain(of(second)));
    }
    hooks
}

fn read_hook(field: &Field<'_>, kind: HookKind, problems: &mut Problems) -> Option<Hook> {
    let section = field.section(problems)?;
    section.only(&KEYS, &[], problems);
    let place = read_place(&section, kind, problems);
    let argv = read_program(field, &section, problems);
    let timeout = read_timeout(&section, problems).unwrap_or(HOOK_TIMEOUT);
    let on_error = read_on_error(&section, kind, problems);
    let name = section
        .get("name")
        .map(|field| field.text_that("a name of a-z A-Z 0-9 . _ -", is_service_name, problems));
    let (place, argv) = (place?, argv?);
    let name = name.unwrap_or_else(|| Some(usual_name(&section, &place, &argv, kind)))?;
    Some(Hook { kind, name, place, argv, timeout, on_error })
}

/// The program's file name, the first word of a shell line, or the service.
fn usual_name(section: &Section<'_>, place: &HookPlace, argv: &[String], kind: HookKind) -> String {
    let line = section.get("shell").and_then(|field| field.node.text().map(str::to_owned));
    let first = line.or_else(|| argv.first().cloned()).unwrap_or_default();
    let word = first.split_whitespace().next().unwrap_or_default();
    let name = word.rsplit('/').next().filter(|name| is_service_name(name) && name.len() <= 60);
    match (name, place) {
        (Some(name), _) => name.to_owned(),
        (None, HookPlace::Service(service)) => service.clone(),
        (None, HookPlace::Host | HookPlace::Runner) => kind.as_str().to_owned(),
    }
}

fn read_place(section: &Section<'_>, kind: HookKind, problems: &mut Problems) -> Option<HookPlace> {
    let (on, service) = (section.get("on"), section.get("service"));
    if let (Some(on), Some(_)) = (&on, &service) {
        let problem = on.problem("stands beside `service`");
        problems.add(problem.accepted("one of them: containers run on the host"));
        return None;
    }
    match (on, service) {
        (_, Some(service)) if !kind.may_run_in_service() => {
            let problem = service.problem(format!("is not for {kind}"));
            problems.add(problem.accepted("a service in pre_deploy, post_deploy and on_rollback"));
            None
        }
        (_, Some(service)) => {
            service.text_that("a service's name", is_service_name, problems).map(HookPlace::Service)
        }
        (None, None) => Some(HookPlace::Host),
        (Some(on), None) => match on.word(&[("host", false), ("runner", true)], &[], problems)? {
            true if !kind.may_run_on_runner() => {
                let problem = on.problem(format!("cannot be `runner` in {kind}"));
                problems.add(
                    problem.accepted("host; the runner runs pre_build, on_failure, on_rollback and finally"),
                );
                None
            }
            true => Some(HookPlace::Runner),
            false => Some(HookPlace::Host),
        },
    }
}

/// What it runs: `run`, or a line for the shell; of a service nothing is needed.
fn read_program(field: &Field<'_>, section: &Section<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    match (section.get("run"), section.get("shell")) {
        (Some(_), Some(shell)) => {
            problems.add(shell.problem("stands beside `run`").accepted("one of them"));
            None
        }
        (Some(run), None) => read_argv(&run, problems),
        (None, Some(shell)) => read_shell(&shell, problems),
        (None, None) if section.get("service").is_some() => Some(Vec::new()),
        (None, None) => {
            problems.add(field.problem("has neither `run` nor `shell`").accepted(SHAPE));
            None
        }
    }
}

/// Arguments are seen by every user of the machine: a secret does not belong there.
fn read_argv(field: &Field<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let items = field.items(ARGV, problems)?;
    if items.is_empty() {
        return field.wrong("a list that is not empty", problems);
    }
    let before = problems.0.len();
    for item in &items {
        if let Some(name) = secret_parts(item).next() {
            let problem = item.problem(format!("would put the secret `{name}` on a command line"));
            problems.add(problem.accepted("the program reads it from its environment"));
        }
    }
    let argv = field.texts(ARGV, |_| true, problems)?;
    (problems.0.len() == before).then_some(argv)
}

/// A value of the job in a shell line would be read as part of the program.
fn read_shell(field: &Field<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    if let Value::Scalar(Scalar { style: Style::Filled(_), .. }) = &field.node.value {
        let problem = field.problem("puts a value of the job into a shell line, where it would be run");
        problems.add(
            problem.accepted("`$NAME` or `$${NAME}`, which the shell takes from the hook's environment"),
        );
        return None;
    }
    let line = field.text(problems)?;
    Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), line])
}

fn read_timeout(section: &Section<'_>, problems: &mut Problems) -> Option<Duration> {
    section.get("timeout").and_then(|field| field.duration(LEAST, MOST, problems))
}

fn read_on_error(section: &Section<'_>, kind: HookKind, problems: &mut Problems) -> OnError {
    let Some(field) = section.get("on_error") else { return OnError::default() };
    if kind != HookKind::PostDeploy {
        let problem = field.problem(format!("is not for {kind}"));
        let fixed = if kind.is_after_the_end() {
            "no `on_error`: the outcome is decided by then, so that its failure is a warning"
        } else {
            "no `on_error`: its failure stops the deployment before anything is switched"
        };
        problems.add(problem.accepted(fixed));
        return OnError::default();
    }
    let words = [("warn", OnError::Warn), ("fail", OnError::Fail), ("rollback", OnError::Rollback)];
    field.word(&words, &[], problems).unwrap_or_default()
}
