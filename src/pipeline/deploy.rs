//! Brings the bundle's release live: prepare → back up → switch.

use std::path::Path;

use super::hooks;
use super::journal::Phase;
use super::prepare::Ready;
use super::run::{Done, Ending, Run};
use super::stop::Stop;
use super::switch::Manner;
use crate::executor::compose::drift::Drift;
use crate::executor::compose::place;
use crate::health;
use crate::host::ballast;
use crate::model::{Action, App, HealthReport, HookKind, Outcome, Release, ReleaseId, Stage};

/// Stages that a deploy of what already runs has no work for.
const UNTOUCHED: [Stage; 3] = [Stage::BackingUp, Stage::Deploying, Stage::Verifying];

impl Run {
    /// Deploys what was staged, under this project name.
    pub async fn deploy(&self, staged: &Path, project: &str) -> Ending {
        match self.try_deploy(staged, project).await {
            Ok(ending) => ending,
            Err(stop) => self.aborted(&stop),
        }
    }

    async fn try_deploy(&self, staged: &Path, project: &str) -> Result<Ending, Stop> {
        let after = ReleaseId::from(&self.job.deployment_id);
        let mut current = self.current_to_replace();
        self.begin_journal(current.as_ref(), Some(&after), project).await?;
        if let Some(adopted) = self.adopt(project).await? {
            self.book.change(|entry| entry.before = Some(adopted.id.clone()))?;
            current = Some(adopted);
        }
        // What already runs is deployed without a command that changes anything.
        let seems_same = current.as_ref().is_some_and(|current| self.seems_same(current));
        if !seems_same {
            self.make_room(project).await;
        }
        let ready = self.prepare(staged, project, current.as_ref()).await?;
        if let Some(current) = current.as_ref().filter(|current| current.digest == ready.release.digest) {
            let found = self.executor.containers(&current.project).await?;
            let drift = Drift::of(&self.layout, current, &found);
            // A release whose files somebody wrote to is no release any more: the new one takes its place.
            if !drift.as_ref().is_some_and(Drift::in_files) {
                return Ok(self
                    .deploy_again(&ready, current, drift.is_some_and(|drift| drift.is_empty()))
                    .await);
            }
        }
        if seems_same {
            self.make_room(project).await;
        }
        let backup = self.backup_stage(&ready).await?;
        self.backed_up(backup.as_deref())?;
        self.pre_deploy(&ready, current.as_ref()).await?;
        let mut ending = self.switch_to(&ready, current.as_ref(), Manner::default()).await;
        ending.backup = backup;
        if ending.outcome == Some(Outcome::Succeeded) {
            self.prune_releases(project).await;
        }
        Ok(ending)
    }

    /// Returns whether the job brings what is current, as far as can be said before anything is made ready, and the disk
    /// has room for that.
    pub(super) fn seems_same(&self, current: &Release) -> bool {
        current.seems(&self.job.version.label, &place::recorded(&self.job.bundle.entries))
            && !ballast::is_needed(&self.layout.ballast())
    }

    /// The release is the one that is current: nothing is done when it is healthy, and known to be what runs; else it is
    /// repaired.
    async fn deploy_again(&self, ready: &Ready, current: &Release, is_as_recorded: bool) -> Ending {
        if let Err(error) = self.executor.put_blobs_back(current) {
            return self.aborted(&Stop::from(error));
        }
        let report = self.ask_once(&current.app, ready).await;
        if let Some(report) = report.filter(|report| is_as_recorded && report.is_acceptable()) {
            if !self.cancel.close() {
                return self.aborted(&Stop::Cancelled);
            }
            self.discard(&ready.release.id);
            for stage in UNTOUCHED {
                self.skip(stage, "this release already runs and is healthy");
            }
            self.skip(Stage::Complete, "nothing has changed");
            let mut ending = Ending::of(Outcome::Succeeded);
            ending.urls = super::urls::of(&ready.model, current.app.url.as_deref());
            ending.checks.clone_from(&report.checks);
            ending.health = Some(report);
            ending.target = Some(current.id.clone());
            ending.before = Some(current.clone());
            ending.release = Some(current.clone());
            return ending;
        }
        let again = match self.ready(current.clone()).await {
            Ok(again) => again,
            Err(stop) => return self.aborted(&stop),
        };
        self.discard(&ready.release.id);
        self.skip(
            Stage::BackingUp,
            "this release is current already; what is not as it was deployed is recreated",
        );
        self.switch_to(&again, Some(current), Manner { repair: true, down_first: false }).await
    }

    /// Asks an app's checks of what runs once; nothing when they cannot be asked.
    async fn ask_once(&self, app: &App, ready: &Ready) -> Option<HealthReport> {
        let environment = &self.job.environment;
        let checks =
            ready.site.checks(&app.health, &ready.model, &app.one_shot, environment, &ready.variables);
        Some(health::ask_once(&checks.ok()?, &self.executor.docker).await)
    }

    async fn pre_deploy(&self, ready: &Ready, current: Option<&Release>) -> Result<(), Stop> {
        if !self.has_host_hooks(HookKind::PreDeploy) {
            return Ok(());
        }
        let footing = self.footing(&ready.site, &ready.variables, current);
        self.before_the_switch(HookKind::PreDeploy, &footing).await
    }

    async fn backup_stage(&self, ready: &Ready) -> Result<Option<String>, Stop> {
        let wanted = self.job.environment.backup && self.job.action == Action::Deploy;
        if !wanted || self.job.options.skip_backup {
            let reason =
                if wanted { "--skip-backup was given" } else { "backups are off for this environment" };
            self.skip(Stage::BackingUp, reason);
            return Ok(None);
        }
        self.stage(Stage::BackingUp, async {
            let taken =
                self.take_backup(&ready.model, &ready.site, crate::model::ArchiveFormat::Zstd).await?;
            Ok(match taken {
                Some(path) => Done::Did(Some(path)),
                None => Done::Skipped(None, "there is nothing to save yet".into()),
            })
        })
        .await
    }

    /// Writes that the backup is taken, or none is wanted.
    pub(super) fn backed_up(&self, backup: Option<&str>) -> Result<(), Stop> {
        let backup = backup.map(str::to_owned);
        Ok(self.book.change(|entry| (entry.phase, entry.backup) = (Phase::BackedUp, backup))?)
    }

    /// Stopped before the switch: the running release was not touched.
    pub fn aborted(&self, stop: &Stop) -> Ending {
        self.emitter.enter(Stage::Failed);
        let outcome = if *stop == Stop::Cancelled { Outcome::Cancelled } else { Outcome::Aborted };
        let before = self.current().ok().flatten();
        let target = Some(ReleaseId::from(&self.job.deployment_id)).filter(|_| self.job.action.is_recorded());
        let hooks = self.book.entry().and_then(|entry| hooks::shown(&entry.hooks));
        let hooks = hooks.map(|shown| format!("; hooks that ran: {shown}")).unwrap_or_default();
        let next_step = Some(match &before {
            Some(release) => format!(
                "nothing was changed: {} still runs{hooks}; mend the cause and deploy again",
                release.version
            ),
            None => format!("nothing was started{hooks}; mend the cause and deploy again"),
        });
        Ending {
            errors: vec![stop.failure()],
            target,
            release: before.clone(),
            before,
            next_step,
            ..Ending::of(outcome)
        }
    }
}
