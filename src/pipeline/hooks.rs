//! When hooks run, and what their failure means.
//!
//! `pre_build` and `pre_deploy` come before anything is switched: one that fails stops the deployment. `post_deploy` comes
//! when the checks have passed and nothing is recorded yet: its `on_error` decides. The others come when the outcome is
//! decided. A hook is in the journal before it begins, as interrupted, and told by its end: whoever recovers goes on with
//! those that had not begun, and repeats none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::journal::{Entry, Phase};
use super::prepare::Ready;
use super::run::{Ending, Run};
use super::stop::Stop;
use crate::event::EventKind;
use crate::executor::compose::Site;
use crate::executor::hook::{self, Facts};
use crate::executor::variables::Resolved;
use crate::here;
use crate::model::{
    Action, ErrorKind, FailureReport, Hook, HookKind, HookOutcome, HookPlace, HookResult, OnError, Outcome,
    Release, ReleaseId, Severity,
};

/// What hooks stand on.
pub(super) struct Footing {
    hooks: Vec<Hook>,
    /// Where programs run.
    directory: PathBuf,
    /// Variables of the release; secrets are among them.
    values: BTreeMap<String, String>,
    /// Where a service's container comes from.
    site: Option<Site>,
    facts: Facts,
}

/// A hook that did not do its work.
pub(super) struct Broken {
    pub(super) on_error: OnError,
    pub(super) stop: Stop,
}

impl Run {
    /// Returns whether this job runs hooks at that moment.
    fn has_hooks_of(&self, kind: HookKind) -> bool {
        let brings = self.job.action.brings_bundle(self.layout.in_place().is_some());
        match (&self.job.action, kind) {
            (Action::Deploy | Action::Up, _) => brings,
            (Action::Build, HookKind::PreBuild) => true,
            (Action::Rollback { .. }, HookKind::OnRollback | HookKind::Finally) => true,
            _ => false,
        }
    }

    /// Returns whether the host has a hook of the job to run at that moment.
    pub(super) fn has_host_hooks(&self, kind: HookKind) -> bool {
        let mine = |hook: &Hook| hook.kind == kind && hook.place != HookPlace::Runner;
        self.has_hooks_of(kind) && self.job.app.hooks.iter().any(mine)
    }

    /// Returns what hooks stand on before there is a release: the files, and the variables.
    pub(super) fn footing(&self, site: &Site, values: &Resolved, before: Option<&Release>) -> Footing {
        let mut facts = self.known_facts();
        facts.insert("FFE_PROJECT", site.project.clone());
        facts.insert("FFE_RELEASE", self.job.deployment_id.to_string());
        facts.insert("FFE_VERSION", self.job.version.label.clone());
        of_before(&mut facts, before);
        Footing {
            hooks: self.job.app.hooks.clone(),
            directory: site.project_dir.clone(),
            values: values.values.clone(),
            site: Some(site.clone()),
            facts,
        }
    }

    fn known_facts(&self) -> Facts {
        let job = &self.job;
        let backup = self.book.entry().and_then(|entry| entry.backup).unwrap_or_default();
        Facts::from([
            ("FFE_APP", job.app.name.to_string()),
            ("FFE_BACKUP", backup),
            ("FFE_CORRELATION_ID", job.correlation_id.to_string()),
            ("FFE_DEPLOYMENT_ID", job.deployment_id.to_string()),
            ("FFE_ENVIRONMENT", job.environment.name.to_string()),
            ("FFE_RECOVERED", self.recovers.to_string()),
            ("FFE_ROOT", self.layout.root().to_string_lossy().into_owned()),
            ("FFE_URL", job.app.url.clone().unwrap_or_default()),
            ("FFE_VERB", job.action.verb().to_owned()),
        ])
    }

    /// Runs `pre_build` or `pre_deploy`.
    ///
    /// # Errors
    /// One did not do its work, or the deployment was cancelled: nothing must be switched.
    pub(super) async fn before_the_switch(&self, kind: HookKind, footing: &Footing) -> Result<(), Stop> {
        self.run_hooks(kind, footing).await.map_err(|broken| broken.stop)
    }

