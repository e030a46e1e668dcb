//! Runs one hook: its program on this machine, or a container of a service. Both halves use it.
//!
//! Enter by [`run_program`] or [`ComposeExecutor::run_in_service`]. Knows neither when hooks run nor what their failure
//! means.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Instant;

use crate::executor::compose::{ComposeExecutor, ExecutorError, Site};
use crate::host::change::{self, Change};
use crate::host::children::DEPLOYMENT;
use crate::host::process::{self, Command, Finished, ProcessError};
use crate::host::program;
use crate::model::{DeploymentId, Hook, HookKind, HookOutcome, HookPlace, HookResult, labels};
use crate::text::{Redactor, harmless, shortened};

/// Variables that every hook has, besides those of its release (docs/hooks.md); one that means nothing is empty.
pub const VARIABLES: [&str; 22] = [
    "FFE_APP",
    "FFE_BACKUP",
    "FFE_CORRELATION_ID",
    DEPLOYMENT,
    "FFE_ENVIRONMENT",
    "FFE_ERROR",
    "FFE_ERROR_CODE",
    "FFE_HOOK",
    "FFE_HOOK_NAME",
    "FFE_OUTCOME",
    "FFE_PREVIOUS_RELEASE",
    "FFE_PREVIOUS_VERSION",
    "FFE_PROJECT",
    "FFE_RECOVERED",
    "FFE_RELEASE",
    "FFE_ROLLED_BACK_TO",
    "FFE_ROOT",
    "FFE_STAGE",
    "FFE_STATUS",
    "FFE_URL",
    "FFE_VERB",
    "FFE_VERSION",
];
/// Longest detail of a result, in characters: it quotes the hook's last line.
const LONGEST_DETAIL: usize = 400;
/// Most lines of one hook that are told: what is longer belongs into a file.
const MOST_LINES: usize = 10_000;

/// What is known, by the names of [`VARIABLES`].
pub type Facts = BTreeMap<&'static str, String>;

/// Returns the variables of a hook: all of [`VARIABLES`], with what is known.
pub fn variables(hook: &Hook, facts: &Facts) -> BTreeMap<String, String> {
    let own = [("FFE_HOOK", hook.kind.as_str()), ("FFE_HOOK_NAME", hook.name.as_str())];
    let known = |name: &'static str| facts.get(name).cloned().unwrap_or_default();
    let all = VARIABLES.into_iter().map(|name| (name.to_owned(), known(name)));
    all.chain(own.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

/// Tells the lines of one program, as many as are told.
pub struct Teller<F> {
    say: F,
    count: usize,
}

impl<F: FnMut(&str)> Teller<F> {
    /// Returns a teller that has told nothing.
    pub fn new(say: F) -> Self {
        Self { say, count: 0 }
    }

    /// Tells a line, or that there were too many.
    pub fn line(&mut self, line: &str) {
        self.count += 1;
        match self.count.cmp(&(MOST_LINES + 1)) {
            std::cmp::Ordering::Less => (self.say)(line),
            std::cmp::Ordering::Equal => (self.say)("… (more than 10,000 lines: the rest is left out)"),
            std::cmp::Ordering::Greater => {}
        }
    }
}

/// Runs a program of the app's own here, and ends it with all that it has started when `stop` is ready.
pub async fn run_program(
    hook: &Hook,
    directory: &Path,
    environment: &BTreeMap<String, String>,
    stop: &mut (dyn Future<Output = ()> + Send + Unpin),
    say: impl FnMut(&str) + Send,
) -> HookResult {
    let Some((program, args)) = hook.argv.split_first() else {
        return hook.result(HookOutcome::Failed, Some("there is no program to run".to_owned()));
    };
    let command = Command::new(program).args(args).directory(directory).deadline(hook.timeout).forgetting();
    let command = environment.iter().fold(command, |command, (name, value)| command.env(name, value));
    let command = command.changes(point(hook.kind));
    let mut teller = Teller::new(say);
    let began = Instant::now();
    let ended = process::run_until(&command, stop, |_, line| teller.line(line)).await;
    let found = match &ended {
        Err(ProcessError::Missing { .. } | ProcessError::Start { .. }) => {
            program::find(program, directory).err()
        }
        _ => None,
    };
    let result = result(hook, began, ended);
    // The system only says that something is not there, and not what.
    match found {
        Some(why) => HookResult { detail: Some(why.to_string()), ..result },
        None => result,
    }
}

/// Name of a hook at the seam.
fn point(kind: HookKind) -> &'static str {
    match kind {
        HookKind::PreBuild => "hook pre_build",
        HookKind::PreDeploy => "hook pre_deploy",
        HookKind::PostDeploy => "hook post_deploy",
        HookKind::OnFailure => "hook on_failure",
        HookKind::OnRollback => "hook on_rollback",
        HookKind::Finally => "hook finally",
    }
}

fn result(hook: &Hook, began: Instant, ended: Result<Finished, ProcessError>) -> HookResult {
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let of = |outcome, exit_code, detail| HookResult { exit_code, took_ms, ..hook.result(outcome, detail) };
    let ended = match ended {
        Err(ProcessError::Failed { finished, .. }) => Ok(*finished),
        ended => ended,
    };
    match ended {
        Ok(finished) if finished.status.success() => of(HookOutcome::Succeeded, Some(0), None),
        Ok(finished) => of(HookOutcome::Failed, finished.status.code(), Some(how(&finished))),
        Err(ProcessError::Deadline { deadline, .. }) => {
            let detail = format!(
                "it did not end within {} s, and was ended with all that it had started",
                deadline.as_secs()
            );
            of(HookOutcome::TimedOut, None, Some(detail))
        }
        Err(ProcessError::Stopped { .. }) => of(HookOutcome::Cancelled, None, None),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            of(HookOutcome::Failed, None, Some(format!("{error}{}", cause.unwrap_or_default())))
        }
    }
}

