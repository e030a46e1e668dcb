//! What the runner runs itself: the tests, and hooks that say `on: runner`.
//!
//! They see the job's environment, as every step of a job does, without the variables that hold secrets of ours; hooks see
//! the app's variables besides.

use std::collections::BTreeMap;
use std::time::Instant;

use super::drive::{Drive, Load};
use super::own::Own;
use super::signals::Signals;
use crate::config::TestSpec;
use crate::event::{DeploymentResult, EventKind};
use crate::executor::hook::{self, Facts, Teller};
use crate::here;
use crate::host::process::{self, Command, ProcessError};
use crate::model::{
    Action, ErrorKind, FailureReport, Hook, HookKind, HookOutcome, HookPlace, HookResult, Outcome, Severity,
};
use crate::report::words::duration_ms;
use crate::text::harmless;

impl Drive {
    /// Runs the tests and the `pre_build` hooks of the runner, which come between the host's verdicts and the start.
    /// `is_same` says that this version with these files is what runs already, and that nothing is built here.
    ///
    /// # Errors
    /// They fail; nothing was touched on the host.
    pub(super) async fn before_the_start(&mut self, load: &Load, is_same: bool) -> Result<(), Own> {
        let is_deploy = load.job.action == Action::Deploy;
        if let Some(test) = load.test.as_ref().filter(|_| is_deploy) {
            self.test(test, load).await?;
        }
        let hooks = load.job.app.hooks.iter();
        let mine = |hook: &&Hook| hook.kind == HookKind::PreBuild && hook.place == HookPlace::Runner;
        for hook in hooks.filter(mine).filter(|_| !is_same) {
            let facts = self.facts(load, None);
            let result = self.run_hook(hook, load, facts, &mut std::future::pending()).await;
            if result.has_failed() {
                let how = result.detail.as_deref().unwrap_or("failed");
                let code =
                    if result.outcome == HookOutcome::TimedOut { "hook.timeout" } else { "hook.failed" };
                return Err(stopped(code, format!("the pre_build hook `{}` {how}", hook.name)));
            }
        }
        Ok(())
    }