    /// Runs `post_deploy`, when the checks of a new release have passed. Returns why the job fails although the release
    /// stays, when one says so.
    ///
    /// # Errors
    /// One failed that wants the release before back, or the deployment was cancelled.
    pub(super) async fn after_the_checks(
        &self,
        target: &Ready,
        before: Option<&Release>,
    ) -> Result<Option<FailureReport>, Stop> {
        let is_new = before.is_none_or(|before| before.id != target.release.id);
        if !is_new || !self.has_host_hooks(HookKind::PostDeploy) {
            return Ok(None);
        }
        if self.book.entry().is_some_and(|entry| entry.phase < Phase::Verified) {
            self.reached(Phase::Verified)?;
        }
        let footing = self.footing(&target.site, &target.variables, before);
        // Recovery begins with what the one before it has come to.
        let mut broken = self.book.entry().and_then(|entry| broken_in(&entry));
        loop {
            match broken {
                Some(Broken { stop: Stop::Cancelled, .. }) => return Err(Stop::Cancelled),
                Some(Broken { on_error: OnError::Rollback, stop }) => return Err(stop),
                Some(Broken { on_error: OnError::Fail, stop }) => return Ok(Some(stop.failure())),
                Some(Broken { on_error: OnError::Warn, stop }) => self.warn_of_hook(&stop.failure()),
                None => {}
            }
            match self.run_hooks(HookKind::PostDeploy, &footing).await {
                Ok(()) => return Ok(None),
                Err(next) => broken = Some(next),
            }
        }
    }

    /// Runs what comes when the outcome is decided. Nothing that happens here changes it.
    pub(super) async fn after_the_end(&self, ending: &Ending) {
        let kinds = kinds_after(&self.job.action, ending);
        let is_verb = matches!(self.job.action, Action::Rollback { .. });
        let has_any = is_verb || self.job.app.hooks.iter().any(|hook| kinds.contains(&hook.kind));
        // Without a journal nothing was begun, and nobody would know what has run.
        if ending.unended || !has_any || self.book.entry().is_none() {
            return;
        }
        let Some(footing) = self.footing_after(ending) else { return };
        for kind in kinds.into_iter().filter(|kind| self.has_hooks_of(*kind)) {
            let begun = || self.book.entry().map_or(0, |entry| count_of(&entry, kind));
            loop {
                let before = begun();
                let Err(Broken { stop, .. }) = self.run_hooks(kind, &footing).await else { break };
                self.warn_of_hook(&stop.failure());
                // One that could not even be written down is not tried for ever.
                if begun() == before {
                    break;
                }
            }
        }
    }