/// Returns why a hook failed as people may see it: without secrets, and short.
pub fn detail(said: &str, redactor: &Redactor) -> String {
    shortened(&redactor.redact(said), LONGEST_DETAIL)
}

/// How a program ended that did not end well, and the last that it said: for [`detail`].
pub fn how(finished: &Finished) -> String {
    let ended = match (finished.status.code(), finished.status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    };
    let said = harmless(&finished.last_words());
    if said.is_empty() { ended } else { format!("{ended}: {said}") }
}

impl ComposeExecutor {
    /// Runs a hook in a container of its service, of the image that this site's release has. Whatever ends it, the
    /// container goes.
    pub async fn run_in_service(
        &self,
        hook: &Hook,
        site: &Site,
        deployment: &DeploymentId,
        variables: &BTreeMap<String, String>,
        stop: &mut (dyn Future<Output = ()> + Send + Unpin),
    ) -> HookResult {
        let HookPlace::Service(service) = &hook.place else {
            return hook.result(HookOutcome::Failed, Some("it names no service".to_owned()));
        };
        let label = format!("{}={deployment}", labels::HOOK);
        let change = Change::Run {
            site: site.call(),
            service,
            argv: &hook.argv,
            variables,
            label: &label,
            deadline: hook.timeout,
        };
        let source = format!("hook {}", hook.name);
        let mut teller = Teller::new(|line: &str| self.say_line(&source, line));
        let began = Instant::now();
        let ended = {
            let mut say = |line: &str| teller.line(line);
            tokio::select! {
                ended = change::carry_out(&change, &self.compose, &mut say) => ended,
                () = stop => Err(ProcessError::Stopped { shown: change.name().to_owned() }),
            }
        };
        let gone = matches!(&ended, Ok(_) | Err(ProcessError::Failed { .. } | ProcessError::Missing { .. }));
        let mut result = result(hook, began, ended);
        if !gone && let Err(error) = self.end_hook_containers(deployment).await {
            result.detail = Some(format!("its container could not be removed: {}", error.report().message));
        }
        result
    }