    async fn test(&self, test: &TestSpec, load: &Load) -> Result<(), Own> {
        let shown = test.argv.join(" ");
        if self.wish.skip_tests {
            let notice = format!("`{shown}` was not run: `--skip-tests` was given");
            self.notice("test.skipped", notice, Severity::Warning);
            return Ok(());
        }
        let Some((program, args)) = test.argv.split_first() else { return Ok(()) };
        let command = Command::new(program).args(args).directory(&load.app_dir);
        let command = command.deadline(test.timeout).forgetting();
        let environment = self.job_environment();
        let command = environment.iter().fold(command, |command, (name, value)| command.env(name, value));
        let mut teller = Teller::new(|line: &str| self.say_line("test", line));
        let began = Instant::now();
        let ended = process::run_unchecked(&command, |_, line| teller.line(line)).await;
        let took = duration_ms(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let how = match ended {
            Ok(finished) if finished.status.success() => {
                self.notice("test.passed", format!("`{shown}` passed in {took}"), Severity::Passed);
                return Ok(());
            }
            Ok(finished) => format!("`{shown}` {}", hook::how(&finished)),
            Err(error @ ProcessError::Deadline { .. }) => error.to_string(),
            Err(error) => super::own::describe(&error),
        };
        let how = hook::detail(&how, &self.redactor);
        Err(stopped("test.failed", format!("the tests failed after {took}: {how}")))
    }

    /// Runs the hooks that the host has left to the runner, and says in the result what became of them.
    pub(super) async fn after_the_end(
        &mut self,
        load: &Load,
        result: &mut DeploymentResult,
        signals: &mut Signals,
    ) {
        if self.is_ours {
            for at in 0..result.hooks.len() {
                let left = &result.hooks[at];
                let is_it = |hook: &&Hook| {
                    hook.place == HookPlace::Runner && hook.kind == left.kind && hook.name == left.hook
                };
                let is_left = left.outcome == HookOutcome::NotRun && left.place == HookPlace::Runner.shown();
                let Some(hook) = load.job.app.hooks.iter().find(is_it).filter(|_| is_left) else { continue };
                let facts = self.facts(load, Some(result));
                result.hooks[at] = self.run_late_hook(hook, load, facts, signals).await;
            }
        }
        result.hooks.splice(0..0, std::mem::take(&mut self.hooks));
    }

    /// Runs the runner's own hooks after an end that it has made itself, with the host's consent to start at hand.
    pub(super) async fn after_own_end(&mut self, load: &Load, own: &Own, signals: &mut Signals) {
        let Own::Ended(outcome @ Outcome::Aborted, errors) = own else { return };
        let mut facts = self.facts(load, None);
        let error = errors.first();
        facts.insert("FFE_OUTCOME", outcome.as_str().to_owned());
        facts.insert("FFE_STATUS", outcome.status().as_str().to_owned());
        facts.insert("FFE_ERROR", error.map(|error| error.message.clone()).unwrap_or_default());
        facts.insert("FFE_ERROR_CODE", error.map(|error| error.code.clone()).unwrap_or_default());
        for kind in [HookKind::OnFailure, HookKind::Finally] {
            let mine = |hook: &&Hook| hook.kind == kind && hook.place == HookPlace::Runner;
            for hook in load.job.app.hooks.iter().filter(mine) {
                let result = self.run_late_hook(hook, load, facts.clone(), signals).await;
                self.hooks.push(result);
            }
        }
    }

    /// The outcome is decided: a failure is a warning, and a job that is cancelled does not wait for it.
    async fn run_late_hook(
        &mut self,
        hook: &Hook,
        load: &Load,
        facts: Facts,
        signals: &mut Signals,
    ) -> HookResult {
        let mut stop = Box::pin(signals.raised());
        let result = self.run_hook(hook, load, facts, &mut stop).await;
        if result.has_failed() {
            let how = result.detail.as_deref().unwrap_or(result.outcome.words());
            let notice =
                format!("the {} hook `{}` {how}; the outcome stays what it is", hook.kind, hook.name);
            self.notice("hook.failed", notice, Severity::Warning);
        }
        // Those of before the start are put in front of the host's; this one stands in its place.
        self.hooks.pop();
        result
    }

    async fn run_hook(
        &mut self,
        hook: &Hook,
        load: &Load,
        mut facts: Facts,
        stop: &mut (dyn Future<Output = ()> + Send + Unpin),
    ) -> HookResult {
        let stage = self.telling.emitter.stage().as_str();
        facts.entry("FFE_STAGE").or_insert_with(|| stage.to_owned());
        let mut environment = self.job_environment();
        environment.extend(load.job.variables.below_host.clone());
        environment.extend(load.job.variables.above_host.clone());
        environment.extend(hook::variables(hook, &facts));
        let (name, place) = (hook.name.clone(), hook.place.shown());
        let timeout_ms = u64::try_from(hook.timeout.as_millis()).unwrap_or(u64::MAX);
        let emitter = &self.telling.emitter;
        emitter.emit(here!(), EventKind::HookStarted { hook: name, kind: hook.kind, place, timeout_ms });
        let source = format!("hook {}", hook.name);
        let say = |line: &str| self.say_line(&source, line);
        let result = hook::run_program(hook, &load.app_dir, &environment, stop, say).await;
        let detail = result.detail.map(|detail| hook::detail(&detail, &self.redactor));
        let result = HookResult { detail, ..result };
        emitter.emit(here!(), EventKind::HookFinished { result: result.clone() });
        self.hooks.push(result.clone());
        result
    }

    fn say_line(&self, source: &str, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let text = self.redactor.redact(&harmless(line)).into_owned();
        self.telling.emitter.emit(here!(), EventKind::LogLine { source: source.to_owned(), text });
    }

    /// The job's variables, without those that hold a secret of ours: a test has no use for the key of production.
    fn job_environment(&self) -> BTreeMap<String, String> {
        let holds_secret = |value: &str| {
            self.withheld.contains(value)
                || value.contains('\n') && self.withheld.iter().any(|secret| value.contains(secret.as_str()))
        };
        let variables = self.surroundings.variables.iter().filter(|(_, value)| !holds_secret(value.trim()));
        variables.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn facts(&self, load: &Load, result: Option<&DeploymentResult>) -> Facts {
        let job = &load.job;
        let mut facts = Facts::from([
            ("FFE_APP", job.app.name.to_string()),
            ("FFE_CORRELATION_ID", job.correlation_id.to_string()),
            ("FFE_DEPLOYMENT_ID", job.deployment_id.to_string()),
            ("FFE_ENVIRONMENT", job.environment.name.to_string()),
            ("FFE_RECOVERED", false.to_string()),
            ("FFE_RELEASE", job.deployment_id.to_string()),
            ("FFE_URL", job.app.url.clone().unwrap_or_default()),
            ("FFE_VERB", job.action.verb().to_owned()),
            ("FFE_VERSION", job.version.label.clone()),
        ]);
        if let Some(running) = &self.running {
            facts.insert("FFE_PREVIOUS_RELEASE", running.release.to_string());
            facts.insert("FFE_PREVIOUS_VERSION", running.version.clone());
        }
        let Some(result) = result else { return facts };
        let error = result.errors.first();
        let given = |value: &Option<String>| value.clone().unwrap_or_default();
        facts.extend([
            ("FFE_BACKUP", given(&result.backup)),
            ("FFE_ERROR", error.map(|error| error.message.clone()).unwrap_or_default()),
            ("FFE_ERROR_CODE", error.map(|error| error.code.clone()).unwrap_or_default()),
            ("FFE_OUTCOME", result.outcome.as_str().to_owned()),
            ("FFE_PREVIOUS_RELEASE", given(&result.previous_release)),
            ("FFE_PREVIOUS_VERSION", given(&result.previous_version)),
            ("FFE_STAGE", result.stage.as_str().to_owned()),
            ("FFE_ROLLED_BACK_TO", given(&result.rolled_back_to)),
            ("FFE_STATUS", result.status.as_str().to_owned()),
            ("FFE_VERSION", given(&result.version)),
        ]);
        if matches!(job.action, Action::Rollback { .. }) {
            facts.insert("FFE_RELEASE", given(&result.release));
        }
        facts
    }
}

fn stopped(code: &str, what: String) -> Own {
    let message = format!("{what}; nothing was touched on the host");
    let hint = "look at its output above, mend it, and run this again";
    Own::of(Outcome::Aborted, FailureReport::new(ErrorKind::ValidationError, code, message).hint(hint))
}