    fn warn_of_hook(&self, failure: &FailureReport) {
        let (code, notice, hint) = (failure.code.clone(), failure.message.clone(), failure.hint.clone());
        self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity: Severity::Warning });
    }

    /// What hooks after the end stand on: the release that is left by a rollback, else the one that was to come.
    fn footing_after(&self, ending: &Ending) -> Option<Footing> {
        let is_verb = matches!(self.job.action, Action::Rollback { .. });
        let own = ReleaseId::from(&self.job.deployment_id);
        let id = match (is_verb, ending.outcome) {
            (true, Some(Outcome::Succeeded)) => ending.before.as_ref().map(|release| release.id.clone())?,
            (true, _) => ending.target.clone()?,
            (false, _) => own,
        };
        // A release that was stopped early is not whole: then only its files are there, if they are.
        let release = self.executor.load(&id).ok();
        let hooks = match (&release, is_verb) {
            (Some(release), true) => release.app.hooks.clone(),
            (None, true) => return None,
            (_, false) => self.job.app.hooks.clone(),
        };
        let site = release.as_ref().map(|release| Site::of_release(&self.layout, release));
        let usual =
            self.layout.in_place().map_or_else(|| self.layout.release(&id).join("app"), Path::to_owned);
        Some(Footing {
            hooks,
            directory: site.as_ref().map_or(usual, |site| site.project_dir.clone()),
            values: self.values_of(release.as_ref()),
            facts: self.facts_after(ending, site.as_ref()),
            site,
        })
    }

    fn values_of(&self, release: Option<&Release>) -> BTreeMap<String, String> {
        let written = release.and_then(|release| self.executor.variables(release).ok());
        let host_file = self.layout.host_env_file(&self.job.environment.name);
        // Whoever recovers has no job's variables, and must not guess which of a file's are secrets.
        let of_job = || {
            let host_file = self.layout.in_place().is_none().then_some(host_file.as_path());
            if self.recovers { None } else { Resolved::of(&self.job.variables, host_file).ok() }
        };
        written.or_else(of_job).map(|mut resolved| std::mem::take(&mut resolved.values)).unwrap_or_default()
    }

    fn facts_after(&self, ending: &Ending, site: Option<&Site>) -> Facts {
        let outcome = ending.outcome.unwrap_or(Outcome::Failed);
        let error = ending.errors.first();
        let message = error.map(|error| self.executor.redactor.redact(&error.message).into_owned());
        let target = ending.target.clone().unwrap_or_else(|| ReleaseId::from(&self.job.deployment_id));
        let version = ending.version.clone().unwrap_or_else(|| self.job.version.label.clone());
        let mut facts = self.known_facts();
        facts.extend([
            ("FFE_ERROR", message.unwrap_or_default()),
            ("FFE_ERROR_CODE", error.map(|error| error.code.clone()).unwrap_or_default()),
            ("FFE_OUTCOME", outcome.as_str().to_owned()),
            ("FFE_PROJECT", site.map(|site| site.project.clone()).unwrap_or_default()),
            ("FFE_RELEASE", target.to_string()),
            (
                "FFE_ROLLED_BACK_TO",
                ending.rolled_back_to.as_ref().map(ToString::to_string).unwrap_or_default(),
            ),
            ("FFE_STATUS", outcome.status().as_str().to_owned()),
            ("FFE_VERSION", version),
        ]);
        of_before(&mut facts, ending.before.as_ref());
        facts
    }

    /// Runs those hooks of a kind that have not begun yet, up to the first that does not do its work.
    async fn run_hooks(&self, kind: HookKind, footing: &Footing) -> Result<(), Broken> {
        let begun = self.book.entry().map_or(0, |entry| count_of(&entry, kind));
        // What the runner has run before the start is not in this journal.
        let mine =
            |hook: &&Hook| hook.kind == kind && (hook.place != HookPlace::Runner || kind.is_after_the_end());
        for hook in footing.hooks.iter().filter(mine).skip(begun) {
            let ended = self.run_hook(hook, footing).await;
            if let Some(stop) = ended? {
                return Err(Broken { on_error: hook.on_error, stop });
            }
        }
        Ok(())
    }

    /// Runs one; returns why the deployment should stop, when it did not do its work.
    async fn run_hook(&self, hook: &Hook, footing: &Footing) -> Result<Option<Stop>, Broken> {
        if hook.place == HookPlace::Runner {
            let detail = "it runs on the runner, after the host's last word; without a runner nobody runs it";
            let result = hook.result(HookOutcome::NotRun, Some(detail.to_owned()));
            self.book_or_warn(|entry| entry.hooks.push(result));
            return Ok(None);
        }
        let begun = hook.result(HookOutcome::Interrupted, None);
        let written = self.book.change(|entry| entry.hooks.push(begun));
        // What cannot be written may not be begun: it would be repeated.
        written.map_err(|error| Broken { on_error: OnError::Rollback, stop: error.into() })?;
        let (name, place) = (hook.name.clone(), hook.place.shown());
        let timeout_ms = u64::try_from(hook.timeout.as_millis()).unwrap_or(u64::MAX);
        self.emitter.emit(here!(), EventKind::HookStarted { hook: name, kind: hook.kind, place, timeout_ms });
        let (result, late) = self.carry_out_hook(hook, footing).await;
        let told = result.clone();
        self.book_or_warn(|entry| {
            if let Some(last) = entry.hooks.last_mut() {
                *last = told;
            }
        });
        self.emitter.emit(here!(), EventKind::HookFinished { result: result.clone() });
        Ok(match result.outcome {
            HookOutcome::Succeeded => None,
            HookOutcome::Cancelled => Some(late.unwrap_or(Stop::Cancelled)),
            _ => Some(failure(&result).into()),
        })
    }

    /// Runs one to its end, to its deadline or that of the deployment, or until somebody wants to stop.
    async fn carry_out_hook(&self, hook: &Hook, footing: &Footing) -> (HookResult, Option<Stop>) {
        let mut facts = footing.facts.clone();
        facts.insert("FFE_STAGE", self.emitter.stage().as_str().to_owned());
        let variables = hook::variables(hook, &facts);
        let mut late = None;
        let mut stop = Box::pin(async {
            if hook.kind.is_after_the_end() {
                // It has only its own time: what was asked for is done, or undone.
                return std::future::pending().await;
            }
            tokio::select! {
                () = self.cancel.raised() => {}
                stop = self.deadline.of_whole() => late = Some(stop),
            }
        });
        let result = match (&hook.place, &footing.site) {
            (HookPlace::Service(_), Some(site)) => {
                let id = &self.job.deployment_id;
                self.executor.run_in_service(hook, site, id, &variables, &mut stop).await
            }
            (HookPlace::Service(_), None) => {
                hook.result(HookOutcome::Failed, Some("the release was never ready".to_owned()))
            }
            _ if !footing.directory.is_dir() => {
                let detail = format!("{} is not there", footing.directory.display());
                hook.result(HookOutcome::Failed, Some(detail))
            }
            _ => {
                let mut environment = footing.values.clone();
                environment.extend(variables);
                let source = format!("hook {}", hook.name);
                let say = |line: &str| self.executor.say_line(&source, line);
                hook::run_program(hook, &footing.directory, &environment, &mut stop, say).await
            }
        };
        drop(stop);
        let detail = result.detail.map(|detail| hook::detail(&detail, &self.executor.redactor));
        (HookResult { detail, ..result }, late)
    }

    /// Ends what runs for a hook of a worker that is dead; programs on the host have been ended with its other children.
    ///
    /// # Errors
    /// Docker fails, or is gone.
    pub(super) async fn end_hook_containers(&self, entry: &Entry) -> Result<(), Stop> {
        let in_service = |hook: &HookResult| {
            hook.outcome == HookOutcome::Interrupted && hook.place.starts_with("service ")
        };
        if entry.hooks.iter().any(in_service) {
            self.executor.end_hook_containers(&entry.job.deployment_id).await?;
        }
        Ok(())
    }

    /// Tells which hooks a dead worker left behind half-way: they are not run again.
    pub(super) fn tell_interrupted(&self, entry: &Entry) {
        for hook in entry.hooks.iter().filter(|hook| hook.outcome == HookOutcome::Interrupted) {
            self.emitter.emit(here!(), EventKind::HookFinished { result: hook.clone() });
        }
    }
}