    /// Removes the containers in which hooks of a deployment run.
    ///
    /// # Errors
    /// Docker fails, or is gone.
    pub async fn end_hook_containers(&self, deployment: &DeploymentId) -> Result<(), ExecutorError> {
        let all = self.docker.all_containers().await?;
        let of_hooks = all.into_iter().filter(|container| {
            container.labels.get(labels::HOOK).is_some_and(|id| id == deployment.as_str())
        });
        self.remove(&of_hooks.map(|container| container.id).collect::<Vec<_>>()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hook(script: &str) -> Hook {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let (kind, place, on_error) = (HookKind::PreDeploy, HookPlace::Host, Default::default());
        Hook { kind, name: "migrate".into(), place, argv, timeout: Duration::from_secs(60), on_error }
    }

    async fn ran(hook: &Hook, environment: &BTreeMap<String, String>) -> (HookResult, Vec<String>) {
        let mut lines = Vec::new();
        let say = |line: &str| lines.push(line.to_owned());
        let result = run_program(hook, Path::new("/"), environment, &mut std::future::pending(), say).await;
        (result, lines)
    }

    #[tokio::test]
    async fn a_hook_sees_its_variables_and_ends_with_its_exit_code_and_last_words() {
        let good = hook("echo \"$FFE_HOOK $FFE_HOOK_NAME $FFE_APP [$FFE_ERROR] $PWD\"");
        let facts = Facts::from([("FFE_APP", "shop".to_owned())]);
        let (result, lines) = ran(&good, &variables(&good, &facts)).await;
        assert_eq!((result.outcome, result.exit_code), (HookOutcome::Succeeded, Some(0)));
        assert_eq!(lines, ["pre_deploy migrate shop [] /"]);
        let (result, _) = ran(&hook("echo no such table >&2; exit 3"), &BTreeMap::new()).await;
        assert_eq!((result.outcome, result.exit_code), (HookOutcome::Failed, Some(3)));
        assert_eq!(result.detail.as_deref(), Some("exited with 3: no such table"));
        let missing = Hook { argv: vec!["no-such-program".into()], ..good };
        let (result, _) = ran(&missing, &BTreeMap::new()).await;
        let detail = result.detail.unwrap();
        assert!(
            detail.starts_with("no directory of PATH (") && detail.ends_with("has `no-such-program`"),
            "{detail}"
        );
    }

    #[tokio::test]
    async fn a_hook_that_takes_too_long_and_one_that_is_stopped_say_so() {
        let slow = Hook { timeout: Duration::from_millis(200), ..hook("exec sleep 600") };
        let (result, _) = ran(&slow, &BTreeMap::new()).await;
        assert_eq!((result.outcome, result.exit_code), (HookOutcome::TimedOut, None));
        let mut now = std::future::ready(());
        let none = BTreeMap::new();
        let result = run_program(&hook("exec sleep 600"), Path::new("/"), &none, &mut now, |_| {}).await;
        assert_eq!(result.outcome, HookOutcome::Cancelled);
    }

    #[tokio::test]
    async fn no_part_of_a_secret_is_left_where_a_last_line_is_cut() {
        let redactor = Redactor::new(["hunter2-canary"]);
        for before in LONGEST_DETAIL - 40..LONGEST_DETAIL {
            let last = hook(&format!("printf '%{before}s' x; echo hunter2-canary; exit 4"));
            let (result, _) = ran(&last, &BTreeMap::new()).await;
            let told = detail(&result.detail.unwrap(), &redactor);
            assert!(!told.contains("hunt") && told.chars().count() <= LONGEST_DETAIL, "{before}: {told}");
        }
    }

    #[tokio::test]
    async fn of_a_flood_of_lines_the_first_are_told() {
        let (result, lines) = ran(&hook("yes | head -n 20000"), &BTreeMap::new()).await;
        assert_eq!((result.outcome, lines.len()), (HookOutcome::Succeeded, MOST_LINES + 1));
        assert!(lines[MOST_LINES].contains("left out"), "{:?}", lines.last());
    }

    #[test]
    fn the_page_about_hooks_names_every_variable_and_every_kind() {
        let page = std::fs::read_to_string(format!("{}/docs/hooks.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for name in VARIABLES.into_iter().chain(HookKind::ALL.map(HookKind::as_str)) {
            assert!(page.contains(&format!("`{name}`")), "docs/hooks.md does not name `{name}`");
        }
    }
}