fn of_before(facts: &mut Facts, before: Option<&Release>) {
    let of = |value: fn(&Release) -> String| before.map(value).unwrap_or_default();
    facts.insert("FFE_PREVIOUS_RELEASE", of(|release| release.id.to_string()));
    facts.insert("FFE_PREVIOUS_VERSION", of(|release| release.version.clone()));
}

fn kinds_after(action: &Action, ending: &Ending) -> Vec<HookKind> {
    let outcome = ending.outcome.unwrap_or(Outcome::Failed);
    let is_verb = matches!(action, Action::Rollback { .. });
    // What already ran was left alone, and what was refused never began.
    if outcome == Outcome::Refused || (outcome == Outcome::Succeeded && !ending.changed) {
        return Vec::new();
    }
    let failed = matches!(outcome, Outcome::Failed | Outcome::RolledBack | Outcome::Aborted);
    let is_back = ending.rolled_back_to.is_some() || (is_verb && outcome == Outcome::Succeeded);
    let kinds = [(HookKind::OnFailure, failed), (HookKind::OnRollback, is_back), (HookKind::Finally, true)];
    kinds.into_iter().filter(|(_, is_due)| *is_due).map(|(kind, _)| kind).collect()
}

/// How many hooks of a kind have begun.
fn count_of(entry: &Entry, kind: HookKind) -> usize {
    entry.hooks.iter().filter(|hook| hook.kind == kind).count()
}

/// The last `post_deploy` hook of a journal, when it did not do its work. One that was interrupted counts as failed.
fn broken_in(entry: &Entry) -> Option<Broken> {
    let number = count_of(entry, HookKind::PostDeploy).checked_sub(1)?;
    let last = entry.hooks.iter().rfind(|hook| hook.kind == HookKind::PostDeploy)?;
    let hook = entry.job.app.hooks.iter().filter(|hook| hook.kind == HookKind::PostDeploy).nth(number)?;
    last.has_failed().then(|| Broken { on_error: hook.on_error, stop: failure(last).into() })
}

/// Returns whether recovery puts the release before back because of its hooks.
pub(super) fn wants_undoing(entry: &Entry) -> bool {
    broken_in(entry).is_some_and(|broken| broken.on_error == OnError::Rollback)
}

fn failure(hook: &HookResult) -> FailureReport {
    let what = format!("the {} hook `{}`", hook.kind, hook.hook);
    let detail = hook.detail.as_deref();
    let (code, how) = match hook.outcome {
        HookOutcome::TimedOut => {
            ("hook.timeout", detail.unwrap_or("took too long").replacen("it did", "did", 1))
        }
        HookOutcome::Interrupted => {
            let how = "was interrupted: the process that watched it died; it is not run again";
            ("hook.interrupted", how.to_owned())
        }
        _ if hook.exit_code.is_some() => ("hook.failed", detail.unwrap_or("failed").to_owned()),
        _ => ("hook.failed", format!("failed: {}", detail.unwrap_or("for an unknown reason"))),
    };
    let then = match hook.kind {
        HookKind::PreBuild | HookKind::PreDeploy => "; nothing was switched",
        HookKind::PostDeploy => "",
        HookKind::OnFailure | HookKind::OnRollback | HookKind::Finally => "; the outcome stays what it is",
    };
    let hint =
        "look at what it said in the log of the run, mend it, and see whether it did a part of its work";
    FailureReport::new(ErrorKind::DeploymentError, code, format!("{what} {how}{then}")).hint(hint)
}

/// Returns the hooks that ran, in words; nothing when none did.
pub(super) fn shown(hooks: &[HookResult]) -> Option<String> {
    let ran = hooks.iter().filter(|hook| hook.outcome != HookOutcome::NotRun);
    let words: Vec<String> =
        ran.map(|hook| format!("{} `{}` ({})", hook.kind, hook.hook, hook.outcome.words())).collect();
    (!words.is_empty()).then(|| words.join(", "))
}
